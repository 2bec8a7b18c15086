"""Data sets and ideal denoisers of another project: python -m bench.neutral.

**No rule may be chosen by these problems.** They run after a rule is fixed, and their results are reported unchanged.
They show how good a rule is on data that it was not made for.

PyPI's `smalldiffusion` (C. Yuan, MIT) is fetched by version and checksum. Its own code makes the data sets and
denoises. Two of its modules are read from the wheel. The package itself is not imported, because its __init__ imports
what training needs. This writes neutral.csv, NEUTRAL.md and the plot into bench/results/.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import time
import zipimport
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .instruments import command, comparison, environment, rows
from .instruments.comfy_model import Bench
from .instruments.comparison import Case, Row
from .instruments.environment import RESULTS
from .instruments.packages import Package
from .instruments.reference import converge
from .instruments.stock import steps_within
from .instruments.tables import table, write_page

CSV = RESULTS / "neutral.csv"
SMALLDIFFUSION = Package("smalldiffusion", "0.5.0", "04f9f8fd7d2bca70c202f16318b90bbb6873366b043885ba8b7de9dceecc4ee0")
BUDGETS = (6, 8, 12, 16, 24)
SCHEDULES = {"eps": "karras", "edm": "karras", "flow": "simple"}
TITLES = {"eps": "sigma-space, karras 14.6 to 0.03", "edm": "sigma-space, karras 80 to 0.002", "flow": "flow, shift 3"}

SETS: dict[str, tuple[str, Callable[[ModuleType], Any]]] = {
    "swissroll": (
        "Swissroll(pi/2, 5 pi, 100), as in its introduction",
        lambda data: data.Swissroll(math.pi / 2, 5 * math.pi, 100),
    ),
    "swissroll-1000": ("Swissroll(pi/2, 5 pi, 1000)", lambda data: data.Swissroll(math.pi / 2, 5 * math.pi, 1000)),
    "tree": ("TreeDataset(), its own defaults", lambda data: _points(data, data.TreeDataset())),
    "tree-deep": ("TreeDataset(2, 5, 30)", lambda data: _points(data, data.TreeDataset(2, 5, 30))),
}
"""For each name, what the data set is, and how the package's own code makes it."""


def _points(data: ModuleType, labelled: Any) -> Any:
    """A data set without its labels."""
    return data.MappedDataset(labelled, lambda item: item[0])


def load_module(wheel: Path, name: str) -> ModuleType:
    """One module of the package, loaded from the wheel."""
    spec = zipimport.zipimporter(str(wheel / SMALLDIFFUSION.name)).find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{wheel} has no module {name}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Ideal:
    """The package's ideal denoiser of a data set, as a :class:`bench.instruments.comfy_model.Predictor`.

    denoiser  is called with (x [B, 2], sigma [B, 1]) and returns the noise, (x - D)/sigma
    mean      mean of the data, [2]
    """

    cfg = 1.0
    shape = (1, 1, 2)
    BLIND = 1e-6
    """Below this alpha, the denoiser cannot be called, because x/alpha is unbounded. The limit is the data's mean."""

    def __init__(self, denoiser: Callable[[Tensor, Tensor], Tensor], mean: Tensor) -> None:
        self.denoiser, self.mean = denoiser, mean.double()

    def condition(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1)

    @torch.no_grad()
    def predict(self, x: Tensor, sigma: Tensor | float, flow: bool, condition: Tensor | None = None) -> Tensor:
        """Computed in float64, because at high levels D is a small difference of large numbers."""
        flat = x.flatten(1).double()
        sigma = torch.as_tensor(sigma, dtype=torch.float64).expand(len(x)).reshape(-1, 1)
        alpha = 1 - sigma if flow else torch.ones_like(sigma)
        blind = alpha < self.BLIND
        bounded = alpha.masked_fill(blind, 1.0)
        scaled, level = flat / bounded, sigma / bounded
        denoised = scaled - level * self.denoiser(scaled, level)
        return torch.where(blind, self.mean, denoised).view(x.shape).to(x.dtype)


