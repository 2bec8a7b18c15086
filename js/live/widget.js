// @ts-check
/**
 * Puts a chart on a node and removes it again, so that nothing of it stays in the node or in a saved workflow.
 */

import { LiveChart } from "./chart.js";
import { heightOf } from "./height.js";
import { GAP, HEIGHT, UNDER } from "./style.js";

/** @typedef {import("./graph.js").GraphNode} GraphNode */
/** @typedef {import("./runs.js").Shown} Shown */

const NAME = "erk_guid_live";
let made = 0;
const TYPE = "ERK_GUID_LIVE";
/** ComfyUI's widgets for pictures, of the classic canvas. */
const PICTURES = ["$$canvas-image-preview", "$$comfy_animation_preview"];
/** The handlers that ComfyUI wraps when a DOM widget is added, and those wrapped here. */
const HANDLERS = /** @type {const} */ (["onAdded", "onRemoved", "onResize", "onSerialize"]);

/** A chart as a DOM widget, and its node's original handlers. */
class Attached {
    /**
     * @param {GraphNode} node
     * @param {Canvas} canvas
     * @param {object} options of the widget
     * @param {LiveChart} chart
     * @param {(shown: Shown | null) => void} onRemoved called after the node's own, with what was shown, when the node is removed
     */
    constructor(node, canvas, options, chart, onRemoved) {
        this.node = node;
        this.canvas = canvas;
        this.chart = chart;
        this.removed = false;

        /** @type {Record<string, any>} the node's own handlers, before anything was wrapped */
        this.before = {};
        for (const name of HANDLERS) if (Object.hasOwn(node, name)) this.before[name] = node[name];
        // Undo creates a node with the same id again. If the new widget had the same name, Nodes 2.0 would take it for
        // the old one and keep showing the old element.
        this.widget = node.addDOMWidget(`${NAME}_${++made}`, TYPE, this.chart.element, {
            serialize: false,
            hideOnZoom: false,
            ...options,
        });
        this.widget.serialize = false;
        forwardPointer(this.chart.element, canvas);
        this.wrapped = wrap(node, {
            onRemoved: () => {
                const { shown } = this.chart;
                this.dispose();
                onRemoved(shown);
            },
        });
        canvas.setDirty(true, true);
    }

    /** @param {Shown | null} shown */
    show(shown) {
        this.chart.show(shown);
    }

    restoreHandlers() {
        const { node } = this;
        for (const name of HANDLERS) {
            // Other code may have wrapped a handler after us. Then ours stays in the chain and does nothing.
            if (this.wrapped[name] && node[name] !== this.wrapped[name]) continue;
            if (name in this.before) node[name] = this.before[name];
            else delete node[name];
        }
    }

    dispose() {
        this.removed = true;
        this.chart.dispose();
    }
}

/** In a node, below its other widgets. */
export class ChartOnNode extends Attached {
    /**
     * @param {GraphNode} node
     * @param {Canvas} canvas
     * @param {(shown: Shown | null) => void} onRemoved called when the node itself is removed
     * @param {(() => import("./chart.js").Waiting) | null} waiting for a node that reserves space for chart and picture
     *     from the start: what it says until it samples
     */
    constructor(node, canvas, onRemoved, waiting = null) {
        const chart = new LiveChart(waiting ?? undefined);
        // This comes before the page wraps the node's handlers for the widget.
        const height = heightOf(node, chart.element);
        const keepsFree = () => waiting !== null && !node.widgets?.some(({ name }) => PICTURES.includes(name));
        const heights = {
            getMinHeight: () => HEIGHT.least + (keepsFree() ? HEIGHT.picture : 0),
            getMaxHeight: () => (keepsFree() ? undefined : HEIGHT.most),
        };
        super(node, canvas, heights, chart, onRemoved);
        this.height = height;
        if (waiting) {
            chart.element.dataset.reserved = "";
            node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
        }
    }

    /** Take the chart off a node that stays. */
    detach() {
        if (this.removed) return;
        const { node } = this;
        this.dispose();
        node.removeWidget(this.widget);
        this.restoreHandlers();
        if (!node.flags.collapsed) this.height.giveBack();
        this.canvas.setDirty(true, true);
    }
}

