"""Draws the pack's icon for the Comfy Registry: `python -m devtools.make.icon`.

The icon shows a solution that bends sharply at one place. The plain solver's step leaves it along the tangent, and the
corrected step ends on it.
"""

from __future__ import annotations

import itertools
import math
import sys

from ..comfyui import ROOT

SIDE, SCALE = 400, 4
INK, PLAIN, CORRECTED, GROUND = "#f2f2ee", "#7d8590", "#e66a1f", "#1b1d21"


def curve(x: float) -> float:
    """A curve with a steep fall in the middle, in picture coordinates from 0 to 1."""
    return 0.24 + 0.52 / (1 + math.exp(-22 * (x - 0.5)))


def main() -> int:
    from PIL import Image, ImageDraw

    size = SIDE * SCALE
    picture = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, size - 1, size - 1), radius=0.2 * size, fill=GROUND)

    def dot(point: tuple[float, float], color: str, radius: float) -> None:
        x, y = (c * size for c in point)
        draw.ellipse((x - radius * size, y - radius * size, x + radius * size, y + radius * size), fill=color)

    def line(points: list[tuple[float, float]], color: str, width: float) -> None:
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            for i in range(101):
                dot((x0 + (x1 - x0) * i / 100, y0 + (y1 - y0) * i / 100), color, width / 2)

    line([(x / 200, curve(x / 200)) for x in range(24, 177)], INK, 0.045)
    start, end = (0.44, curve(0.44)), (0.82, curve(0.82))
    line([start, (0.82, 0.46)], PLAIN, 0.022)
    line([(0.82, 0.46), (0.82, end[1] - 0.055)], CORRECTED, 0.03)
    dot((0.82, 0.46), PLAIN, 0.035)
    dot(start, CORRECTED, 0.05)
    dot(end, CORRECTED, 0.05)
    picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(ROOT / "docs" / "images" / "icon.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
