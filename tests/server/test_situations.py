"""Common sampling situations in the real server: masks, second passes, split schedules, patches, long queues."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from graphs import (
    LONG,
    MODES,
    MULTISTEP,
    SOLVERS,
    Outcome,
    Runs,
    check_every_way,
    erk_sampler,
    every_way,
    paper,
    resident,
    schedule,
    stock_sampler,
    tiny,
)
from prompts import node

from devtools.comfyui import error_message
from devtools.make import compatibility

DEMO = {"model": ["demo", 0], "positive": ["demo", 1], "negative": ["demo", 2], "latent": ["demo", 4]}


def demo(kind: str = "eps", batch: int = 1, side: int = 64) -> dict[str, Any]:
    return {"demo": node("DemoModelERKGuid", kind=kind, pictures="arcs", width=side, height=side, batch_size=batch)}


def on_demo(server, kind: str = "eps", steps: int = 6, batch: int = 1, **schedule_options: Any) -> Runs:
    options = {"scheduler": "simple" if kind == "flow" else "karras", **schedule_options}
    return Runs(server, {**demo(kind, batch), "sigmas": schedule(["demo", 0], steps, **options)})


def on_tiny(server, name: str, steps: int = 4, **schedule_options: Any) -> Runs:
    graph = tiny(server, tiny_models.architecture(name))
    return Runs(server, {**graph, "sigmas": schedule(["model", 0], steps, **schedule_options)})


def told(situation: str, model: str, seen: str, solvers: list[str] = SOLVERS, modes: list[str] = MODES) -> None:
    row = {"situation": situation, "model": model, "solvers": solvers, "modes": modes, "seen": seen}
    compatibility.tell("situations", f"{situation}: {model}", row)


def added(runs: Runs, **how: Any):
    """For every_way: sample in this way on the demo model, or on the tiny model if the graph has one."""
    wires = DEMO if "demo" in runs.graph else {}

    def add(label: str, sampler: dict[str, Any]) -> None:
        runs.sample(label, sampler, **{**wires, **how})

    return add


def half_mask(width: int, height: int) -> dict[str, Any]:
    """Nodes "mask": 1 in the left half."""
    return {
        "solid": node("SolidMask", value=0.0, width=width, height=height),
        "hole": node("SolidMask", value=1.0, width=width // 2, height=height),
        "mask": node("MaskComposite", destination=["solid", 0], source=["hole", 0], x=0, y=0, operation="add"),
    }


@pytest.mark.parametrize(
    ("name", "title", "shape", "side"),
    [("sd3", "Stable Diffusion 3", [1, 16, 8, 8], 64), ("wan", "Wan 2.1, video", [1, 16, 3, 8, 8], 64)],
)
def test_inpainting(model_server, name, title, shape, side):
    runs = on_tiny(model_server, name)
    runs.graph |= half_mask(side, side)
    runs.graph["start"] = node("ProbeLatent", shape=json.dumps(shape), scale=1.0, seed=3)
    runs.graph["masked"] = node("SetLatentNoiseMask", samples=["start", 0], mask=["mask", 0])
    every_way(added(runs, latent=["masked", 0]))
    runs.save("start", ["start", 0])
    outcomes = runs.run()
    check_every_way(outcomes)
    start = outcomes.pop("start").samples[0]
    for label, outcome in outcomes.items():
        change = (outcome.samples[0] - start).abs()
        assert change[..., 4:].max() < 1e-4, f"{label}: what is masked out has changed"
        assert change[..., :4].mean() > 0.1, label
    told("inpainting mask", title, "outside the mask the latent stays as it is")


def test_differential_diffusion(model_server):
    """The lower the mask, the later a place is released. Where the mask is 0, that is only in the last step."""
    runs = on_demo(model_server, steps=8)
    runs.graph |= half_mask(64, 64)
    runs.graph["base_sigmas"] = schedule(["demo", 0], 12, "karras")
    runs.sample("base", stock_sampler("deis"), **{**DEMO, "sigmas": ["base_sigmas", 0], "seed": 9})
    runs.graph["soft"] = node("FeatherMask", mask=["mask", 0], left=24, top=0, right=0, bottom=0)
    runs.graph["masked"] = node("SetLatentNoiseMask", samples=["base", 0], mask=["soft", 0])
    runs.graph["patched"] = node("DifferentialDiffusion", model=["demo", 0], strength=1.0)
    every_way(added(runs, model=["patched", 0], latent=["masked", 0]))
    outcomes = runs.run()
    base = outcomes.pop("base").samples[0]
    check_every_way(outcomes)
    for label, outcome in outcomes.items():
        change = (outcome.samples[0] - base).abs()
        assert change[..., 32:].mean() < 0.5 * change[..., 16:32].mean(), label
    told("DifferentialDiffusion, soft mask", "demo", "where the mask is 0 the latent stays nearly as it is")


@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_image_to_image(model_server, kind):
    """With less denoise the picture stays closer to its start."""
    distances: dict[str, list[float]] = {}
    for denoise in (0.3, 0.5, 0.7, 1.0):
        runs = on_demo(model_server, kind, denoise=denoise)
        runs.graph["base_sigmas"] = schedule(["demo", 0], 12, "simple")
        runs.sample("base", stock_sampler("deis"), **{**DEMO, "sigmas": ["base_sigmas", 0], "seed": 9})
        every_way(added(runs, latent=["base", 0]), w_stiff=20.0)
        outcomes = runs.run()
        check_every_way(outcomes)
        base = outcomes.pop("base")
        for label, outcome in outcomes.items():
            distances.setdefault(label, []).append(float((outcome.flat - base.flat).square().mean().sqrt()))
    for label, distance in distances.items():
        assert distance[0] < 0.8 * distance[-1], (label, distance)
    told("image to image, denoise 0.3 to 1.0", f"demo, {kind}", "less denoise stays nearer to the start")


def test_second_pass(model_server):
    """Upscale the latent, then sample again at denoise 0.5."""
    runs = on_demo(model_server, denoise=0.5)
    runs.graph["base_sigmas"] = schedule(["demo", 0], 10, "karras")
    runs.sample("base", erk_sampler("deis", "calibrated"), **{**DEMO, "sigmas": ["base_sigmas", 0]})
    # LatentUpscale counts in pixels of models whose latents are eight times smaller.
    runs.graph["larger"] = node(
        "LatentUpscale", samples=["base", 0], upscale_method="bilinear", width=768, height=768, crop="disabled"
    )
    every_way(added(runs, latent=["larger", 0]), w_stiff=2.0)
    outcomes = runs.run()
    check_every_way(outcomes)
    assert outcomes["heun_calibrated"].samples[0].shape == (1, 3, 96, 96)
    told("second pass: latent upscaled, denoise 0.5", "demo", "the larger latent is finite and of the right shape")


def test_unequal_seeds_in_a_batch(model_server):
    """Each sample of a batch is what it is alone."""
    runs = on_demo(model_server, batch=3)
    runs.graph["one"] = demo()["demo"]
    for name, seeds in (("batch", [4, 5, 6]), ("turned", [6, 5, 4]), ("alone", [5])):
        runs.graph[f"noise_{name}"] = node("ProbeNoise", seeds=json.dumps(seeds))
        guider = node("CFGGuider", model=["demo", 0], positive=["demo", 1], negative=["demo", 2], cfg=3.0)
        latent = ["one", 4] if name == "alone" else ["demo", 4]
        for solver in SOLVERS:
            for mode in MODES:
                sampler = erk_sampler(solver, mode, **(paper(2.0) if mode == "paper" else {}))
                runs.guide(
                    f"{solver}_{mode}_{name}",
                    sampler,
                    guider,
                    model=["demo", 0],
                    latent=latent,
                    noise=[f"noise_{name}", 0],
                )
    outcomes = runs.run()
    for solver in SOLVERS:
        for mode in MODES:
            batch, turned, alone = (
                outcomes[f"{solver}_{mode}_{name}"].samples[0] for name in ("batch", "turned", "alone")
            )
            assert (batch - turned.flip(0)).abs().max() < 1e-3, f"{solver} {mode}"
            assert (batch[1] - alone[0]).abs().max() < 1e-3, f"{solver} {mode}"
            assert (batch[0] - batch[1]).abs().mean() > 0.05
    told("batch of unequal noise seeds", "demo", "each sample is what it is alone and in another order")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param("sd15", [1, 4, 17, 23], marks=pytest.mark.long),
        ("sd3", [1, 16, 17, 23]),
        ("flux", [1, 16, 17, 23]),
        ("wan", [1, 16, 3, 17, 23]),
        ("ltxv", [1, 128, 2, 5, 7]),
    ],
)
def test_odd_sizes(model_server, name, shape):
    solvers = ["heun", "deis", "abm"] if name == "sd15" else SOLVERS  # the slowest of them
    runs = on_tiny(model_server, name, steps=3)
    runs.graph["latent"] = node("ProbeLatent", shape=json.dumps(shape))
    every_way(added(runs), solvers=solvers)
    outcomes = runs.run()
    check_every_way(outcomes, solvers)
    assert list(outcomes["heun_calibrated"].samples[0].shape) == shape
    told(
        "odd latent size",
        f"{tiny_models.architecture(name).title}, {' x '.join(map(str, shape))}",
        "the shape is kept",
        solvers,
    )


def patched_sd15(server, patch: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Nodes, and the wires that differ."""
    models = server.base / "models"
    match patch:
        case "LoRA":
            lora = tiny_models.write_lora(models)
            nodes = {"lora": node("LoraLoaderModelOnly", model=["model", 0], lora_name=lora, strength_model=1.0)}
            return nodes, {"model": ["lora", 0]}
        case "ControlNet":
            network = tiny_models.write_controlnet(models)
            nodes = {
                "control_net": node("ControlNetLoader", control_net_name=network),
                "hint": node("EmptyImage", width=64, height=64, batch_size=1, color=0x336699),
                "control": node(
                    "ControlNetApplyAdvanced", positive=["positive", 0], negative=["negative", 0],
                    control_net=["control_net", 0],
                    image=["hint", 0], strength=1.0, start_percent=0.0, end_percent=1.0,
                ),
            }  # fmt: skip
            return nodes, {"positive": ["control", 0], "negative": ["control", 1]}
        case "regional prompts, area":
            nodes = {
                "area": node(
                    "ConditioningSetArea", conditioning=["negative", 0], width=64, height=64, x=32, y=0, strength=1.0
                ),
                "both": node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["area", 0]),
            }
            return nodes, {"positive": ["both", 0]}
        case "regional prompts, mask":
            nodes = {
                **half_mask(64, 64),
                "region": node(
                    "ConditioningSetMask", conditioning=["negative", 0], mask=["mask", 0], strength=1.0,
                    set_cond_area="default"
                ),
                "both": node("ConditioningCombine", conditioning_1=["positive", 0], conditioning_2=["region", 0]),
            }  # fmt: skip
            return nodes, {"positive": ["both", 0]}
    raise AssertionError(patch)


