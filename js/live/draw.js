// @ts-check
/**
 * Draws runs as SVG. Pure: numbers and text in, geometry and text out. Colours are CSS variables (style.js), so the
 * drawing follows the page's theme by itself, and it is sharp at every zoom.
 */

import { isComplete } from "./runs.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./runs.js").Step} Step */

/**
 * @typedef {object} Point
 * @property {number} step
 * @property {number} sigma
 * @property {number | null} value null where the step has no estimate
 * @property {[number, number] | null} spread least and greatest of the batch
 * @property {boolean} active
 * @property {number | null} believed how far the correction is believed, 0 to 1
 * @property {Record<string, number>} held how many of the batch are left plain, by reason
 * @property {number} x
 * @property {number} y
 * @property {[number, number] | null} band where the spread ends, as y
 */

/** @typedef {{ position: number, label: string }} Tick */

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
 * @property {{ left: number, right: number, top: number, bottom: number }} plot
 * @property {string} title
 * @property {string} progress
 * @property {Tick[]} yTicks
 * @property {Tick[]} xTicks
 * @property {[string, string]} sigmas noise levels at the two ends of the step axis; empty where they find no room
 * @property {Point[]} points
 * @property {Point[]} previous
 * @property {{ value: number, y: number } | null} threshold
 * @property {Entry[]} legend
 */

const TEXT = 10;
/** Width of a character of the chart's font, for laying out a text before it is drawn. */
const CHARACTER = 5.3;
const LINE = 15;
const MARK = 16;
/** More marks than this would run into one another. */
const ROOM_PER_MARK = 5;

/** @type {Record<string, string>} why a step is left plain, in words */
const HELD = { repeated: "the model repeated its output", strayed: "left its trajectory" };


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
 * @param {Chart["plot"]} plot
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
 * Every run fills the width, whatever its number of steps: so two of them stand at about the same noise level at the
 * same place.
 *
 * @param {number} step
 * @param {number} total
 * @param {Chart["plot"]} plot
 */
function stepPosition(step, total, plot) {
    const inset = 8;
    const share = total > 1 ? step / (total - 1) : 0.5;
    return plot.left + inset + share * (plot.right - plot.left - 2 * inset);
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
 * A logarithmic axis around some values: ticks at powers of ten, at 1, 2 and 5 where there are few of those.
 *
 * @param {number[]} values positive
 * @param {number} from position of the axis's low end
 * @param {number} to position of its high end
 */
export function logScale(values, from, to) {
    let low = values.length ? Math.log10(Math.min(...values)) : -1;
    let high = values.length ? Math.log10(Math.max(...values)) : 1;
    if (high - low < 0.5) {
        const middle = (low + high) / 2;
        [low, high] = [middle - 0.25, middle + 0.25];
    }
    const margin = 0.06 * (high - low);
    low -= margin;
    high += margin;
    /** @param {number} value */
    const at = (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from);
    const most = Math.max(2, Math.floor(Math.abs(to - from) / 18));
    return { at, ticks: logTicks(low, high, most).map((value) => ({ position: at(value), label: short(value) })) };
}

/**
 * @param {number} low power of ten
 * @param {number} high
 * @param {number} most
 */
function logTicks(low, high, most) {
    for (const factors of [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1, 3], [1]]) {
        const ticks = [];
        for (let power = Math.floor(low); power <= high; power++) {
            for (const factor of factors) {
                const value = factor * 10 ** power;
                if (Math.log10(value) >= low && Math.log10(value) <= high) ticks.push(Number(value.toPrecision(1)));
            }
        }
        if (ticks.length <= Math.min(most, 6)) return ticks;
    }
    const every = Math.ceil((high - low) / Math.min(most, 6));
    const ticks = [];
    for (let power = Math.ceil(low / every) * every; power <= high; power += every) ticks.push(10 ** power);
    return ticks;
}

/**
 * @param {number} total
 * @param {Chart["plot"]} plot
 * @returns {Tick[]}
 */
function stepTicks(total, plot) {
    const most = Math.max(2, Math.floor((plot.right - plot.left) / 34));
    const last = total - 1;
    let every = 1;
    for (const candidate of [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]) {
        every = candidate;
        if (last / candidate <= most) break;
    }
    const ticks = [];
    for (let step = 0; step <= last; step += every) {
        ticks.push({ position: stepPosition(step, total, plot), label: String(step) });
    }
    return ticks;
}

