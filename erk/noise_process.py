"""How a model mixes data and noise: x = alpha(sigma) * data + sigma * noise.

Two kinds cover ComfyUI's models. On *sigma-space* models (EPS, V and EDM prediction) alpha is 1, and
sigma can be any number from 0 upwards. On *flow* models (ComfyUI's CONST) alpha is 1 - sigma, and sigma is in [0, 1].
Everything here is arithmetic on Python floats, because schedules are read from the device once, at the start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseProcess:
    """A kind of model, defined by its signal scale alpha(sigma)."""

    name: str
    is_flow: bool

    def alpha(self, sigma: float) -> float:
        """Signal scale at noise level sigma."""
        return 1.0 - sigma if self.is_flow else 1.0

    def half_log_snr(self, sigma: float) -> float:
        """lambda = log(alpha / sigma); +inf at sigma = 0, -inf where there is no signal."""
        if sigma <= 0.0:
            return math.inf
        alpha = self.alpha(sigma)
        return math.log(alpha / sigma) if alpha > 0.0 else -math.inf

    def sigma_at(self, half_log_snr: float) -> float:
        """Inverse of :meth:`half_log_snr`."""
        if self.is_flow:
            return 1.0 / (1.0 + math.exp(half_log_snr))
        return math.exp(-half_log_snr)


SIGMA_SPACE = NoiseProcess("sigma-space", is_flow=False)
FLOW = NoiseProcess("flow", is_flow=True)
