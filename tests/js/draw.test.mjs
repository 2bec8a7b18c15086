import assert from "node:assert/strict";
import { test } from "node:test";

import { logScale, short } from "../../js/live/axis.js";
import { numbersOf } from "../../js/live/export.js";
import { layout, nearest } from "../../js/live/layout.js";
import { notesOfRun, notesOfSettings } from "../../js/live/notes.js";
import { toSVG } from "../../js/live/svg.js";
import { tooltip } from "../../js/live/tooltip.js";
import { VIEWS } from "../../js/live/views.js";
import { speak, WHAT_TO_DO, widthOf } from "../../js/live/words.js";

/** A run with these values of h*rho-hat; rho-hat is ten times as large. */
function run({ values = [null, 0.2, 3, 40], active = [false, false, true, true], total = values.length, ...more } = {}) {
    const steps = values.map((hStiffness, step) => ({
        step,
        sigma: 10 / (step + 1),
        sigmaNext: 10 / (step + 2),
        stiffness: hStiffness === null ? null : 10 * hStiffness,
        spread: null,
        hStiffness,
        hSpread: null,
        correction: active[step] ? 0.02 * (step + 1) : 0,
        active: active[step] ?? false,
        believed: null,
        held: {},
    }));
    return {
        id: "a", prompt: "p", solver: "Heun", solverName: "heun", mode: "calibrated", threshold: null, total, steps,
        stopped: false, ...more,
    };
}

const inside = ({ plot }, { x, y }) => x >= plot.left && x <= plot.right && y >= plot.top - 0.5 && y <= plot.bottom + 0.5;

test("each step is a point: its place grows with the step, its height with the logarithm of the value", () => {
    const chart = layout(run({ values: [0.1, 1, 10, 100] }), null, 400, 200);
    assert.deepEqual(chart.points.map((point) => point.value), [0.1, 1, 10, 100]);
    const gaps = [1, 2, 3].map((i) => chart.points[i - 1].y - chart.points[i].y);
    assert.ok(gaps[0] > 5 && gaps.every((gap) => Math.abs(gap - gaps[0]) < 1e-9), `equal factors, equal distances: ${gaps}`);
    const strides = [1, 2, 3].map((i) => chart.points[i].x - chart.points[i - 1].x);
    assert.ok(strides.every((stride) => stride > 0 && Math.abs(stride - strides[0]) < 1e-9));
    assert.ok(chart.points.every((point) => inside(chart, point)));
});

test("a run that is not finished leaves room for the remaining steps", () => {
    const chart = layout(run({ total: 20 }), null, 400, 200);
    assert.ok(chart.points[3].x < chart.plot.left + 0.25 * (chart.plot.right - chart.plot.left));
    assert.equal(chart.progress, "step 4/20");
    assert.equal(layout(run({ total: 20, stopped: true }), null, 400, 200).progress, "stopped at 4/20");
    assert.equal(layout(run(), null, 400, 200).progress, "4 steps");
});

test("beside the number of steps stands the solver's error, where there is room and it is known", () => {
    const told = (error, width = 400) => {
        const shown = run();
        shown.steps.at(-1).error = error;
        return layout(shown, null, width, 200).progress;
    };
    assert.equal(told(0.021), "4 steps · solver error about 2 %");
    assert.equal(told(0.003), "4 steps · solver error below 1 %");
    assert.equal(told(1.5), "4 steps · solver error above 100 %");
    assert.equal(told(null), "4 steps");
    assert.equal(told(0.021, 260), "4 steps");
});

test("corrected and plain steps differ in shape, and a step without an estimate has its own mark", () => {
    const svg = toSVG(layout(run(), null, 400, 200));
    assert.match(svg, /<path class="missing" data-step="0"/);
    assert.match(svg, /<circle class="plain" data-step="1"/);
    assert.match(svg, /<path class="active" data-step="2"/);
    assert.match(svg, /<path class="active" data-step="3"/);
    assert.equal(svg.match(/data-step=/g).length, 4);
    for (const words of ["corrected", "not corrected", "no estimate"]) assert.ok(svg.includes(`>${words}<`), words);
});

test("the curve has a gap where a step has no estimate", () => {
    const svg = toSVG(layout(run({ values: [1, 2, null, 3, 4] }), null, 400, 200));
    assert.equal(svg.match(/<polyline class="curve"/g).length, 2);
});

