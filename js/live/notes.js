// @ts-check
/** Warnings that help: what a run, or the settings of a node, should make one look at. */

import { tell, WHAT_TO_DO } from "./words.js";

/** @typedef {import("./runs.js").Run} Run */

/** Solvers that mode paper has no values for. */
const NOT_PAPER = ["abm", "dpmpp_2s"];

/**
 * @param {string} solver its name
 * @param {string} mode
 * @returns {string[]}
 */
export function notesOfSettings(solver, mode) {
    return mode === "paper" && NOT_PAPER.includes(solver)
        ? [tell("Mode paper is tuned for heun, dpm_2 and deis: with %s it usually hurts.", solver)]
        : [];
}

/**
 * @param {Run} run
 * @returns {string[]} the most urgent first
 */
export function notesOfRun({ solverName, mode, steps, total }) {
    const notes = notesOfSettings(solverName, mode);
    const strayed = steps.find((step) => step.held.strayed);
    if (strayed) {
        const why = tell("Corrections are refused from step %s on: an error was as large as its step.", strayed.step);
        notes.push(`${why} ${tell("Use more steps, or a lower cfg.")}`);
    }
    const repeated = steps.filter((step) => step.held.repeated).length;
    if (repeated) {
        const where = tell("The model repeated its output at %s of %s steps.", repeated, total);
        notes.push(`${where} ${tell("Nothing was corrected there.")}`);
    }
    const high = steps.filter((step) => step.hStiffness !== null && step.hStiffness > 1).length;
    if (high) notes.push(`${tell("Above 1: %s of %s steps.", high, total)} ${tell(WHAT_TO_DO)}`);
    return notes;
}
