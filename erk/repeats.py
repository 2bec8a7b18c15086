"""Whether a model repeats its last output, as step caches do. A repeated output is no evidence."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .evaluation import Evaluation
from .precision import ROUNDING

PROBES = 4096
"""About how many numbers of a model's output are compared with those of its last one, at most."""

_JUDGED = 4
"""How many evaluations a judgement may use."""


class Repeats:
    """Looks at each evaluation of a run once, in order."""

    def __init__(self) -> None:
        self._last: tuple[float, Tensor] | None = None
        self._seen: list[Tensor] = []

    def look(self, evaluated: Evaluation) -> None:
        """Compare the output, and its difference from the input, with those at the last noise level."""
        output = _probe(evaluated)
        sigma, last = self._last or (evaluated.sigma, output)
        if sigma == evaluated.sigma:  # the last stage and this step's start: their outputs should be nearly equal
            same = output.new_zeros(len(output), dtype=torch.bool)
        else:
            size = torch.linalg.vector_norm(output, ord=math.inf, dim=(1, 2))
            difference = torch.linalg.vector_norm(output - last, ord=math.inf, dim=2).amin(1)
            same = difference <= 4 * ROUNDING * size
        self._seen = [same, *self._seen[: _JUDGED - 1]]
        self._last = (evaluated.sigma, output)

    def among(self, newest: int) -> Tensor:
        """For which samples the model repeated itself in any of the newest evaluations, [B] bool."""
        return functools.reduce(torch.logical_or, self._seen[:newest])

    def among_judged(self) -> Tensor:
        """The same for all evaluations that a judgement may have used."""
        return self.among(_JUDGED)


def _probe(evaluated: Evaluation) -> Tensor:
    """Some values of D and of D - x, [B, 2, probes]. The stride is odd, so that every column of a picture is probed."""
    stride = (evaluated.x[0].numel() // PROBES) | 1
    x, d = (part.flatten(1)[:, ::stride].float() for part in (evaluated.x, evaluated.d))
    difference = d * -evaluated.sigma
    return torch.stack([x + difference, difference], dim=1)
