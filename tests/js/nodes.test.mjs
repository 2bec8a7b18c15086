import assert from "node:assert/strict";
import { test } from "node:test";

import { followMode } from "../../js/nodes/paper.js";
import { growWithTraces, wantedSlots } from "../../js/nodes/slots.js";
import { waitingOf } from "../../js/nodes/waiting.js";

globalThis.requestAnimationFrame = (callback) => setTimeout(callback, 0);
const frame = () => new Promise((resolve) => setTimeout(resolve, 5));

const ALL = ["trace", "latent", ...[2, 3, 4].flatMap((run) => [`trace_${run}`, `latent_${run}`]), "labels"];

/** What is used of a node of the page: 20 high for each input, 24 for each widget that shows. */
function node({ inputs = [], widgets = [], links = {}, nodes = {}, type = "" } = {}) {
    return {
        type,
        inputs: inputs.map((name) => ({ name, link: null })),
        widgets,
        size: [300, 500],
        graph: { links, getNodeById: (id) => nodes[id] ?? null },
        setSize(size) {
            this.size = size;
        },
        computeSize() {
            return [200, 20 * this.inputs.length + 24 * this.widgets.filter((widget) => !widget.hidden).length];
        },
    };
}

const names = (one) => one.inputs.map((input) => input.name);

function connect(one, name, id) {
    one.inputs.find((input) => input.name === name).link = id;
    one.graph.links[id] = { origin_id: 1, target_slot: names(one).indexOf(name) };
    one.onConnectionsChange?.();
}

test("one trace to begin with, and one more as each is connected", () => {
    const wanted = (...connected) => wantedSlots((name) => connected.includes(name));
    assert.deepEqual(wanted(), []);
    assert.deepEqual(wanted("trace"), ["trace_2"]);
    assert.deepEqual(wanted("trace", "trace_2"), ["trace_2", "latent_2", "trace_3"]);
    assert.deepEqual(wanted("trace", "trace_2", "trace_3", "trace_4"), ALL.slice(2, 8));
    assert.deepEqual(wanted("trace", "trace_4"), ["trace_2", "trace_4", "latent_4"], "what is connected stays");
    assert.deepEqual(wanted("latent_3"), ["trace_3", "latent_3"]);
});

test("slots come and go with their links, and every link knows its place", async () => {
    const one = node({ inputs: ALL });
    growWithTraces(one, () => false, () => {});
    assert.deepEqual(names(one), ["trace", "latent", "labels"]);
    assert.equal(one.size[1], 500 - 6 * 20);
    connect(one, "trace", 11);
    await frame();
    assert.deepEqual(names(one), ["trace", "latent", "labels", "trace_2"]);
    connect(one, "trace_2", 12);
    connect(one, "labels", 13);
    await frame();
    assert.deepEqual(names(one), ["trace", "latent", "labels", "trace_2", "latent_2", "trace_3"]);
    for (const [index, { link }] of one.inputs.entries()) {
        if (link !== null) assert.equal(one.graph.links[link].target_slot, index);
    }
    assert.equal(one.size[1], 500 - 3 * 20);
    one.inputs[3].link = null;
    one.onConnectionsChange();
    await frame();
    assert.deepEqual(names(one), ["trace", "latent", "labels", "trace_2"]);
});

test("a saved workflow with all slots keeps those it has links for, at the height it was saved with", () => {
    const one = node({ inputs: ALL });
    growWithTraces(one, () => true, () => {});
    one.inputs = ALL.map((name, i) => ({ name, link: ["trace", "trace_3", "latent_3"].includes(name) ? i : null }));
    one.graph.links = Object.fromEntries(ALL.map((_, i) => [i, { target_slot: i }]));
    one.size = [300, 900];
    one.onConfigure({ size: [300, 900] });
    assert.deepEqual(names(one), ["trace", "latent", "labels", "trace_2", "trace_3", "latent_3", "trace_4"]);
    assert.equal(one.graph.links[ALL.indexOf("latent_3")].target_slot, 5);
    assert.equal(one.size[1], 900);
});

function sampler(mode) {
    const widgets = ["solver", "mode", "strengths", "w_stiff", "w_con"].map((name) => ({ name, options: {}, value: name }));
    widgets[1].value = mode;
    return node({ inputs: ["model", "w_stiff"], widgets });
}

test("settings of mode paper show in mode paper, keep their values, and the node its height", () => {
    const one = sampler("calibrated");
    let changes = 0;
    followMode(one, () => changes++);
    const shown = () => one.widgets.filter((widget) => !widget.hidden && !widget.options.hidden).map(({ name }) => name);
    assert.deepEqual(shown(), ["solver", "mode"]);
    const low = one.size[1];
    const mode = one.widgets.find(({ name }) => name === "mode");
    for (const value of ["paper", "off", "paper"]) {
        mode.value = value;
        mode.callback(value);
        assert.deepEqual(shown().length, value === "paper" ? 5 : 2);
        assert.equal(one.size[1], value === "paper" ? low + 72 : low);
        assert.deepEqual(one.widgets.map(({ name }) => name), ["solver", "mode", "strengths", "w_stiff", "w_con"]);
    }
    assert.equal(changes, 3);
    assert.ok(one.widgets.slice(2).every((widget) => widget.value === widget.name && widget.options.advanced === false));
    mode.value = "off";
    one.inputs[1].link = 5;
    one.onConnectionsChange();
    assert.deepEqual(shown(), ["solver", "mode", "w_stiff"], "what comes over a link is seen");
});

test("a visualizer says what to connect", () => {
    const nodes = { 1: { type: "SamplerERKGuid" }, 2: { type: "KSamplerERKGuid" } };
    const one = node({ inputs: ["trace", "latent", "trace_2", "latent_2"], nodes });
    assert.match(waitingOf(one).text, /^Connect the trace/);
    assert.deepEqual(waitingOf(one).notes, []);
    connect(one, "trace", 11);
    assert.match(waitingOf(one).notes[0], /output to latent too/);
    connect(one, "latent", 12);
    assert.deepEqual(waitingOf(one).notes, []);
    connect(one, "trace_2", 13);
    assert.match(waitingOf(one).notes[0], /output to latent_2 too/);
    one.graph.links[13].origin_id = 2;
    assert.deepEqual(waitingOf(one).notes, [], "a KSampler's trace comes when it has sampled");
});
