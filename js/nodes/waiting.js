// @ts-check
/** What a node says where its chart will be. */

import { classOf, originOf } from "../live/graph.js";
import { notesOfSettings } from "../live/notes.js";
import { tell } from "../live/words.js";

/** @typedef {import("../live/graph.js").GraphNode} GraphNode */

const RUNS = ["", "_2", "_3", "_4"];

/**
 * @param {GraphNode} node
 * @returns {import("../live/chart.js").Waiting}
 */
export function waitingOf(node) {
    const value = (/** @type {string} */ name) => node.widgets?.find((widget) => widget.name === name)?.value;
    if (value("mode") !== undefined) {
        return {
            text: tell("h*rho-hat of each step, while it samples"),
            notes: notesOfSettings(value("solver"), value("mode")),
        };
    }
    const missing = RUNS.filter((run) => needsLatent(node, run)).map((run) => labelOf(node, `latent${run}`));
    return {
        text: originOf(node, "trace")
            ? tell("h*rho-hat of each step while it samples, then the plot")
            : tell("Connect the trace of an ERK-Guid sampler."),
        notes: missing.map((name) =>
            tell("Connect the sampling node's output to %s too: without it the plot is made before the run.", name),
        ),
    };
}

/**
 * @param {GraphNode} node
 * @param {string} name of an input
 */
function labelOf(node, name) {
    const slot = node.inputs?.find((input) => input.name === name);
    return slot?.label ?? slot?.localized_name ?? name;
}

/**
 * A SAMPLER's trace is there before it is filled.
 *
 * @param {GraphNode} node
 * @param {string} run
 */
function needsLatent(node, run) {
    const origin = originOf(node, `trace${run}`);
    return origin !== null && classOf(origin) === "SamplerERKGuid" && !originOf(node, `latent${run}`);
}
