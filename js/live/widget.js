// @ts-check
/**
 * Puts a chart on a node and takes it away again, so that neither the node nor a saved workflow keeps anything of it.
 */

import { LiveChart } from "./chart.js";
import { GAP, HEIGHT, UNDER } from "./style.js";

/** @typedef {import("./graph.js").GraphNode} GraphNode */

const NAME = "erk_guid_live";
let made = 0;
const TYPE = "ERK_GUID_LIVE";
/** The handlers that ComfyUI wraps when a DOM widget is added, and those wrapped here. */
const HANDLERS = /** @type {const} */ (["onAdded", "onRemoved", "onResize", "onSerialize"]);

/** A chart as a DOM widget, and the handlers of its node as they were before. */
class Attached {
    /**
     * @param {GraphNode} node
     * @param {Canvas} canvas
     * @param {object} options of the widget
     * @param {Partial<Pick<GraphNode, "onSerialize" | "onRemoved">>} handlers run after the node's own
     */
    constructor(node, canvas, options, handlers) {
        this.node = node;
        this.canvas = canvas;
        this.chart = new LiveChart();
        this.removed = false;

        /** @type {Record<string, any>} what a node had of its own, before anything was wrapped */
        this.before = {};
        for (const name of HANDLERS) if (Object.hasOwn(node, name)) this.before[name] = node[name];
        // Undo makes a node again with the same id. Nodes 2.0 takes its widget of the same name for the old one, and
        // would go on showing that one's element.
        this.widget = node.addDOMWidget(`${NAME}_${++made}`, TYPE, this.chart.element, {
            serialize: false,
            hideOnZoom: false,
            ...options,
        });
        this.widget.serialize = false;
        forwardPointer(this.chart.element, canvas);
        this.wrapped = wrap(node, handlers);
        canvas.setDirty(true, true);
    }

    /** @param {import("./runs.js").Shown} shown */
    show(shown) {
        this.chart.show(shown);
    }

    restoreHandlers() {
        const { node } = this;
        for (const name of HANDLERS) {
            // Somebody may have wrapped a handler after us; then ours stays in the chain and does nothing.
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
     * @param {() => void} onRemoved called when the node itself goes
     */
    constructor(node, canvas, onRemoved) {
        const heightBefore = node.size[1];
        super(
            node,
            canvas,
            { getMinHeight: () => HEIGHT.least, getMaxHeight: () => HEIGHT.most },
            {
                onSerialize: (data) => {
                    if (!this.removed && data.size) data.size = [data.size[0], this.heightWithout(data.size[1])];
                },
                onRemoved: () => {
                    this.dispose();
                    onRemoved();
                },
            },
        );
        this.heightBefore = heightBefore;
        /** @type {number | null} what the chart added to the node's height, once the page has laid it out */
        this.added = null;
        this.firstLayout = new ResizeObserver(([entry]) => {
            if (!entry.contentRect.height) return;
            this.firstLayout.disconnect();
            // The node's own size follows its content by one or two frames.
            setTimeout(() => (this.added ??= Math.max(0, node.size[1] - this.heightBefore)), 300);
        });
        this.firstLayout.observe(this.chart.element);
    }

    /**
     * The node's height as it would be without the chart: what the user gave it since is kept.
     *
     * @param {number} height
     */
    heightWithout(height) {
        return this.added === null ? this.heightBefore : height - this.added;
    }

    /** Take the chart off a node that stays. */
    detach() {
        if (this.removed) return;
        const { node } = this;
        const height = this.heightWithout(node.size[1]);
        this.dispose();
        node.removeWidget(this.widget);
        this.restoreHandlers();
        // Sizes of nodes in a graph that is not on display belong to the page's next look at it.
        if (node.graph === this.canvas.graph && !node.flags.collapsed) node.setSize([node.size[0], height]);
        this.canvas.setDirty(true, true);
    }

    dispose() {
        super.dispose();
        this.firstLayout.disconnect();
    }
}

/**
 * Below a subgraph node, for a sampler inside it. Such a node makes its list of widgets from its inputs and takes no
 * others, so the chart hangs under it and leaves its size alone. For a node of the graph on display.
 */
export class ChartUnderNode extends Attached {
    /**
     * @param {GraphNode} node
     * @param {Canvas} canvas
     * @param {() => void} onRemoved called when the node itself goes
     */
    constructor(node, canvas, onRemoved) {
        super(
            node,
            canvas,
            { margin: 0 },
            {
                onRemoved: () => {
                    this.dispose();
                    onRemoved();
                },
            },
        );
        this.chart.element.classList.add(UNDER);
        this.chart.element.dataset.under = String(node.id);
        // Older pages take it into the list, and would lay it out inside the node.
        const at = node.widgets?.indexOf(this.widget) ?? -1;
        if (at >= 0) node.widgets?.splice(at, 1);
        // The classic canvas places the element by these.
        place(this.widget, "y", () => node.size[1] + GAP);
        place(this.widget, "computedHeight", () => HEIGHT.least);

        // Nodes 2.0 shows none but the listed widgets: there the element is put below the node's own, now and whenever
        // that has been made anew, as by changing the renderer.
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

/** Whether the page draws nodes on its canvas; else it is Nodes 2.0. */
function isClassic() {
    return !(/** @type {any} */ (globalThis).LiteGraph?.vueNodesMode);
}

/**
 * On the classic canvas an element lies over the graph and would swallow the wheel and the buttons: zooming, panning,
 * moving the node and its menu go on to the canvas. Nodes 2.0 does so itself.
 *
 * @param {HTMLElement} element
 * @param {Canvas} canvas
 */
function forwardPointer(element, canvas) {
    element.addEventListener("wheel", (event) => isClassic() && canvas.processMouseWheel(event), { passive: false });
    element.addEventListener("pointerdown", (event) => isClassic() && canvas.processMouseDown(event));
}
