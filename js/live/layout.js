// @ts-check
/** The position of everything in a chart. Pure functions: from runs and a size to geometry and text. */

import { logScale, short, stepPosition, stepTicks } from "./axis.js";
import { isComplete } from "./runs.js";
import { FIRST, VIEWS } from "./views.js";
import { tell, widthOf } from "./words.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./runs.js").Step} Step */
/** @typedef {import("./axis.js").Plot} Plot */
/** @typedef {import("./axis.js").Tick} Tick */
/** @typedef {import("./views.js").View} View */

/**
 * @typedef {object} Point
 * @property {Step} step
 * @property {number | null} value null if the step has no estimate
 * @property {number} x
 * @property {number} y
 * @property {[number, number] | null} band the ends of the spread, as y
 */

/**
 * @typedef {object} Entry one line of the legend
 * @property {"active" | "plain" | "missing" | "threshold" | "limit" | "band" | "previous"} kind
 * @property {string} text
 * @property {number} x
 * @property {number} y
 */

/**
 * @typedef {object} Chart
 * @property {string} view a key of VIEWS
 * @property {number} width
 * @property {number} height
 * @property {Plot} plot
 * @property {{ text: string, x: number }} title
 * @property {string} progress
 * @property {Tick[]} yTicks
 * @property {Tick[]} xTicks
 * @property {[string, string]} sigmas noise levels at the two ends of the step axis; empty if there is no room for them
 * @property {Point[]} points
 * @property {Point[]} previous
 * @property {{ value: number, y: number } | null} threshold of mode paper
 * @property {{ value: number, y: number } | null} limit above which a value is too high
 * @property {Entry[]} legend
 */

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
 * @param {string} name of the view
 * @param {number} tabs room at the left of the title, for what stands there on the page
 * @returns {Chart}
 */
export function layout(current, previous, width, height, name = FIRST, tabs = 0) {
    const view = VIEWS[name];
    const threshold = name === "rho-hat" && current.threshold ? current.threshold : null;
    const legend = flow(legendTexts(current, previous, view, threshold), 8, width - 8);
    const rows = legend.length ? legend[legend.length - 1].y + 1 : 0;
    const plot = { left: 38, right: width - 12, top: 28, bottom: height - 25 - rows * LINE };
    for (const entry of legend) entry.y = plot.bottom + 20 + (entry.y + 0.5) * LINE;

    const lines = [threshold, view.limit].filter((value) => value !== null);
    const values = [...valuesOf(current, view), ...(previous ? valuesOf(previous, view) : []), ...lines];
    const scale = logScale(values, plot.bottom, plot.top);
    const at = (/** @type {number | null} */ value) => (value === null ? null : { value, y: scale.at(value) });
    return {
        view: name,
        width,
        height,
        plot,
        title: { text: title(current, view, width - tabs, tabs === 0), x: 8 + tabs },
        progress: progress(current, width - tabs),
        yTicks: scale.ticks,
        xTicks: stepTicks(current.total, plot),
        sigmas: sigmaEnds(current, plot),
        points: place(current, view, plot, scale.at),
        previous: previous ? place(previous, view, plot, scale.at) : [],
        threshold: at(threshold),
        limit: at(view.limit),
        legend,
    };
}

/**
 * @param {Run} run
 * @param {View} view
 * @param {Plot} plot
 * @param {(value: number) => number} at
 * @returns {Point[]}
 */
function place(run, view, plot, at) {
    return run.steps.map((step) => {
        const value = view.value(step);
        const spread = view.spread(step);
        return {
            step,
            value,
            x: stepPosition(step.step, run.total, plot),
            y: value !== null && value > 0 ? at(value) : plot.bottom,
            band: spread && spread[0] > 0 ? [at(spread[0]), at(spread[1])] : null,
        };
    });
}

/**
 * @param {Run} run
 * @param {View} view
 */
function valuesOf(run, view) {
    const values = run.steps.flatMap((step) => [view.value(step), ...(view.spread(step) ?? [])]);
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
 * @param {View} view
 * @param {number} width
 * @param {boolean} named whether it has to say what is shown
 */
function title(run, view, width, named) {
    const room = width - 32 - widthOf(progress(run, width));
    const plain = `${run.solver} · ${run.mode}`;
    const settings = Object.entries(run.settings ?? {}).map(
        ([name, value]) => ` · ${name} ${value === null ? "∞" : short(value)}`,
    );
    const texts = [plain + settings.join(""), plain, run.solver].map((text) =>
        named ? `${view.sign} · ${text}` : text,
    );
    return texts.find((text) => widthOf(text) <= room) ?? (named ? view.sign : "");
}

/** Room for the solver's name and mode, which the error must leave. */
const NAMED = 110;

/**
 * @param {Run} run
 * @param {number} width
 */
function progress(run, width) {
    const made = run.steps.length ? run.steps[run.steps.length - 1].step + 1 : 0;
    if (isComplete(run)) {
        const error = run.steps.at(-1)?.error ?? null;
        const told = `${counted(run.total)} · ${tell("solver error %s", percent(error ?? 0))}`;
        return error !== null && widthOf(told) <= width - NAMED ? told : counted(run.total);
    }
    return run.stopped ? tell("stopped at %s/%s", made, run.total) : tell("step %s/%s", made, run.total);
}

/**
 * An estimate, told as roughly as it is known.
 *
 * @param {number} error
 */
function percent(error) {
    if (error < 0.01) return tell("below 1 %");
    return error > 1 ? tell("above 100 %") : tell("about %s %", Math.round(100 * error));
}

/** @param {number} steps */
function counted(steps) {
    return steps === 1 ? tell("1 step") : tell("%s steps", steps);
}

/**
 * @param {Run} current
 * @param {Run | null} previous
 * @param {View} view
 * @param {number | null} threshold
 * @returns {{ kind: Entry["kind"], text: string }[]}
 */
function legendTexts(current, previous, view, threshold) {
    const { steps } = current;
    const known = steps.filter((step) => view.value(step) !== null);
    /** @type {{ kind: Entry["kind"], text: string }[]} */
    const entries = [];
    if (known.some((step) => step.active)) entries.push({ kind: "active", text: tell("corrected") });
    if (known.some((step) => !step.active)) entries.push({ kind: "plain", text: tell("not corrected") });
    if (known.length < steps.length) entries.push({ kind: "missing", text: tell("no estimate") });
    if (steps.some((step) => view.spread(step))) entries.push({ kind: "band", text: tell("batch") });
    if (threshold) entries.push({ kind: "threshold", text: tell("threshold %s", short(threshold)) });
    if (view.limit) entries.push({ kind: "limit", text: tell("step too long") });
    if (previous?.steps.some((step) => view.value(step) !== null)) {
        const differs = previous.mode !== current.mode || previous.solver !== current.solver;
        const what = [];
        if (previous.solver !== current.solver) what.push(previous.solver);
        if (differs) what.push(previous.mode);
        if (previous.total !== current.total) what.push(counted(previous.total));
        const text = what.length ? tell("previous run (%s)", what.join(", ")) : tell("previous run");
        entries.push({ kind: "previous", text });
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
        const width = MARK + widthOf(entry.text) + 10;
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
