"""How near each sampler comes to the converged picture, at equal model calls."""
