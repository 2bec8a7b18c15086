"""The samplers give the recorded results to 1e-6 of their scale: every solver, mode, kind of latent and precision."""

from __future__ import annotations

import json

import pytest
import torch
from recorded_results import FILE, cases, difference, record_of, record_of_trace

import erk

RECORDED = json.loads(FILE.read_text())
VECTORS = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
"""The results were recorded with these, which agree to the last bit.

Others round sums differently. In half precision, one rounding then decides the next.
"""


@pytest.mark.parametrize("case", [case for case in cases() if str(case) in RECORDED], ids=str)
def test_as_recorded(case):
    known, trace = RECORDED[str(case)], erk.Trace()
    result = case.run(trace)
    assert torch.equal(case.run(), result), "a trace changes nothing"
    exact = VECTORS or case.dtype == "float32"
    assert difference(record_of(result), known["result"]) < (1e-6 if exact else 0.05)
    assert difference(record_of_trace(trace), known["trace"]) < (1e-6 if VECTORS else 1e-4 if exact else 0.5)


def test_all_that_is_recorded_is_run():
    """A new solver has no recorded results until somebody records them."""
    assert set(RECORDED) <= {str(case) for case in cases()}
