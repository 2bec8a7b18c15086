"""Models that need no download: the exact denoiser of mosaics, and a small network of photographs."""
