// @ts-check
/**
 * Puts a chart on a node and removes it again, so that nothing of it stays in the node or in a saved workflow.
 */

import { LiveChart } from "./chart.js";
import { GAP, HEIGHT, UNDER } from "./style.js";

/** @typedef {import("./graph.js").GraphNode} GraphNode */

const NAME = "erk_guid_live";
let made = 0;
const TYPE = "ERK_GUID_LIVE";
/** The handlers that ComfyUI wraps when a DOM widget is added, and those wrapped here. */
const HANDLERS = /** @type {const} */ (["onAdded", "onRemoved", "onResize", "onSerialize"]);

/** A chart as a DOM widget, and its node's original handlers. */
class Attached {
    /**
     * @param {GraphNode} node
     * @param {Canvas} canvas
     * @param {object} options of the widget
     * @param {Partial<Pick<GraphNode, "onSerialize" | "onRemoved">>} handlers called after the node's own
     */
    constructor(node, canvas, options, handlers) {
        this.node = node;
        this.canvas = canvas;
        this.chart = new LiveChart();
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
     * @param {() => void} onRemoved called when the node itself is removed
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
            // The node's own size changes one or two frames after its content.
            setTimeout(() => (this.added ??= Math.max(0, node.size[1] - this.heightBefore)), 300);
        });
        this.firstLayout.observe(this.chart.element);
    }

    /**
     * The node's height without the chart. If the user has changed the height since, the change is kept.
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
        // The page sets the sizes in a graph that is not shown when it shows that graph again.
        if (node.graph === this.canvas.graph && !node.flags.collapsed) node.setSize([node.size[0], height]);
        this.canvas.setDirty(true, true);
    }

    dispose() {
        super.dispose();
        this.firstLayout.disconnect();
    }
}

/**
 * Below a subgraph node, for a sampler inside it. Such a node makes its list of widgets from its inputs and accepts no
 * others. So the chart is placed below the node and does not change its size. The node's graph must be on display.
 */
export class ChartUnderNode extends Attached {
    /**
     * @param {GraphNode} node
     * @param {Canvas} canvas
     * @param {() => void} onRemoved called when the node itself is removed
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
