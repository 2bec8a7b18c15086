"""Texts in a plot: short numbers, fonts for every script, and the size of a drawn text."""

from __future__ import annotations

import math
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from PIL import ImageFont


def renderer(figure: Figure) -> RendererAgg:
    """The renderer, which measures texts."""
    assert isinstance(figure.canvas, FigureCanvasAgg)
    return figure.canvas.get_renderer()


def short(value: float) -> str:
    """A number in few characters: 1200, 14.6, 0.029, 3e-5."""
    if not math.isfinite(value):
        return "?"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 1)].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


# Fonts for characters that are not in DejaVu Sans, the font that comes with matplotlib. Those that are installed are
# tried in this order.
_MORE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC",
    "Hiragino Sans",
    "Yu Gothic", "Malgun Gothic", "SimHei", "WenQuanYi Zen Hei", "Arial Unicode MS",
)  # fmt: skip


@lru_cache(maxsize=1)
def families() -> list[str]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)]


def drawable(text: str) -> str:
    """The text, with a box for each character that is in none of the installed fonts."""
    fonts = [
        font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=name))) for name in families()
    ]
    return "".join(
        char if any(font.get_char_index(ord(char)) for font in fonts) else "\N{WHITE SQUARE}" for char in text
    )


def font_of(text: str, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font for a text in a picture. One font must have all its characters, because pictures know no second one."""
    if not text.isascii():
        for name in families():
            path = font_manager.findfont(font_manager.FontProperties(family=name))
            if all(font_manager.get_font(path).get_char_index(ord(char)) for char in text if char.isprintable()):
                return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)
