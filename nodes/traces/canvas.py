"""What all plots draw on: a figure on an Agg canvas, axes in a theme's colours, logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from .language import is_translated
from .style import Theme
from .texts import families, short


def new_figure(width: int, height: int, theme: Theme, dpi: float = 100) -> Figure:
    """An empty figure of so many pixels."""
    # Half a pixel is added, because the canvas rounds down.
    figure = Figure(figsize=((width + 0.5) / dpi, (height + 0.5) / dpi), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    figure.set_facecolor(theme.background)
    return figure


def finish(figure: Figure) -> None:
    """Draw it, with fonts for the language spoken."""
    if is_translated():
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_fontfamily(families())
    figure.canvas.draw()


def pixels(figure: Figure) -> np.ndarray:
    """A drawn figure as [height, width, 3] uint8."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def dress(axes: Axes, theme: Theme, size: float) -> None:
    """A grid behind the lines, and axes at the left and at the bottom. size: of the numbers at the ticks, in points."""
    axes.set_facecolor(theme.background)
    axes.grid(True, color=theme.grid, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.muted, labelsize=size, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)


def log_axis(axis: Axis, set_scale: Callable[..., None], many: bool = True) -> None:
    """Label a logarithmic axis with plain numbers, and with at least a few of them however short it is."""
    set_scale("log", nonpositive="mask")
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low)
    if decades < 0.5:
        axis.set_major_locator(MaxNLocator(nbins=6 if many else 4))
    else:
        subs = (
            (1, 2, 3, 5, 7)
            if decades < 1
            else (1, 2, 5)
            if decades < (2.6 if many else 1.4)
            else (1, 3)
            if decades < 4 and many
            else (1,)
        )
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=14))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