test("the threshold is a line at its value of rho-hat, with a word in the legend; h*rho-hat has none", () => {
    const paper = run({ values: [0.1, 1], threshold: 5, mode: "paper" });
    const chart = layout(paper, null, 400, 200, "rho-hat");
    const [low, high] = chart.points;
    assert.ok(chart.threshold.y < low.y && chart.threshold.y > high.y);
    assert.ok(toSVG(chart).includes("threshold 5"));
    assert.equal(layout(paper, null, 400, 200).threshold, null);
    assert.equal(layout(run(), null, 400, 200, "rho-hat").threshold, null);
    assert.equal(layout(run({ threshold: 0 }), null, 400, 200, "rho-hat").threshold, null, "0 has no place there");
});

test("h*rho-hat comes first: its line at 1 and the region above are in sight wherever the values lie", () => {
    for (const values of [[1e-4, 1e-3], [0.3, 3], [20, 50]]) {
        const chart = layout(run({ values }), null, 400, 240);
        assert.equal(chart.view, "h*rho-hat");
        assert.equal(chart.limit.value, 1);
        assert.ok(inside(chart, { x: 50, y: chart.limit.y }) && chart.limit.y > chart.plot.top + 2, `${values}`);
        const svg = toSVG(chart);
        const [, top, height] = svg.match(/class="high" x="38" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"/);
        assert.ok(Math.abs(Number(top) + Number(height) - chart.limit.y) < 0.11 && Number(height) > 0);
        for (const point of chart.points) assert.equal(point.y < chart.limit.y, point.value > 1);
        assert.ok(svg.includes(">step too long<"));
    }
});

test("each view shows its own quantity on a logarithmic axis", () => {
    const chart = (view) => layout(run({ values: [0.1, 1, 10, 100] }), null, 400, 200, view);
    assert.deepEqual(Object.keys(VIEWS), ["h*rho-hat", "rho-hat", "correction size"]);
    assert.deepEqual(chart("rho-hat").points.map((point) => point.value), [1, 10, 100, 1000]);
    assert.equal(chart("rho-hat").limit, null);
    const correction = chart("correction size");
    assert.deepEqual(correction.points.map((point) => point.value), [0, 0, 6, 8]);
    assert.ok(correction.points[0].y === correction.plot.bottom && correction.points[2].y > correction.points[3].y);
    assert.match(toSVG(correction), /<circle class="plain" data-step="0"/, "not corrected stands at the foot");
    assert.equal(toSVG(correction).match(/<polyline class="curve"/g).length, 1);
});

test("a narrow chart keeps the name of its axis", () => {
    for (const width of [110, 140, 170, 190, 230, 300, 600]) {
        for (const steps of [1, 2, 4, 8, 20, 50, 1000]) {
            for (const total of [steps, 2 * steps]) {
                const values = Array.from({ length: steps }, () => 0.5);
                const svg = toSVG(layout(run({ values, total }), null, width, 220));
                assert.match(svg, />step \d+</, `${steps} of ${total} steps at ${width}`);
            }
        }
    }
});

test("the previous run is drawn behind on the same axis, stretched to the same width", () => {
    const before = run({ values: [0.01, 1, 2, 3, 4, 5, 6, 1000], mode: "off" });
    const chart = layout(run({ values: [0.1, 1, 10, 100] }), before, 400, 200);
    assert.equal(chart.previous.length, 8);
    assert.ok(chart.previous.every((point) => inside(chart, point)), "the axis holds both");
    assert.equal(chart.previous[7].x, chart.points[3].x);
    assert.equal(chart.previous[1].y, chart.points[1].y, "equal values at equal height");
    const svg = toSVG(chart);
    assert.ok(svg.indexOf('class="previous" points') < svg.indexOf('class="curve"'), "behind");
    assert.ok(svg.includes("previous run (off, 8 steps)"));
});

test("the spread of a batch is an area around the curve", () => {
    const one = run({ values: [1, 2] });
    for (const step of one.steps) step.hSpread = [0.5 * step.hStiffness, 2 * step.hStiffness];
    const chart = layout(one, null, 400, 200);
    const [low, high] = chart.points[0].band;
    assert.ok(low > chart.points[0].y && high < chart.points[0].y);
    assert.match(toSVG(chart), /<polygon class="band"/);
});

test("nothing known yet, one step, equal values, a thousand steps: every chart is drawn with finite numbers", () => {
    const many = Array.from({ length: 1000 }, (_, i) => 1 + i);
    for (const values of [[], [null], [null, null], [1], [2, 2, 2], [1e-9, 1e9], many]) {
        for (const [width, height] of [[400, 200], [140, 150], [1200, 340], [60, 60]]) {
            const svg = toSVG(layout(run({ values, total: Math.max(values.length, 1) }), null, width, height));
            assert.doesNotMatch(svg, /NaN|Infinity|undefined|null/, `${values.length} values at ${width} x ${height}`);
        }
    }
    const marks = toSVG(layout(run({ values: many }), null, 400, 200)).match(/data-step=/g).length;
    assert.ok(marks > 20 && marks < 150, `marks are thinned out, not piled up: ${marks}`);
});

test("the labels of an axis do not overlap, at any width and range", () => {
    for (const width of [180, 240, 320, 600, 1000]) {
        for (const steps of [2, 7, 20, 50, 333, 10000]) {
            const { xTicks } = layout(run({ total: steps }), null, width, 200);
            for (let i = 1; i < xTicks.length; i++) {
                assert.ok(xTicks[i].position - xTicks[i - 1].position > 5.3 * xTicks[i].label.length, `${steps} steps at ${width}`);
            }
        }
    }
    for (const values of [[1, 1.01], [1, 3], [1, 30], [0.01, 50], [1e-8, 1e8]]) {
        for (const height of [40, 100, 250]) {
            const { ticks } = logScale(values, height, 0);
            assert.ok(ticks.length >= 1 && ticks.length <= 6, `${values}: ${ticks.map((tick) => tick.label)}`);
            for (let i = 1; i < ticks.length; i++) assert.ok(ticks[i - 1].position - ticks[i].position >= 8, `${values} at ${height}`);
        }
    }
});

test("the legend stays inside and below the plot, in as many rows as it needs", () => {
    for (const width of [160, 220, 320, 700]) {
        const chart = layout(run({ threshold: 0.3 }), run({ mode: "off" }), width, 220);
        for (const entry of chart.legend) assert.ok(entry.y > chart.plot.bottom && entry.y < 220 - 3, `${entry.text} at ${width}`);
        assert.ok(chart.plot.bottom - chart.plot.top > 50, `room for the plot at ${width}`);
    }
});

test("hovering finds the nearest step and tells both values, whichever is shown, and the correction", () => {
    const before = run({ mode: "off", values: [null, 0.25, 3, 4] });
    for (const view of Object.keys(VIEWS)) {
        const chart = layout(run(), before, 500, 300, view);
        const point = nearest(chart.points, chart.points[2].x + 3);
        assert.equal(point.step.step, 2);
        const svg = toSVG(chart, point);
        const told = ["step 2", `σ ${short(10 / 3)}`, "h·ρ̂ 3  ρ̂ 30", "correction 6 % of the step"];
        for (const words of told) assert.ok(svg.includes(words), `${words} in ${view}`);
        assert.ok(toSVG(chart, chart.points[0]).includes("no estimate at this step"));
        assert.ok(toSVG(chart, chart.points[1]).includes("not corrected"));
    }
    const chart = layout(run(), before, 500, 300);
    assert.ok(toSVG(chart, chart.points[2]).includes("previous run 3 at σ 3.33"));
    assert.equal(nearest([], 10), null);
});

test("a tooltip says why a step was left plain", () => {
    const held = [{}, { repeated: 1 }, { strayed: 2 }, {}];
    const steps = run().steps.map((step, i) => ({ ...step, held: held[i], active: i > 2 }));
    const chart = layout({ ...run(), steps }, null, 500, 300);
    assert.ok(toSVG(chart, chart.points[1]).includes("the model repeated its output<"));
    assert.ok(toSVG(chart, chart.points[2]).includes("correction refused<"));
    assert.ok(toSVG(chart, chart.points[3]).includes("correction 8 % of the step"));
});

test("a tooltip tells the noise that a step added, and what the rule changed of it", () => {
    const steps = run().steps.map((step, i) => ({ ...step, noise: i > 1 ? 0.52 : null, noiseRatio: i > 1 ? 1.21 : null }));
    const chart = layout({ ...run(), steps }, null, 400, 300);
    assert.ok(toSVG(chart, chart.points[2]).includes("noise 0.52, variance +21 %"));
    assert.ok(!toSVG(chart, chart.points[1]).includes("noise"));
});

test("a tooltip says how far a correction is believed, where one was claimed", () => {
    const steps = run().steps.map((step, i) => ({ ...step, believed: i > 1 ? 0.724 : null }));
    const chart = layout({ ...run(), steps }, null, 500, 300);
    assert.ok(toSVG(chart, chart.points[2]).includes("believed to 72 %"));
    assert.ok(!toSVG(chart, chart.points[1]).includes("believed"));
});

test("a tooltip stays inside the chart and covers a quarter of it at most", () => {
    const steps = run().steps.map((step) => ({ ...step, believed: 0.5, hSpread: [0.1, 4] }));
    for (const [width, height] of [[150, 150], [170, 180], [190, 180], [260, 180], [500, 200], [700, 340]]) {
        const chart = layout({ ...run(), steps }, run({ mode: "off" }), width, height);
        for (const point of chart.points) {
            const tip = tooltip(chart, point);
            assert.ok(tip.x >= 0 && tip.x + tip.width <= width && tip.y >= 0 && tip.y + tip.height <= height);
            assert.ok(tip.width * tip.height <= 0.25 * width * height, `step ${point.step.step} at ${width} x ${height}`);
            const [, x, y] = toSVG(chart, point).match(/class="tip"><rect x="([\d.-]+)" y="([\d.-]+)"/).map(Number);
            assert.ok(Math.abs(x - tip.x) < 0.06 && Math.abs(y - tip.y) < 0.06);
        }
    }
    const chart = layout({ ...run(), steps }, run({ mode: "off" }), 250, 200);
    const { lines } = tooltip(chart, chart.points[2]);
    assert.ok(lines[0].startsWith("step 2") && lines[1].startsWith("h·ρ̂ 3"), "what matters most comes first");
});

test("notes say what should be looked at, and what to do", () => {
    assert.deepEqual(notesOfRun(run({ values: [null, 0.2, 0.9, 1] })), []);
    assert.deepEqual(notesOfRun(run({ values: [null, 0.2, 1.1, 40] })), [`Above 1: 2 of 4 steps. ${WHAT_TO_DO}`]);
    const strayed = run({ values: [0.1, 0.2] });
    strayed.steps[1].held = { strayed: 1 };
    assert.match(notesOfRun(strayed)[0], /^Corrections are refused from step 1 on: .* Use more steps, or a lower cfg.$/);
    for (const solver of ["abm", "dpmpp_2s"]) {
        const paper = run({ values: [0.1], mode: "paper", solverName: solver });
        assert.deepEqual(notesOfRun(paper), notesOfSettings(solver, "paper"));
        assert.match(notesOfRun(paper)[0], new RegExp(`with ${solver} it usually hurts`));
        assert.deepEqual(notesOfSettings(solver, "calibrated"), []);
    }
    for (const solver of ["heun", "dpm_2", "deis"]) assert.deepEqual(notesOfSettings(solver, "paper"), []);
});

test("the texts are those of the page's language, and English where there are none", () => {
    try {
        speak({ corrected: "補正あり", "step %s/%s": "ステップ %s/%s", "previous run (%s)": "前回（%s）" });
        const chart = layout(run({ total: 20 }), run({ mode: "off", total: 20 }), 260, 220);
        assert.equal(chart.progress, "ステップ 4/20");
        const texts = chart.legend.map((entry) => entry.text);
        assert.ok(texts.includes("補正あり") && texts.includes("not corrected") && texts.includes("前回（off）"));
        for (const entry of chart.legend) assert.ok(entry.x + 16 + widthOf(entry.text) <= 260, entry.text);
    } finally {
        speak({});
    }
});

test("names from outside are text and never markup", () => {
    const svg = toSVG(layout(run({ solver: '<img src=x onerror="1">', mode: "a&b" }), null, 900, 200));
    assert.ok(!svg.includes("<img") && svg.includes("&#60;img"));
});

test("numbers are short", () => {
    assert.deepEqual([0, 0.0292, 0.30000001, 14.6146, 1234.5].map(short), ["0", "0.0292", "0.3", "14.6", "1235"]);
    assert.deepEqual([1e5, 123456, 0.00012].map(short), ["1e5", "1.2e5", "1.2e-4"]);
});

test("the title names the settings of the mode where there is room, and what is shown where no tab does", () => {
    const settings = { w_stiff: 0.5, w_con: 0.1 };
    const title = (width, tabs) => layout(run({ mode: "paper", settings }), null, width, 200, "rho-hat", tabs).title.text;
    assert.equal(title(600, 90), "Heun · paper · w_stiff 0.5 · w_con 0.1");
    assert.equal(title(600, 0), "ρ̂ · Heun · paper · w_stiff 0.5 · w_con 0.1");
    assert.equal(title(270, 90), "Heun · paper");
    assert.equal(title(180, 90), "");
    assert.equal(title(80, 0), "ρ̂");
});

test("the numbers are a table with a line for each step, as they were sent", () => {
    const rows = numbersOf(run()).slice(0, -1).split("\n").map((line) => line.split("\t"));
    assert.equal(rows.length, 5);
    assert.deepEqual(rows[0].slice(0, 6), ["step", "sigma", "sigma_next", "stiffness", "h_stiffness", "correction"]);
    assert.deepEqual(rows[1].slice(0, 6), ["0", "10", "5", "", "", "0"]);
    assert.deepEqual(rows[4].slice(3, 7), ["400", "40", String(0.02 * 4), "1"]);
    assert.ok(rows.every((row) => row.length === rows[0].length));
});
