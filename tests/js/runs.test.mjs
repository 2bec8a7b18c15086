import assert from "node:assert/strict";
import { test } from "node:test";

import { around, everyNode, findNode } from "../../js/live/graph.js";
import { Runs, isComplete } from "../../js/live/runs.js";

const message = (step, more = {}) => ({
    run: "first",
    prompt_id: "p",
    workflow: "w",
    node: "3",
    type: "KSampler",
    views: [],
    solver: "heun",
    title: "Heun",
    mode: "paper",
    settings: { w_stiff: 0.5, w_con: 0.3 },
    step,
    steps: 4,
    sigma: 10 - step,
    sigma_next: 9 - step,
    stiffness: step ? 0.1 * step : null,
    spread: null,
    h_stiffness: step ? 0.01 * step : null,
    h_spread: null,
    correction: 0.5,
    active: step > 2,
    ...more,
});

test("steps are collected into a run in the order of their numbers, whatever the order they arrive in", () => {
    const runs = new Runs();
    for (const step of [0, 2, 1, 3, 3]) runs.add(message(step), "w", "3");
    const { current, previous } = runs.get("w", "3");
    assert.deepEqual(current.steps.map((step) => step.step), [0, 1, 2, 3]);
    assert.deepEqual(current.steps[3], {
        step: 3, sigma: 7, sigmaNext: 6, stiffness: 0.1 * 3, spread: null, hStiffness: 0.01 * 3, hSpread: null,
        correction: 0.5, active: true, believed: null, noise: null, noiseRatio: null, held: {}, error: null,
    });
    assert.deepEqual([current.solverName, current.solver], ["heun", "Heun"]);
    assert.ok(isComplete(current));
    assert.equal(previous, null);
});

test("a new run keeps the one before as the previous run, and only that one", () => {
    const runs = new Runs();
    for (const run of ["a", "b", "c"]) for (const step of [0, 1]) runs.add(message(step, { run }), "w", "3");
    const { current, previous } = runs.get("w", "3");
    assert.equal(current.id, "c");
    assert.equal(previous.id, "b");
    assert.equal(previous.steps.length, 2);
    assert.equal("previous" in previous, false, "no chain of all runs");
});

test("nodes and workflows are kept apart", () => {
    const runs = new Runs();
    runs.add(message(0), "w", "3");
    runs.add(message(0), "w", "7:3");
    runs.add(message(0), "other", "3");
    assert.equal(runs.size, 3);
    assert.deepEqual(runs.of("w").map((shown) => shown.node), ["3", "7:3"]);
    runs.drop("w", "3");
    assert.equal(runs.get("w", "3"), undefined);
    assert.equal(runs.size, 2);
});

test("only a limited number of nodes is kept: those not updated for the longest time are dropped first", () => {
    const runs = new Runs(3);
    for (const node of ["1", "2", "3", "1", "4", "5"]) runs.add(message(0), "w", node);
    assert.deepEqual(runs.of("w").map((shown) => shown.node), ["1", "4", "5"]);
});

test("an interrupted prompt stops its runs that are not complete", () => {
    const runs = new Runs();
    runs.add(message(1), "w", "3");
    for (const step of [0, 1, 2, 3]) runs.add(message(step, { run: "done" }), "w", "4");
    runs.add(message(1, { prompt_id: "other", run: "else" }), "w", "5");
    assert.deepEqual(runs.stop("p").map((shown) => shown.node), ["3"]);
    assert.equal(runs.get("w", "3").current.stopped, true);
    assert.deepEqual(runs.stop("p"), [], "told once");
});

test("a node is found by the server's id, in subgraphs too", () => {
    const graph = (...nodes) => ({ nodes, getNodeById: (id) => nodes.find((node) => node.id === id) });
    const inner = { id: 3 };
    const root = graph({ id: 3 }, { id: 7, subgraph: graph(inner) }, { id: "text" });
    assert.equal(findNode(root, "7:3"), inner);
    assert.equal(findNode(root, "3"), root.nodes[0]);
    assert.equal(findNode(root, "text"), root.nodes[2]);
    for (const id of ["8", "3:3", "7:4", ""]) assert.equal(findNode(root, id), null, id);
    assert.equal(findNode(undefined, "3"), null);
});

test("the subgraph nodes around a node are known from its id", () => {
    assert.deepEqual(["3", "7:3", "7:4:3"].map(around), [[], ["7"], ["7", "7:4"]]);
});

test("every node is met, in subgraphs too", () => {
    const root = { nodes: [{ id: 1 }, { id: 7, subgraph: { nodes: [{ id: 3 }, { id: 4, subgraph: { nodes: [{ id: 5 }] } }] } }] };
    assert.deepEqual([...everyNode(root)].map((node) => node.id), [1, 7, 3, 4, 5]);
    assert.deepEqual([...everyNode(undefined)], []);
});
