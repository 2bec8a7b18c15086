"""Traces as a picture. It uses matplotlib's object interface on an Agg canvas, with no global state or display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from .canvas import finish, new_figure, pixels
from .language import tell
from .panels import Panels, Sheet, threshold_of
from .runs import SEPARATOR, TracedRun
from .style import OVERVIEW, QUANTITIES, STYLES, THEMES
from .texts import cut, drawable, families, renderer
from .words import solver_error, what_is_odd, why_nothing

# Figures are laid out for this size and scaled to the requested one, within these bounds.
_WIDTH, _HEIGHT = 1120, 800
_SCALES = (0.75, 3.0)


def plot(
    runs: Sequence[TracedRun], title: str, what: str, axis: str, width: int, height: int, theme: str
) -> np.ndarray:
    """Draw up to four runs. Returns [height, width, 3] uint8. The parameters are those of :func:`draw`."""
    return pixels(draw(runs, title, what, axis, width, height, theme))


def file_of(figure: Figure, kind: str) -> bytes:
    """A figure of :func:`draw` as the contents of a file, "png" or "svg"."""
    stream = io.BytesIO()
    if kind == "png":
        Image.fromarray(pixels(figure)).save(stream, "PNG", optimize=True)
    else:
        # No date: the same traces make the same file.
        figure.savefig(stream, format=kind, facecolor=figure.get_facecolor(), metadata={"Date": None})
    return stream.getvalue()


def draw(runs: Sequence[TracedRun], title: str, what: str, axis: str, width: int, height: int, theme: str) -> Figure:
    """The figure, drawn on an Agg canvas.

    runs   one to four
    title  what they share
    what   one of PLOTS: one quantity, or all of them
    axis   "step" or "sigma"; sigma is logarithmic and falls from left to right, as in sampling
    width, height  in pixels
    theme  one of THEMES

    The line of run i and quantity q has the gid "q/i": the median over the batch against step or sigma.
    """
    scale = min(max(min(width / _WIDTH, height / _HEIGHT), _SCALES[0]), _SCALES[1])
    dpi = 100 * scale
    figure = new_figure(width, height, THEMES[theme], dpi)
    of_all = (figure, list(runs), what, axis, THEMES[theme], width / scale, height / scale)
    if any(run.steps for run in runs):
        Panels(*of_all).draw()
        _Frame(*of_all, title).draw()
    else:
        _Frame(*of_all, title).say_that_nothing_is_there()
    finish(figure)
    return figure


@dataclass
class _Frame(Sheet):
    """What surrounds the panels: title, notes, legend."""

    title: str
    notes: list[str] = field(default_factory=list)

    def draw(self) -> None:
        self._make_notes()
        top = self._heading()
        bottom = self._footer()
        engine = self.figure.get_layout_engine()
        assert isinstance(engine, ConstrainedLayoutEngine)
        engine.set(rect=(0, bottom, 1, 1 - top - bottom), w_pad=0.06, h_pad=0.05, wspace=0.02, hspace=0.02)

    def say_that_nothing_is_there(self) -> None:
        self._message(
            tell(
                "Nothing to plot: no step has been sampled yet.\n\nConnect the sampler's latent to this node as well,\n"
                "so that it runs after the sampling."
            )
        )

    def _message(self, text: str) -> None:
        message = self.figure.text(
            0.5, 0.5, text, ha="center", va="center", fontsize=14, color=self.theme.muted, linespacing=1.5
        )
        extent = message.get_window_extent(renderer(self.figure))
        room = 0.92 * self.figure.bbox.width
        if extent.width > room:
            message.set_fontsize(14 * room / extent.width)

    def _make_notes(self) -> None:
        names = ("rho-hat", "correction size") if self.what == OVERVIEW else (self.what,)
        gids = {line.get_gid() for axes in self.figure.axes for line in axes.lines}
        for number, run in enumerate(self.runs):
            words = [solver_error(run)] if self.what == OVERVIEW else []
            for name in names:
                values = QUANTITIES[name].values
                if f"{name}/{number}" in gids:
                    odd = what_is_odd(run, values)
                    words.append(f"{name} {odd}" if odd and len(names) > 1 else odd)
                elif any(gid and gid.startswith(f"{name}/") for gid in gids):
                    words.append(why_nothing(run, values))
                # If no run has any values, the panel itself says so.
            if self.axis == "sigma" and run.steps and np.isnan(self.places(run)).any():
                words.append(tell("a step without a noise level above 0 has no place on this axis"))
            words = list(dict.fromkeys(word for word in words if word))
            if words:
                self.notes.append(f"{'' if self.single else cut(run.label, 40) + ': '}{'; '.join(words)}")
        if len({id(run.trace) for run in self.runs}) < len(self.runs):
            self.notes.append(
                tell(
                    "one trace is connected twice: a Sampler ERK-Guid keeps its newest run only, "
                    "so use one for each run"
                )
            )
        if self.what == OVERVIEW and len(self.figure.axes) < 3 and self.height >= 400:
            self.notes.append(tell("small plot: the whole overview needs about 600 x 400 pixels"))

    def _heading(self) -> float:
        """Draw the title, wrapped between its parts. Returns the share of the height that it takes."""
        title = self.figure.text(
            0.5, 1, "", ha="center", va="top", fontsize=12, fontweight="bold", color=self.theme.text, linespacing=1.3
        )
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
        """Draw the notes at the bottom and the legend above them. Returns the share of the height that both take."""
        margin = 8 / self.height
        y = margin
        room = max(int(self.height / 130), 2)
        notes = (
            self.notes
            if len(self.notes) <= room
            else [*self.notes[: room - 1], tell("and %s more notes like these", len(self.notes) - room + 1)]
        )
        for note in reversed(notes):
            text = self.figure.text(
                0.5, y, "", ha="center", va="bottom", fontsize=9, color=self.theme.muted, fontstyle="italic"
            )
            self._prepare(text)
            text.set_text(self._shortened(text, note, 0.96))
            y += self._height_of(text) + 0.4 * margin
        return self._legend(y) + 0.3 * margin

    def _legend(self, y: float) -> float:
        """Draw the legend at the bottom, in as many columns as fit. Returns where it ends."""
        handles, labels = self._legend_entries()
        own = 0 if self.single else len(self.runs)
        legend = self._placed_legend(handles, labels, y)
        extent = legend.get_window_extent(renderer(self.figure))
        if extent.height > 0.33 * self.figure.bbox.height and own:
            # The runs' names matter most, because the help page also explains the points.
            legend.remove()
            legend = self._placed_legend(handles[:own], labels[:own], y)
            extent = legend.get_window_extent(renderer(self.figure))
        return y + extent.height / self.figure.bbox.height

    def _placed_legend(self, handles: list[Line2D | Patch], labels: list[str], y: float) -> Legend:
        for columns in range(len(handles), 0, -1):
            # The real labels are set afterwards, because the constructor drops those that begin with an underscore.
            legend = self.figure.legend(
                handles, ["-"] * len(labels), loc="lower center", bbox_to_anchor=(0.5, y), ncol=columns, fontsize=9.5,
                frameon=False,
                handlelength=3.2, columnspacing=1.8, borderaxespad=0, labelcolor=self.theme.text,
            )  # fmt: skip
            legend.set_in_layout(False)
            for text, label in zip(legend.get_texts(), labels, strict=True):
                self._prepare(text)
                text.set_text(self._shortened(text, label, 0.8))
            width = legend.get_window_extent(renderer(self.figure)).width
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
                line, marker, width = STYLES[number]
                entry(run.label, color=theme.runs[number], linestyle=line, linewidth=width, marker=marker)
        edge = theme.runs[0] if self.single else theme.muted
        face = theme.corrected if self.single else theme.muted
        active = [flag for run in runs for step in run.steps for flag in [any(step.active)]]
        if any(active):
            entry(tell("corrected"), marker="o", color=face)
        if not all(active):
            entry(tell("not corrected"), marker="o", color=theme.background, markeredgecolor=edge)
        if any(
            axes.lines and any((line.get_gid() or "").startswith("threshold/") for line in axes.lines)
            for axes in self.figure.axes
        ):
            known = [threshold_of(run) for run in runs if threshold_of(run) is not None]
            text = (
                tell("threshold w_con = %s", f"{known[0]:.3g}")
                if self.single
                else tell("threshold w_con, in its run's colour")
            )
            entry(text, color=face if self.single else theme.muted, linestyle=(0, (4, 4)), linewidth=1.4)
        if any(run.batch > 1 for run in runs):
            handles.append(Patch(facecolor=edge, alpha=0.3, linewidth=0))
            labels.append(tell("spread over the batch"))
        return handles, labels

    @staticmethod
    def _prepare(text: Text) -> None:
        """Show a label as it was written, without formulas, and with a box for a character that no font has."""
        text.set_parse_math(False)
        text.set_fontfamily(families())
        text.set_in_layout(False)

    def _shortened(self, text: Text, content: str, share: float) -> str:
        """The content, cut so that it is not wider than this share of the figure."""
        content = drawable(content)
        while len(content) > 4 and self._width_of(text, content) > share:
            content = cut(
                content, min(len(content) - 1, int(len(content) * max(share / self._width_of(text, content), 0.5)))
            )
        return content

    def _width_of(self, text: Text, content: str) -> float:
        text.set_text(content)
        return text.get_window_extent(renderer(self.figure)).width / self.figure.bbox.width

    def _height_of(self, text: Text) -> float:
        return text.get_window_extent(renderer(self.figure)).height / self.figure.bbox.height
