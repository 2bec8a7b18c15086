from __future__ import annotations

from .models import SDXL, where_files_go
from .parts import latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_sdxl_noise", "SDXL with noise",
    text="## SDXL base, with noise on the way\n\n"
    "*euler_ancestral* adds new noise at each step. That gives other pictures than the same seed without noise, and it "
    "washes out artefacts. Mode *calibrated* adds what plain ancestral sampling lacks at few steps: contrast and "
    "detail.\n\n"
    "**Compare** with mode *off* and the same seed. This is ComfyUI's own *euler_ancestral*, with the same noise and "
    "the same number of model calls. **Then** do so at 20 steps.\n\n"
    "*eta* is the amount of noise: 1 is usual, 0 adds none."
    + where_files_go(SDXL),
    model=SDXL, latent=latent_node(),
    prompt="an old lighthouse on a cliff in a storm, waves breaking, oil on canvas", negative="text, watermark",
    sampling={
        "seed": 1, "steps": 10, "cfg": 7.0, "solver": "euler_ancestral", "scheduler": "karras", "denoise": 1.0,
        "eta": 1.0,
    },
)  # fmt: skip
