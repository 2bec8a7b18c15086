"""A model without any download: the exact denoiser of mosaics that the pack draws itself."""