@pytest.mark.parametrize(
    "patch",
    ["LoRA", "ControlNet", "regional prompts, area", pytest.param("regional prompts, mask", marks=pytest.mark.long)],
)
def test_patches_of_stable_diffusion(model_server, patch):
    runs = on_tiny(model_server, "sd15", steps=3)
    runs.graph["latent"]["inputs"]["width"] = 128
    nodes, wires = patched_sd15(model_server, patch)
    runs.graph |= nodes
    solvers = ["dpm_2", *MULTISTEP] if LONG else MULTISTEP
    every_way(added(runs, **wires), solvers=solvers)
    runs.sample("plain", erk_sampler("deis", "calibrated"))
    outcomes = runs.run()
    check_every_way(outcomes, solvers)
    assert outcomes["deis_calibrated"].distance(outcomes["plain"]) > 1e-2, "the patch shows nothing"
    told(patch, "Stable Diffusion 1.5", "it shows, and `off` equals ComfyUI's own with it", solvers)


def test_model_merge(model_server):
    runs = on_tiny(model_server, "sd3")
    other = tiny(model_server, replace(tiny_models.architecture("sd3"), name="sd3_weaker"))["model"]
    runs.graph |= {
        "other": other,
        "merged": node("ModelMergeSimple", model1=["model", 0], model2=["other", 0], ratio=0.5),
    }
    every_way(added(runs, model=["merged", 0]))
    runs.sample("plain", erk_sampler("deis", "calibrated"))
    outcomes = runs.run()
    check_every_way(outcomes)
    assert outcomes["deis_calibrated"].distance(outcomes["plain"]) > 1e-2
    told("ModelMergeSimple", "Stable Diffusion 3", "it shows, and `off` equals ComfyUI's own with it")


