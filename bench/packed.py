"""A video and its sound in one latent: python -m bench.packed.

ComfyUI packs such latents into [B, 1, N] for a sampler, and tells the model their shapes. Mode calibrated corrects each
part by itself. This compares that with one band for all, which is what a latent [B, 1, N] without shapes gets, and with
mode off. The denoisers are exact: of clips that pan over photographs, with a sound that follows them, and of the
Gaussian with their covariance. Writes packed.csv and PACKED.md into bench/results/.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .instruments import command, data, environment, rows
from .instruments.comfy_model import Bench
from .instruments.distributions import KernelDensity
from .instruments.problem import Problem
from .instruments.reference import converge
from .instruments.stock import erk_samplers, steps_within
from .instruments.tables import geometric_mean, number, ratio, table, write_page

PARTS = (data.CLIP, data.SOUND)
BUDGETS = (8, 16)
SCHEDULES = {"eps": "karras", "flow": "simple"}
PROBLEMS = ("gaussian", "clips")


@dataclass(frozen=True)
class Row:
    """One run.

    way    "off", "one band" (calibrated, shapes not told) or "by parts" (calibrated, told)
    error  mean RMS distance to the converged solution; video and sound: that of each part
    """

    problem: str
    kind: str
    budget: int
    sampler: str
    way: str
    calls: int
    error: float
    video: float
    sound: float


@cache
def made(name: str) -> Problem:
    distribution = data.clip_gaussian() if name == "gaussian" else KernelDensity(data.clips(1000), 0.1)
    return Problem(name, (1, distribution.dim), distribution, "", ())


def measure(options: argparse.Namespace, path: Path) -> None:
    writer, cut = rows.Writer(path, Row), math.prod(data.CLIP)
    for name in options.only:
        for kind in options.kinds:
            what = made(name)
            noise = what.noise(options.samples)
            plain, nested = Bench(what, kind, noise), Bench(what, kind, noise, PARTS)
            first = plain.sigmas(SCHEDULES[kind], 8)[:1]
            exact = converge(
                lambda x, sigma, w=what, b=plain: w.denoise(x, sigma, b.flow), plain.start(first), float(first)
            )
            for budget in options.budgets:
                for sampler in erk_samplers():
                    sigmas = plain.sigmas(SCHEDULES[kind], steps_within(sampler, budget))
                    ways = (
                        ("off", nested, "off"),
                        ("one band", plain, "calibrated"),
                        ("by parts", nested, "calibrated"),
                    )
                    for way, bench, mode in ways:
                        samples, calls = bench.sample(sampler, sigmas, {"mode": mode})
                        missed = (samples.double() - exact.samples).flatten(1)
                        errors = [float(part.square().mean(1).sqrt().mean())
                                  for part in (missed, missed[:, :cut], missed[:, cut:])]  # fmt: skip
                        writer.write(Row(name, kind, budget, sampler, way, calls, *errors))
            print(f"{name}, {kind}", file=sys.stderr)


def _table(rows_made: Iterable[Row]) -> list[str]:
    cells: dict[tuple[str, str, int, str], dict[str, Row]] = {}
    for row in rows_made:
        cells.setdefault((row.problem, row.kind, row.budget, row.sampler), {})[row.way] = row
    body, over = [], {}
    for (problem, kind, budget, sampler), ways in cells.items():
        parts, one, off = ways["by parts"], ways["one band"], ways["off"]
        values = [ratio(getattr(parts, which), getattr(one, which)) for which in ("error", "video", "sound")]
        values.append(ratio(parts.error, off.error))
        for key in ((budget, problem, kind), (budget, "all", "")):
            over.setdefault(key, []).append(values)
        body.append((f"{problem}, {kind}, {budget} calls, {sampler}", *map(number, values)))
    heads = ("", "over one band", "the video", "the sound", "over off")
    means = [
        (f"{problem} {kind}, {budget} calls".replace("  ", " ").replace(" ,", ","),
         *(number(geometric_mean(column)) for column in zip(*values, strict=True)))
        for (budget, problem, kind), values in sorted(over.items())
    ]  # fmt: skip
    return [*table(heads, means), "## Each solver", "", *table(heads, body)]


def main() -> int:
    parser = command.parser("packed", __doc__, 32, BUDGETS, only=PROBLEMS, kinds=SCHEDULES)
    options = parser.parse_args()
    folder = command.begin(options)
    path, page = folder / "packed.csv", folder / "PACKED.md"
    record = path.with_suffix(".json")
    if not options.report:
        environment.record(record, command.text(parser, options))
        measure(options, path)
    text = (__doc__ or "").split("\n\n", 1)[1].split(" Writes ")[0].replace("\n", " ")
    write_page(
        page,
        [
            "# A video and its sound in one latent",
            "",
            environment.sentence(record),
            "",
            f"{text} An error is the RMS distance to the converged solution. The table has errors of mode calibrated "
            "by parts, over those of one band for all and over mode off. Means are geometric, over the solvers "
            "without noise.",
            "",
            *_table(rows.need(path, Row)),
        ],
    )
    print(path, page, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
