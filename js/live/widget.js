// @ts-check
/**
 * Puts a chart on a node and takes it away again, so that neither the node nor a saved workflow keeps anything of it.
 */

import { LiveChart } from "./chart.js";
import { HEIGHT } from "./style.js";

/** @typedef {import("./graph.js").GraphNode} GraphNode */

const NAME = "erk_guid_live";
const TYPE = "ERK_GUID_LIVE";
/** The handlers that ComfyUI wraps when a DOM widget is added, and those wrapped here. */
const HANDLERS = /** @type {const} */ (["onAdded", "onRemoved", "onResize", "onSerialize"]);

export class ChartOnNode {
    /**
     * @param {GraphNode} node
     * @param {Canvas} canvas
     * @param {() => void} onRemoved called when the node itself goes
     */
    constructor(node, canvas, onRemoved) {
        this.node = node;
        this.canvas = canvas;
        this.chart = new LiveChart();
        this.heightBefore = node.size[1];
        /** @type {number | null} what the chart added to the node's height, once the page has laid it out */
        this.added = null;
        this.removed = false;

        /** @type {Record<string, any>} what a node had of its own, before anything was wrapped */
        this.before = {};
        for (const name of HANDLERS) if (Object.hasOwn(node, name)) this.before[name] = node[name];
        this.widget = node.addDOMWidget(NAME, TYPE, this.chart.element, {
            serialize: false,
            hideOnZoom: false,
            getMinHeight: () => HEIGHT.least,
            getMaxHeight: () => HEIGHT.most,
        });
        this.widget.serialize = false;
        forwardPointer(this.chart.element, canvas);
        this.wrapped = wrap(node, {
            onSerialize: (data) => {
                if (!this.removed && data.size) data.size = [data.size[0], this.heightWithout(data.size[1])];
            },
            onRemoved: () => {
                this.dispose();
                onRemoved();
            },
        });
        this.firstLayout = new ResizeObserver(([entry]) => {
            if (!entry.contentRect.height) return;
            this.firstLayout.disconnect();
            // The node's own size follows its content by one or two frames.
            setTimeout(() => (this.added ??= Math.max(0, node.size[1] - this.heightBefore)), 300);
        });
        this.firstLayout.observe(this.chart.element);
        canvas.setDirty(true, true);
    }

    /**
     * The node's height as it would be without the chart: what the user gave it since is kept.
     *
     * @param {number} height
     */
    heightWithout(height) {
        return this.added === null ? this.heightBefore : height - this.added;
    }

    /** @param {import("./runs.js").Shown} shown */
    show(shown) {
        this.chart.show(shown);
    }

    /** Take the chart off a node that stays. */
    detach() {
        if (this.removed) return;
        const { node } = this;
        const height = this.heightWithout(node.size[1]);
        this.dispose();
        node.removeWidget(this.widget);
        for (const name of HANDLERS) {
            // Somebody may have wrapped a handler after us; then ours stays in the chain and does nothing.
            if (this.wrapped[name] && node[name] !== this.wrapped[name]) continue;
            if (name in this.before) node[name] = this.before[name];
            else delete node[name];
        }
        // Sizes of nodes in a graph that is not on display belong to the page's next look at it.
        if (node.graph === this.canvas.graph && !node.flags.collapsed) node.setSize([node.size[0], height]);
        this.canvas.setDirty(true, true);
    }

    dispose() {
        this.removed = true;
        this.firstLayout.disconnect();
        this.chart.dispose();
    }
}

/**
 * @typedef {object} Canvas what is used of ComfyUI's canvas
 * @property {any} graph the graph on display
 * @property {(foreground: boolean, background: boolean) => void} setDirty
 * @property {(event: any) => void} processMouseWheel
 * @property {(event: any) => void} processMouseDown
 */

/**
 * Run our handlers after the ones that are there. Returns the functions put in place.
 *
 * @param {GraphNode} node
 * @param {Partial<Pick<GraphNode, "onSerialize" | "onRemoved">>} handlers
 * @returns {Record<string, Function>}
 */
function wrap(node, handlers) {
    /** @type {Record<string, Function>} */
    const wrapped = {};
    for (const [name, handler] of Object.entries(handlers)) {
        const before = /** @type {any} */ (node)[name];
        wrapped[name] = function (/** @type {any[]} */ ...data) {
            const result = before?.apply(this, data);
            /** @type {Function} */ (handler)(...data);
            return result;
        };
        /** @type {any} */ (node)[name] = wrapped[name];
    }
    return wrapped;
}

/**
 * On the classic canvas an element lies over the graph and would swallow the wheel and the buttons: zooming, panning,
 * moving the node and its menu go on to the canvas. Nodes 2.0 does so itself.
 *
 * @param {HTMLElement} element
 * @param {Canvas} canvas
 */
function forwardPointer(element, canvas) {
    const classic = () => !(/** @type {any} */ (globalThis).LiteGraph?.vueNodesMode);
    element.addEventListener("wheel", (event) => classic() && canvas.processMouseWheel(event), { passive: false });
    element.addEventListener("pointerdown", (event) => classic() && canvas.processMouseDown(event));
}