@pytest.mark.parametrize(
    "backend",
    ["eager", pytest.param("aot_eager", marks=pytest.mark.long), pytest.param("inductor", marks=pytest.mark.long)],
)
def test_torch_compile(model_server, backend):
    """Compiled by ComfyUI's own helper, which its node TorchCompileModel calls.

    That node offers inductor, which needs a C++ compiler.
    """
    runs = on_tiny(model_server, "sd3")
    if backend == "inductor":
        runs.graph["compiled"] = node("TorchCompileModel", model=["model", 0], backend=backend)
    else:
        runs.graph["compiled"] = node("ProbeCompile", model=["model", 0], backend=backend)
    solvers, modes = ["dpm_2", "deis", "abm"], ["calibrated", "paper"]
    for solver, mode in itertools.product(solvers, modes):
        sampler = erk_sampler(solver, mode, **(paper(5.0) if mode == "paper" else {}))
        runs.sample(f"{solver}_{mode}", sampler, model=["compiled", 0])
        runs.sample(f"{solver}_{mode}_plain", sampler)
    outcomes = runs.run(timeout=600)
    for solver, mode in itertools.product(solvers, modes):
        compiled, plain = outcomes[f"{solver}_{mode}"], outcomes[f"{solver}_{mode}_plain"]
        assert compiled.finite and compiled.distance(plain) < 5e-3, f"{solver} {mode}: {compiled.distance(plain)}"
        assert compiled.counts["sampler"] == plain.counts["sampler"]
    told(f"torch.compile, {backend}", "Stable Diffusion 3", "the same latent as without", solvers, modes)


