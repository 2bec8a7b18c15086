"""Whether ERK-Guid adds up with other guidance: python -m bench.combinations.

Exact problems by class, sampled through ComfyUI's own guiders and model patches. Each guidance defines an ODE of its
own; the error is the distance to the converged end point of that very ODE, which is solved through the same guider
in float64. One row a run goes to bench/results/combinations.csv, the tables to COMBINATIONS.md.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .accuracy import modes
from .instruments import environment, rows
from .instruments.comfy_model import Bench, ProblemModel, comfy
from .instruments.distributions import GaussianMixture, KernelDensity
from .instruments.environment import RESULTS
from .instruments.problems import Problem, problem
from .instruments.reference import Reference, converge, rms
from .instruments.stock import erk_samplers, steps_within

CSV, REPORT = RESULTS / "combinations.csv", RESULTS / "COMBINATIONS.md"
PROBLEMS = ("digits-cfg-2", "mixture-cfg-2")
"""Classed problems; their own CFG scale is not used here."""

KINDS = {"eps": "karras", "flow": "simple"}
BUDGETS = (16, 32)
WORSE = 1.05
HELPED = 0.9
"""What the page's first lines call lowered: the geometric mean over problems, kinds and calls of error over that of
off.
"""

UNREACHED = 0.1
"""A reference whose own error is more than this fraction of the error it is to judge judges nothing."""

FLOORS = {"CFG 4, CFGZeroStar": 1e-3, "PerpNegGuider 4": 1e-3}
"""Noise level below which the reference takes the prediction at this level instead. These two divide by the size of a
prediction's noise part (CFGZeroStar adds 1e-8 to its square, PerpNegGuider adds nothing), so that far below any noise
level a sampler calls them at they answer with their own rounding. What that leaves out of the reference is below
1e-3."""

ENDLESS = {("CFG 4, CFGZeroStar", "eps")}
"""Here the guided prediction does not tend to the state as sigma falls, so that the drift grows as 1/sigma: every
solver at any number of calls ends equally far (6.5 and 1.1) from the reference, which measures no solver."""

MAX_STEPS = {"PerpNegGuider 4": 400}
"""Of the reference, where 1600 would only cost time."""

Guide = Callable[["Guided"], Any]
"""Makes a guider for a problem."""


class _Float64Model(ProblemModel):
    """In float64 where it is asked in float64: for the reference."""

    def _apply_model(
        self, x: Tensor, t: Tensor, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ):
        if x.dtype != torch.float64:
            return super()._apply_model(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
        condition = None if c_crossattn is None else c_crossattn.to(x)[:, 0].expand(len(x), -1)
        return self.predictor.predict(x, t.to(x).expand(len(x)), self.flow, condition)


class Guided:
    """A problem as ComfyUI MODELs and CONDITIONINGs.

    model, weaker                     the exact denoiser, and that of the same data blurred
    positive, other, unconditional    each sample's class, the next class, every class alike
    """

    def __init__(self, name: str, kind: str) -> None:
        self.what, self.kind = problem(name), kind
        noise = self.what.noise()
        self.noise = noise
        self.bench = Bench(self.what, kind, noise)
        self.flow = self.bench.flow
        self.model, self.inner = self._patcher(self.what)
        self.weaker, _ = self._patcher(replace(self.what, distribution=_blurred(self.what)))
        wanted = self.what.condition(len(noise))[:, None]
        self.positive, self.other = [[wanted, {}]], [[wanted.roll(1, dims=-1), {}]]
        self.unconditional = [[torch.zeros_like(wanted), {}]]

    def _patcher(self, what: Problem):
        model = _Float64Model(what, self.kind)
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu), model

    def sample(
        self, guider: Any, sampler: str | Callable[..., Tensor], sigmas: Tensor, options: dict[str, Any] | None = None
    ):
        """Samples [B, *shape] and the number of the sampler's model calls."""
        calls = []
        guider.model_patcher = guider.model_patcher.clone()
        wrapper = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
        guider.model_patcher.add_wrapper(wrapper, lambda executor, *a, **k: calls.append(1) or executor(*a, **k))
        guider.model_options = guider.model_patcher.model_options
        made = (
            comfy.samplers.KSAMPLER(sampler) if callable(sampler) else comfy.samplers.ksampler(sampler, options or {})
        )
        latent = torch.zeros_like(self.noise)
        samples = guider.sample(self.noise, latent, made, sigmas.clone(), disable_pbar=True, seed=0)
        return samples, len(calls)

    def converge(self, guider: Any, sigma_start: float, floor: float = 0.0, max_steps: int = 1600) -> Reference:
        """The end point of the guided ODE, through the guider itself; floor: see FLOORS."""
        found: list[Reference] = []

        def solve(
            model: Any,
            x: Tensor,
            sigmas: Tensor,
            extra_args: dict | None = None,
            callback: Any = None,
            disable: Any = None,
        ):
            def denoise(x: Tensor, sigma: float) -> Tensor:
                return model(x, x.new_full((len(x),), max(sigma, floor)), **(extra_args or {}))

            found.append(converge(denoise, x, sigma_start, tolerance=1e-5, max_steps=max_steps))
            return x

        self.sample(guider, solve, torch.tensor([sigma_start, 0.0]))
        return found[0]


