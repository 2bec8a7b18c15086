from __future__ import annotations

from .models import Z_IMAGE_TURBO, where_files_go
from .parts import latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_z_image_turbo", "Z-Image Turbo",
    text="## Z-Image Turbo: more variety at few steps\n\n"
    "This flow model is distilled to few steps, and its seeds hardly vary. Noise on the way makes them vary more: "
    "solver *euler_ancestral*, with mode *off*. What mode *calibrated* would correct is not an error of a "
    "distilled model.\n\n"
    "**Compare** several seeds at *eta* 0 (no noise), 0.5 and 1. With less noise the picture stays nearer to that "
    "of solver *euler*."
    + where_files_go(Z_IMAGE_TURBO),
    note_height=480,
    model=Z_IMAGE_TURBO, latent=latent_node("EmptySD3LatentImage"),
    prompt="portrait of a potter at the wheel, clay on her hands, window light, 35 mm film", negative=None,
    sampling={
        "seed": 1, "steps": 9, "cfg": 1.0, "solver": "euler_ancestral", "scheduler": "simple", "denoise": 1.0,
        "mode": "off", "eta": 0.5,
    },
)  # fmt: skip