def test_context_windows(model_server):
    """A video longer than the window."""
    runs = on_tiny(model_server, "wan")
    runs.graph["latent"]["inputs"]["length"] = 33
    runs.graph["windows"] = node(
        "WanContextWindowsManual", model=["model", 0], context_length=17, context_overlap=8,
        context_schedule="standard_static",
        context_stride=1, closed_loop=False, fuse_method="pyramid", freenoise=False, retain_first_frame=False,
            split_conds_to_windows=False,
    )  # fmt: skip
    every_way(added(runs, model=["windows", 0]))
    runs.sample("plain", erk_sampler("deis", "calibrated"))
    outcomes = runs.run()
    check_every_way(outcomes)
    assert outcomes["heun_calibrated"].samples[0].shape == (1, 16, 9, 8, 8)
    assert outcomes["deis_calibrated"].distance(outcomes["plain"]) > 1e-2, "the windows show nothing"
    assert outcomes["deis_calibrated"].counts["network"] > outcomes["plain"].counts["network"]
    told(
        "context windows (Wan Context Windows)",
        "Wan 2.1, video of 33 frames",
        "more network calls, as with ComfyUI's own",
    )


@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_sampler_wrapped_by_another_pack(model_server, kind):
    """The model object has only `inner_model` and `sigmas`, but the kind of model is still found."""
    runs = on_demo(model_server, kind)
    for solver in SOLVERS:
        for mode in MODES:
            sampler = erk_sampler(solver, mode, **(paper(2.0) if mode == "paper" else {}))
            runs.sample(f"{solver}_{mode}_bare", sampler, **DEMO)
            runs.graph[f"{solver}_{mode}_inside"] = sampler
            runs.sample(f"{solver}_{mode}", node("ProbeBareWrapper", sampler=[f"{solver}_{mode}_inside", 0]), **DEMO)
    outcomes = runs.run()
    for solver in SOLVERS:
        for mode in MODES:
            assert torch.equal(outcomes[f"{solver}_{mode}"].flat, outcomes[f"{solver}_{mode}_bare"].flat), (
                f"{solver} {mode}"
            )
    told("sampler wrapped by another pack", f"demo, {kind}", "the same latent, bit for bit")


