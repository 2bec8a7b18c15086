// @ts-check
/**
 * The visualizer's inputs: the first trace, and one more each time the one before is connected. A saved workflow keeps
 * every slot that it has a link for, by its name.
 */

import { linkOf } from "../live/graph.js";
import { changeContent } from "../live/height.js";

/** @typedef {import("../live/graph.js").GraphNode} GraphNode */
/** @typedef {import("../live/graph.js").Slot} Slot */

const RUNS = [2, 3, 4];
/** In the order in which they stand on the node. */
const FURTHER = RUNS.flatMap((run) => [`trace_${run}`, `latent_${run}`]);

/**
 * @param {(name: string) => boolean} isConnected
 * @returns {string[]} which of the further inputs stand on the node
 */
export function wantedSlots(isConnected) {
    return RUNS.flatMap((run) => {
        const [trace, latent] = [isConnected(`trace_${run}`), isConnected(`latent_${run}`)];
        const before = isConnected(run === 2 ? "trace" : `trace_${run - 1}`);
        return [...(trace || latent || before ? [`trace_${run}`] : []), ...(trace || latent ? [`latent_${run}`] : [])];
    });
}

/**
 * @param {GraphNode} node a visualizer, just made
 * @param {() => boolean} isLoading whether a whole graph is being loaded, with its links
 * @param {() => void} onChange called when something was connected or taken off
 */
export function growWithTraces(node, isLoading, onChange) {
    /** @type {Map<string, Slot>} those that are off the node at the moment */
    const spare = new Map();
    const arrangeAll = () => arrange(node, spare);
    const tidy = () => changeContent(node, arrangeAll);
    const { onConfigure, onConnectionsChange } = node;
    node.onConfigure = (data) => {
        onConfigure?.call(node, data);
        // The saved height is of what the node showed. A pasted node gets its links after this.
        if (isLoading()) arrangeAll();
        else requestAnimationFrame(arrangeAll);
    };
    node.onConnectionsChange = (...data) => {
        const result = onConnectionsChange?.apply(node, data);
        if (!isLoading()) {
            // A link that is put in another's place comes and goes in one go.
            requestAnimationFrame(() => {
                tidy();
                onChange();
            });
        }
        return result;
    };
    tidy();
}

/**
 * @param {GraphNode} node
 * @param {Map<string, Slot>} spare
 */
function arrange(node, spare) {
    const inputs = node.inputs ?? [];
    const present = new Map(inputs.map((slot) => [slot.name, slot]));
    const wanted = wantedSlots((name) => present.get(name)?.link != null);
    const own = inputs.filter(({ name }) => !FURTHER.includes(name));
    const further = wanted.map((name) => present.get(name) ?? spare.get(name)).filter((slot) => slot !== undefined);
    if (own.length + further.length === inputs.length && further.every((slot) => inputs.includes(slot))) return;
    for (const slot of inputs) if (FURTHER.includes(slot.name)) spare.set(slot.name, slot);
    // Behind all others: a copy of the node is made with its slots in just this order.
    node.inputs = [...own, ...further];
    for (const [index, { link }] of node.inputs.entries()) {
        const found = link == null ? null : linkOf(node.graph, link);
        if (found) found.target_slot = index;
    }
    node.graph?.setDirtyCanvas?.(true, true);
}
