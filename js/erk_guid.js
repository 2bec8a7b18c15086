// @ts-check
/**
 * ERK-Guid on the page: a chart of the stiffness that grows step by step. It is on every node that samples with an
 * erk_* sampler, and on the visualizers connected to it. Only this module uses ComfyUI's page.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { around, classOf, findNode, isOurs } from "./live/graph.js";
import { Runs } from "./live/runs.js";
import { ChartOnNode, ChartUnderNode } from "./live/widget.js";

/** @typedef {import("./live/graph.js").GraphNode} GraphNode */
/** @typedef {import("./live/runs.js").Shown} Shown */
/** @typedef {import("./live/runs.js").StepMessage} StepMessage */

const VISUALIZER = "StiffnessVisualizerERKGuid";
/** The id that every graph made from a prompt has. */
const NO_ID = "00000000-0000-0000-0000-000000000000";
const SETTING = "ERK-Guid.LiveChart";
/** @type {"all" | "erk" | "off"} */
let wanted = "all";

/** Whether the page has its graph. A setting may be read before that. */
let ready = false;

const runs = new Runs();
/** @type {Map<GraphNode, ChartOnNode>} */
const charts = new Map();
/** @type {Map<GraphNode, ChartUnderNode>} of the subgraph nodes on display */
const outerCharts = new Map();

/** @param {GraphNode} node */
const isWanted = (node) => wanted === "all" || (wanted === "erk" && isOurs(node));
/** Older pages have no subgraphs, and no `rootGraph`. */
const root = () => app.rootGraph ?? app.graph;
const workflowOnDisplay = () => String(root()?.id ?? "");

/** @param {Shown} shown */
function drawOnNode(shown) {
    if (shown.workflow !== workflowOnDisplay()) return;
    const node = findNode(root(), shown.node);
    if (!node || !isWanted(node)) return;
    let chart = charts.get(node);
    if (!chart) {
        chart = new ChartOnNode(node, app.canvas, () => {
            charts.delete(node);
            // Loading another workflow also removes every node. Then the runs are kept until this workflow comes back.
            queueMicrotask(() => {
                const gone = root()?.nodes.length && !findNode(root(), shown.node);
                if (gone || shown.workflow === NO_ID) runs.drop(shown.workflow, shown.node);
                drawOnOuterNodes(shown.node);
            });
        });
        charts.set(node, chart);
    }
    chart.show(shown);
    drawOnOuterNodes(shown.node);
}

/**
 * Show what was last sampled inside the subgraph nodes around a node, on those subgraph nodes.
 *
 * @param {string} id
 */
function drawOnOuterNodes(id) {
    for (const outer of around(id)) {
        const node = findNode(root(), outer);
        if (!node?.subgraph || node.graph !== app.canvas.graph) continue;
        const shown = runs
            .of(workflowOnDisplay())
            .filter((one) => one.node.startsWith(`${outer}:`) && isShownOutside(one))
            .at(-1);
        if (!shown) {
            outerCharts.get(node)?.detach();
            outerCharts.delete(node);
            continue;
        }
        let chart = outerCharts.get(node);
        if (!chart) {
            chart = new ChartUnderNode(node, app.canvas, () => outerCharts.delete(node));
            outerCharts.set(node, chart);
        }
        chart.show(shown);
    }
}

/** @param {Shown} shown */
function isShownOutside(shown) {
    const node = findNode(root(), shown.node);
    return node !== null && isWanted(node) && classOf(node) !== VISUALIZER;
}

/**
 * @param {Shown} shown
 */
function takeOff(shown) {
    const node = shown.workflow === workflowOnDisplay() ? findNode(root(), shown.node) : null;
    if (node) {
        charts.get(node)?.detach();
        charts.delete(node);
    }
    runs.drop(shown.workflow, shown.node);
    drawOnOuterNodes(shown.node);
}

function redrawAll() {
    if (!ready) return;
    for (const [node, chart] of charts) {
        if (isWanted(node)) continue;
        chart.detach();
        charts.delete(node);
    }
    for (const shown of runs.of(workflowOnDisplay())) {
        drawOnNode(shown);
        drawOnOuterNodes(shown.node);
    }
}

/** Called when the page shows another graph of the workflow: the one inside a subgraph node, or the one around it. */
function redrawOuterNodes() {
    for (const chart of outerCharts.values()) chart.detach();
    outerCharts.clear();
    for (const shown of runs.of(workflowOnDisplay())) drawOnOuterNodes(shown.node);
}

/**
 * The node that is executing, and whether it has sent a step. A node that ends without a step used another sampler.
 */
let executing = { node: /** @type {string | null} */ (null), hasSent: false };

api.addEventListener("erk_guid.step", ({ detail }) => {
    /** @type {StepMessage} */
    const message = detail;
    if (message.node === executing.node) executing.hasSent = true;
    const workflow = message.workflow ?? workflowOnDisplay();
    for (const id of new Set([message.node, ...message.views])) {
        const node = workflow === workflowOnDisplay() ? findNode(root(), id) : null;
        // The page may show another graph by now, where the id belongs to another node.
        if (node && id === message.node && message.type && classOf(node) !== message.type) continue;
        drawOnNode(runs.add(message, workflow, id));
    }
});

api.addEventListener("executing", ({ detail }) => {
    const { node, hasSent } = executing;
    executing = { node: detail ? String(detail) : null, hasSent: false };
    if (node === null || hasSent || node === executing.node) return;
    const shown = runs.get(workflowOnDisplay(), node);
    const shower = shown && findNode(root(), node);
    if (shown && shower && classOf(shower) !== VISUALIZER) takeOff(shown);
});

for (const type of ["execution_interrupted", "execution_error"]) {
    api.addEventListener(type, ({ detail }) => {
        executing = { node: null, hasSent: false };
        for (const shown of runs.stop(detail?.prompt_id)) drawOnNode(shown);
    });
}

/** The last choice sent to the server. It is sent again only after a change or a new connection. */
let told = "all";

async function tellServer() {
    if (wanted === told || !api.clientId) return;
    const show = wanted;
    try {
        const answer = await api.fetchApi("/erk_guid/live", {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ client_id: api.clientId, show }),
        });
        if ((await answer.json()).connected) told = show;
    } catch (error) {
        console.warn("ERK-Guid: the server did not get the live chart's setting; the page itself follows it.", error);
    }
}

api.addEventListener("reconnected", () => {
    told = "all";
});
api.addEventListener("status", () => void tellServer());

app.registerExtension({
    name: "ERK-Guid.LiveChart",
    settings: [
        {
            id: SETTING,
            category: ["ERK-Guid", "Live chart", "Show"],
            name: "Live chart of the stiffness while sampling",
            tooltip:
                "A small chart on the node that samples with an erk_* sampler. " +
                "Off also saves the server the trouble of measuring it.",
            type: "combo",
            defaultValue: "all",
            options: [
                { text: "on all sampler nodes", value: "all" },
                { text: "on ERK-Guid nodes only", value: "erk" },
                { text: "off", value: "off" },
            ],
            /** @param {"all" | "erk" | "off"} value */
            onChange: (value) => {
                wanted = value;
                redrawAll();
                void tellServer();
            },
        },
    ],
    setup: () => {
        ready = true;
        app.canvas.canvas.addEventListener("litegraph:set-graph", redrawOuterNodes);
    },
    afterConfigureGraph: redrawAll,
});