def test_interrupt_then_sample_again(model_server):
    """After an interrupt in the middle the same seed gives the same latent as before."""
    import websocket

    remembering = ["heun", "deis", "abm"]

    def run() -> Outcome:
        runs = on_demo(model_server, steps=8)
        for solver in remembering:
            runs.sample(solver, erk_sampler(solver, "calibrated"), **DEMO, seed=91)
        outcomes = runs.run()
        return Outcome([part for solver in remembering for part in outcomes[solver].samples], {})

    before = run()
    address = model_server.address.replace("http", "ws")
    socket = websocket.create_connection(f"{address}/ws?clientId=interrupter", timeout=120)
    try:
        for solver in remembering:
            long = on_demo(model_server, steps=400, batch=8)
            long.graph["demo"]["inputs"] |= {"width": 256, "height": 256}
            long.sample("long", erk_sampler(solver, "calibrated"), **DEMO)
            prompt_id = model_server.queue(long.graph, "interrupter")
            for _ in range(10_000):
                message = socket.recv()
                event = json.loads(message) if isinstance(message, str) else {"type": "preview"}
                if event["type"] == "progress" and event["data"]["value"] >= 3:
                    break
            model_server.post("/interrupt", {})
            entry = model_server.wait(prompt_id, 60)
            assert any(name == "execution_interrupted" for name, _ in entry["status"]["messages"]), error_message(entry)
            assert torch.equal(run().flat, before.flat)
    finally:
        socket.close()
    told("interrupt in the middle, then sample again", "demo", "bit for bit as before", remembering, ["calibrated"])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_hundred_prompts_leave_memory_flat(model_server):
    """Latents, traces and tables of past runs must not pile up.

    If one latent of each prompt were kept (8 of 3x64x128, 0.8 MB), this would be 55 MB over the last 70. A run holds
    four or five of that size. The bound leaves room for the allocator, plots and ComfyUI's own history of prompts.
    """
    sizes = []
    for number in range(100):
        runs = on_demo(model_server, batch=8, steps=2 + number % 3)
        runs.graph["demo"]["inputs"] |= {"width": 128}
        runs.graph["erk"] = erk_sampler(
            SOLVERS[number % len(SOLVERS)], ("calibrated", "calibrated", "paper")[number % 3]
        )
        runs.graph["run"] = node(
            "SamplerCustom", model=["demo", 0], add_noise=True, noise_seed=number, cfg=1.0, positive=["demo", 1],
            negative=["demo", 2],
            sampler=["erk", 0], sigmas=["sigmas", 0], latent_image=["demo", 4],
        )  # fmt: skip
        runs.save("run", ["run", 0])
        if number % 11 == 0:
            runs.graph["plot"] = node("StiffnessVisualizerERKGuid", trace=["erk", 1], latent=["run", 0])
        assert runs.run()["run"].finite
        sizes.append(resident(model_server.process.pid))
    assert max(sizes[-10:]) - max(sizes[20:30]) < 40, (
        f"MB after every tenth prompt: {[round(size) for size in sizes[::10]]}"
    )
    told(
        "a hundred prompts in a row",
        "demo, with Stiffness Visualizer",
        "the server's memory grows by less than 40 MB over the last 70",
        SOLVERS,
        ["calibrated", "paper"],
    )
