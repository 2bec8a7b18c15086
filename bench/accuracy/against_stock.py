"""Compares this pack's best sampler with the best stock sampler, in every cell."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..instruments.tables import geometric_mean, number, ratio, table
from .measure import TUNED, Row
from .ratios import CellKey, cell_of, family_of


@dataclass(frozen=True)
class Race:
    """The best of this pack's samplers in one mode, compared with the best stock sampler in one cell."""

    cell: CellKey
    ours: Row
    stock: Row

    @property
    def ratio(self) -> float:
        return ratio(self.ours.mean, self.stock.mean)


def race(rows: Sequence[Row], mode: str) -> list[Race]:
    """One race for each cell: this pack's samplers in one mode against the stock ones."""
    ours: dict[CellKey, Row] = {}
    stock: dict[CellKey, Row] = {}
    for row in rows:
        best = ours if row.mode == mode else stock if row.mode == "stock" else None
        if best is not None and (cell_of(row) not in best or row.mean < best[cell_of(row)].mean):
            best[cell_of(row)] = row
    return [Race(cell, ours[cell], stock[cell]) for cell in ours if cell in stock]


def section(races: list[Race], rows: Sequence[Row], mode: str, families: list[str]) -> list[str]:
    """A section of ACCURACY.md. Empty if there are no races."""
    if not races:
        return []
    lines = []
    for family in families:
        here = [r for r in races if family_of(r.ours) == family]
        for budget in [*sorted({r.cell[3] for r in here}), None]:
            group = [r for r in here if budget in (None, r.cell[3])]
            lines.append(
                (
                    f"{family}, {f'{budget} calls' if budget else '**all**'}",
                    f"{sum(r.ratio < 1 for r in group)} of {len(group)}",
                    number(geometric_mean(r.ratio for r in group)),
                    number(max(r.ratio for r in group)),
                    _often(r.ours.sampler for r in group),
                    _often(r.stock.sampler for r in group),
                )
            )
    losses = sorted((r for r in races if r.ratio >= 1), key=lambda r: -r.ratio)
    lost = [
        (
            " ".join(map(str, r.cell)), f"{r.ours.sampler} {r.ours.mean:.2g}", f"{r.stock.sampler} {r.stock.mean:.2g}",
            number(r.ratio)
        )
        for r in losses
    ]  # fmt: skip
    return [
        "## Against ComfyUI's samplers",
        "",
        f"In each cell, the best of this pack's samplers in mode `{mode}` is compared with the best stock sampler at "
        "equal model calls.",
        "",
        "![against the best stock sampler](accuracy_stock.png)",
        "",
        *table(
            ("", "first", "error, best of ours / best stock", "worst", "most frequent of ours", "most frequent stock"),
            lines
        ),
        f"### Cells lost: {len(losses)} of {len(races)}",
        "",
        *(table(("problem, model, schedule, calls", "ours", "stock", "ratio"), lost) if lost else ["None.", ""]),
        "### All samplers",
        "",
        "The error divided by that of the best stock sampler of the cell, as a geometric mean over all cells.",
        "",
        *_everyone(races, rows, families),
    ]  # fmt: skip


def _often(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common(2))


def _everyone(races: list[Race], rows: Sequence[Row], families: list[str]) -> list[str]:
    best = {r.cell: r.stock.mean for r in races}
    first = {r.cell: (r.ours if r.ratio < 1 else r.stock).key for r in races}
    relative: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    firsts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        cell = cell_of(row)
        if cell not in best or row.mode == TUNED:
            continue
        name = row.sampler, row.mode
        relative[name][family_of(row)].append(ratio(row.mean, best[cell]))
        firsts[name] += first[cell] == row.key

    def rank(name: tuple[str, str]) -> float:
        mean = geometric_mean(v for values in relative[name].values() for v in values)
        return mean if math.isfinite(mean) else math.inf

    lines = [
        (
            f"{sampler}{'' if mode == 'stock' else f', {mode}'}",
            *(number(geometric_mean(relative[sampler, mode][family])) for family in families),
            str(firsts[sampler, mode]),
        )
        for sampler, mode in sorted(relative, key=rank)
    ]
    return table(("", *families, "times first"), lines)
