// @ts-check
/** What is told of the step under the pointer, in at most a quarter of the chart. */

import { short } from "./axis.js";
import { nearest } from "./layout.js";
import { VIEWS } from "./views.js";
import { tell, translatable, widthOf } from "./words.js";

/** @typedef {import("./layout.js").Chart} Chart */
/** @typedef {import("./layout.js").Point} Point */

/**
 * @typedef {object} Tooltip
 * @property {string[]} lines
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 */

const LINE = 13;
const MOST = 0.25;

/** @type {Record<string, string>} why a step is left plain, in words */
const HELD = {
    repeated: translatable("the model repeated its output"),
    strayed: translatable("correction refused"),
};

/**
 * @param {Chart} chart
 * @param {Point} point
 * @returns {Tooltip}
 */
export function tooltip(chart, point) {
    const { plot } = chart;
    const lines = fitting(linesOf(chart, point), chart.width, chart.height);
    const [width, height] = sizeOf(lines);
    const right = point.x + 10 + width <= plot.right;
    const x = right ? point.x + 10 : Math.max(2, point.x - 10 - width);
    const y = Math.max(2, Math.min(point.y - height / 2, plot.bottom - height));
    return { lines, x, y, width, height };
}

/**
 * The most important first.
 *
 * @param {Chart} chart
 * @param {Point} point
 */
function linesOf(chart, { step, x }) {
    const values = [step.hStiffness, step.stiffness].map((value) => (value === null ? null : short(value)));
    const lines = [
        `${tell("step %s", step.step)}  σ ${short(step.sigma)}`,
        values.every((value) => value === null)
            ? tell("no estimate at this step")
            : `h·ρ̂ ${values[0] ?? "?"}  ρ̂ ${values[1] ?? "?"}`,
    ];
    if (step.active && step.correction !== null) {
        lines.push(tell("correction %s % of the step", short(100 * step.correction)));
    } else {
        lines.push(Object.keys(step.held).map((reason) => tell(HELD[reason] ?? reason))[0] ?? tell("not corrected"));
    }
    if (step.believed !== null) lines.push(tell("believed to %s %", Math.round(100 * step.believed)));
    if (step.noise) {
        const percent = Math.round(100 * ((step.noiseRatio ?? 1) - 1));
        lines.push(tell("noise %s, variance %s %", short(step.noise), percent < 0 ? percent : `+${percent}`));
    }
    const view = VIEWS[chart.view];
    const spread = view.spread(step);
    if (spread) lines.push(tell("batch %s to %s", short(spread[0]), short(spread[1])));
    const before = nearest(chart.previous, x);
    if (before?.value) lines.push(tell("previous run %s at σ %s", short(before.value), short(before.step.sigma)));
    return lines;
}

/**
 * As many of the lines as keep to their share of the chart, and a first one cut to it.
 *
 * @param {string[]} lines
 * @param {number} width
 * @param {number} height
 */
function fitting(lines, width, height) {
    const room = MOST * width * height;
    const fits = (/** @type {string[]} */ some) => {
        const [wide, high] = sizeOf(some);
        return wide * high <= room && wide <= width - 4 && high <= height - 4;
    };
    /** @type {string[]} */
    const shown = [];
    for (const line of lines) if (fits([...shown, line])) shown.push(line);
    let only = lines[0];
    while (!shown.length && only.length > 1 && !fits([only])) only = only.slice(0, -1);
    return shown.length ? shown : [only];
}

/**
 * @param {string[]} lines
 * @returns {[number, number]}
 */
function sizeOf(lines) {
    return [Math.max(...lines.map(widthOf)) + 12, lines.length * LINE + 8];
}
