"""A model that needs no download: the exact denoiser of mosaics that the pack draws itself."""
