"""How many model calls other samplers need to reach the error of one of ours: python -m bench.calls_saved.

This reads the rows of bench.accuracy, and of any benchmark whose CSV file has the columns kind, budget, sampler, mode,
calls and error (or mean). It writes CALLS_SAVED.md and a plot. It measures nothing.

A curve is the error of one sampler in one cell, as a function of its number of calls. Between measured numbers, the
logarithm of the error is linear in the logarithm of the calls. The calls that a sampler needs are where its curve first
falls to our sampler's error at 8, 12 or 16 calls.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .accuracy.ratios import FAMILIES
from .instruments import environment, plots
from .instruments.environment import RESULTS
from .instruments.peers import PEER
from .instruments.problems import NAMES, problem
from .instruments.tables import table, write_page

INPUTS = {"exact problems": "accuracy.csv", "third-party networks": "networks.csv", "photographs": "photographs.csv"}
"""The name of each set of results, and the file of its rows if there is one."""

OURS, MODE = "erk_abm", "calibrated"
AT = (8, 12, 16)
BASE = "dpmpp_2m"
CELL = ("network", "problem", "cfg", "kind", "schedule")
"""The columns that distinguish cells, if a file has them."""

Curve = list[tuple[float, float]]
"""(calls, error), the fewest calls first."""


@dataclass(frozen=True)
class Cell:
    """The curves of our sampler, of stock samplers and of peers in one cell.

    A cell is one problem or network on one kind of model with one schedule.
    """

    name: str
    part: str
    family: str
    ours: Curve
    stock: dict[str, Curve]
    peers: dict[str, Curve]


@dataclass(frozen=True)
class Need:
    """The calls that one sampler needs to reach our sampler's error.

    ratio  its calls divided by ours at equal error
    never  it did not reach that error even at the most calls measured; then the ratio is that of those calls, which is
           a lower bound
    """

    ratio: float
    never: bool = False


def read(path: Path) -> list[Cell]:
    """The cells of a CSV file in which our sampler took part, without the problems that it solves exactly."""
    curves: dict[tuple[str, ...], dict[tuple[str, str], Curve]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            if line.get("problem") in NAMES and "exact" in problem(line["problem"]).groups:
                continue
            key = tuple(line.get(column, "") for column in CELL)
            calls, error = float(line["calls"] or 0), float(line["error"] if "error" in line else line["mean"])
            if calls > 0 and line["mode"] in (MODE, "stock", PEER):
                curves[key][line["sampler"], line["mode"]].append((calls, error if math.isfinite(error) else math.inf))
    made = []
    for key, of in curves.items():
        ours = of.get((OURS, MODE))
        stock, peers = (
            {s: sorted(curve) for (s, mode), curve in of.items() if mode == wanted} for wanted in ("stock", PEER)
        )
        if ours and stock:
            columns = dict(zip(CELL, key, strict=True))
            family = next((family for family, kinds in FAMILIES.items() if columns["kind"] in kinds), columns["kind"])
            made.append(Cell(" ".join(filter(None, key)), columns["network"], family, sorted(ours), stock, peers))
    return made


def calls_for(curve: Curve, error: float) -> float:
    """The fewest calls at which a curve falls to an error. Infinite if it never does."""
    if curve[0][1] <= error:
        return curve[0][0]
    for (calls, above), (next_calls, below) in itertools.pairwise(curve):
        if below <= error < above:
            if error <= 0 or below <= 0 or math.isinf(above):
                return next_calls
            share = math.log(above / error) / math.log(above / below)
            return calls * (next_calls / calls) ** share
    return math.inf


def need(theirs: Curve, ours: Curve, calls: int) -> Need | None:
    """What a sampler needs to reach our sampler's error at ``calls``. None if ours was not measured there.

    If the sampler is better even at its fewest calls, this is computed from the calls that ours needs to reach its
    error instead. So a loss gets its true size, and the range of the measurement does not limit it.
    """
    error = dict(ours).get(calls)
    if error is None or math.isinf(error):
        return None
    fewest, least = theirs[0]
    if least < error:
        # If ours never reaches that error, its most calls are a bound.
        return Need(fewest / min(calls_for(ours, least), ours[-1][0]))
    needed = calls_for(theirs, error)
    return Need(theirs[-1][0] / calls, never=True) if math.isinf(needed) else Need(needed / calls)


def best(cell: Cell, calls: int) -> Need | None:
    """What the best stock sampler needs. It is chosen in hindsight."""
    needs = [made for curve in cell.stock.values() if (made := need(curve, cell.ours, calls)) is not None]
    return min(needs, key=lambda made: (made.never, made.ratio), default=None)


def against(cells: Iterable[Cell], sampler: str, calls: int) -> list[Need]:
    """What one sampler needs, for each cell in which it took part."""
    curves = [(cell.stock.get(sampler) or cell.peers.get(sampler), cell.ours) for cell in cells]
    return [made for curve, ours in curves if curve and (made := need(curve, ours, calls)) is not None]


def mean(needs: Sequence[Need]) -> float:
    """The geometric mean of the ratios. Some may be lower bounds, of samplers that never reach the error."""
    return statistics.geometric_mean(made.ratio for made in needs) if needs else math.nan


def _said(needs: Sequence[Need], factor: float = 1.0, digits: int = 2) -> str:
    if not needs:
        return ""
    bound = "> " if any(made.never for made in needs) else ""
    return f"{bound}{factor * mean(needs):.{digits}f}"


def parts(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Groups of cells: by network if there are networks, by family, and all."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        for part in (cell.part, cell.family, "all"):
            if part:
                groups[part].append(cell)
    return dict(sorted(groups.items(), key=lambda group: group[0] == "all"))


def _summary(name: str, cells: Sequence[Cell]) -> Iterable[tuple[str, ...]]:
    for part, group in parts(cells).items():
        for calls in AT:
            hindsight = {cell.name: made for cell in group if (made := best(cell, calls)) is not None}
            if hindsight:
                worst = min(hindsight, key=lambda cell: hindsight[cell].ratio)
                yield (
                    f"{name}, {part}, {calls} calls", _said(list(hindsight.values())), _said(against(group, BASE,
                    calls)),
                    f"{hindsight[worst].ratio:.2f} ({worst})", f"{sum(made.never for made in hindsight.values())} of "
                        f"{len(hindsight)}",
                )  # fmt: skip


def _samplers(cells: Sequence[Cell]) -> list[str]:
    """Stock samplers and peers, those that need the fewest calls first."""
    names = {name for cell in cells for name in (*cell.stock, *cell.peers)}

    def rank(name: str) -> tuple[float, str]:
        logs = [math.log(mean(needs)) for calls in AT if (needs := against(cells, name, calls))]
        return statistics.fmean(logs or [math.inf]), name

    return sorted(names, key=rank)


def write_report(sets: dict[str, list[Cell]], sentences: Sequence[str], path: Path) -> None:
    """CALLS_SAVED.md."""
    lines = [
        "# Calls saved",
        "",
        *sentences,
        "",
        f"This page compares `{OURS}` in mode `{MODE}` with other samplers. The numbers say how many times as many "
        f"model calls another sampler needs to reach the error of `{OURS}` at {AT[0]}, {AT[1]} and {AT[2]} calls. An "
        "error is the distance to the converged solution. Between measured numbers of calls, the logarithm of the "
        "error is interpolated linearly in the logarithm of the calls. Means are geometric means over cells. A cell "
        "is one problem or network on one kind of model with one schedule.",
        "",
        'A ">" marks a mean that includes cells in which a sampler did not reach that error at the most calls '
        "measured, which is 64 in most files. Those calls are counted for such a cell, so the true mean is higher. If "
        f"a sampler is better even at its fewest calls, the calls that `{OURS}` needs to reach its error are counted, "
        "so losses have their true size. The best stock sampler of each cell is chosen in hindsight, which nobody can "
        "do in practice.",
        "",
        "![calls needed](calls_saved.png)",
        "",
        *table(
            ("", "best stock sampler", BASE, "worst cell, against the best", "cells that no stock sampler reaches"),
            [line for name, cells in sets.items() for line in _summary(name, cells)],
        ),
    ]
    for name, cells in sets.items():
        peers = {peer for cell in cells for peer in cell.peers}
        rows = []
        for sampler in _samplers(cells):
            columns = []
            for calls in AT:
                needs = against(cells, sampler, calls)
                never = sum(made.never for made in needs)
                columns += [_said(needs, calls, 1), f"{never} of {len(needs)}"]
            rows.append((f"{sampler}, peer" if sampler in peers else sampler, *columns))
        heads = [head for calls in AT for head in (f"for the error at {calls}", "never")]
        lines += [f"## Calls needed: {name}", "", *table(("sampler", *heads), rows)]
    write_page(path, lines)


def plot(sets: dict[str, list[Cell]], path: Path) -> None:
    """Plot the geometric mean of the calls that each sampler needs, with one panel for each set.

    A marker is open if many cells are lower bounds.
    """
    most = max(len(_samplers(cells)) for cells in sets.values())
    figure, axes = plots.new_figure(4.8 * len(sets) + 1.0, 1.6 + 0.2 * most, len(sets))
    for ax, (name, cells) in zip(axes, sets.items(), strict=True):
        samplers = _samplers(cells)
        for i, calls in enumerate(AT):
            ax.axvline(calls, color=plots.COLOURS[i], linewidth=1.0, linestyle=":")
            for place, sampler in enumerate(samplers):
                needs = against(cells, sampler, calls)
                if needs:
                    bound = sum(made.never for made in needs) > len(needs) / 4
                    ax.plot(
                        [calls * mean(needs)], [place], linestyle="", marker=plots.MARKERS[i], color=plots.COLOURS[i],
                        markersize=5,
                        markerfacecolor="white" if bound else plots.COLOURS[i],
                        label=f"{calls} calls" if place == 0 else None,
                    )  # fmt: skip
        ax.set_yticks(range(len(samplers)), samplers, fontsize=8)
        ax.invert_yaxis()
        plots.calls_axis(ax, (4, 8, 16, 32, 64))
        ax.set_xlabel("model calls (open: in over a quarter of the cells, more than 64)")
        ax.set_title(name, color=plots.INK)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(AT), frameon=False)
    figure.suptitle(f"Model calls needed for the error of {OURS}, {MODE}, at", color=plots.INK, fontsize=11)
    plots.save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, nargs="+", help="CSV files (default: those that exist in bench/results)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the report")
    options = parser.parse_args(arguments)
    named = (
        {path.stem: path for path in options.input}
        if options.input
        else {name: RESULTS / file for name, file in INPUTS.items()}
    )
    paths = {name: path for name, path in named.items() if path.exists()}
    sets = {name: cells for name, path in paths.items() if (cells := read(path))}
    if not sets:
        print(
            f"No rows of {OURS} in mode {MODE} were found together with rows of stock samplers in: "
            f"{', '.join(map(str, named.values()))}.",
            file=sys.stderr,
        )
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    sentences = [
        f"{name[0].upper()}{name[1:]}: {environment.sentence(paths[name].with_suffix('.json'))}" for name in sets
    ]
    write_report(sets, sentences, options.output / "CALLS_SAVED.md")
    plot(sets, options.output / "calls_saved.png")
    for name in ("CALLS_SAVED.md", "calls_saved.png"):
        print(options.output / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
