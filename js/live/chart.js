// @ts-check
/**
 * The chart as an element of the page. It draws a run into the space it has, shows a step's values on hover, and shows
 * warnings below. The quantity on display is one choice for the whole page, until the page is reloaded.
 */

import { layout, nearest } from "./layout.js";
import { notesOfRun } from "./notes.js";
import { CLASS, CSS, TABS } from "./style.js";
import { toSVG } from "./svg.js";
import { FIRST, VIEWS } from "./views.js";
import { tell } from "./words.js";

/** @typedef {import("./layout.js").Chart} Chart */
/** @typedef {import("./runs.js").Shown} Shown */

/**
 * @typedef {HTMLDivElement & { chart?: Chart }} ChartElement `chart` is what is drawn, for other code to read
 */

/**
 * @typedef {object} Waiting
 * @property {string} text said while there is nothing to draw
 * @property {string[]} notes said at any time
 */

let view = FIRST;
/** @type {Set<LiveChart>} */
const all = new Set();

/** Draw every chart of the page again, as after a change of language. */
export function redrawCharts() {
    for (const chart of all) chart.redraw();
}

/** The quantity that is shown, a key of VIEWS. */
export function viewShown() {
    return view;
}

export class LiveChart {
    /** @param {() => Waiting} waiting */
    constructor(waiting = () => ({ text: "", notes: [] })) {
        addStyle();
        this.waiting = waiting;
        /** @type {ChartElement} */
        this.element = document.createElement("div");
        this.element.className = CLASS;
        this.drawing = child(this.element, "drawing");
        this.tabs = child(this.element, "tabs");
        this.note = child(this.element, "note");
        this.addTabs();
        /** @type {Shown | null} */
        this.shown = null;
        /** @type {number | null} the pointer's horizontal position in the chart */
        this.pointer = null;
        this.frame = 0;
        this.resizes = new ResizeObserver(() => this.redraw());
        this.resizes.observe(this.drawing);
        this.drawing.addEventListener("pointermove", (event) => {
            const box = this.drawing.getBoundingClientRect();
            this.pointer = box.width ? ((event.clientX - box.left) / box.width) * this.drawing.offsetWidth : null;
            this.redraw();
        });
        this.drawing.addEventListener("pointerleave", () => {
            this.pointer = null;
            this.redraw();
        });
        all.add(this);
        this.redraw();
    }

    addTabs() {
        for (const [name, { sign }] of Object.entries(VIEWS)) {
            const tab = document.createElement("button");
            tab.type = "button";
            tab.dataset.view = name;
            tab.textContent = sign;
            // On the classic canvas a press on the chart goes on to the node, which would be moved.
            tab.addEventListener("pointerdown", (event) => event.stopPropagation());
            tab.addEventListener("click", () => {
                view = name;
                redrawCharts();
            });
            this.tabs.append(tab);
        }
    }

    /** @param {Shown | null} shown */
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
        const { offsetWidth: width, offsetHeight: height } = this.drawing;
        for (const tab of this.tabs.children) {
            const name = /** @type {HTMLElement} */ (tab).dataset.view ?? FIRST;
            tab.setAttribute("aria-pressed", String(name === view));
            tab.setAttribute("title", `${name}: ${tell(VIEWS[name].name)}`);
        }
        const { text, notes } = this.waiting();
        this.say([...new Set([...notes, ...(this.shown ? notesOfRun(this.shown.current) : [])])]);
        this.tabs.hidden = !this.shown;
        if (!this.shown) {
            delete this.element.chart;
            this.drawing.textContent = text;
        }
        if (!this.shown || !width || !height) return;
        const chart = layout(this.shown.current, this.shown.previous, width, height, view, TABS);
        const hovered = this.pointer === null ? null : nearest(chart.points, this.pointer);
        this.element.chart = chart;
        this.drawing.innerHTML = toSVG(chart, hovered);
    }

    /** @param {string[]} notes */
    say(notes) {
        const text = notes.map((note) => `⚠ ${note}`).join("\n");
        if (this.note.textContent !== text) this.note.textContent = text;
        this.note.title = text;
        this.note.hidden = !text;
    }

    dispose() {
        all.delete(this);
        this.resizes.disconnect();
        cancelAnimationFrame(this.frame);
        this.shown = null;
        this.element.remove();
    }
}

/**
 * @param {HTMLElement} parent
 * @param {string} name
 */
function child(parent, name) {
    const element = document.createElement("div");
    element.className = `erk-guid-${name}`;
    parent.append(element);
    return element;
}

function addStyle() {
    if (document.getElementById(CLASS)) return;
    const style = document.createElement("style");
    style.id = CLASS;
    style.textContent = CSS;
    document.head.append(style);
}
