"""Score networks that others trained on real images, as denoisers in ComfyUI: python -m bench.networks.

The three networks are from PyPI's `galaxygrad` (bench/instruments/score_network.py). Nobody here trained them or chose
them by a result. This pack's samplers with modes off and calibrated, and every stock sampler, run on three schedules at
equal model calls. This measures the error to the converged solution, and the noise in blank sky divided by that of the
converged solution. It writes networks.csv, NETWORKS.md and the plots into bench/results/.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .instruments import command, comparison, environment, plots, rows
from .instruments.comfy_model import Bench
from .instruments.comparison import Case, Row
from .instruments.environment import RESULTS
from .instruments.grain import grain, local_mean
from .instruments.reference import converge
from .instruments.score_network import FILES, GALAXYGRAD, TRAINED_UP_TO, Galaxies, load
from .instruments.stock import steps_within
from .instruments.tables import table, write_page

CSV = RESULTS / "networks.csv"
BUDGETS = (6, 8, 12, 16, 24)
SCHEDULES = {"edm": "karras", "eps": "karras", "flow": "simple"}
"""ComfyUI's scheduler for each kind of model."""
TITLES = {"edm": "karras, 80 to 0.002", "eps": "karras, 14.6 to 0.03", "flow": "flow, shift 3, from sigma/alpha 140"}

HIGHEST = 140 / 141
"""A flow model's sigma at sigma/alpha = 140.

ComfyUI's schedules start at sigma 1, for which these networks were not trained.
"""

SKY, SMOOTH = 0.02, 5
"""A pixel is sky if the converged picture's mean size around it is below this share of its brightest pixel.

The mean is taken over SMOOTH x SMOOTH pixels.
"""

SHOWN, SHOWN_BUDGET, SHOWN_SOLVER = 4, 8, "erk_abm"
"""The sheet shows this many pictures of each network, sampled with this budget and this solver."""


def levels(bench: Bench, steps: int) -> Tensor:
    """The schedule. For flow models its first level is lowered to sigma/alpha 140.

    Raises ValueError if any other level is above that, because the networks were not trained there.
    """
    sigmas = bench.sigmas(SCHEDULES[bench.kind], steps)
    if bench.flow:
        if float(sigmas[1]) >= HIGHEST:
            raise ValueError(
                f"With {steps} steps, more levels than the first are above sigma {HIGHEST:.4f}: use fewer steps."
            )
        sigmas[0] = min(float(sigmas[0]), HIGHEST)
    return sigmas


def sky_of(converged: Tensor) -> Tensor:
    """Where a picture is blank, [B, 1, h, w] bool."""
    return local_mean(converged.abs(), SMOOTH) < SKY * converged.amax((1, 2, 3), keepdim=True)


def prepare(name: str, kind: str, samples: int) -> Case:
    """The case of a network on one schedule, with its converged solution."""
    model = Galaxies(load(name))
    noise = torch.randn((samples, *model.shape), generator=torch.Generator().manual_seed(1))
    bench = Bench(model, kind, noise)
    first = levels(bench, 8)[:1]
    alpha = 1 - float(first) if bench.flow else 1.0
    begin = time.monotonic()
    # In x/alpha and sigma/alpha, a flow model's ODE is that of sigma-space, and the solver's steps are evenly spaced
    # where the solution bends.
    found = converge(
        lambda x, sigma: model.predict(x, sigma, False), bench.start(first).double() / alpha, float(first) / alpha, 1e-4
    )
    # Rectified units have kinks, so the error falls with order 2, not 4. Then a third of the difference is left.
    found = replace(found, error=5 * found.error)
    print(
        f"{name}, {TITLES[kind]}: converged with {found.steps} RK4 steps, error {found.error.mean():.0e}, "
        f"{time.monotonic() - begin:.0f} s",
        file=sys.stderr,
    )
    sky = sky_of(found.samples)
    own = grain(found.samples, sky)
    return Case(
        name,
        SCHEDULES[kind],
        bench,
        lambda steps: levels(bench, steps),
        found,
        lambda pictures: grain(pictures, sky) / own,
    )


Sheets = dict[tuple[str, str], Tensor]
"""Pictures by (network, "off", "calibrated" or "converged"), on the first schedule."""


