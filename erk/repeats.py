"""Whether a model repeats its last output, as step caches do. A repeated output is no evidence."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from .evaluation import Evaluation
from .precision import ROUNDING

PROBES = 4096
"""About how many numbers of a model's output are compared with those of its last one, at most."""

_JUDGED = 4
"""How many evaluations a judgement may use."""


class Seen(NamedTuple):
    """The level and the probes of the last evaluation, and for the newest ones who repeated, [B] bool each."""

    last: tuple[float, Tensor] | None = None
    repeated: tuple[Tensor, ...] = ()


class Repeats:
    """Looks at each evaluation of a run once, in order.

    seen  what it remembers; at first that of the run that this one continues
    """

    def __init__(self, seen: Seen | None = None) -> None:
        self.seen = seen or Seen()

    def look(self, evaluated: Evaluation) -> None:
        """Compare the output, and its difference from the input, with those at the last noise level."""
        output = _probe(evaluated)
        sigma, last = self.seen.last or (evaluated.sigma, output)
        if sigma == evaluated.sigma:  # the last stage and this step's start: their outputs should be nearly equal
            same = output.new_zeros(len(output), dtype=torch.bool)
        else:
            size = torch.linalg.vector_norm(output, ord=math.inf, dim=(1, 2))
            difference = torch.linalg.vector_norm(output - last, ord=math.inf, dim=2).amin(1)
            same = difference <= 4 * ROUNDING * size
        self.seen = Seen((evaluated.sigma, output), (same, *self.seen.repeated[: _JUDGED - 1]))

    def among(self, newest: int) -> Tensor:
        """For which samples the model repeated itself in any of the newest evaluations, [B] bool."""
        return functools.reduce(torch.logical_or, self.seen.repeated[:newest])

    def among_judged(self) -> Tensor:
        """The same for all evaluations that a judgement may have used."""
        return self.among(_JUDGED)


def _probe(evaluated: Evaluation) -> Tensor:
    """Some values of D and of D - x, [B, 2, probes]. The stride is odd, so that every column of a picture is probed."""
    stride = (evaluated.x[0].numel() // PROBES) | 1
    x, d = (part.flatten(1)[:, ::stride].float() for part in (evaluated.x, evaluated.d))
    difference = d * -evaluated.sigma
    return torch.stack([x + difference, difference], dim=1)