/**
 * @param {Run} run
 * @param {Chart["plot"]} plot
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
    const settings = Object.entries(run.settings ?? {}).map(([name, value]) => `${name} ${value === null ? "∞" : short(value)}`);
    const plain = `${run.solver} · ${run.mode}`;
    const texts = [`Stiffness ρ̂ · ${[plain, ...settings].join(" · ")}`, [plain, ...settings].join(" · "), `Stiffness ρ̂ · ${plain}`];
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
        const what = differs ? `${previous.solver === current.solver ? "" : `${previous.solver}, `}${previous.mode}` : "";
        const steps = previous.total === current.total ? "" : `${what ? ", " : ""}${previous.total} steps`;
        entries.push({ kind: "previous", text: `previous run${what || steps ? ` (${what}${steps})` : ""}` });
    }
    return entries;
}

/**
 * Set the legend's entries side by side, in as many rows as they need; y is the row.
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
 * A number in few characters, three digits at most.
 *
 * @param {number} value
 */
export function short(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) {
        return value.toExponential(1).replace(/\.0e/, "e").replace("e+", "e");
    }
    return String(size >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
}

/**
 * The point nearest to a place across the chart.
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

/**
 * @param {Chart} chart
 * @param {Point | null} hovered
 * @returns {string} an SVG element
 */
