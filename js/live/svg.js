// @ts-check
/**
 * A chart as SVG. Colours are CSS variables (style.js), so the drawing follows the page's theme. It is sharp at every
 * zoom.
 */

import { MARK } from "./layout.js";
import { tooltip } from "./tooltip.js";
import { VIEWS } from "./views.js";
import { tell, widthOf } from "./words.js";

/** @typedef {import("./layout.js").Chart} Chart */
/** @typedef {import("./layout.js").Entry} Entry */
/** @typedef {import("./layout.js").Point} Point */

const TEXT = 10;
/** Pixels per mark. With less room, marks would overlap. */
const ROOM_PER_MARK = 5;

/**
 * @param {Chart} chart
 * @param {Point | null} hovered
 * @returns {string} an SVG element
 */
export function toSVG(chart, hovered = null) {
    const { width, height, plot } = chart;
    const parts = [
        chart.limit ? area(plot.left, plot.top, plot.right, chart.limit.y) : "",
        text(chart.title.x, 16, chart.title.text, "title"),
        text(width - 8, 16, chart.progress, "faint", "end"),
        ...chart.yTicks
            .filter(({ position }) => position < plot.bottom - 3)
            .map(({ position }) => line(plot.left, position, plot.right, position, "grid")),
        ...chart.yTicks.map(({ position, label }) => text(plot.left - 5, position + 3.5, label, "faint", "end")),
        line(plot.left, plot.bottom, plot.right, plot.bottom, "axis"),
        ...xAxis(chart),
        curve(chart.previous, "previous"),
        band(chart.points),
        chart.limit ? line(plot.left, chart.limit.y, plot.right, chart.limit.y, "limit") : "",
        chart.threshold ? line(plot.left, chart.threshold.y, plot.right, chart.threshold.y, "threshold") : "",
        curve(chart.points, "curve"),
        ...marks(chart),
        ...chart.legend.flatMap((entry) => [
            sample(entry.kind, entry.x + 6, entry.y),
            text(entry.x + MARK, entry.y + 3.5, entry.text, "faint"),
        ]),
        hovered ? tip(chart, hovered) : "",
    ];
    const label = escape(`${tell(VIEWS[chart.view].name)}, ${chart.title.text}, ${chart.progress}`);
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" ' +
        `viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
        `font-size="${TEXT}" role="img" aria-label="${label}">${parts.join("")}</svg>`
    );
}

/** @param {Chart} chart */
function xAxis({ plot, xTicks, sigmas }) {
    const ticks = xTicks.map(({ position }) => line(position, plot.bottom, position, plot.bottom + 3, "axis"));
    const ends = [sigmas, ["", ""]].map(([first, last]) => axisTexts(plot, xTicks, first, last));
    // The noise levels at the ends make room for the axis's name.
    return [...ticks, ...(ends.find(({ named }) => named) ?? ends[1]).parts];
}

/**
 * @param {Chart["plot"]} plot
 * @param {Chart["xTicks"]} xTicks
 * @param {string} first at the left end
 * @param {string} last at the right end
 */
function axisTexts(plot, xTicks, first, last) {
    const y = plot.bottom + 13;
    let taken = first ? plot.left + 14 + widthOf(first) : 0;
    const end = last ? plot.right - 14 - widthOf(last) : Infinity;
    const parts = [];
    let unit = `${tell("step")} `;
    for (const { position, label } of xTicks) {
        const words = unit + label;
        const right = position + widthOf(label) / 2;
        if (right - widthOf(words) <= taken || right >= end) continue;
        parts.push(text(right, y, words, "faint", "end"));
        [taken, unit] = [right, ""];
    }
    if (first) parts.push(text(plot.left, y, first, "faint"));
    if (last) parts.push(text(plot.right, y, last, "faint", "end"));
    return { parts, named: unit === "" };
}

/** @param {Chart} chart */
function marks({ points, plot }) {
    const every = Math.max(1, Math.ceil((points.length * ROOM_PER_MARK) / (plot.right - plot.left)));
    const marked = points.filter((_, i) => i % every === 0 || i === points.length - 1);
    return marked.map((point) => mark(kindOf(point), point.x, point.y, point.step.step));
}

/**
 * @param {Point} point
 * @returns {"active" | "plain" | "missing"}
 */
function kindOf(point) {
    if (point.value === null) return "missing";
    return point.step.active ? "active" : "plain";
}

/**
 * A filled diamond, a ring or a cross, so that they differ in shape as well as in colour.
 *
 * @param {"active" | "plain" | "missing"} kind
 * @param {number} x
 * @param {number} y
 * @param {number} [step]
 */
function mark(kind, x, y, step) {
    const data = step === undefined ? "" : ` data-step="${step}"`;
    const [cx, cy] = [round(x), round(y)];
    if (kind === "active") {
        return `<path class="active"${data} d="M${cx} ${round(y - 4.6)}l4.6 4.6l-4.6 4.6l-4.6 -4.6z"/>`;
    }
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
    if (kind === "limit") return area(x - 6, y - 4, x + 6, y + 4) + line(x - 6, y + 4, x + 6, y + 4, kind);
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
 * The sections in which every step has a value that a logarithmic axis can show.
 *
 * @param {Point[]} points
 * @returns {Point[][]}
 */
function pieces(points) {
    /** @type {Point[][]} */
    const found = [];
    let open = false;
    for (const point of points) {
        const known = point.value !== null && point.value > 0;
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
            const edge = (/** @type {0 | 1} */ end) =>
                piece.map(({ x, band }) => `${round(x)},${round((band ?? [0, 0])[end])}`);
            return `<polygon class="band" points="${[...edge(0), ...edge(1).reverse()].join(" ")}"/>`;
        })
        .join("");
}

/**
 * @param {Chart} chart
 * @param {Point} point
 */
function tip(chart, point) {
    const { plot } = chart;
    const { lines, x, y, width, height } = tooltip(chart, point);
    return [
        line(point.x, plot.top, point.x, plot.bottom, "hair"),
        `<g class="tip"><rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${height}" rx="4"/>`,
        ...lines.map((words, i) => text(x + 6, y + 14 + 13 * i, words, i === 0 ? "strong" : "")),
        "</g>",
    ].join("");
}

/**
 * The region of values that are too high.
 *
 * @param {number} left
 * @param {number} top
 * @param {number} right
 * @param {number} bottom
 */
function area(left, top, right, bottom) {
    const [width, height] = [Math.max(0, right - left), Math.max(0, bottom - top)].map(round);
    return `<rect class="high" x="${round(left)}" y="${round(top)}" width="${width}" height="${height}"/>`;
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
