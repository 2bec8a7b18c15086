"""Pictures side by side: a row for each sampler, a column for each number of calls, the converged one at the end."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image, ImageDraw
from torch import Tensor

from ..traces.language import tell, wrapped
from ..traces.style import THEMES
from ..traces.texts import font_of
from .comparison import Comparison, Row
from .table import short_error

_WIDEST = 2400
"""Of the whole sheet, in pixels."""
_LEAST, _MOST = 128, 448
"""Side of a cell."""
_GAP, _CAPTION, _HEAD, _NAME = 12, 26, 34, 190
"""Between cells; below, above and beside them, for texts."""
_SMALL, _LARGE = 15, 19
"""Sizes of texts."""

Draw = Callable[[Tensor], Image.Image | None]


def draw_grid(comparison: Comparison, title: str, picture: Draw, theme: str) -> Image.Image:
    """The sheet. Below each picture stand its calls and its error: of the first sample, which is the one shown.

    picture  makes a latent's picture; None where there is none to see
    theme    one of THEMES
    """
    labels, budgets = comparison.labels, comparison.budgets
    cells = {(row.plan.entry.label, row.plan.budget): (row, _made(row, picture)) for row in comparison.rows}
    reference = (comparison.reference, _made(comparison.reference, picture))
    columns = len(budgets) + 1
    side = min(max((_WIDEST - _NAME) // columns - _GAP, _LEAST), _MOST)
    # All pictures have one shape; the sheet has it too.
    shapes = [image.size for _, image in [reference, *cells.values()] if image is not None]
    width, height = _fitted(shapes[0], side) if shapes else (side, side)
    sheet = _Sheet(theme, _NAME + columns * (width + _GAP) + _GAP, title)
    for i, head in enumerate([*(tell("%s calls", budget) for budget in budgets), tell("converged")]):
        sheet.text((_NAME + i * (width + _GAP), sheet.y), head, _LARGE, sheet.theme.text)
    sheet.y += _HEAD
    for label in labels:
        sheet.name(comparison.shown(label), height)
        for i, budget in enumerate(budgets):
            row, image = cells.get((label, budget), (None, None))
            nearest = row is not None and row is _nearest(comparison, budget)
            sheet.cell(_NAME + i * (width + _GAP), (width, height), row, image, nearest, False)
        sheet.cell(_NAME + len(budgets) * (width + _GAP), (width, height), *reference, False, True)
        sheet.y += height + _CAPTION + _GAP
    return sheet.finished()


def _made(row: Row, picture: Draw) -> Image.Image | None:
    return picture(row.outcome.latent) if row.outcome is not None and row.outcome.latent is not None else None


def _nearest(comparison: Comparison, budget: int) -> Row | None:
    """The row whose first picture is nearest, where there is more than one."""
    rows = [row for row in comparison.rows if row.plan.budget == budget and row.errors]
    return min(rows, key=lambda row: row.errors[0]) if len(rows) > 1 else None


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size that fits into a square; small pictures are made a whole number of times larger."""
    scale = side / max(size)
    if scale > 1:
        scale = max(math.floor(scale), 1)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


class _Sheet:
    """A picture that grows downwards."""

    def __init__(self, theme: str, width: int, title: str) -> None:
        self.theme = THEMES[theme]
        self._width = width
        self._image = Image.new("RGB", (width, 16), self.theme.background)
        self.y = _GAP
        for line in wrapped(title, max(width // 11, 20)):
            self.text((_GAP, self.y), line, _LARGE, self.theme.text)
            self.y += 26
        self.y += _GAP

    def _reach(self, bottom: int) -> None:
        if bottom > self._image.height:
            grown = Image.new("RGB", (self._width, bottom + 400), self.theme.background)
            grown.paste(self._image)
            self._image = grown

    def text(self, place: tuple[int, int], text: str, size: int, colour: str) -> None:
        self._reach(place[1] + 40)
        ImageDraw.Draw(self._image).text(place, text, font=font_of(text, size), fill=colour)

    def name(self, label: str, height: int) -> None:
        lines = [line for part in label.split() for line in wrapped(part, 18)]
        top = self.y + max((height - 24 * len(lines)) // 2, 0)
        for i, line in enumerate(lines):
            self.text((_GAP, top + 24 * i), line, _LARGE if i == 0 else _SMALL, self.theme.text)

    def cell(
        self, x: int, size: tuple[int, int], row: Row | None, image: Image.Image | None, nearest: bool, own: bool
    ) -> None:
        """A picture and what stands below it; where there is none, a grey field that says why."""
        if row is None:
            return
        self._reach(self.y + size[1] + _CAPTION)
        if image is None:
            ImageDraw.Draw(self._image).rectangle(
                (x, self.y, x + size[0] - 1, self.y + size[1] - 1), fill=self.theme.grid
            )
            why = row.note or tell("no preview for this kind of latent")
            for i, line in enumerate(wrapped(why, max(size[0] // 9, 8))):
                self.text((x + 8, self.y + 8 + 20 * i), line, _SMALL, self.theme.muted)
        else:
            enlarged = size[0] > image.width
            method = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
            self._image.paste(image.resize(size, method), (x, self.y))
        if row.outcome is None:
            return
        below = tell("%s calls", row.calls)
        if row.errors:
            error = short_error(row.errors[0])
            below = tell("%s, own error %s", below, error) if own else tell("%s, error %s", below, error)
        colour = self.theme.corrected if nearest else self.theme.muted
        self.text((x, self.y + size[1] + 4), below, _SMALL, colour)

    def finished(self) -> Image.Image:
        return self._image.crop((0, 0, self._width, min(self.y + _GAP, self._image.height)))
