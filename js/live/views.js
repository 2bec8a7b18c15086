// @ts-check
/** What a chart can show of a run: one quantity at a time, all of them on a logarithmic axis. */

import { translatable } from "./words.js";

/** @typedef {import("./runs.js").Step} Step */

/**
 * @typedef {object} View
 * @property {string} sign on its tab
 * @property {string} name in words
 * @property {(step: Step) => number | null} value median over the batch; null where the step has none
 * @property {(step: Step) => [number, number] | null} spread least and greatest of the batch
 * @property {number | null} limit above which a value is too high
 */

/** @type {Record<string, View>} */
export const VIEWS = {
    "h*rho-hat": {
        sign: "h·ρ̂",
        name: translatable("step length times stiffness"),
        value: (step) => step.hStiffness,
        spread: (step) => step.hSpread,
        limit: 1,
    },
    "rho-hat": {
        sign: "ρ̂",
        name: translatable("stiffness"),
        value: (step) => step.stiffness,
        spread: (step) => step.spread,
        limit: null,
    },
    "correction size": {
        sign: "%",
        name: translatable("correction, in % of the step"),
        value: (step) => (step.correction === null ? null : 100 * step.correction),
        spread: () => null,
        limit: null,
    },
};

export const FIRST = "h*rho-hat";
