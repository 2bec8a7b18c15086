"""Compares RES4LYF's multistep samplers with ours at equal model calls: python -m bench.res4lyf PATH_OF_RES4LYF.

PATH is a checkout of github.com/ClownsharkBatwing/RES4LYF, which needs opencv-python and pywavelets. Each of its
samplers runs with its defaults, and with its own option multistep_fallback_sampler=res_2s (or res_3s). The reason is
its handling of long steps. If a step is longer than 1 in log sigma, a multistep sampler of its exponential family falls
back to another sampler. Below sigma 0.1 this is `euler`, whose weight of 1 is right for steps in sigma, but not for
exponential steps. Such a step goes about log(sigma / sigma_next) times as far as it should. It is the last step of
every flow schedule whose last level is below 0.1. For `simple` at shift 3, this is the case from 29 steps on.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from .accuracy import Cell
from .instruments import command
from .instruments.comfy_model import Bench
from .instruments.problems import problem
from .instruments.stock import steps_within

PROBLEMS = ("gaussian-rotated", "spiral-0.10", "tree-0.10", "mixture-8x8", "digits-0.30", "digits-cfg-4")
KINDS = {"eps": "karras", "flow": "simple", "flow1": "simple"}
SAMPLERS = {"res_2m": "res_2s", "res_3m": "res_3s"}
"""For each of its multistep samplers, the fallback from the same family."""


def load(path: Path) -> Callable[..., Tensor]:
    """Its sampler function, loaded with ComfyUI's own loader."""
    import server

    import nodes

    # Its nodes add routes to the running server, so there must be one. This one does not listen.
    server.PromptServer(asyncio.new_event_loop())
    if not asyncio.run(nodes.load_custom_node(str(path.resolve()))):
        raise SystemExit(f"ComfyUI could not load {path}: see the log above.")
    package = str(path.resolve()).replace(".", "_x_")
    return sys.modules[f"{package}.beta.rk_sampler_beta"].sample_rk_beta


def within(bench: Bench, schedule: str, budget: int, sampler: Callable[..., Tensor]) -> tuple[Tensor, int]:
    """Samples with the most steps whose calls fit the budget, and the number of calls.

    It is found by trying, because its first and last steps make more than one call.
    """
    for steps in range(budget, 1, -1):
        samples, calls = bench.sample(sampler, bench.sigmas(schedule, steps))
        if calls <= budget:
            return samples, calls
    raise SystemExit(f"No run of two steps or more fits {budget} calls.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="checkout of RES4LYF")
    parser.add_argument("--budgets", nargs="+", type=int, default=[8, 16, 32], help="model calls")
    options = parser.parse_args()
    command.quiet()
    warnings.filterwarnings("ignore")
    theirs = load(options.path)

    def sampler(rk_type: str, extra: str) -> Callable[..., Tensor]:
        def sample(model: Any, x: Tensor, sigmas: Tensor, extra_args=None, callback=None, disable=None) -> Tensor:
            made = {"rk_type": rk_type, "eta": 0.0, "eta_substep": 0.0, "extra_options": extra}
            return theirs(model, x, sigmas, None, extra_args, callback, disable, **made)

        return sample

    runs = {f"{name}{', fallback ' + other if extra else ''}": sampler(name, extra)
            for name, other in SAMPLERS.items() for extra in ("", f"multistep_fallback_sampler={other}")}  # fmt: skip
    errors: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for name in PROBLEMS:
        what = problem(name)
        for kind, schedule in KINDS.items():
            bench = Bench(what, kind, what.noise())
            for budget in options.budgets:
                cell = Cell(what, bench, schedule, budget)
                for run, function in runs.items():
                    samples, _ = within(bench, schedule, budget, function)
                    errors[kind, budget, run].append(float(cell.reference.distance(samples).mean()))
                for run, mode in (("erk_abm", "off"), ("erk_abm", "calibrated")):
                    errors[kind, budget, f"{run}, {mode}"].append(float(cell.errors(run, mode).mean()))
                samples, _ = bench.sample("dpmpp_2m", bench.sigmas(schedule, steps_within("dpmpp_2m", budget)))
                errors[kind, budget, "dpmpp_2m"].append(float(cell.reference.distance(samples).mean()))
        print(name, file=sys.stderr)
    print(
        "The error divided by that of erk_abm, calibrated, at equal model calls: geometric mean over the problems, and "
        "in brackets the extremes"
    )
    for (kind, budget, run), made in errors.items():
        ratios = [value / base for value, base in zip(made, errors[kind, budget, "erk_abm, calibrated"], strict=True)]
        print(
            f"{kind:<6}{budget:>3}  {run:<28}{statistics.geometric_mean(ratios):>8.2f}  ({min(ratios):.2f} to "
            f"{max(ratios):.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
