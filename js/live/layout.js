// @ts-check
/** The position of everything in a chart. Pure functions: from runs and a size to geometry and text. */

import { logScale, short, stepPosition, stepTicks } from "./axis.js";
import { isComplete } from "./runs.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./runs.js").Step} Step */
/** @typedef {import("./axis.js").Plot} Plot */
/** @typedef {import("./axis.js").Tick} Tick */

/**
 * @typedef {object} Point
 * @property {number} step
 * @property {number} sigma
 * @property {number | null} value null if the step has no estimate
 * @property {[number, number] | null} spread least and greatest of the batch
 * @property {boolean} active
 * @property {number | null} believed how far the correction is believed, 0 to 1
 * @property {Record<string, number>} held how many of the batch are left plain, by reason
 * @property {number} x
 * @property {number} y
 * @property {[number, number] | null} band the ends of the spread, as y
 */

/**
 * @typedef {object} Entry one line of the legend
 * @property {"active" | "plain" | "missing" | "threshold" | "band" | "previous"} kind
 * @property {string} text
 * @property {number} x
 * @property {number} y
 */

/**
 * @typedef {object} Chart
 * @property {number} width
 * @property {number} height
 * @property {Plot} plot
 * @property {string} title
 * @property {string} progress
 * @property {Tick[]} yTicks
 * @property {Tick[]} xTicks
 * @property {[string, string]} sigmas noise levels at the two ends of the step axis; empty if there is no room for them
 * @property {Point[]} points
 * @property {Point[]} previous
 * @property {{ value: number, y: number } | null} threshold
 * @property {Entry[]} legend
 */

/** Width of a character in the chart's font, used to lay out a text before it is drawn. */
export const CHARACTER = 5.3;
/** Room for a mark of the legend. */
export const MARK = 16;
const LINE = 15;

/**
 * Place everything.
 *
 * @param {Run} current
 * @param {Run | null} previous
 * @param {number} width
 * @param {number} height
 * @returns {Chart}
 */
export function layout(current, previous, width, height) {
    const texts = legendTexts(current, previous);
    const legend = flow(texts, 8, width - 8);
    const rows = legend.length ? legend[legend.length - 1].y + 1 : 0;
    const plot = { left: 38, right: width - 12, top: 26, bottom: height - 25 - rows * LINE };
    for (const entry of legend) entry.y = plot.bottom + 20 + (entry.y + 0.5) * LINE;

    const scale = logScale(valuesOf(current, previous), plot.bottom, plot.top);
    const points = place(current, plot, scale.at);
    const behind = previous ? place(previous, plot, scale.at) : [];
    const threshold = current.threshold;
    return {
        width,
        height,
        plot,
        title: title(current, width),
        progress: progress(current),
        yTicks: scale.ticks,
        xTicks: stepTicks(current.total, plot),
        sigmas: sigmaEnds(current, plot),
        points,
        previous: behind,
        threshold: threshold !== null && threshold > 0 ? { value: threshold, y: scale.at(threshold) } : null,
        legend,
    };
}

/**
 * @param {Run} run
 * @param {Plot} plot
 * @param {(value: number) => number} at
 * @returns {Point[]}
 */
function place(run, plot, at) {
    return run.steps.map(({ step, sigma, stiffness, spread, active, believed, held }) => ({
        step,
        sigma,
        value: stiffness,
        spread,
        active,
        believed: believed ?? null,
        held: held ?? {},
        x: stepPosition(step, run.total, plot),
        y: stiffness !== null && stiffness > 0 ? at(stiffness) : plot.bottom,
        band: spread && spread[0] > 0 ? [at(spread[0]), at(spread[1])] : null,
    }));
}

/**
 * @param {Run} current
 * @param {Run | null} previous
 */
function valuesOf(current, previous) {
    const values = [];
    for (const step of [...current.steps, ...(previous?.steps ?? [])]) {
        values.push(step.stiffness, ...(step.spread ?? []));
    }
    values.push(current.threshold);
    return values.filter((value) => value !== null && value > 0).map(Number);
}

/**
 * @param {Run} run
 * @param {Plot} plot
 * @returns {[string, string]}
 */
function sigmaEnds(run, plot) {
    const first = run.steps[0];
    if (!first || plot.right - plot.left < 150) return ["", ""];
    const last = run.steps[run.steps.length - 1];
    return [`σ ${short(first.sigma)}`, isComplete(run) ? `σ ${short(last.sigma)}` : ""];
}

/**
 * @param {Run} run
 * @param {number} width
 */
function title(run, width) {
    const room = (width - 16) / CHARACTER - progress(run).length - 2;
    const plain = `${run.solver} · ${run.mode}`;
    const settings = Object.entries(run.settings ?? {}).map(
        ([name, value]) => ` · ${name} ${value === null ? "∞" : short(value)}`,
    );
    const whole = plain + settings.join("");
    const texts = [`Stiffness ρ̂ · ${whole}`, whole, `Stiffness ρ̂ · ${plain}`];
    return texts.find((text) => text.length <= room) ?? plain;
}

/** @param {Run} run */
function progress(run) {
    const made = run.steps.length ? run.steps[run.steps.length - 1].step + 1 : 0;
    if (isComplete(run)) return run.total === 1 ? "1 step" : `${run.total} steps`;
    return run.stopped ? `stopped at ${made}/${run.total}` : `step ${made}/${run.total}`;
}

/**
 * @param {Run} current
 * @param {Run | null} previous
 * @returns {{ kind: Entry["kind"], text: string }[]}
 */
function legendTexts(current, previous) {
    const { steps } = current;
    const known = steps.filter((step) => step.stiffness !== null);
    /** @type {{ kind: Entry["kind"], text: string }[]} */
    const entries = [];
    if (known.some((step) => step.active)) entries.push({ kind: "active", text: "corrected" });
    if (known.some((step) => !step.active)) entries.push({ kind: "plain", text: "not corrected" });
    if (steps.some((step) => step.stiffness === null)) entries.push({ kind: "missing", text: "no estimate" });
    if (steps.some((step) => step.spread)) entries.push({ kind: "band", text: "batch" });
    if (current.threshold) entries.push({ kind: "threshold", text: `threshold ${short(current.threshold)}` });
    if (previous?.steps.some((step) => step.stiffness !== null)) {
        const differs = previous.mode !== current.mode || previous.solver !== current.solver;
        const solver = previous.solver === current.solver ? "" : `${previous.solver}, `;
        const what = differs ? solver + previous.mode : "";
        const steps = previous.total === current.total ? "" : `${what ? ", " : ""}${previous.total} steps`;
        entries.push({ kind: "previous", text: `previous run${what || steps ? ` (${what}${steps})` : ""}` });
    }
    return entries;
}

/**
 * Place the legend's entries side by side, in as many rows as they need. y is the row.
 *
 * @param {{ kind: Entry["kind"], text: string }[]} entries
 * @param {number} left
 * @param {number} right
 * @returns {Entry[]}
 */
function flow(entries, left, right) {
    let [x, y] = [left, 0];
    return entries.map((entry) => {
        const width = MARK + CHARACTER * entry.text.length + 10;
        if (x > left && x + width - 10 > right) [x, y] = [left, y + 1];
        const placed = { ...entry, x, y };
        x += width;
        return placed;
    });
}

/**
 * The point nearest to a horizontal position in the chart.
 *
 * @param {Point[]} points
 * @param {number} x
 * @returns {Point | null}
 */
export function nearest(points, x) {
    let best = null;
    for (const point of points) {
        if (!best || Math.abs(point.x - x) < Math.abs(best.x - x)) best = point;
    }
    return best;
}
