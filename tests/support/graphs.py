"""Graphs of tiny models for the server with the probe nodes, and code to read their results."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_models
import torch
from prompts import node
from tiny_models import Architecture
from torch import Tensor

import erk
from devtools.comfyui import Server
from devtools.twins import TWINS, counterpart

SOLVERS = list(erk.SOLVERS)
MULTISTEP = [name for name, solver in erk.SOLVERS.items() if issubclass(solver, erk.Multistep)]
"""Solvers that remember the run's earlier steps."""

MODES = list(erk.MODES)

NOISY = list(erk.NOISY)
NOISY_MODES = ["off", "calibrated"]

LONG = os.environ.get("ERK_GUID_LONG") == "1"
_SLOW = ("sd15", "sd2_v")
"""The largest of the tiny models."""

Graph = dict[str, Any]
_number = itertools.count()


@dataclass(frozen=True)
class Outcome:
    """A sampler's latent, with separate tensors if it is nested, and the calls that made it."""

    samples: list[Tensor]
    counts: dict[str, Any]

    @property
    def flat(self) -> Tensor:
        return torch.cat([part.float().flatten() for part in self.samples])

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(self.flat).all())

    def distance(self, other: Outcome) -> float:
        """Largest difference, divided by the other's root mean square."""
        return float((self.flat - other.flat).abs().max() / other.flat.square().mean().sqrt())


def tiny(server: Server, what: Architecture) -> Graph:
    """Nodes "model", "positive", "negative", "latent" for a tiny model, which is written if it is not there yet."""
    file = tiny_models.write(server.base / "models", what)
    loader = (
        {"ckpt_name": file}
        if what.loader == "CheckpointLoaderSimple"
        else {"unet_name": file, "weight_dtype": "default"}
    )
    c = what.conditioning
    texts = {"tokens": c.tokens, "width": c.width, "pooled": c.pooled, "extra": json.dumps(c.extra)}
    return {
        "model": node(what.loader, **loader),
        "positive": node("ProbeConditioning", **texts, seed=1),
        "negative": node("ProbeConditioning", **texts, seed=2),
        **{name: node(kind, **inputs) for name, (kind, inputs) in what.nodes.items()},
        "latent": node(what.latent[0], **what.latent[1]),
    }


def stock_sampler(solver: str) -> Graph:
    """ComfyUI's own solver, without noise."""
    name, options = TWINS[solver]
    return (
        node("SamplerDPMPP_2S_Ancestral", **options, s_noise=1.0)
        if options
        else node("KSamplerSelect", sampler_name=name)
    )


def erk_sampler(solver: str, mode: str, **options: Any) -> Graph:
    return node("SamplerERKGuid", solver=solver, mode=mode, **options)


def schedule(model: list[Any], steps: int = 4, scheduler: str = "simple", denoise: float = 1.0) -> Graph:
    return node("BasicScheduler", model=model, scheduler=scheduler, steps=steps, denoise=denoise)


def solvers_for(model: str, number: int = 0) -> list[str]:
    """All solvers. The short selection on a slow model has those of one call and one of two calls.

    That one changes with the test's number.
    """
    if LONG or model not in _SLOW:
        return SOLVERS
    one_step = [solver for solver in SOLVERS if solver not in MULTISTEP]
    return [one_step[number % len(one_step)], *MULTISTEP]


def every_way(
    add: Callable[[str, Graph], None], w_stiff: float = 5.0, solvers: Sequence[str] = SOLVERS, noise: bool = True
) -> None:
    """Call ``add(label, sampler)`` for each solver, in each mode ("heun_off") and as ComfyUI's own ("heun_stock").

    Mode paper gets a strength with a visible effect, because the preset was not tuned for random weights.

    noise  whether the solvers that add noise take part too, in their modes; never where a selection of solvers is given
    """
    for solver in NOISY if noise and solvers is SOLVERS else []:
        add(f"{solver}_stock", node("KSamplerSelect", sampler_name=solver))
        for mode in NOISY_MODES:
            add(f"{solver}_{mode}", erk_sampler(solver, mode))
    for solver in solvers:
        if solver in TWINS:
            add(f"{solver}_stock", stock_sampler(solver))
        for mode in MODES:
            add(f"{solver}_{mode}", erk_sampler(solver, mode, **(paper(w_stiff) if mode == "paper" else {})))


def paper(w_stiff: float) -> Graph:
    return {"strengths": "custom", "w_stiff": w_stiff, "w_con": 0.0}


def _check_noisy(
    solver: str, stock: Outcome, off: Outcome, calibrated: Outcome, closeness: float, undecided: bool
) -> None:
    assert stock.finite and off.finite and calibrated.finite, f"{solver}: not finite"
    assert off.counts == stock.counts == calibrated.counts, f"{solver}: other model calls than ComfyUI's own"
    rounding = off.distance(stock)
    assert rounding < closeness, f"{solver}: mode off is {rounding:.1e} away from ComfyUI's own"
    differs = calibrated.distance(off) > 2 * rounding
    assert differs == undecided, f"{solver}: mode calibrated does {'something' if differs else 'nothing'}"


