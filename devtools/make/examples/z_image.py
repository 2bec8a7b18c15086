from __future__ import annotations

from .models import Z_IMAGE, where_files_go
from .parts import COMPARE, latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_z_image", "Z-Image",
    text="## Z-Image\n\n"
    "This is the base model, sampled with CFG. (Z-Image Turbo is distilled to few steps. It needs solver *euler* with "
    "mode *off*.)\n\n"
    "**Compare** skin and fabric at 12 and at 25 steps."
    + COMPARE + where_files_go(Z_IMAGE),
    note_height=480,
    model=Z_IMAGE, latent=latent_node("EmptySD3LatentImage"),
    prompt="portrait of a potter at the wheel, clay on her hands, window light, 35 mm film", negative="blurry, text",
    sampling={"seed": 1, "steps": 25, "cfg": 4.0, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
)  # fmt: skip
