"""With other guidance: ComfyUI's guiders and model patches, in the real server, on the demo model and on tiny ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import tiny_models
from graphs import MODES, Runs, check_every_way, every_way, schedule, solvers_for, tiny
from prompts import node

from devtools.make import compatibility

STEPS = {"demo": 6, "sd3": 6, "flux": 6, "sd15": 3}


@dataclass(frozen=True)
class Combination:
    """Patches that are put on the model one after the other, and a guider or a CFG scale.

    model    "demo" with the exact denoiser of mosaics, or the name of a tiny model
    guiding  inputs of the guider other than its model
    """

    title: str
    model: str = "demo"
    patches: tuple[tuple[str, dict[str, Any]], ...] = ()
    guider: str | None = None
    guiding: dict[str, Any] = field(default_factory=dict)
    cfg: float = 3.0
    more: dict[str, Any] = field(default_factory=dict)
    note: str = ""


P, N = ["positive", 0], ["negative", 0]
_SIX = {"start_percent": 0.0, "end_percent": 1.0}
COMBINATIONS = {
    "cfg_1": Combination("CFG 1.0 (the unconditional half is not run)", cfg=1.0),
    "cfg_7.5": Combination("CFG 7.5", cfg=7.5),
    "basic": Combination("BasicGuider", guider="BasicGuider", guiding={"conditioning": P}),
    "dual_cfg": Combination(
        "DualCFGGuider", guider="DualCFGGuider",
        guiding={"cond1": P, "cond2": ["weave", 0], "negative": N, "cfg_conds": 3.0, "cfg_cond2_negative": 2.0,
        "style": "regular"},
        more={"weave": node("ConditioningAverage", conditioning_to=P, conditioning_from=N,
        conditioning_to_strength=0.5)},
    ),
    "dual_cfg_nested": Combination(
        "DualCFGGuider, nested", guider="DualCFGGuider",
        guiding={"cond1": P, "cond2": ["weave", 0], "negative": N, "cfg_conds": 3.0, "cfg_cond2_negative": 2.0,
        "style": "nested"},
        more={"weave": node("ConditioningAverage", conditioning_to=P, conditioning_from=N,
        conditioning_to_strength=0.5)},
    ),
    "perp_neg": Combination(
        "PerpNegGuider", model="sd3", guider="PerpNegGuider",
        guiding={"positive": P, "negative": ["weave", 0], "empty_conditioning": N, "cfg": 4.0, "neg_scale": 1.0},
        more={"weave": node("ConditioningAverage", conditioning_to=P, conditioning_from=N,
        conditioning_to_strength=0.5)},
        note="on the demo model ComfyUI's own solvers give NaN with it: PerpNegGuider divides by zero where two "
        "predictions are equal",
    ),
    "autoguidance": Combination(
        "Dual Model CFG Guider as Autoguidance", model="sd3", guider="DualModelGuider",
        guiding={"positive": P, "model_negative": ["weaker", 0], "negative": P, "cfg": 2.0},
        note="the weaker model is another checkpoint of its kind",
    ),
    "rescale_cfg": Combination("RescaleCFG", patches=(("RescaleCFG", {"multiplier": 0.7}),)),
    "apg": Combination("APG", patches=(("APG", {"eta": 0.5, "norm_threshold": 5.0, "momentum": 0.0}),)),
    "apg_momentum": Combination("APG with momentum", patches=(("APG", {"eta": 1.0, "norm_threshold": 15.0,
    "momentum": -0.5}),)),
    "cfg_zero_star": Combination("CFGZeroStar", patches=(("CFGZeroStar", {}),)),
    "cfg_norm": Combination("CFGNorm", patches=(("CFGNorm", {"strength": 1.0}),)),
    "renorm_cfg": Combination("RenormCFG", model="sd3", patches=(("RenormCFG", {"cfg_trunc": 100.0, "renorm_cfg": 1.0}),
    )),
    "tcfg": Combination("TCFG", patches=(("TCFG", {}),)),
    "mahiro": Combination("Mahiro (positive-biased guidance)", patches=(("Mahiro", {}),)),
    "epsilon_scaling": Combination("Epsilon Scaling", patches=(("Epsilon Scaling", {"scaling_factor": 1.005}),)),
    "easy_cache": Combination(
        "EasyCache", patches=(("EasyCache", {"reuse_threshold": 0.2, "start_percent": 0.0, "end_percent": 1.0,
        "verbose": False}),),
        note="it leaves out model calls of its own choice",
    ),
    "post_cfg": Combination("a post-CFG function that needs the unconditional prediction", patches=(("ProbePostCFG",
    {}),), cfg=1.0),
    "pag": Combination("PerturbedAttentionGuidance", model="sd15", patches=(("PerturbedAttentionGuidance",
    {"scale": 3.0}),)),
    "slg": Combination(
        "SkipLayerGuidanceSD3", model="sd3", patches=(("SkipLayerGuidanceSD3", {"layers": "0", "scale": 3.0, **_SIX}),),
    ),
    "slg_dit": Combination(
        "SkipLayerGuidanceDiT", model="flux",
        patches=(("SkipLayerGuidanceDiT", {"double_layers": "0", "single_layers": "0", "scale": 3.0,
        "rescaling_scale": 0.0, **_SIX}),),
    ),
    "sag": Combination("SelfAttentionGuidance", model="sd15", patches=(("SelfAttentionGuidance", {"scale": 0.5,
    "blur_sigma": 2.0}),)),
    "freeu": Combination("FreeU_V2", model="sd15", patches=(("FreeU_V2", {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}),
    )),
    "all": Combination(
        "APG, RescaleCFG and Epsilon Scaling at once",
        patches=(
            ("APG", {"eta": 1.0, "norm_threshold": 15.0, "momentum": 0.0}), ("RescaleCFG", {"multiplier": 0.5}),
            ("Epsilon Scaling", {"scaling_factor": 1.01}),
        ),
    ),
}  # fmt: skip
SHORT = {key for key, one in COMBINATIONS.items() if one.model in ("demo", "sd3")} | {"pag"}


def graph_of(server, what: Combination) -> dict[str, Any]:
    if what.model == "demo":
        graph = {
            "demo": node("DemoModelERKGuid", kind="eps", pictures="arcs", width=64, height=64, batch_size=2),
            "model": ["demo", 0], "positive": ["demo", 1], "negative": ["demo", 2], "latent": ["demo", 4],
        }  # fmt: skip
    else:
        graph = {**tiny(server, tiny_models.architecture(what.model)), **what.more}
        if "weaker" in str(what.guiding):
            other = replace(tiny_models.architecture(what.model), name=f"{what.model}_weaker")
            graph["weaker"] = tiny(server, other)["model"]
        return graph
    wires = {name: link for name, link in graph.items() if isinstance(link, list)}
    return {"demo": graph["demo"], **rewired(what.more, wires)}


def rewired(part: Any, wires: dict[str, list[Any]]) -> Any:
    """The same, with links to "positive" and so on replaced by links to their sources."""
    if isinstance(part, dict):
        return {key: rewired(value, wires) for key, value in part.items()}
    if isinstance(part, list) and part and part[0] in wires:
        return wires[part[0]]
    return part


DEMO = {"model": ["demo", 0], "positive": ["demo", 1], "negative": ["demo", 2], "latent": ["demo", 4]}


@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=[] if key in SHORT else [pytest.mark.long]) for key in COMBINATIONS]
)
def test_combination(model_server, key):
    what = COMBINATIONS[key]
    wires = DEMO if what.model == "demo" else {name: [name, 0] for name in DEMO}
    runs = Runs(model_server, graph_of(model_server, what))
    patched = wires["model"]
    for i, (kind, inputs) in enumerate(what.patches):
        runs.graph[f"patch{i}"] = node(kind, model=patched, **inputs)
        patched = [f"patch{i}", 0]
    runs.graph["sigmas"] = schedule(
        wires["model"], STEPS[what.model], "simple" if what.model in ("sd3", "flux") else "karras"
    )
    runs.graph["noise"] = node("RandomNoise", noise_seed=5)

    def add(label: str, sampler: dict[str, Any]) -> None:
        if what.guider is None:
            runs.sample(
                label,
                sampler,
                model=patched,
                latent=wires["latent"],
                positive=wires["positive"],
                negative=wires["negative"],
                cfg=what.cfg,
            )
        else:
            guider = {"class_type": what.guider, "inputs": rewired(what.guiding, wires)}
            runs.guide(label, sampler, guider, model=patched, latent=wires["latent"])

    solvers = solvers_for(what.model, list(COMBINATIONS).index(key))
    every_way(add, w_stiff=2.0, solvers=solvers)
    check_every_way(runs.run(), solvers)
    row = {
        "guidance": what.title, "model": "demo" if what.model == "demo" else tiny_models.architecture(what.model).title,
        "solvers": solvers, "modes": MODES, "note": what.note,
    }  # fmt: skip
    compatibility.tell("guidance", key, row)
