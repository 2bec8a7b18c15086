from __future__ import annotations

from .models import QWEN_IMAGE, where_files_go
from .parts import COMPARE, about_distilled, latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_qwen_image", "Qwen-Image",
    text="## Qwen-Image\n\n"
    "**ModelSamplingAuraFlow** sets the shift, which decides how the steps are distributed. A larger shift puts more "
    "steps where the picture's layout is decided, and makes the last steps longer.\n\n"
    "**Look at** lettering and fine lines. Also look in the plot at what a change of *shift* does to the stiffness of "
    "each step."
    + about_distilled("Lightning LoRAs for 4 or 8 steps")
    + COMPARE
    + where_files_go(QWEN_IMAGE),
    note_height=480,
    model=QWEN_IMAGE, latent=latent_node("EmptySD3LatentImage", 1328),
    prompt="a chalkboard outside a cafe, lettered by hand: TODAY, SOUP AND SUN", negative="",
    sampling={"seed": 1, "steps": 20, "cfg": 2.5, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
)  # fmt: skip