def _blurred(what: Problem) -> KernelDensity | GaussianMixture:
    """The data of a worse model: its Gaussians half as wide again."""
    data = what.distribution
    if isinstance(data, KernelDensity):
        return KernelDensity(data.points, 1.5 * data.width, data.labels)
    assert isinstance(data, GaussianMixture)
    return data.widened(1.5)


def _node(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _cfg(scale: float, *patches: Callable[[Any], Any]) -> Guide:
    def make(guided: Guided) -> Any:
        model = guided.model
        for patch in patches:
            model = patch(model)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(guided.positive, guided.unconditional)
        guider.set_cfg(scale)
        return guider

    return make


def _extra(module: str, name: str, **options: Any) -> Callable[[Any], Any]:
    return lambda model: _node(f"comfy_extras.{module}", name).execute(model, **options)[0]


def _rescale(multiplier: float) -> Callable[[Any], Any]:
    return lambda model: _node("comfy_extras.nodes_model_advanced", "RescaleCFG")().patch(model, multiplier)[0]


def _autoguidance(scale: float) -> Guide:
    return lambda g: _node("comfy_extras.nodes_custom_sampler", "DualModelGuider").execute(
        g.model, g.positive, scale, model_negative=g.weaker, negative=g.positive
    )[0]


def _dual_cfg(first: float, second: float) -> Guide:
    return lambda g: _node("comfy_extras.nodes_custom_sampler", "DualCFGGuider").execute(
        g.model, g.positive, g.other, g.unconditional, first, second, "regular"
    )[0]


def _perp_neg(scale: float) -> Guide:
    return lambda g: _node("comfy_extras.nodes_perpneg", "PerpNegGuider").execute(
        g.model, g.positive, g.other, g.unconditional, scale, 1.0
    )[0]


COMBINATIONS: dict[str, Guide] = {
    "CFG 1": _cfg(1.0),
    "CFG 2": _cfg(2.0),
    "CFG 4": _cfg(4.0),
    "CFG 7.5": _cfg(7.5),
    "CFG 7.5, RescaleCFG 0.7": _cfg(7.5, _rescale(0.7)),
    "CFG 7.5, APG": _cfg(7.5, _extra("nodes_apg", "APG", eta=0.0, norm_threshold=0.0, momentum=0.0)),
    "CFG 4, CFGZeroStar": _cfg(4.0, _extra("nodes_cfg", "CFGZeroStar")),
    "CFG 4, TCFG": _cfg(4.0, _extra("nodes_tcfg", "TCFG")),
    "CFG 4, Epsilon Scaling 1.005": _cfg(4.0, _extra("nodes_eps", "EpsilonScaling", scaling_factor=1.005)),
    "Autoguidance 2": _autoguidance(2.0),
    "Autoguidance 3": _autoguidance(3.0),
    "DualCFGGuider 3, 2": _dual_cfg(3.0, 2.0),
    "PerpNegGuider 4": _perp_neg(4.0),
}


@dataclass(frozen=True)
class Row:
    """One run; ``mean`` is the mean error of the samples, ``worse`` the share further off than with mode off."""

    combination: str
    problem: str
    kind: str
    budget: int
    sampler: str
    mode: str
    calls: int
    mean: float
    worse: float
    reference_error: float


def measure(combination: str, name: str, kind: str) -> Iterable[Row]:
    guided, guide = Guided(name, kind), COMBINATIONS[combination]
    schedule = KINDS[kind]
    begin = time.monotonic()
    start = float(guided.bench.sigmas(schedule, 8)[0])
    reference = guided.converge(guide(guided), start, FLOORS.get(combination, 0.0), MAX_STEPS.get(combination, 1600))
    error = float(reference.error.mean())
    print(
        f"{combination}, {name}, {kind}: {reference.steps} steps, error {error:.1e}, {time.monotonic() - begin:.0f} s",
        file=sys.stderr,
    )
    for budget in BUDGETS:
        for sampler in erk_samplers():
            sigmas = guided.bench.sigmas(schedule, steps_within(sampler, budget))
            off: Tensor | None = None
            for mode in modes():
                samples, calls = guided.sample(guide(guided), sampler, sigmas, {"mode": mode})
                errors = rms(samples.double() - reference.samples)
                off = errors if off is None else off
                worse = float((errors > off * 1.001 + 1e-6).double().mean())
                yield Row(combination, name, kind, budget, sampler, mode, calls, float(errors.mean()), worse, error)


def report(measured: list[Row]) -> str:
    """The rows as Markdown."""
    guided = [mode for mode in modes() if mode != "off"]
    off = {(r.combination, r.problem, r.kind, r.budget, r.sampler): r for r in measured if r.mode == "off"}
    usable, unusable = [], set()
    for row in measured:
        base = off[row.combination, row.problem, row.kind, row.budget, row.sampler]
        if row.mode == "off":
            continue
        if (row.combination, row.kind) in ENDLESS:
            unusable.add((row.combination, row.problem, row.kind, "endless"))
        elif not (
            math.isfinite(base.mean)
            and math.isfinite(row.reference_error)
            and row.reference_error < UNREACHED * base.mean
        ):
            unusable.add((row.combination, row.problem, row.kind, f"{row.reference_error:.1e}"))
        else:
            usable.append((row, row.mean / base.mean))

    def mean(chosen: list[float]) -> str:
        return f"{statistics.geometric_mean(chosen):.2f}" if chosen else "-"

    known = [problem(name).note.split(", CFG")[0] for name in PROBLEMS]
    lines = [
        "# ERK-Guid together with other guidance",
        "",
        environment.sentence(CSV.with_suffix(".json")),
        "",
        f"Problems whose denoiser is known exactly ({'; '.join(known)}), "
        "32 samples each, class by class, as sigma-space (`karras`, 14.6 to 0.03) and as flow models (`simple`, shift "
        "3), at 16 and 32 calls of the sampler to the model. All guidance is ComfyUI's own, and the error of a sample "
        "is its distance to the converged end point of the same guided ODE, solved through the same guider in float64. "
        "Autoguidance: `DualModelGuider`, the same class on a model of the "
        "data with Gaussians 1.5 times as wide. Below 1: nearer to the end point than the same solver with mode off.",
        "",
        f"For {' and '.join(FLOORS)} the reference takes the prediction at sigma 0.001 below that level, where these "
        f"two guidances "
        "answer with their own rounding.",
        "",
        *_conclusion(usable),
        "",
        "## Error, mode / off: geometric mean over problems, kinds, solvers and calls",
        "",
        "| guidance | "
        + " | ".join(f"`{m}` sigma-space | `{m}` flow | `{m}` worst cell | `{m}` cells above {WORSE}" for m in guided)
        + " |",
        "|---|" + "---:|" * (4 * len(guided)),
    ]
    for combination in dict.fromkeys(row.combination for row in measured):
        cells = []
        for mode in guided:
            chosen = [(row, value) for row, value in usable if row.combination == combination and row.mode == mode]
            cells += [mean([value for row, value in chosen if row.kind == kind]) for kind in KINDS]
            values = [value for _, value in chosen]
            cells += (
                [
                    f"{max(values):.2f}" if max(values) < 1e4 else f"{max(values):.0e}",
                    f"{sum(value > WORSE for value in values)} of {len(values)}",
                ]
                if values
                else ["-", "-"]
            )
        lines.append(f"| {combination} | " + " | ".join(cells) + " |")
    solvers = [name for name in erk_samplers() if any(row.sampler == name for row, _ in usable)]
    lines += ["", "## `calibrated` by guidance and solver", "", "Geometric mean, and the worst cell in brackets.", ""]
    lines += ["| guidance | " + " | ".join(solvers) + " |", "|---|" + "---:|" * len(solvers)]
    for combination in dict.fromkeys(row.combination for row, _ in usable):
        cells = []
        for sampler in solvers:
            chosen = [
                v for r, v in usable if (r.combination, r.sampler, r.mode) == (combination, sampler, "calibrated")
            ]
            cells.append(f"{mean(chosen)} ({max(chosen):.2f})")
        lines.append(f"| {combination} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## By solver and calls, over all guidance",
        "",
        "| solver | calls | " + " | ".join(f"`{m}`" for m in guided) + " |",
    ]
    lines += ["|---|---:|" + "---:|" * len(guided)]
    for sampler in solvers:
        for budget in BUDGETS:
            chosen = [
                mean([v for r, v in usable if (r.sampler, r.budget, r.mode) == (sampler, budget, m)]) for m in guided
            ]
            lines.append(f"| {sampler} | {budget} | " + " | ".join(chosen) + " |")
    lines += [
        "",
        f"## Every loss of `calibrated`: cells where its mean error is more than {100 * (WORSE - 1):.0f} % above that "
        "of off",
        "",
    ]
    losses = sorted(((v, r) for r, v in usable if r.mode == "calibrated" and v > WORSE), key=lambda pair: -pair[0])
    if losses:
        lines += [
            "| guidance | problem | kind | calls | solver | off | calibrated | ratio |",
            "|---|---|---|---:|---|---:|---:|---:|",
        ]
        for value, row in losses:
            base = off[row.combination, row.problem, row.kind, row.budget, row.sampler].mean
            cells = (
                row.combination,
                row.problem,
                row.kind,
                row.budget,
                row.sampler,
                f"{base:.4f}",
                f"{row.mean:.4f}",
                f"{value:.2f}",
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    else:
        lines.append("None.")
    if unusable:
        lines += ["", "## Not judged", ""]
        lines += [
            f"- {combination}, {name}, {kind}: "
            + (
                "the drift grows as 1/sigma, so the end is where one stops: every solver at any number of calls is "
                "equally far off."
                if error == "endless"
                else "the reference is not finite: the guidance divides by zero on the way."
                if error == "nan"
                else f"the reference itself is only known to {error}."
            )
            for combination, name, kind, error in sorted(unusable, key=str)
        ]
    return "\n".join(lines) + "\n"


def _conclusion(usable: list[tuple[Row, float]]) -> list[str]:
    """Under which guidance, and with which solver, the error falls on average and under which it does not."""
    shares: dict[tuple[str, str], list[float]] = {}
    for row, value in usable:
        if row.mode == "calibrated":
            shares.setdefault((row.combination, row.sampler), []).append(value)
    helped, mixed = [], []
    for combination in dict.fromkeys(combination for combination, _ in shares):
        means = {
            sampler: statistics.geometric_mean(values)
            for (name, sampler), values in shares.items()
            if name == combination
        }
        if max(means.values()) < HELPED:
            helped.append(combination)
        else:
            mixed.append(
                f"Under {combination} it does not: "
                f"{', '.join(f'{sampler} {value:.2f}' for sampler, value in means.items())}."
            )
    lines = []
    if helped:
        lines.append(
            f"`calibrated` lowers the mean error of every solver, to below {HELPED} of that of off on average, under "
            f"{'; '.join(helped)}."
        )
    return [" ".join(lines + mixed)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="GUIDANCE", choices=list(COMBINATIONS), default=list(COMBINATIONS))
    parser.add_argument("--report", action="store_true", help="only write the tables from the rows that are there")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="comfy")
    measured = rows.read(CSV, Row)
    if not options.report:
        measured = [row for row in measured if row.combination not in options.only]
        writer = rows.Writer(CSV, Row, measured)
        environment.record(CSV.with_suffix(".json"), "python -m bench.combinations")
        for combination in options.only:
            for name in PROBLEMS:
                for kind in KINDS:
                    for row in measure(combination, name, kind):
                        writer.write(row)
        measured = rows.read(CSV, Row)  # rounded as the file holds them, so that --report gives the same page
    measured.sort(key=lambda row: list(COMBINATIONS).index(row.combination))
    REPORT.write_text(report(measured))
    print(REPORT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
