// @ts-check
/**
 * ERK-Guid on the page: a chart of the stiffness that grows step by step. It is on every node that samples with an
 * erk_* sampler, and on the visualizers connected to it. This module also decides which inputs the pack's nodes show.
 * Only this module uses ComfyUI's page.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { redrawCharts, viewShown } from "./live/chart.js";
import { download, numbersOf, pictureOf } from "./live/export.js";
import { around, classOf, everyNode, findNode, isOurs } from "./live/graph.js";
import { Runs } from "./live/runs.js";
import { ChartOnNode, ChartUnderNode, chartOutside } from "./live/widget.js";
import { speak, tell } from "./live/words.js";
import { followMode } from "./nodes/paper.js";
import { growWithTraces } from "./nodes/slots.js";
import { waitingOf } from "./nodes/waiting.js";

/** @typedef {import("./live/graph.js").GraphNode} GraphNode */
/** @typedef {import("./live/runs.js").Shown} Shown */
/** @typedef {import("./live/runs.js").StepMessage} StepMessage */

const VISUALIZER = "StiffnessVisualizerERKGuid";
const KSAMPLERS = ["KSamplerERKGuid", "KSamplerAdvancedERKGuid"];
/** Nodes that reserve space for a chart from the start. */
const WITH_ROOM = [VISUALIZER, ...KSAMPLERS];
const LANGUAGE = "Comfy.Locale";
/** The id that every graph made from a prompt has. */
const NO_ID = "00000000-0000-0000-0000-000000000000";
const SETTING = "ERK-Guid.LiveChart";
/** @type {"all" | "erk" | "off"} */
let wanted = "all";

/** Whether the page has its graph. A setting may be read before that. */
let ready = false;

const runs = new Runs();
/** @type {WeakMap<GraphNode, ChartOnNode>} */
const charts = new WeakMap();
/** @type {Map<GraphNode, ChartOnNode | ChartUnderNode>} of subgraph nodes */
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
    chartOn(node).show(shown);
    drawOnOuterNodes(shown.node);
}

/**
 * The node's chart. It is attached if the node has none.
 *
 * @param {GraphNode} node
 */
function chartOn(node) {
    const known = charts.get(node);
    if (known) return known;
    const gone = (/** @type {Shown | null} */ shown) => {
        charts.delete(node);
        if (!shown) return;
        // Loading another workflow also removes every node. Then the runs are kept until this workflow comes back.
        queueMicrotask(() => {
            const left = root()?.nodes.length && !findNode(root(), shown.node);
            if (left || shown.workflow === NO_ID) runs.drop(shown.workflow, shown.node);
            drawOnOuterNodes(shown.node);
        });
    };
    const waiting = WITH_ROOM.includes(classOf(node)) ? () => waitingOf(node) : null;
    const chart = new ChartOnNode(node, app.canvas, gone, waiting);
    charts.set(node, chart);
    return chart;
}

/**
 * Show what was last sampled inside the subgraph nodes around a node, on those subgraph nodes.
 *
 * @param {string} id
 */