@cache
def ideal(name: str) -> Ideal:
    """A data set of SETS with the package's denoiser. Raises packages.FetchError if it cannot be fetched."""
    wheel = SMALLDIFFUSION.wheel()
    denoiser = load_module(wheel, "model").IdealDenoiser(SETS[name][1](load_module(wheel, "data"))).double()
    denoiser.data = denoiser.data.double()
    return Ideal(denoiser, denoiser.data.mean(0))


def prepare(name: str, kind: str, samples: int) -> Case:
    model = ideal(name)
    noise = torch.randn((samples, *model.shape), generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    bench = Bench(model, kind, noise)
    schedule = SCHEDULES[kind]
    first = bench.sigmas(schedule, 8)[:1]
    found = converge(lambda x, sigma: model.predict(x, sigma, bench.flow), bench.start(first), float(first))
    return Case(name, schedule, bench, lambda steps: bench.sigmas(schedule, steps), found)


def measure(options: argparse.Namespace, path: Path) -> None:
    """Measure all rows. Each is written as soon as it is made."""
    writer = rows.Writer(path, Row)
    for name in options.only:
        for kind in options.kinds:
            begin = time.monotonic()
            case = prepare(name, kind, options.samples)
            for budget in options.budgets:
                for row, _ in case.runs(
                    budget, lambda sampler, b=budget: steps_within(sampler, b), not options.no_stock
                ):
                    writer.write(row)
            print(f"{name}, {kind}: {time.monotonic() - begin:.0f} s", file=sys.stderr)


def title_of(row: Row) -> str:
    return TITLES[row.kind]


def write_report(made: list[Row], path: Path, sentence: str) -> None:
    """NEUTRAL.md."""
    compared = comparison.compare(made)
    sets = [(name, text) for name, (text, _) in SETS.items() if any(row.problem == name for row in made)]
    write_page(
        path,
        [
            "# Another project's data and denoisers",
            "",
            sentence,
            "",
            f"These are the two-dimensional data sets and the ideal denoiser of PyPI's `{SMALLDIFFUSION.name}` "
            f"{SMALLDIFFUSION.version} (MIT). Its own code makes and evaluates them in float64. They are sampled "
            "through ComfyUI in float32. **No rule is chosen by these problems**, because they run after the rule is "
            "fixed. Each data set is a finite set of points. The package's Datasaurus sets are left out, because the "
            "wheel lacks their file.",
            "",
            *table(("data set", "made by"), sets),
            f"{comparison.explain(made)} On flow models, the denoiser cannot be called at alpha below {Ideal.BLIND:g}, "
            "which means only at sigma 1. There the data's mean is used, which is the limit.",
            "",
            "![error ratio](neutral_ratio.png)",
            "",
            "## By schedule and solver",
            "",
            *comparison.summary(compared, title_of),
            "## By data set and solver",
            "",
            *comparison.summary(compared, lambda row: row.problem),
            *comparison.losses(compared, title_of),
            *comparison.against_stock(made, title_of),
        ],
    )


def main() -> int:
    parser = command.parser("neutral", __doc__, 64, BUDGETS, only=SETS, kinds=SCHEDULES, stock=True)
    options = parser.parse_args()
    folder = command.begin(options)
    path, page, plot = (folder / name for name in (CSV.name, "NEUTRAL.md", "neutral_ratio.png"))
    record = path.with_suffix(".json")
    if not options.report:
        SMALLDIFFUSION.need()
        environment.record(record, command.text(parser, options), [SMALLDIFFUSION])
        measure(options, path)
    made = rows.need(path, Row)
    comparison.plot(comparison.compare(made), title_of, plot, "Error on another project's data, equal model calls")
    write_report(made, page, environment.sentence(record))
    print(path, page, plot, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
