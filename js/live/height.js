// @ts-check
/**
 * A node's height in its workflow: what stood there, and not what the node grew by for what is shown in it. A height
 * that a person gave the node is saved as it is.
 */

/** @typedef {import("./graph.js").GraphNode} GraphNode */

/** The node's own size follows its content by one or two frames; zooming rounds it. */
const [SETTLED, ROUNDING] = [300, 2];

/** @type {WeakMap<GraphNode, Height>} */
const heights = new WeakMap();
/** @type {WeakMap<GraphNode, { expected: number, real: number }>} what a node grew by when something came into it */
const growths = new WeakMap();

/**
 * @param {GraphNode} node
 * @param {HTMLElement} element shown in the node from now on
 */
export function heightOf(node, element) {
    const known = heights.get(node);
    known?.take(element);
    const height = known ?? new Height(node, element);
    heights.set(node, height);
    return height;
}

/**
 * Change what a node shows, and its height by as much as that takes more or less.
 *
 * @param {GraphNode} node
 * @param {() => void} change
 */
export function changeContent(node, change) {
    const before = node.computeSize()[1];
    const height = heights.get(node);
    const ours = !height || height.isOurs();
    change();
    const more = node.computeSize()[1] - before;
    if (!more) return;
    const { size } = node;
    const last = growths.get(node);
    if (more > 0) {
        const from = size[1];
        setTimeout(() => growths.set(node, { expected: more, real: node.size[1] - from }), SETTLED);
    }
    // Nodes 2.0 has other heights than the page's own reckoning.
    const real = last?.expected === -more ? -last.real : more;
    if (ours || more > 0) node.setSize([size[0], size[1] + real]);
    if (height && ours) {
        height.laidOut = null;
        height.settle();
    }
}

export class Height {
    /**
     * @param {GraphNode} node
     * @param {HTMLElement} element shown in the node
     */
    constructor(node, element) {
        this.node = node;
        this.element = element;
        this.saved = node.size[1];
        /** @type {number | null} once the page has laid the node out, and until a person gives it another */
        this.laidOut = null;
        /** Whether what made it grow has gone again. */
        this.gone = false;
        /** @type {ReturnType<typeof setTimeout> | undefined} */
        this.timer = undefined;
        this.layouts = new ResizeObserver(() => this.laidOut === null && this.settle());
        this.layouts.observe(element);
        const { onSerialize, onConfigure } = node;
        node.onSerialize = (data) => {
            onSerialize?.call(node, data);
            if (data.size && this.isOurs()) data.size = [data.size[0], this.saved];
        };
        node.onConfigure = (data) => {
            onConfigure?.call(node, data);
            this.saved = data.size?.[1] ?? node.size[1];
            this.settle();
        };
    }

    /** Whether nobody but the page has made it what it is. */
    isOurs() {
        return this.laidOut === null || Math.abs(this.node.size[1] - this.laidOut) <= ROUNDING;
    }

    /** Something comes or goes in the node. */
    settle() {
        if (!this.isOurs()) return;
        this.laidOut = null;
        clearTimeout(this.timer);
        this.timer = setTimeout(() => {
            if (this.gone || this.element.offsetHeight) this.laidOut = this.node.size[1];
        }, SETTLED);
    }

    /**
     * Another element is shown in the node.
     *
     * @param {HTMLElement} element
     */
    take(element) {
        this.layouts.disconnect();
        this.layouts.observe(element);
        [this.element, this.gone] = [element, false];
        this.settle();
    }

    /** What was shown has gone, and the height goes back. */
    giveBack() {
        this.gone = true;
        if (!this.isOurs()) return;
        this.node.setSize([this.node.size[0], this.saved]);
        this.laidOut = null;
        this.settle();
    }
}
