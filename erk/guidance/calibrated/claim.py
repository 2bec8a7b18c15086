"""A claim about a step, and its judgement by the next evaluation (items 5 and 6 of the package's text)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...evaluation import Evaluation, add_scaled
from ...noise_process import NoiseProcess
from ...norms import inner
from ...solvers.multistep import data_weights

SURPRISE = 1 / 3
"""Weight of <e, e> against <v, v>.

An error that is much larger than the claim is not what the model describes. Beyond 1.7 times the claim, trust falls.
"""

GROWTH = 16.0
"""How many times as large as the judged claim the next may be, each as a share of the noise that its step removes.

A small claim that proved right says nothing about one that is far larger, as in a run of four steps from sigma 80.
"""

STRAYED = 0.5
"""How large an unexplained error may be, as a share of the noise that the step removes.

Beyond it, the evaluations do not fit together.
"""

UNDECIDED = 0.5
"""How large a change of D may stay unexplained before the last step, as a share of D. Trust falls to 0 there.

Where much is unexplained the picture is still being decided, and how it changed says little about what remains.
"""


class Judgement(NamedTuple):
    """What an evaluation says about a claim.

    trust    T, [B], 0 to 1
    strayed  whether the unexplained error is too large for any claim, [B] bool; None if that cannot be decided
    """

    trust: Tensor
    strayed: Tensor | None


class Claim(NamedTuple):
    """A claim that waits for the next evaluation.

    claimed   v, [B, ...]
    square    <v, v>, [B]
    bearable  the largest error that may stay unexplained, [B]; None if the judgement is for the last step: then v and e
              are changes of D
    size      |v| over bearable, [B]; None for the last step
    partial   the known part of e: e = partial + weight D, where D belongs to the next evaluation
    """

    claimed: Tensor
    square: Tensor
    bearable: Tensor | None
    size: Tensor | None
    partial: Tensor
    weight: float

    @classmethod
    def of_change(cls, change: Tensor, denoised: Tensor) -> Claim:
        """About the change that is to come from this D, [B, ...] each, to be judged for the last step."""
        return cls(change, inner(change, change), None, None, -denoised, 1.0)

    def judged(self, evaluated: Evaluation, region: Tensor | None) -> Judgement:
        """Judge the claim by the evaluation of the state that the step led to, inside the sampled region."""
        denoised = evaluated.denoised.float()
        found = add_scaled(self.partial, denoised, self.weight)
        if region is not None:
            found, denoised = found * region, denoised * region
        product, found_square = inner(found, self.claimed), inner(found, found)
        trust = agreement(product, self.square, found_square, last=self.bearable is None)
        if self.bearable is None:
            unexplained = torch.add(self.square + found_square, product, alpha=-2.0)  # |e - v|^2
            decided = 1 - unexplained / (UNDECIDED**2 * inner(denoised, denoised))
            return Judgement(decided.nan_to_num_(0.0).clamp_(0.0, 1.0).mul_(trust), None)
        unexplained = found_square + trust * torch.add(trust * self.square, product, alpha=-2.0)  # |e - T v|^2
        return Judgement(trust, unexplained > self.bearable.square())


def agreement(product: Tensor, claimed_square: Tensor, found_square: Tensor, last: bool) -> Tensor:
    """T from <e, v>, <v, v> and <e, e>, any shape; 0 where it is not defined."""
    trust = product / torch.maximum(claimed_square, SURPRISE * found_square)
    if last:
        trust = trust * product.clamp(min=0.0) / (claimed_square * found_square).sqrt()
    return trust.nan_to_num_(0.0, 0.0, 0.0).clamp_(0.0, 1.0)


def error_so_far(
    process: NoiseProcess, x: Tensor, x_next: Tensor, sigma: float, sigma_next: float, known: list[tuple[float, Tensor]]
) -> tuple[Tensor, float]:
    """(partial, weight) of e, which is what the step from x to x_next missed.

    D is interpolated through what the step used and one more evaluation at sigma_next.

    known  (noise level, D) of the step's evaluations and of the one before it, newest first; two at other levels are
           used
    """
    # e = (sigma_next/sigma) x + sum of weight D - x_next. Only the D at sigma_next is not known yet.
    levels, nodes = [sigma_next], []
    for level, denoised in known:
        if level not in levels and len(levels) < 3:
            levels.append(level)
            nodes.append(denoised)
    weight, *weights = data_weights(process, tuple(levels), sigma, sigma_next)
    partial = add_scaled(-x_next.float(), x.float(), sigma_next / sigma)
    for of_node, node in zip(weights, nodes, strict=True):
        add_scaled(partial, node, of_node, out=partial)
    return partial, weight
