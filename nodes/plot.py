"""Traces as a picture. matplotlib's object interface on an Agg canvas: no global state, no display."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from .trace_runs import SEPARATOR, Run, what_is_odd, why_nothing

# Figures are laid out for this size and scaled to the one asked for, between these bounds.
_WIDTH, _HEIGHT = 1120, 800
_SCALES = (0.75, 3.0)


@dataclass(frozen=True)
class Theme:
    """Colours of a plot; those of runs are Okabe and Ito's, told apart by colour-blind people too."""

    background: str
    text: str
    muted: str
    grid: str
    runs: tuple[str, str, str, str]
    corrected: str
    """Corrected steps, where there is one run only."""
    scale: str
    """The estimated scale of the data, where it stands beside another quantity."""


THEMES = {
    "light": Theme(
        background="#ffffff", text="#1f2328", muted="#5b6470", grid="#e3e6ea", runs=("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
        corrected="#D55E00", scale="#A3467C",
    ),
    "dark": Theme(
        background="#1b1d21", text="#e6e8eb", muted="#a4acb7", grid="#34383f", runs=("#56B4E9", "#E69F00", "#00B98A", "#E194BF"),
        corrected="#E69F00", scale="#E194BF",
    ),
}  # fmt: skip

# Line, marker and width also differ: readable in grey, and where one run lies on another.
_STYLES = (("solid", "o", 2.4), ((0, (6, 2)), "s", 1.9), ((0, (5, 1.5, 1, 1.5)), "^", 1.6), ((0, (1.5, 1.5)), "D", 1.5))


@dataclass(frozen=True)
class Quantity:
    """What a panel shows: a field of StepRecord, and its words."""

    values: str
    title: str
    short_title: str
    label: str
    log: bool = True
    factor: float = 1.0


QUANTITIES = {
    "rho-hat": Quantity(
        "stiffness",
        title="Stiffness: how fast the ODE changes along its stiffest direction",
        short_title="Stiffness",
        label=r"$\hat\rho$   (unit $1/\sigma$)",
    ),
    "h*rho-hat": Quantity(
        "h_stiffness",
        title="Step length times stiffness: above 1 the step is too long",
        short_title="Step length times stiffness",
        label=r"$h\,\hat\rho$",
    ),
    "correction size": Quantity(
        "correction", title="Size of the correction, against its step", short_title="Size of the correction", label="% of the step",
        log=False, factor=100,
    ),
    "estimated S": Quantity(
        "data_std", title="Estimated scale S of the data, where the step shows one", short_title="Estimated scale of the data", label="S"
    ),
}  # fmt: skip

OVERVIEW = "overview"
PLOTS = (OVERVIEW, *QUANTITIES)
AXES = ("step", "sigma")


def plot(runs: Sequence[Run], title: str, what: str, axis: str, width: int, height: int, theme: str) -> np.ndarray:
    """Draw up to four runs; returns [height, width, 3] uint8. The parameters are :func:`draw`'s."""
    canvas = draw(runs, title, what, axis, width, height, theme).canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _renderer(figure: Figure) -> RendererAgg:
    """What measures texts."""
    assert isinstance(figure.canvas, FigureCanvasAgg)
    return figure.canvas.get_renderer()


def draw(runs: Sequence[Run], title: str, what: str, axis: str, width: int, height: int, theme: str) -> Figure:
    """The figure, drawn on an Agg canvas.

    runs   one to four
    title  what they share
    what   one of PLOTS: one quantity, or all of them
    axis   "step", or "sigma": logarithmic, falling from left to right as sampling goes
    width, height  in pixels
    theme  one of THEMES

    The line of run i and quantity q has the gid "q/i": the median over the batch against step or sigma.
    """
    scale = min(max(min(width / _WIDTH, height / _HEIGHT), _SCALES[0]), _SCALES[1])
    dpi = 100 * scale
    # Half a pixel more, because the canvas cuts the fraction off.
    figure = Figure(figsize=((width + 0.5) / dpi, (height + 0.5) / dpi), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    _Plot(figure, list(runs), title, what, axis, THEMES[theme], (width / scale, height / scale)).draw()
    figure.canvas.draw()
    return figure


class _Plot:
    """One figure while it is drawn. size is in units of a hundredth of an inch: pixels at scale 1."""

    def __init__(self, figure: Figure, runs: list[Run], title: str, what: str, axis: str, theme: Theme, size: tuple[float, float]) -> None:
        self.figure, self.runs, self.title, self.what, self.axis, self.theme = figure, runs, title, what, axis, theme
        self.width, self.height = size
        self.notes: list[str] = []
        figure.set_facecolor(theme.background)

    @property
    def single(self) -> bool:
        return len(self.runs) == 1

    def draw(self) -> None:
        if not any(run.steps for run in self.runs):
            self._message(
                "Nothing to plot: no step has been sampled yet.\n\nConnect the sampler's latent to this node as well,\n"
                "so that it runs after the sampling."
            )
            return
        self._panels()
        self._note_oddities()
        top = self._heading()
        bottom = self._footer()
        engine = self.figure.get_layout_engine()
        assert isinstance(engine, ConstrainedLayoutEngine)
        engine.set(rect=(0, bottom, 1, 1 - top - bottom), w_pad=0.06, h_pad=0.05, wspace=0.02, hspace=0.02)

    def _message(self, text: str) -> None:
        message = self.figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=14, color=self.theme.muted, linespacing=1.5)
        extent = message.get_window_extent(_renderer(self.figure))
        room = 0.92 * self.figure.bbox.width
        if extent.width > room:
            message.set_fontsize(14 * room / extent.width)

    # Panels

    def _panels(self) -> None:
        if self.what != OVERVIEW:
            self._panel(self.figure.add_subplot(), QUANTITIES[self.what], 1.0)
            if self.what == "rho-hat":
                self._thresholds(self.figure.axes[0])
            return
        compact = self.width < 760 or self.height < 520
        if compact and self.height < 480:
            rows = [["rho-hat"]]
        elif compact:
            rows = [["rho-hat"], ["h*rho-hat"]]
        else:
            scale = not self.single and self.width >= 960 and any(self._finite(run, "data_std") for run in self.runs)
            rows = [["rho-hat"], ["h*rho-hat", "correction size", *(["estimated S"] if scale else [])]]
        grid = self.figure.add_gridspec(len(rows), 1, height_ratios=(3, 2)[: len(rows)])
        for row, names in enumerate(rows):
            cells = grid[row].subgridspec(1, len(names))
            for column, name in enumerate(names):
                axes = self.figure.add_subplot(cells[column])
                self._panel(axes, QUANTITIES[name], 1 / len(names))
                if name == "rho-hat":
                    self._thresholds(axes)
                if name == "correction size" and self.single and self._finite(self.runs[0], "data_std"):
                    self._scale_at_the_right(axes)

    @staticmethod
    def _finite(run: Run, values: str) -> bool:
        return any(math.isfinite(value) for step in run.steps for value in getattr(step, values))

    def _panel(self, axes: Axes, quantity: Quantity, share: float) -> None:
        theme = self.theme
        axes.set_facecolor(theme.background)
        axes.grid(True, color=theme.grid, linewidth=0.9)
        axes.set_axisbelow(True)
        axes.tick_params(colors=theme.muted, labelsize=8.5, length=3)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(theme.muted)
        # About seven units a character.
        long = 7 * len(quantity.title) < self.width * share - 70
        axes.set_title(quantity.title if long else quantity.short_title, fontsize=10.5, loc="left", color=theme.text)
        axes.set_ylabel(quantity.label, fontsize=10, color=theme.text)
        drawn = [self._series(axes, i, run, quantity) for i, run in enumerate(self.runs)]
        self._x_axis(axes, share)
        if quantity.log:
            if any(drawn):
                if quantity.values == "h_stiffness":
                    axes.axhline(1.0, color=theme.muted, linestyle=":", linewidth=1.4)
                _log_axis(axes.yaxis, axes.set_yscale)
            else:
                axes.set_yticks([])
                self._reasons(axes, quantity)
        else:
            self._correction_axis(axes, quantity, any(drawn))

    def _correction_axis(self, axes: Axes, quantity: Quantity, drawn: bool) -> None:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        if not drawn:
            axes.set_yticks([])
            self._reasons(axes, quantity)
        elif not any(any(step.active) for run in self.runs for step in run.steps):
            axes.set_ylim(0, 1)
            off = all(run.trace.info is not None and run.trace.info.mode == "off" for run in self.runs if run.steps)
            self._say(axes, "guidance is off:\nmeasured, not corrected" if off else "no step was corrected")

    def _reasons(self, axes: Axes, quantity: Quantity) -> None:
        """Words in the place of lines that no run has."""
        reasons = [why_nothing(run, quantity.values) for run in self.runs]
        if len(set(reasons)) == 1:
            self._say(axes, f"nothing to plot:\n{reasons[0]}")
        else:
            self._say(axes, "\n".join(f"{drawable(_cut(run.label, 40))}: {reason}" for run, reason in zip(self.runs, reasons, strict=True)))

    def _say(self, axes: Axes, text: str) -> None:
        axes.text(
            0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=self.theme.muted, fontsize=10.5,
            linespacing=1.5, parse_math=False, fontfamily=_families(),
        )  # fmt: skip

    def _series(self, axes: Axes, number: int, run: Run, quantity: Quantity) -> bool:
        """A run's median, the spread over its batch, and which steps were corrected; whether there was anything."""
        if not run.steps:
            return False
        place = self._places(run)
        values = quantity.factor * np.array([getattr(step, quantity.values) for step in run.steps], dtype=np.float64)
        least, median, greatest = _over_batch(np.where(values > 0, values, math.nan) if quantity.log else values)
        median = np.where(np.isfinite(place), median, math.nan)
        if np.isnan(median).all():
            return False
        if quantity.log:
            axes.set_yscale("log")
        theme = self.theme
        line, marker, width = _STYLES[number]
        colour = theme.runs[number]
        corrected = theme.corrected if self.single else colour
        if run.batch > 1:
            axes.fill_between(
                place, least, greatest, color=colour, alpha=0.2 if self.single else 0.12, linewidth=0, zorder=2 + 0.1 * number
            )
        axes.plot(place, median, color=colour, linewidth=width, linestyle=line, zorder=3 + 0.1 * number, gid=f"{_name(quantity)}/{number}")
        size = min(max(6.5 * math.sqrt(24 / len(median)), 2.5), 7.0) * (1 + 0.12 * (len(self.runs) - 1 - number))
        active = np.array([any(step.active) for step in run.steps])
        for chosen, face, edge, name in ((~active, theme.background, colour, "not corrected"), (active, corrected, corrected, "corrected")):
            axes.plot(
                place[chosen], median[chosen], marker, color=face, markeredgecolor=edge, markersize=size, markeredgewidth=1.3,
                zorder=4 + 0.1 * number, gid=f"{_name(quantity)}/{number}/{name}",
            )  # fmt: skip
        return True

    def _places(self, run: Run) -> np.ndarray:
        if self.axis == "step":
            return np.arange(len(run.steps), dtype=np.float64)
        sigmas = np.array([step.sigma for step in run.steps], dtype=np.float64)
        return np.where((sigmas > 0) & np.isfinite(sigmas), sigmas, math.nan)

    def _x_axis(self, axes: Axes, share: float) -> None:
        theme = self.theme
        if self.axis == "sigma":
            axes.set_xlabel("noise level \N{GREEK SMALL LETTER SIGMA}", fontsize=9, color=theme.text)
            places = np.concatenate([self._places(run) for run in self.runs if run.steps])
            places = places[np.isfinite(places)]
            if not places.size:
                axes.set_xticks([])
                return
            margin = max((places.max() / places.min()) ** 0.04, 1.03)
            axes.set_xscale("log")
            axes.set_xlim(places.max() * margin, places.min() / margin)
            _log_axis(axes.xaxis, axes.set_xscale, many=share > 0.6)
            return
        longest = max(self.runs, key=lambda run: len(run.steps))
        levels = [step.sigma for step in longest.steps]
        shared = all([step.sigma for step in run.steps] == levels for run in self.runs if run.steps)

        def text(position: float, _: object = None) -> str:
            index = round(position)
            if abs(position - index) > 1e-6 or not 0 <= index < len(levels):
                return ""
            return f"{index}\n{_short(levels[index])}" if shared else str(index)

        axes.set_xlim(-0.6, len(levels) - 0.4)
        room = max(int(self.width * share / 75), 3)
        stride = next(n for n in (1, 2, 3, 4, 5, *range(10, len(levels) + 10, 10)) if len(levels) <= room * n)
        axes.set_xticks(range(0, len(levels), stride))
        axes.xaxis.set_major_formatter(FuncFormatter(text))
        label = "step, and below it its noise level \N{GREEK SMALL LETTER SIGMA}" if shared else "step"
        axes.set_xlabel(label, fontsize=9, color=theme.text)

    def _thresholds(self, axes: Axes) -> None:
        if axes.get_yscale() != "log":
            return
        for number, run in enumerate(self.runs):
            threshold = _threshold(run)
            if threshold is not None:
                colour = self.theme.corrected if self.single else self.theme.runs[number]
                # Apart by their dashes' phase too, where two runs share a threshold.
                dashes = (4.0 * number, (4, 4 * max(len(self.runs) - 1, 1)))
                axes.axhline(threshold, color=colour, linestyle=dashes, linewidth=1.4, zorder=2.5, gid=f"threshold/{number}")
        _log_axis(axes.yaxis, axes.set_yscale)

    def _scale_at_the_right(self, axes: Axes) -> None:
        """The estimated S beside the correction, on an axis of its own."""
        theme, (run,) = self.theme, self.runs
        _, median, _ = _over_batch(np.array([step.data_std for step in run.steps], dtype=np.float64))
        places = self._places(run)
        if not (np.isfinite(median) & np.isfinite(places) & (median > 0)).any():
            return
        right = axes.twinx()
        right.set_yscale("log")
        right.plot(places, np.where(median > 0, median, math.nan), color=theme.scale, linewidth=1.4, linestyle=(0, (4, 1.5)), marker="D",
                   markersize=3, gid="estimated S/0")  # fmt: skip
        right.set_ylabel("estimated scale of the data, S", fontsize=9, color=theme.scale)
        right.tick_params(colors=theme.scale, labelsize=8.5, length=3)
        for side, spine in right.spines.items():
            spine.set_visible(side == "right")
            spine.set_color(theme.scale)
        _log_axis(right.yaxis, right.set_yscale)

    # Around the panels

    def _note_oddities(self) -> None:
        names = ("rho-hat", "correction size") if self.what == OVERVIEW else (self.what,)
        gids = {line.get_gid() for axes in self.figure.axes for line in axes.lines}
        for number, run in enumerate(self.runs):
            words = []
            for name in names:
                values = QUANTITIES[name].values
                if f"{name}/{number}" in gids:
                    odd = what_is_odd(run, values)
                    words.append(f"{name} {odd}" if odd and len(names) > 1 else odd)
                elif any(gid and gid.startswith(f"{name}/") for gid in gids):
                    words.append(why_nothing(run, values))
                # Where no run has anything, the panel itself says so.
            if self.axis == "sigma" and run.steps and np.isnan(self._places(run)).any():
                words.append("a step without a noise level above 0 has no place on this axis")
            words = list(dict.fromkeys(word for word in words if word))
            if words:
                self.notes.append(f"{'' if self.single else _cut(run.label, 40) + ': '}{'; '.join(words)}")
        if len({id(run.trace) for run in self.runs}) < len(self.runs):
            self.notes.append("one trace is connected twice: a Sampler ERK-Guid keeps its newest run only, so use one for each run")
        if self.what == OVERVIEW and len(self.figure.axes) < 3 and self.height >= 400:
            self.notes.append("small plot: the whole overview needs about 600 x 400 pixels")

    def _heading(self) -> float:
        """The title, wrapped between its parts; returns the share of the height that it takes."""
        title = self.figure.text(0.5, 1, "", ha="center", va="top", fontsize=12, fontweight="bold", color=self.theme.text, linespacing=1.3)
        self._prepare(title)
        lines: list[str] = []
        for part in self.title.split(SEPARATOR):
            longer = f"{lines[-1]}{SEPARATOR}{part}" if lines else part
            if lines and self._width_of(title, longer) <= 0.94:
                lines[-1] = longer
            else:
                lines.append(self._shortened(title, part, 0.94))
        title.set_text("\n".join(lines))
        margin = 10 / self.height
        title.set_y(1 - margin)
        return self._height_of(title) + 1.4 * margin

    def _footer(self) -> float:
        """Notes at the bottom, the legend above them; returns the share of the height that both take."""
        margin = 8 / self.height
        y = margin
        room = max(int(self.height / 130), 2)
        notes = self.notes if len(self.notes) <= room else [*self.notes[: room - 1], f"and {len(self.notes) - room + 1} more such notes"]
        for note in reversed(notes):
            text = self.figure.text(0.5, y, "", ha="center", va="bottom", fontsize=9, color=self.theme.muted, fontstyle="italic")
            self._prepare(text)
            text.set_text(self._shortened(text, note, 0.96))
            y += self._height_of(text) + 0.4 * margin
        return self._legend(y) + 0.3 * margin

    def _legend(self, y: float) -> float:
        """At the bottom, in as many columns as fit; returns where it ends."""
        handles, labels = self._legend_entries()
        own = 0 if self.single else len(self.runs)
        legend = self._placed_legend(handles, labels, y)
        extent = legend.get_window_extent(_renderer(self.figure))
        if extent.height > 0.33 * self.figure.bbox.height and own:
            # The runs' names matter most; what the points mean is on the help page too.
            legend.remove()
            legend = self._placed_legend(handles[:own], labels[:own], y)
            extent = legend.get_window_extent(_renderer(self.figure))
        return y + extent.height / self.figure.bbox.height

    def _placed_legend(self, handles: list[Line2D | Patch], labels: list[str], y: float) -> Legend:
        for columns in range(len(handles), 0, -1):
            # Real labels come after: the constructor drops those that begin with an underscore.
            legend = self.figure.legend(
                handles, ["-"] * len(labels), loc="lower center", bbox_to_anchor=(0.5, y), ncol=columns, fontsize=9.5, frameon=False,
                handlelength=3.2, columnspacing=1.8, borderaxespad=0, labelcolor=self.theme.text,
            )  # fmt: skip
            legend.set_in_layout(False)
            for text, label in zip(legend.get_texts(), labels, strict=True):
                self._prepare(text)
                text.set_text(self._shortened(text, label, 0.8))
            width = legend.get_window_extent(_renderer(self.figure)).width
            if width <= 0.98 * self.figure.bbox.width or columns == 1:
                return legend
            legend.remove()
        raise AssertionError("a run with steps has at least one kind of point to explain")

    def _legend_entries(self) -> tuple[list[Line2D | Patch], list[str]]:
        theme, runs = self.theme, [run for run in self.runs if run.steps]
        handles: list[Line2D | Patch] = []
        labels: list[str] = []

        def entry(label: str, **style: object) -> None:
            handles.append(Line2D([], [], **{"linestyle": "none", "markersize": 7, "markeredgewidth": 1.3, **style}))
            labels.append(label)

        if not self.single:
            for number, run in enumerate(self.runs):
                line, marker, width = _STYLES[number]
                entry(run.label, color=theme.runs[number], linestyle=line, linewidth=width, marker=marker)
        edge = theme.runs[0] if self.single else theme.muted
        face = theme.corrected if self.single else theme.muted
        active = [flag for run in runs for step in run.steps for flag in [any(step.active)]]
        if any(active):
            entry("corrected", marker="o", color=face)
        if not all(active):
            entry("not corrected", marker="o", color=theme.background, markeredgecolor=edge)
        if any(axes.lines and any((line.get_gid() or "").startswith("threshold/") for line in axes.lines) for axes in self.figure.axes):
            known = [_threshold(run) for run in runs if _threshold(run) is not None]
            text = f"threshold w_con = {known[0]:.3g}" if self.single else "threshold w_con, in its run's colour"
            entry(text, color=face if self.single else theme.muted, linestyle=(0, (4, 4)), linewidth=1.4)
        if any(run.batch > 1 for run in runs):
            handles.append(Patch(facecolor=edge, alpha=0.3, linewidth=0))
            labels.append("spread over the batch")
        return handles, labels

    @staticmethod
    def _prepare(text: Text) -> None:
        """A label is shown as it is written: no formulas, and a box where no font has the character."""
        text.set_parse_math(False)
        text.set_fontfamily(_families())
        text.set_in_layout(False)

    def _shortened(self, text: Text, content: str, share: float) -> str:
        """The content, cut where it would be wider than that share of the figure."""
        content = drawable(content)
        while len(content) > 4 and self._width_of(text, content) > share:
            content = _cut(content, min(len(content) - 1, int(len(content) * max(share / self._width_of(text, content), 0.5))))
        return content

    def _width_of(self, text: Text, content: str) -> float:
        text.set_text(content)
        return text.get_window_extent(_renderer(self.figure)).width / self.figure.bbox.width

    def _height_of(self, text: Text) -> float:
        return text.get_window_extent(_renderer(self.figure)).height / self.figure.bbox.height


def _name(quantity: Quantity) -> str:
    return next(name for name, other in QUANTITIES.items() if other is quantity)


def _threshold(run: Run) -> float | None:
    info = run.trace.info
    w_con = info.settings.get("w_con", 0.0) if info else 0.0
    return w_con if 0 < w_con < math.inf else None


def _over_batch(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least, median and greatest finite value of each step, [steps, B] to [steps] each; NaN where there is none."""
    rows = [row[np.isfinite(row)] for row in values]
    pick = [(row.min(), np.median(row), row.max()) if row.size else (math.nan,) * 3 for row in rows]
    least, median, greatest = np.array(pick).T
    return least, median, greatest


def _log_axis(axis: Axis, set_scale: Callable[[str], None], many: bool = True) -> None:
    """Plain numbers on a logarithmic axis, at least a few of them however short it is."""
    set_scale("log")
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low)
    if decades < 0.5:
        axis.set_major_locator(MaxNLocator(nbins=6 if many else 4))
    else:
        subs = (
            (1, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < (2.6 if many else 1.4) else (1, 3) if decades < 4 and many else (1,)
        )
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=14))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """A number in few characters: 1200, 14.6, 0.029, 3e-5."""
    if not math.isfinite(value):
        return "?"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 1)].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


# Fonts that have what DejaVu Sans, which comes with matplotlib, has not; the first ones that are installed serve.
_MORE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "Hiragino Sans",
    "Yu Gothic", "Malgun Gothic", "SimHei", "WenQuanYi Zen Hei", "Arial Unicode MS",
)  # fmt: skip


@lru_cache(maxsize=1)
def _families() -> list[str]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)]


def drawable(text: str) -> str:
    """The text with a box for each character that no font at hand has."""
    fonts = [font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=name))) for name in _families()]
    return "".join(char if any(font.get_char_index(ord(char)) for font in fonts) else "\N{WHITE SQUARE}" for char in text)
