import assert from "node:assert/strict";
import { test } from "node:test";

import { logScale, short } from "../../js/live/axis.js";
import { layout, nearest } from "../../js/live/layout.js";
import { toSVG } from "../../js/live/svg.js";

function run({ values = [null, 0.2, 3, 40], active = [false, false, true, true], total = values.length, ...more } = {}) {
    const steps = values.map((stiffness, step) => ({
        step,
        sigma: 10 / (step + 1),
        sigmaNext: 10 / (step + 2),
        stiffness,
        spread: null,
        active: active[step] ?? false,
    }));
    return { id: "a", prompt: "p", solver: "heun", mode: "calibrated", threshold: null, total, steps, stopped: false, ...more };
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

test("the threshold is a line at its value and has a word in the legend", () => {
    const chart = layout(run({ values: [0.1, 1], threshold: 0.5, mode: "paper" }), null, 400, 200);
    const [low, high] = chart.points;
    assert.ok(chart.threshold.y < low.y && chart.threshold.y > high.y);
    assert.ok(toSVG(chart).includes("threshold 0.5"));
    assert.equal(layout(run(), null, 400, 200).threshold, null);
    assert.equal(layout(run({ threshold: 0 }), null, 400, 200).threshold, null, "0 has no place on a logarithmic axis");
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
    for (const step of one.steps) step.spread = [0.5 * step.stiffness, 2 * step.stiffness];
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

test("hovering finds the nearest step and shows its values", () => {
    const chart = layout(run(), run({ mode: "off", values: [null, 0.25, 3, 4] }), 400, 200);
    const point = nearest(chart.points, chart.points[2].x + 3);
    assert.equal(point.step, 2);
    const svg = toSVG(chart, point);
    for (const words of ["step 2", `σ ${short(10 / 3)}`, "ρ̂ 3  corrected", "previous run 3"]) assert.ok(svg.includes(words), words);
    assert.ok(toSVG(chart, chart.points[0]).includes("no estimate at this step"));
    assert.equal(nearest([], 10), null);
});

test("a tooltip says why a step was left plain, and of how many of the batch", () => {
    const steps = run().steps.map((step, i) => ({ ...step, held: [{}, { repeated: 1 }, { strayed: 2 }, {}][i], spread: i === 2 ? [0.1, 4] : null }));
    const chart = layout({ ...run(), steps }, null, 400, 200);
    assert.ok(toSVG(chart, chart.points[1]).includes("the model repeated its output: plain step<"));
    assert.ok(toSVG(chart, chart.points[2]).includes("left its trajectory: plain step (2)"));
    assert.ok(!toSVG(chart, chart.points[3]).includes("plain step"));
});

test("a tooltip says how far a correction is believed, where one was claimed", () => {
    const steps = run().steps.map((step, i) => ({ ...step, believed: i > 1 ? 0.724 : null }));
    const chart = layout({ ...run(), steps }, null, 400, 200);
    assert.ok(toSVG(chart, chart.points[2]).includes("correction believed to 72 %"));
    assert.ok(!toSVG(chart, chart.points[1]).includes("believed"));
});

test("a tooltip stays inside the chart", () => {
    const chart = layout(run(), null, 260, 180);
    for (const point of chart.points) {
        const box = /class="tip"><rect x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)"/;
        const [, x, y, width, height] = toSVG(chart, point).match(box).map(Number);
        assert.ok(x >= 0 && x + width <= 260 && y >= 0 && y + height <= 180, `step ${point.step}`);
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

test("the title names the settings of the mode where there is room", () => {
    const settings = { w_stiff: 0.5, w_con: 0.1 };
    const wide = toSVG(layout(run({ mode: "paper", settings }), null, 600, 200));
    assert.ok(wide.includes("Stiffness ρ̂ · heun · paper · w_stiff 0.5 · w_con 0.1"));
    const narrow = toSVG(layout(run({ mode: "paper", settings }), null, 200, 200));
    assert.ok(narrow.includes("heun · paper") && !narrow.includes("w_con"));
});
