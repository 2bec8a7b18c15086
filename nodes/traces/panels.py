"""The panels of a plot: a quantity's median over the batch against step or noise level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .canvas import dress, log_axis
from .language import tell
from .runs import TracedRun
from .style import OVERVIEW, QUANTITIES, STYLES, Quantity, Theme
from .texts import cut, drawable, families, short
from .words import why_nothing

_LOOK = ("marker", "color", "markeredgecolor", "markersize", "markeredgewidth")
"""Of a mark."""


@dataclass
class Sheet:
    """One figure that is being drawn.

    what, axis     as in :func:`.figure.draw`
    width, height  in hundredths of an inch, which are pixels at scale 1
    """

    figure: Figure
    runs: list[TracedRun]
    what: str
    axis: str
    theme: Theme
    width: float
    height: float

    @property
    def single(self) -> bool:
        return len(self.runs) == 1

    def places(self, run: TracedRun) -> np.ndarray:
        if self.axis == "step":
            return np.arange(len(run.steps), dtype=np.float64)
        sigmas = np.array([step.sigma for step in run.steps], dtype=np.float64)
        return np.where((sigmas > 0) & np.isfinite(sigmas), sigmas, math.nan)


class Panels(Sheet):
    """Draws the panels on a sheet."""

    def draw(self) -> None:
        rows = [[self.what]] if self.what != OVERVIEW else self._overview()
        grid = self.figure.add_gridspec(len(rows), 1, height_ratios=(3, 2)[: len(rows)] if len(rows[-1]) > 1 else None)
        for row, names in enumerate(rows):
            cells = grid[row].subgridspec(1, len(names))
            for column, name in enumerate(names):
                axes = self.figure.add_subplot(cells[column])
                self._panel(axes, QUANTITIES[name], 1 / len(names))
                if name == "rho-hat":
                    self._thresholds(axes)
                if name == "correction size" and len(rows) > 1 and self._shows_scale(beside=True):
                    self._scale_at_the_right(axes)

    def _overview(self) -> list[list[str]]:
        """Names of the panels, row by row: as many as the figure has room for. Stiffness and h*rho-hat are alike."""
        both = ["rho-hat", "h*rho-hat"]
        if self.height < 520:
            return [both if self.width >= 620 else both[1:]]
        if self.width < 760:
            return [[name] for name in [*both, *(["correction size"] if self.height >= 700 else [])]]
        return [both, ["correction size", *(["estimated S"] if self._shows_scale(beside=False) else [])]]

    def _shows_scale(self, beside: bool) -> bool:
        """Whether the estimated S has a panel; or, of a single run, an axis beside the correction."""
        return self.single is beside and any(self._finite(run, "data_std") for run in self.runs)

    @staticmethod
    def _finite(run: TracedRun, values: str) -> bool:
        return any(math.isfinite(value) for step in run.steps for value in getattr(step, values))

    def _panel(self, axes: Axes, quantity: Quantity, share: float) -> None:
        theme = self.theme
        dress(axes, theme, 8.5)
        # A character is about seven units wide.
        title = tell(quantity.title)
        long = 7 * len(title) < self.width * share - 95
        axes.set_title(title if long else tell(quantity.short_title), fontsize=10.5, loc="left", color=theme.text)
        axes.set_ylabel(tell(quantity.label), fontsize=10, color=theme.text)
        drawn = [self._series(axes, i, run, quantity) for i, run in enumerate(self.runs)]
        self._x_axis(axes, share)
        if any((np.asarray(line.get_ydata()) > 0).any() for line in axes.lines):
            log_axis(axes.yaxis, axes.set_yscale)
            if quantity.limit is not None:
                self._limit(axes, quantity.limit)
            if quantity.foot is not None:
                self._foot(axes, quantity.foot)
            return
        axes.set_yticks([])
        if quantity.values == "correction" and any(drawn):
            axes.set_ylim(0, 1)
            off = all(run.trace.info is not None and run.trace.info.mode == "off" for run in self.runs if run.steps)
            self._say(axes, tell("guidance is off:\nmeasured, not corrected") if off else tell("no step was corrected"))
        else:
            self._reasons(axes, quantity)

    def _limit(self, axes: Axes, limit: float) -> None:
        """The line above which a value is too high, in sight wherever the values lie, and the region above it."""
        low, high = axes.get_ylim()
        low, high = min(low, limit / 1.5), max(high, limit * 1.5)
        axes.axhline(limit, color=self.theme.high, linestyle=":", linewidth=1.4)
        axes.axhspan(limit, high, color=self.theme.high, alpha=0.1, linewidth=0, zorder=0.5)
        axes.set_ylim(low, high)
        log_axis(axes.yaxis, axes.set_yscale)

    @staticmethod
    def _foot(axes: Axes, foot: float) -> None:
        """End the axis at a value that nobody needs to see, and let the points below it stand there."""
        low, high = axes.get_ylim()
        low = max(low, min(foot, high / 10))
        for line in [line for line in axes.lines if (line.get_gid() or "").endswith("corrected")]:
            places, values = (np.asarray(data, dtype=np.float64) for data in line.get_data())
            below = values < low
            if below.any():
                look = {name: getattr(line, f"get_{name}")() for name in _LOOK}
                axes.plot(
                    places[below], np.zeros(below.sum()), linestyle="none", **look, zorder=line.get_zorder(),
                    transform=axes.get_xaxis_transform(), clip_on=False,
                )  # fmt: skip
        axes.set_ylim(low, high)
        log_axis(axes.yaxis, axes.set_yscale)

    def _reasons(self, axes: Axes, quantity: Quantity) -> None:
        """Say why there are no lines, if no run has any."""
        reasons = [why_nothing(run, quantity.values) for run in self.runs]
        if len(set(reasons)) == 1:
            self._say(axes, f"{tell('nothing to plot:')}\n{reasons[0]}")
        else:
            self._say(
                axes,
                "\n".join(
                    f"{drawable(cut(run.label, 40))}: {reason}" for run, reason in zip(self.runs, reasons, strict=True)
                ),
            )

    def _say(self, axes: Axes, text: str) -> None:
        axes.text(
            0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=self.theme.muted, fontsize=10.5,
            linespacing=1.5, parse_math=False, fontfamily=families(),
        )  # fmt: skip

    def _series(self, axes: Axes, number: int, run: TracedRun, quantity: Quantity) -> bool:
        """Draw a run's median, the spread over its batch, and which steps were corrected. Returns whether it drew."""
        if not run.steps:
            return False
        place = self.places(run)
        values = quantity.factor * np.array([getattr(step, quantity.values) for step in run.steps], dtype=np.float64)
        least_known = 0.0 if quantity.foot is not None else np.nextafter(0, 1)
        least, median, greatest = _over_batch(np.where(values >= least_known, values, math.nan))
        median = np.where(np.isfinite(place), median, math.nan)
        if np.isnan(median).all():
            return False
        line, _, width = STYLES[number]
        colour = self.theme.runs[number]
        if run.batch > 1:
            # A logarithmic axis has no 0: the band ends at the least value above it.
            known = greatest[greatest > 0]
            low = np.where(least > 0, least, known.min() if known.size else math.nan)
            axes.fill_between(
                place, low, np.where(greatest > 0, greatest, math.nan), color=colour,
                alpha=0.2 if self.single else 0.12, linewidth=0, zorder=2 + 0.1 * number,
            )  # fmt: skip
        gid = f"{_name(quantity)}/{number}"
        axes.plot(place, median, color=colour, linewidth=width, linestyle=line, zorder=3 + 0.1 * number, gid=gid)
        self._marks(axes, number, place, median, np.array([any(step.active) for step in run.steps]), gid)
        return True

    def _marks(
        self, axes: Axes, number: int, place: np.ndarray, median: np.ndarray, active: np.ndarray, gid: str
    ) -> None:
        """A run's steps: full where corrected, empty where not. The first run's are the largest."""
        colour = self.theme.runs[number]
        corrected = self.theme.corrected if self.single else colour
        size = min(max(6.5 * math.sqrt(24 / len(median)), 2.5), 7.0) * (1 + 0.12 * (len(self.runs) - 1 - number))
        for chosen, face, edge, name in (
            (~active, self.theme.background, colour, "not corrected"),
            (active, corrected, corrected, "corrected"),
        ):
            look = {"color": face, "markeredgecolor": edge, "markersize": size, "markeredgewidth": 1.3}
            axes.plot(
                place[chosen], median[chosen], STYLES[number][1], **look, zorder=4 + 0.1 * number, gid=f"{gid}/{name}"
            )

    def _x_axis(self, axes: Axes, share: float) -> None:
        theme = self.theme
        if self.axis == "sigma":
            axes.set_xlabel(tell("noise level \N{GREEK SMALL LETTER SIGMA}"), fontsize=9, color=theme.text)
            places = np.concatenate([self.places(run) for run in self.runs if run.steps])
            places = places[np.isfinite(places)]
            if not places.size:
                axes.set_xticks([])
                return
            margin = max((places.max() / places.min()) ** 0.04, 1.03)
            axes.set_xscale("log")
            axes.set_xlim(places.max() * margin, places.min() / margin)
            log_axis(axes.xaxis, axes.set_xscale, many=share > 0.6)
            return
        longest = max(self.runs, key=lambda run: len(run.steps))
        levels = [step.sigma for step in longest.steps]
        shared = all([step.sigma for step in run.steps] == levels for run in self.runs if run.steps)

        def text(position: float, _: object = None) -> str:
            index = round(position)
            if abs(position - index) > 1e-6 or not 0 <= index < len(levels):
                return ""
            return f"{index}\n{short(levels[index])}" if shared else str(index)

        axes.set_xlim(-0.6, len(levels) - 0.4)
        room = max(int(self.width * share / 75), 3)
        stride = next(n for n in (1, 2, 3, 4, 5, *range(10, len(levels) + 10, 10)) if len(levels) <= room * n)
        axes.set_xticks(range(0, len(levels), stride))
        axes.xaxis.set_major_formatter(FuncFormatter(text))
        label = tell("step, and below it its noise level \N{GREEK SMALL LETTER SIGMA}") if shared else tell("step")
        axes.set_xlabel(label, fontsize=9, color=theme.text)

    def _thresholds(self, axes: Axes) -> None:
        if axes.get_yscale() != "log":
            return
        for number, run in enumerate(self.runs):
            threshold = threshold_of(run)
            if threshold is not None:
                colour = self.theme.corrected if self.single else self.theme.runs[number]
                # The phase of the dashes differs too, so that equal thresholds of two runs are both visible.
                dashes = (4.0 * number, (4, 4 * max(len(self.runs) - 1, 1)))
                axes.axhline(
                    threshold, color=colour, linestyle=dashes, linewidth=1.4, zorder=2.5, gid=f"threshold/{number}"
                )
        log_axis(axes.yaxis, axes.set_yscale)

    def _scale_at_the_right(self, axes: Axes) -> None:
        """Draw the estimated S in the correction's panel, on its own axis."""
        theme, (run,) = self.theme, self.runs
        _, median, _ = _over_batch(np.array([step.data_std for step in run.steps], dtype=np.float64))
        places = self.places(run)
        if not (np.isfinite(median) & np.isfinite(places) & (median > 0)).any():
            return
        right = axes.twinx()
        right.set_yscale("log")
        right.plot(places, np.where(median > 0, median, math.nan), color=theme.scale, linewidth=1.4, linestyle=(0, (4,
        1.5)), marker="D",
                   markersize=3, gid="estimated S/0")  # fmt: skip
        right.set_ylabel(tell("estimated scale of the data, S"), fontsize=9, color=theme.scale)
        right.tick_params(colors=theme.scale, labelsize=8.5, length=3)
        for side, spine in right.spines.items():
            spine.set_visible(side == "right")
            spine.set_color(theme.scale)
        log_axis(right.yaxis, right.set_yscale)


def _name(quantity: Quantity) -> str:
    return next(name for name, other in QUANTITIES.items() if other is quantity)


def threshold_of(run: TracedRun) -> float | None:
    info = run.trace.info
    w_con = info.settings.get("w_con", 0.0) if info else 0.0
    return w_con if 0 < w_con < math.inf else None


def _over_batch(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least, median and greatest finite value of each step, [steps, B] -> [steps] each; NaN if there is none."""
    rows = [row[np.isfinite(row)] for row in values]
    pick = [(row.min(), np.median(row), row.max()) if row.size else (math.nan,) * 3 for row in rows]
    least, median, greatest = np.array(pick).T
    return least, median, greatest
