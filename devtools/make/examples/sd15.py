from __future__ import annotations

from .models import SD15, where_files_go
from .parts import COMPARE, KARRAS, WHAT_TO_DO, latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_sd15", "SD 1.5",
    text="## Stable Diffusion 1.5\n\n"
    f"**Look at** the chart on the sampler. {WHAT_TO_DO} Sigma runs from about 14.6 to 0.03 here.\n\n"
    "Solver *abm* calls the model once per step, as Euler does. " + KARRAS + COMPARE + where_files_go(SD15),
    note_height=500,
    model=SD15, latent=latent_node(side=512),
    prompt="a glass bottle with a galaxy inside, on mossy stones by a stream, morning light",
    negative="text, watermark",
    sampling={"seed": 1, "steps": 20, "cfg": 8.0, "solver": "abm", "scheduler": "karras", "denoise": 1.0},
)  # fmt: skip