/**
 * On a subgraph node, for a sampler inside it. The node's graph must be on display.
 *
 * @param {GraphNode} node
 * @param {Canvas} canvas
 * @param {(shown: Shown | null) => void} onRemoved called when the node itself is removed
 */
export function chartOutside(node, canvas, onRemoved) {
    return takesWidgets(node) ? new ChartOnNode(node, canvas, onRemoved) : new ChartUnderNode(node, canvas, onRemoved);
}

/**
 * Whether the page's subgraph nodes take widgets: newer ones have a way of their own to add one. Older ones make their
 * list of widgets from their inputs and accept no others.
 *
 * @param {any} node
 */
function takesWidgets(node) {
    return node.addCustomWidget !== /** @type {any} */ (globalThis).LiteGraph?.LGraphNode?.prototype.addCustomWidget;
}

/** Below a subgraph node that takes no widgets. It does not change the node's size. */
export class ChartUnderNode extends Attached {
    /**
     * @param {GraphNode} node
     * @param {Canvas} canvas
     * @param {(shown: Shown | null) => void} onRemoved called when the node itself is removed
     */
    constructor(node, canvas, onRemoved) {
        super(node, canvas, { margin: 0 }, new LiveChart(), onRemoved);
        this.chart.element.classList.add(UNDER);
        this.chart.element.dataset.under = String(node.id);
        // Older pages add it to the list, and would lay it out inside the node.
        const at = node.widgets?.indexOf(this.widget) ?? -1;
        if (at >= 0) node.widgets?.splice(at, 1);
        // The classic canvas uses these to place the element.
        place(this.widget, "y", () => node.size[1] + GAP);
        place(this.widget, "computedHeight", () => HEIGHT.least);

        // Nodes 2.0 shows only the listed widgets. There the element is put below the node's own element, now and
        // whenever that is created again, for example after a change of the renderer.
        this.changes = new MutationObserver(() => this.putBelow());
        this.leaving = new ResizeObserver(() => this.putBelow());
        this.leaving.observe(this.chart.element);
        this.putBelow();
    }

    putBelow() {
        const { element } = this.chart;
        if (this.removed || element.isConnected) {
            this.changes.disconnect();
            return;
        }
        const own = isClassic() ? null : document.querySelector(`[data-node-id="${CSS.escape(String(this.node.id))}"]`);
        if (own) {
            this.changes.disconnect();
            own.append(element);
        } else {
            this.changes.observe(document.body, { childList: true, subtree: true });
        }
    }

    /** Take the chart off a node that stays. */
    detach() {
        if (this.removed) return;
        this.dispose();
        this.widget.onRemove?.();
        this.restoreHandlers();
        this.canvas.setDirty(true, true);
    }

    dispose() {
        super.dispose();
        this.changes.disconnect();
        this.leaving.disconnect();
    }
}

/**
 * @param {any} widget
 * @param {string} property
 * @param {() => number} value
 */
function place(widget, property, value) {
    Object.defineProperty(widget, property, { get: value, set: () => {}, configurable: true });
}

/**
 * @typedef {object} Canvas what is used of ComfyUI's canvas
 * @property {any} graph the graph on display
 * @property {HTMLCanvasElement} canvas
 * @property {(foreground: boolean, background: boolean) => void} setDirty
 * @property {(event: any) => void} processMouseWheel
 * @property {(event: any) => void} processMouseDown
 */

/**
 * Run our handlers after the existing ones. Returns the functions that were installed.
 *
 * @param {GraphNode} node
 * @param {Pick<GraphNode, "onRemoved">} handlers
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

/** Whether the page draws nodes on its canvas. Otherwise it is Nodes 2.0. */
function isClassic() {
    return !(/** @type {any} */ (globalThis).LiteGraph?.vueNodesMode);
}

/**
 * On the classic canvas an element covers the graph and would catch the wheel and the buttons. So these events are
 * passed on to the canvas, for zooming, panning, moving the node and opening its menu. Nodes 2.0 does this itself.
 *
 * @param {HTMLElement} element
 * @param {Canvas} canvas
 */
function forwardPointer(element, canvas) {
    element.addEventListener("wheel", (event) => isClassic() && canvas.processMouseWheel(event), { passive: false });
    element.addEventListener("pointerdown", (event) => isClassic() && canvas.processMouseDown(event));
}