def measure(options: argparse.Namespace, path: Path) -> Sheets:
    """Measure all rows. Each is written as soon as it is made. Returns pictures to look at."""
    writer = rows.Writer(path, Row)
    sheets: Sheets = {}
    for name in options.only:
        for kind in options.kinds:
            case = prepare(name, kind, options.samples)
            for budget in options.budgets:
                begin = time.monotonic()
                for row, samples in case.runs(
                    budget, lambda sampler, b=budget: steps_within(sampler, b), not options.no_stock
                ):
                    writer.write(row)
                    if kind == options.kinds[0] and budget == SHOWN_BUDGET and row.sampler == SHOWN_SOLVER:
                        sheets[name, row.mode] = samples[:SHOWN]
                        sheets[name, "converged"] = case.reference.samples[:SHOWN]
                print(f"{name}, {kind}, {budget} calls: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return sheets


def title_of(row: Row) -> str:
    return TITLES[row.kind]


def write_report(made: list[Row], with_sheet: bool, path: Path, sentence: str) -> None:
    """NETWORKS.md."""
    compared = comparison.compare(made)
    names = list(dict.fromkeys(row.problem for row in made))
    page = [
        "# Networks that others trained on real images",
        "",
        sentence,
        "",
        f"These are score networks of galaxies from PyPI's `{GALAXYGRAD.name}` {GALAXYGRAD.version}. Its author "
        "trained them on images of the Hyper Suprime-Cam (HSC) and the Zwicky Transient Facility (ZTF). They have "
        f"one channel and are 32 or 64 pixels wide: {', '.join(names)}. The wheel is fetched by version and checksum "
        "when the benchmark runs, and this repository contains no part of it. Its files are read with NumPy, and the "
        "networks are evaluated in PyTorch. They were compared once by hand with the package's own JAX code (JAX "
        "0.10.2, Equinox 0.13.8), on four noisy pictures at each of t = 0.0001, 0.01, 0.3, 2, 6, 10 and 12. In "
        "float64 the scores agree to 4e-14 of their RMS. In float32 they agree to 1.3e-6 in the mean square and to "
        "4e-5 in the largest single value, which is JAX's own distance from float64.",
        "",
        f"The training covers sigma/alpha from 0 to {TRAINED_UP_TO:.0f}, and nothing is clipped to it. The sigma-space "
        "schedules are within this range. ComfyUI's flow schedules begin at sigma 1, where sigma/alpha is infinite and "
        f"the network has no answer. So their first level, and no other, is set to {HIGHEST:.4f}, which is sigma/alpha "
        "140. This holds for every sampler and for the converged solution.",
        "",
        "HSC 32 helped to choose how far the rule trusts itself, and how it reads the pair of a multistep step. The "
        "other two networks did not help to choose anything.",
        "",
        f"{comparison.explain(made)} This estimate comes from halving the steps of the Runge-Kutta method. It assumes "
        "order 2, because these networks have kinks.",
        "",
        "Noise: the RMS, over blank sky, of a picture minus its 3 x 3 mean, divided by that of the converged solution. "
        f"1 is right, and less is too smooth. A pixel is sky if the mean size of the converged picture over {SMOOTH} x "
        f"{SMOOTH} pixels is below {SKY:.0%} of its brightest pixel. The tables show the geometric mean over the cells "
        "and the largest value.",
        "",
        "![error ratio](networks_ratio.png)",
        "",
        "## By schedule and solver",
        "",
        *comparison.summary(compared, title_of),
        "## By network and solver",
        "",
        *comparison.summary(compared, lambda row: row.problem),
        *_single_cells(compared),
        *comparison.losses(compared, title_of),
        *comparison.against_stock(made, title_of),
    ]
    if with_sheet:
        page += [
            "## Pictures",
            "",
            f"`{SHOWN_SOLVER}`, {SHOWN_BUDGET} calls, {title_of(made[0])}. Dark tones are stretched to make the sky's "
            "noise visible.",
            "",
            "![pictures](networks_pictures.png)",
        ]
    write_page(path, page)


def _single_cells(compared: list[comparison.Comparison]) -> list[str]:
    """The ratio and the noise in every cell."""
    solvers = list(dict.fromkeys(c.row.sampler for c in compared))
    cells = {(c.row.cell, c.row.sampler): c for c in compared}
    body = []
    for cell in dict.fromkeys(c.row.cell for c in compared):
        columns = []
        for solver in solvers:
            found = cells.get((cell, solver))
            columns.append(f"{found.ratio:.2f} ({found.off.noise:.2f}, {found.row.noise:.2f})" if found else "")
        body.append((f"{cell[0]}, {TITLES[cell[1]]}, {cell[3]}", *columns))
    return [
        "## Every cell",
        "",
        "The ratio of the errors, calibrated / off. In brackets: the noise with off and with calibrated.",
        "",
        *table(("network, schedule, calls", *solvers), body),
    ]


def picture_sheet(sheets: Sheets, path: Path) -> None:
    """A picture with off, calibrated and converged below one another, and a block of columns for each network."""
    names = list(dict.fromkeys(name for name, _ in sheets))
    modes = ("off", "calibrated", "converged")
    figure, axes = plots.new_figure(3.4 * len(names) + 0.5, 3.4, len(names), len(modes))
    for i, mode in enumerate(modes):
        for j, name in enumerate(names):
            ax = axes[i * len(names) + j]
            tiles = torch.cat([*torch.nn.functional.pad(sheets[name, mode].double(), (1, 1, 1, 1))[:, 0]], dim=1)
            ax.imshow(torch.asinh(tiles / 0.05), cmap="gray", vmin=-2.5, vmax=5.5, interpolation="nearest")
            ax.grid(visible=False)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            if i == 0:
                ax.set_title(name, color=plots.INK)
            if j == 0:
                ax.set_ylabel(mode, color=plots.INK)
    plots.save(figure, path)


def main() -> int:
    parser = command.parser("networks", __doc__, 16, BUDGETS, only=FILES, kinds=SCHEDULES, stock=True)
    options = parser.parse_args()
    folder = command.begin(options)
    path, page, plot, pictures = (
        folder / name for name in (CSV.name, "NETWORKS.md", "networks_ratio.png", "networks_pictures.png")
    )
    record = path.with_suffix(".json")
    if not options.report:
        GALAXYGRAD.need()
        environment.record(record, command.text(parser, options), [GALAXYGRAD])
        sheets = measure(options, path)
        pictures.unlink(missing_ok=True)
        if sheets:
            picture_sheet(sheets, pictures)
    made = rows.need(path, Row)
    comparison.plot(
        comparison.compare(made), title_of, plot, "Error on networks that others trained, equal model calls"
    )
    write_report(made, pictures.exists(), page, environment.sentence(record))
    print(path, page, plot, *([pictures] if pictures.exists() else []), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
