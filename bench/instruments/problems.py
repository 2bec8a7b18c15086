"""The problems that the benchmarks sample. Their exact denoisers let a sampler's error be measured instead of guessed.

Every distribution here is a mixture of Gaussians, a mixture of points (Gaussians without a width), or uniform on a
sphere. The posterior mean is Bayes' rule with Gaussian conditioning, or a ratio of Bessel functions. The Gaussians come
from designed covariances, curves in the plane, scikit-learn's digits, patches of its sample photographs, drawn line art
and flat areas. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from . import data
from .distributions import Distribution, KernelDensity
from .problem import Problem

_PLANE, _SMALL, _COLOUR = (1, 1, 2), (1, 8, 8), (3, 16, 16)


def _digits(width: float) -> KernelDensity:
    return KernelDensity(data.digit_images()[0], width, data.digit_images()[1])


_BUILDERS: dict[str, Callable[[], Problem]] = {}


def _add(
    name: str, shape: tuple[int, ...], build: Callable[[], Distribution], note: str, *groups: str, **options: Any
) -> None:
    _BUILDERS[name] = lambda: Problem(name, shape, build(), note, groups, **options)


_add("gaussian-axis", _SMALL, data.axis_gaussian, "one Gaussian, deviations 0.02 to 2 along the pixels", "gaussian")
_add(
    "gaussian-rotated",
    _SMALL,
    data.rotated_gaussian,
    "one Gaussian, deviations 0.02 to 2 along random axes",
    "gaussian",
)
_add(
    "gaussian-patches",
    _COLOUR,
    data.patch_gaussian,
    "one Gaussian with the covariance of photograph patches",
    "gaussian",
    "image",
)
_add("spiral-0.10", _PLANE, lambda: data.spiral(0.10), "spiral in the plane, width 0.1", "plane", samples=64)
_add("spiral-0.05", _PLANE, lambda: data.spiral(0.05), "spiral in the plane, width 0.05", "plane", samples=64)
_add("tree-0.10", _PLANE, lambda: data.tree(0.10), "forking tree in the plane, width 0.1", "plane", samples=64)
_add("tree-0.05", _PLANE, lambda: data.tree(0.05), "forking tree in the plane, width 0.05", "plane", samples=64)
_add("mixture-8x8", _SMALL, data.small_mixture, "ten strongly anisotropic Gaussians, 8x8", "mixture")
_add("mixture-3x16x16", _COLOUR, data.smooth_mixture, "twelve smooth low-rank Gaussians with noise, 3x16x16", "mixture")
_add("digits-0.10", _SMALL, lambda: _digits(0.10), "scikit-learn's digits, width 0.1", "image")
_add("digits-0.30", _SMALL, lambda: _digits(0.30), "scikit-learn's digits, width 0.3", "image")
_add(
    "patches-0.10",
    _COLOUR,
    lambda: KernelDensity(data.photograph_patches(1500), 0.10),
    "1500 photograph patches, width 0.1",
    "image",
)
for _scale in (2.0, 4.0, 7.5):
    _add(
        f"digits-cfg-{_scale:g}",
        _SMALL,
        lambda: _digits(0.30),
        f"digits by class, width 0.3, CFG {_scale:g}",
        "image",
        "cfg",
        cfg=_scale,
    )
for _scale in (2.0, 4.0, 7.5):
    _add(
        f"mixture-cfg-{_scale:g}",
        _SMALL,
        data.small_mixture,
        f"the ten Gaussians by class, CFG {_scale:g}",
        "mixture",
        "cfg",
        cfg=_scale,
    )
_add(
    "gaussian-round",
    _SMALL,
    data.round_gaussian,
    "one Gaussian, deviation 0.7 everywhere: a check, in no mean",
    "gaussian",
    "exact",
)

_PAGE = (1, 32, 32)
_add(
    "flat-areas",
    _COLOUR,
    data.flat_areas,
    "flat shapes of random colours on exactly white paper",
    "flat",
    "image",
    samples=16,
)
_add("even-colour", _COLOUR, data.even_colour, "one random colour over the whole picture", "flat", samples=16)
_add(
    "even-colour-bf16",
    _COLOUR,
    data.even_colour,
    "the same, the model rounded to bfloat16",
    "flat",
    "rounded",
    samples=16,
    rounded=True,
)
_add("gratings", (1, 16, 16), data.gratings, "one of twelve plane waves, of any amplitude and phase", "flat", "mixture")
_add(
    "grating",
    (1, 16, 16),
    data.one_grating,
    "a single picture, where plain steps are exact: a check, in no mean",
    "exact",
)
_add(
    "line-art",
    _PAGE,
    lambda: data.line_art(0.0),
    "tiles of binary strokes on exactly white paper",
    "edges",
    "image",
    samples=8,
    min_steps=1600,
)
_add("line-art-0.02", _PAGE, lambda: data.line_art(0.02), "the same with noise of 0.02", "edges", "image", samples=8)
for _scale in (4.0, 7.5):
    _note = f"line art by class, width 0.02, CFG {_scale:g}"
    _add(
        f"line-art-cfg-{_scale:g}",
        _PAGE,
        lambda: data.line_art(0.02),
        _note,
        "edges",
        "image",
        "cfg",
        cfg=_scale,
        samples=8,
    )
_add(
    "line-art-negative", _PAGE, lambda: data.line_art(0.02), "line art, CFG 4 away from another class", "edges",
    "image",
    "cfg",
    cfg=4.0, samples=8, negative=True,
)  # fmt: skip
_add(
    "line-art-interval", _PAGE, lambda: data.line_art(0.0), "line art, width 0, CFG 7.5 between sigma/alpha 0.5 and 5",
    "edges", "image", "cfg",
    cfg=7.5, samples=4, interval=(0.5, 5.0), min_steps=3200,
)  # fmt: skip
_add(
    "digits-negative", _SMALL, lambda: _digits(0.30), "digits, width 0.3, CFG 4 away from another class", "image",
    "cfg",
    cfg=4.0, negative=True,
)  # fmt: skip
_add(
    "digits-interval", _SMALL, lambda: _digits(0.10), "digits, width 0.1, CFG 7.5 between sigma/alpha 0.5 and 5",
    "image", "cfg",
    cfg=7.5, interval=(0.5, 5.0),
)  # fmt: skip
_add(
    "digits-bf16",
    _SMALL,
    lambda: _digits(0.30),
    "digits, width 0.3, the model rounded to bfloat16",
    "image",
    "rounded",
    rounded=True,
)
_add("sphere-64", _SMALL, lambda: data.sphere(64), "uniform on a sphere in 64 dimensions", "manifold")
_add("sphere-3", _SMALL, lambda: data.sphere(3), "uniform on a sphere in 3 of 64 dimensions", "manifold")

NAMES = tuple(_BUILDERS)
QUICK_NAMES = ("gaussian-rotated", "spiral-0.10", "mixture-8x8", "digits-0.30", "digits-cfg-4")


@cache
def problem(name: str) -> Problem:
    """One problem by name. Raises ValueError for an unknown one."""
    if name not in _BUILDERS:
        raise ValueError(f"There is no problem {name!r}: the suite has {', '.join(NAMES)}.")
    return _BUILDERS[name]()