def check_every_way(
    outcomes: dict[str, Outcome], solvers: Sequence[str] = SOLVERS, closeness: float = 2e-3, undecided: bool = True
) -> None:
    """Results are finite, and off equals ComfyUI's own solver within rounding. Guided modes differ from it.

    The number of model calls is the same. A solver without a twin is compared with its counterpart's twin. Its off must
    differ from that twin, and its guided modes must differ from its off. The allowed rounding is the counterpart's own
    difference. If no sampler of ComfyUI makes as many calls, the solver's own number is used.

    undecided  whether the model's predictions leave anything undecided; else mode calibrated adds no noise
    """
    for solver in NOISY:
        if f"{solver}_off" in outcomes:
            _check_noisy(
                solver, *(outcomes[f"{solver}_{way}"] for way in ("stock", *NOISY_MODES)), closeness, undecided
            )
    corrected = 0
    for solver in solvers:
        of, off = counterpart(solver) or MULTISTEP[0], outcomes[f"{solver}_off"]
        stock = outcomes[f"{of}_stock"]
        assert stock.finite and stock.flat.std() > 0.1, f"{solver}: ComfyUI's own gives nothing to compare with"
        assert off.counts == stock.counts or counterpart(solver) is None, (
            f"{solver}: other model calls than ComfyUI's own"
        )
        calls = [
            (of_run.counts["sampler"] - 1) / erk.SOLVERS[name].calls for name, of_run in ((of, stock), (solver, off))
        ]
        assert calls[0] == calls[1], f"{solver}: other model calls than it says"
        rounding = outcomes[f"{of}_off"].distance(stock)
        assert rounding < closeness, f"{of}: mode off is {rounding:.1e} away from ComfyUI's own"
        least = max(10 * rounding, 1e-6)
        plain = stock
        if solver not in TWINS:
            plain = off
            assert off.finite and off.flat.std() > 0.1, f"{solver} off"
            assert off.distance(stock) > least, f"{solver}: mode off is ComfyUI's {of}"
        for mode in ("calibrated", "paper"):
            guided = outcomes[f"{solver}_{mode}"]
            assert guided.finite, f"{solver} {mode}"
            shown = guided.distance(plain) > least
            assert shown or mode == "calibrated", f"{solver} {mode}: guidance shows nothing"
            corrected += shown and mode == "calibrated"
            assert guided.counts["sampler"] == off.counts["sampler"], (
                f"{solver} {mode}: other model calls than with mode off"
            )
    # With untrained weights it is right that one solver's claims may never prove themselves, but not those of all.
    assert corrected or len(solvers) == 1, "calibrated shows nothing with any solver"


class Runs:
    """Several samplings in one prompt, each counted and saved under its label."""

    def __init__(self, server: Server, base: Graph) -> None:
        self.server, self.graph = server, dict(base)
        self._prefix = f"run{next(_number)}"
        self.labels: list[str] = []

    def count(self, label: str, model: list[Any]) -> list[Any]:
        self.graph[f"{label}_model"] = node("ProbeCount", model=model, name=f"{self._prefix}_{label}")
        return [f"{label}_model", 0]

    def save(self, label: str, latent: list[Any]) -> None:
        self.graph[f"{label}_save"] = node("ProbeSave", latent=latent, name=f"{self._prefix}_{label}")
        self.labels.append(label)

    def sample(
        self, label: str, sampler: Graph, *, model: Any = ("model", 0), sigmas: Any = ("sigmas", 0),
        latent: Any = ("latent", 0),
        positive: Any = ("positive", 0), negative: Any = ("negative", 0), cfg: float = 3.0, seed: int = 5,
        add_noise: bool = True,
    ) -> None:  # fmt: skip
        """With SamplerCustom."""
        self.graph[f"{label}_sampler"] = sampler
        self.graph[label] = node(
            "SamplerCustom", model=self.count(label, list(model)), add_noise=add_noise, noise_seed=seed, cfg=cfg,
            positive=list(positive),
            negative=list(negative), sampler=[f"{label}_sampler", 0], sigmas=list(sigmas), latent_image=list(latent),
        )  # fmt: skip
        self.save(label, [label, 0])

    def guide(
        self, label: str, sampler: Graph, guider: Graph, *, model: Any = ("model", 0), sigmas: Any = ("sigmas", 0),
        latent: Any = ("latent", 0), noise: Any = ("noise", 0),
    ) -> None:  # fmt: skip
        """With SamplerCustomAdvanced and a guider, which is given the counted model."""
        self.graph[f"{label}_sampler"] = sampler
        inputs = {**guider["inputs"], "model": self.count(label, list(model))}
        self.graph[f"{label}_guider"] = {"class_type": guider["class_type"], "inputs": inputs}
        self.graph[label] = node(
            "SamplerCustomAdvanced", noise=list(noise), guider=[f"{label}_guider", 0], sampler=[f"{label}_sampler", 0],
            sigmas=list(sigmas), latent_image=list(latent),
        )  # fmt: skip
        self.save(label, [label, 0])

    def run(self, timeout: float = 300) -> dict[str, Outcome]:
        """Queue, wait and read. Raises ComfyUIError with the node's message if a node fails."""
        self.server.run(self.graph, timeout)
        outcomes = {}
        for label in self.labels:
            data = torch.load(self.server.base / "output" / f"{self._prefix}_{label}.pt")
            outcomes[label] = Outcome(data["samples"], data["counts"])
        return outcomes


def resident(pid: int) -> float:
    """Memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")
