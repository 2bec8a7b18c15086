"""The plots' texts in the page's language: the English text is the key, in locales/<language>/main.json."""

from __future__ import annotations

import contextlib
import json
import textwrap
import unicodedata
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

_LOCALES = Path(__file__).parent.parent.parent / "locales"
_KEY = "erkGuid"

_texts: ContextVar[dict[str, str] | None] = ContextVar("erk_guid_texts", default=None)


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """In this block texts are told in that language, as a page calls it; in English where that cannot be."""
    token = _texts.set(_drawable_texts(language))
    try:
        yield
    finally:
        _texts.reset(token)


def tell(text: str, *values: object) -> str:
    """The text in the language spoken; each %s stands for one of the values."""
    first, *rest = (_texts.get() or {}).get(text, text).split("%s")
    return first + "".join(f"{value}{part}" for value, part in zip(values, rest, strict=True))


def translatable(text: str) -> str:
    """A text that is told elsewhere; the mark by which the list of texts finds it."""
    return text


def is_translated() -> bool:
    return bool(_texts.get())


def columns(text: str) -> int:
    """How wide a text is, in Latin characters. Those of Chinese, Japanese and Korean are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text in which none is wider."""
    return textwrap.wrap(text, max(width * len(text) // max(columns(text), 1), 1))


@lru_cache(maxsize=16)
def _drawable_texts(language: str) -> dict[str, str]:
    """A language's texts; none where there is no such language here, or no font at hand for its script."""
    from .texts import drawable

    if not language.replace("-", "").isalnum():
        return {}
    try:
        texts = json.loads((_LOCALES / language / "main.json").read_text(encoding="utf-8")).get(_KEY, {})
    except OSError:
        return {}
    whole = "".join(" ".join(texts.values()).split())
    return texts if drawable(whole) == whole else {}
