// @ts-check
/** The settings of mode paper show in mode paper only. Their values are kept and saved all the same. */

import { changeContent } from "../live/height.js";

/** @typedef {import("../live/graph.js").GraphNode} GraphNode */

const SETTINGS = ["strengths", "w_stiff", "w_con"];

/**
 * @param {GraphNode} node a sampler, just made
 * @param {() => void} onChange called when solver or mode was chosen
 */
export function followMode(node, onChange) {
    const widget = (/** @type {string} */ name) => node.widgets?.find((one) => one.name === name);
    const show = () => showSettings(node, widget("mode")?.value);
    const follow = () => changeContent(node, show);
    for (const name of ["mode", "solver"]) {
        const chosen = widget(name);
        if (!chosen) continue;
        const { callback } = chosen;
        chosen.callback = (/** @type {any[]} */ ...data) => {
            const result = callback?.apply(chosen, data);
            follow();
            onChange();
            return result;
        };
    }
    const { onConfigure, onConnectionsChange } = node;
    node.onConfigure = (data) => {
        onConfigure?.call(node, data);
        // The saved height is of what the node showed.
        show();
    };
    node.onConnectionsChange = (...data) => {
        const result = onConnectionsChange?.apply(node, data);
        follow();
        return result;
    };
    follow();
}

/**
 * @param {GraphNode} node
 * @param {string | undefined} mode
 */
function showSettings(node, mode) {
    const linked = new Set(node.inputs?.filter(({ link }) => link != null).map(({ name }) => name));
    let changed = false;
    for (const widget of node.widgets ?? []) {
        if (!SETTINGS.includes(widget.name)) continue;
        // What comes over a link may be paper.
        const hidden = mode !== "paper" && !linked.has("mode") && !linked.has(widget.name);
        changed ||= Boolean(widget.hidden) !== hidden;
        widget.hidden = widget.options.hidden = hidden;
        widget.advanced = widget.options.advanced = false;
    }
    // Nodes 2.0 looks again where the list itself changes.
    if (changed && node.widgets?.length) node.widgets.push(node.widgets.pop());
}
