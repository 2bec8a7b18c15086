"""A plan as a picture: the levels of both schedules, and what each of their steps leaves in the picture."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ... import erk
from .canvas import dress, log_axis, new_figure, pixels
from .style import THEMES
from .words import percent


def plot(plan: erk.Plan, width: int, height: int) -> np.ndarray:
    """[height, width, 3] uint8."""
    return pixels(draw(plan, width, height))


def draw(plan: erk.Plan, width: int, height: int) -> Figure:
    """The figure, drawn on an Agg canvas. Lines have the gids "planned" and "given", bars "planned/0" and so on."""
    theme = THEMES["light"]
    figure = new_figure(width, height, theme)
    above, below = figure.subplots(2, 1, sharex=True)
    steps = np.arange(len(plan.step_errors))
    kinds = (("given", plan.given_sigmas, plan.given_step_errors, plan.given_error, theme.muted, "s"),
             ("planned", plan.sigmas, plan.step_errors, plan.predicted_error, theme.runs[0], "o"))  # fmt: skip
    names = {"given": "traced schedule", "planned": "planned"}
    for k, (name, sigmas, errors, total, colour, marker) in enumerate(kinds):
        label = f"{names[name]}: solver error {percent(total)}"
        above.plot(steps, sigmas[:-1], marker, linestyle="-", color=colour, markersize=5, label=label, gid=name)
        places = steps + 0.2 * (2 * k - 1)
        for bar, step in zip(below.bar(places, 100 * np.array(errors), 0.38, color=colour), steps, strict=True):
            bar.set_gid(f"{name}/{step}")
    log_axis(above.yaxis, above.set_yscale)
    above.set_ylabel("noise level \N{GREEK SMALL LETTER SIGMA} at its start", color=theme.text)
    below.set_ylabel("what the step leaves in the picture,\n% of its contrast", color=theme.text)
    below.set_xlabel("step", color=theme.text)
    below.set_xlim(-0.7, len(steps) - 0.3)
    above.legend(frameon=False, labelcolor=theme.text)
    for axes in (above, below):
        dress(axes, theme, 10)
    title = f"Schedule from a trace, {len(steps)} steps" if plan.is_better else "No better schedule was found"
    figure.suptitle(title, color=theme.text)
    figure.canvas.draw()
    return figure