export function toSVG(chart, hovered = null) {
    const { width, height, plot } = chart;
    const parts = [
        text(8, 16, chart.title, "title"),
        text(width - 8, 16, chart.progress, "faint", "end"),
        ...chart.yTicks
            .filter(({ position }) => position < plot.bottom - 3)
            .map(({ position }) => line(plot.left, position, plot.right, position, "grid")),
        ...chart.yTicks.map(({ position, label }) => text(plot.left - 5, position + 3.5, label, "faint", "end")),
        line(plot.left, plot.bottom, plot.right, plot.bottom, "axis"),
        ...xAxis(chart),
        curve(chart.previous, "previous"),
        band(chart.points),
        chart.threshold ? line(plot.left, chart.threshold.y, plot.right, chart.threshold.y, "threshold") : "",
        curve(chart.points, "curve"),
        ...marks(chart),
        ...chart.legend.flatMap((entry) => [
            sample(entry.kind, entry.x + 6, entry.y),
            text(entry.x + MARK, entry.y + 3.5, entry.text, "faint"),
        ]),
        hovered ? tooltip(chart, hovered) : "",
    ];
    const label = escape(`${chart.title}, ${chart.progress}`);
    return (
        `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
        `font-size="${TEXT}" role="img" aria-label="${label}">${parts.join("")}</svg>`
    );
}

/** @param {Chart} chart */
function xAxis({ plot, xTicks, sigmas }) {
    const y = plot.bottom + 13;
    const [first, last] = sigmas;
    const taken = {
        left: first ? plot.left + 14 + first.length * CHARACTER : 0,
        right: last ? plot.right - 14 - last.length * CHARACTER : Infinity,
    };
    const parts = [];
    let unit = "step ";
    for (const { position, label } of xTicks) {
        parts.push(line(position, plot.bottom, position, plot.bottom + 3, "axis"));
        const half = (label.length * CHARACTER) / 2;
        const words = unit + label;
        const left = position + half - words.length * CHARACTER;
        if (left <= taken.left || position + half >= taken.right) continue;
        parts.push(text(position + half, y, words, "faint", "end"));
        taken.left = position + half;
        unit = "";
    }
    if (first) parts.push(text(plot.left, y, first, "faint"));
    if (last) parts.push(text(plot.right, y, last, "faint", "end"));
    return parts;
}

/** @param {Chart} chart */
function marks({ points, plot }) {
    const every = Math.max(1, Math.ceil((points.length * ROOM_PER_MARK) / (plot.right - plot.left)));
    const marked = points.filter((_, i) => i % every === 0 || i === points.length - 1);
    return marked.map((point) => mark(kindOf(point), point.x, point.y, point.step));
}

/**
 * @param {Point} point
 * @returns {"active" | "plain" | "missing"}
 */
function kindOf(point) {
    if (point.value === null || point.value <= 0) return "missing";
    return point.active ? "active" : "plain";
}

/**
 * Told apart by shape as well as by colour: a filled diamond, a ring, a cross.
 *
 * @param {"active" | "plain" | "missing"} kind
 * @param {number} x
 * @param {number} y
 * @param {number} [step]
 */
function mark(kind, x, y, step) {
    const data = step === undefined ? "" : ` data-step="${step}"`;
    const [cx, cy] = [round(x), round(y)];
    if (kind === "active") return `<path class="active"${data} d="M${cx} ${round(y - 4.6)}l4.6 4.6l-4.6 4.6l-4.6 -4.6z"/>`;
    if (kind === "plain") return `<circle class="plain"${data} cx="${cx}" cy="${cy}" r="3"/>`;
    return `<path class="missing"${data} d="M${round(x - 2.5)} ${round(y - 2.5)}l5 5m0 -5l-5 5"/>`;
}

/**
 * @param {Entry["kind"]} kind
 * @param {number} x
 * @param {number} y
 */
function sample(kind, x, y) {
    if (kind === "band") return `<rect class="band" x="${x - 6}" y="${y - 4}" width="12" height="8"/>`;
    if (kind === "threshold" || kind === "previous") return line(x - 6, y, x + 6, y, kind);
    return mark(kind, x, y);
}

/**
 * @param {Point[]} points
 * @param {string} kind
 */
function curve(points, kind) {
    const places = (/** @type {Point[]} */ piece) => piece.map(({ x, y }) => `${round(x)},${round(y)}`).join(" ");
    return pieces(points)
        .map((piece) => `<polyline class="${kind}" points="${places(piece)}"/>`)
        .join("");
}

/**
 * The stretches in which every step has an estimate.
 *
 * @param {Point[]} points
 * @returns {Point[][]}
 */
function pieces(points) {
    /** @type {Point[][]} */
    const found = [];
    let open = false;
    for (const point of points) {
        const known = kindOf(point) !== "missing";
        if (known && open) found[found.length - 1].push(point);
        else if (known) found.push([point]);
        open = known;
    }
    return found;
}

/** @param {Point[]} points */
function band(points) {
    return pieces(points.map((point) => (point.band ? point : { ...point, value: null })))
        .map((piece) => {
            const edge = (/** @type {0 | 1} */ end) => piece.map(({ x, band }) => `${round(x)},${round((band ?? [0, 0])[end])}`);
            return `<polygon class="band" points="${[...edge(0), ...edge(1).reverse()].join(" ")}"/>`;
        })
        .join("");
}

/**
 * @param {Chart} chart
 * @param {Point} point
 */
function tooltip(chart, point) {
    const { plot } = chart;
    const lines = [
        `step ${point.step}   σ ${short(point.sigma)}`,
        point.value === null ? "no estimate at this step" : `ρ̂ ${short(point.value)}${point.active ? "  corrected" : "  not corrected"}`,
    ];
    if (point.believed !== null) lines.push(`correction believed to ${Math.round(100 * point.believed)} %`);
    for (const [reason, count] of Object.entries(point.held)) lines.push(`${HELD[reason] ?? reason}: plain step${point.spread ? ` (${count})` : ""}`);
    if (point.spread) lines.push(`batch ${short(point.spread[0])} to ${short(point.spread[1])}`);
    const before = nearest(chart.previous, point.x);
    if (before?.value) lines.push(`previous run ${short(before.value)} at σ ${short(before.sigma)}`);
    const width = Math.max(...lines.map((words) => words.length)) * CHARACTER + 12;
    const height = lines.length * 13 + 8;
    const x = point.x + 10 + width > plot.right ? Math.max(2, point.x - 10 - width) : point.x + 10;
    const y = Math.max(2, Math.min(point.y - height / 2, plot.bottom - height));
    return [
        line(point.x, plot.top, point.x, plot.bottom, "hair"),
        `<g class="tip"><rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${height}" rx="4"/>`,
        ...lines.map((words, i) => text(x + 6, y + 14 + 13 * i, words, i === 0 ? "strong" : "")),
        "</g>",
    ].join("");
}

/**
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 * @param {string} kind
 */
function line(x1, y1, x2, y2, kind) {
    return `<line class="${kind}" x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"/>`;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} words
 * @param {string} kind
 * @param {"start" | "middle" | "end"} [anchor]
 */
function text(x, y, words, kind, anchor = "start") {
    return `<text class="${kind}" x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${escape(words)}</text>`;
}

/** @param {string} words */
function escape(words) {
    return words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** @param {number} value */
function round(value) {
    return Math.round(value * 10) / 10;
}
