// @ts-check
/**
 * The chart as an element of the page. It draws a run into the space it has, and shows a step's values on hover.
 */

import { layout, nearest } from "./layout.js";
import { toSVG } from "./svg.js";
import { CLASS, CSS } from "./style.js";

/** @typedef {import("./layout.js").Chart} Chart */
/** @typedef {import("./layout.js").Point} Point */
/** @typedef {import("./runs.js").Shown} Shown */

/**
 * @typedef {HTMLDivElement & { chart?: Chart }} ChartElement `chart` is what is drawn, for other code to read
 */

export class LiveChart {
    constructor() {
        addStyle();
        /** @type {ChartElement} */
        this.element = document.createElement("div");
        this.element.className = CLASS;
        /** @type {Shown | null} */
        this.shown = null;
        /** @type {number | null} the pointer's horizontal position in the chart */
        this.pointer = null;
        this.frame = 0;
        this.resizes = new ResizeObserver(() => this.redraw());
        this.resizes.observe(this.element);
        this.element.addEventListener("pointermove", (event) => {
            const box = this.element.getBoundingClientRect();
            this.pointer = box.width ? ((event.clientX - box.left) / box.width) * this.element.offsetWidth : null;
            this.redraw();
        });
        this.element.addEventListener("pointerleave", () => {
            this.pointer = null;
            this.redraw();
        });
    }

    /** @param {Shown} shown */
    show(shown) {
        this.shown = shown;
        this.redraw();
    }

    /** Draw once in the next frame, however often this is called before then. */
    redraw() {
        this.frame ||= requestAnimationFrame(() => {
            this.frame = 0;
            this.draw();
        });
    }

    draw() {
        const { offsetWidth: width, offsetHeight: height } = this.element;
        if (!this.shown || !width || !height) return;
        const chart = layout(this.shown.current, this.shown.previous, width, height);
        const hovered = this.pointer === null ? null : nearest(chart.points, this.pointer);
        this.element.chart = chart;
        this.element.innerHTML = toSVG(chart, hovered);
    }

    dispose() {
        this.resizes.disconnect();
        cancelAnimationFrame(this.frame);
        this.shown = null;
        this.element.remove();
    }
}

function addStyle() {
    if (document.getElementById(CLASS)) return;
    const style = document.createElement("style");
    style.id = CLASS;
    style.textContent = CSS;
    document.head.append(style);
}