function drawOnOuterNodes(id) {
    for (const outer of around(id)) {
        const node = findNode(root(), outer);
        if (!node?.subgraph) continue;
        const shown = runs
            .of(workflowOnDisplay())
            .filter((one) => one.node.startsWith(`${outer}:`) && isShownOutside(one))
            .at(-1);
        let chart = outerCharts.get(node);
        if (!shown) {
            chart?.detach();
            outerCharts.delete(node);
            continue;
        }
        if (!chart && node.graph === app.canvas.graph) {
            chart = chartOutside(node, app.canvas, () => outerCharts.delete(node));
            outerCharts.set(node, chart);
        }
        chart?.show(shown);
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
    if (node && WITH_ROOM.includes(classOf(node))) charts.get(node)?.show(null);
    else if (node) detach(node);
    runs.drop(shown.workflow, shown.node);
    drawOnOuterNodes(shown.node);
}

/** @param {GraphNode} node */
function detach(node) {
    charts.get(node)?.detach();
    charts.delete(node);
}

function redrawAll() {
    if (!ready) return;
    for (const node of everyNode(root())) {
        if (!isWanted(node)) detach(node);
        else if (WITH_ROOM.includes(classOf(node))) chartOn(node);
    }
    for (const shown of runs.of(workflowOnDisplay())) {
        drawOnNode(shown);
        drawOnOuterNodes(shown.node);
    }
}

/** Called when the page shows another graph of the workflow: the one inside a subgraph node, or the one around it. */
function redrawOuterNodes() {
    const drawn = runs.of(workflowOnDisplay()).map((shown) => shown.node);
    for (const [node, chart] of outerCharts) {
        if (chart instanceof ChartUnderNode) {
            chart.detach();
            outerCharts.delete(node);
        } else if (chart.chart.shown) {
            drawn.push(chart.chart.shown.node);
        }
    }
    for (const id of new Set(drawn)) drawOnOuterNodes(id);
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

const UNTOLD = JSON.stringify({ show: "all", language: "en" });
/** The last wish sent to the server. It is sent again only after a change or a new connection. */
let told = UNTOLD;
let language = "en";

async function tellServer() {
    const wish = JSON.stringify({ show: wanted, language });
    if (wish === told || !api.clientId) return;
    try {
        const answer = await api.fetchApi("/erk_guid/live", {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ client_id: api.clientId, ...JSON.parse(wish) }),
        });
        if ((await answer.json()).connected) told = wish;
    } catch (error) {
        console.warn("ERK-Guid: the server did not get this page's settings; the page itself follows them.", error);
    }
}

/**
 * Speak the page's language, as far as there are texts in it.
 *
 * @param {unknown} chosen
 */
async function followLanguage(chosen) {
    language = String(chosen ?? "en");
    void tellServer();
    try {
        const texts = language === "en" ? {} : await (await api.fetchApi("/i18n")).json();
        speak(texts[language]?.erkGuid);
    } catch (error) {
        console.warn("ERK-Guid: no texts in the page's language.", error);
    }
    redrawCharts();
}

api.addEventListener("reconnected", () => {
    told = UNTOLD;
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
    /** @param {any[]} defs */
    beforeRegisterVueAppNodeDefs: (defs) => {
        // A search ranks nodes that match alike by their use: this one is where to begin. Pages that rank otherwise
        // take no notice.
        const first = defs.find(({ name }) => name === KSAMPLERS[0]);
        if (!first) return;
        first.postProcessSearchScores = (/** @type {number[]} */ [match, ...rest]) => [match, -1e-6, ...rest];
    },
    /** @param {GraphNode} node */
    nodeCreated: (node) => {
        const kind = classOf(node);
        const again = () => charts.get(node)?.chart.redraw();
        if (KSAMPLERS.includes(kind) || kind === "SamplerERKGuid") followMode(node, again);
        if (kind === VISUALIZER) growWithTraces(node, () => app.configuringGraph, again);
        if (WITH_ROOM.includes(kind) && isWanted(node)) chartOn(node);
    },
    /** @param {GraphNode} node */
    getNodeMenuItems: (node) => {
        const chart = (charts.get(node) ?? outerCharts.get(node))?.chart;
        const shown = chart?.shown;
        if (!chart || !shown) return [];
        return [
            {
                content: tell("Save the stiffness chart as PNG"),
                callback: async () => {
                    const picture = await pictureOf(shown, chart.element, viewShown());
                    download(picture, `stiffness_${shown.node.replaceAll(":", "_")}.png`);
                },
            },
            {
                content: tell("Copy the stiffness chart's numbers"),
                callback: () => navigator.clipboard.writeText(numbersOf(shown.current)),
            },
        ];
    },
    setup: () => {
        ready = true;
        app.ui.settings.addEventListener(`${LANGUAGE}.change`, ({ detail }) => void followLanguage(detail?.value));
        void followLanguage(app.ui.settings.getSettingValue(LANGUAGE));
        app.canvas.canvas.addEventListener("litegraph:set-graph", redrawOuterNodes);
    },
    afterConfigureGraph: redrawAll,
});
