from __future__ import annotations

from .models import SDXL, where_files_go
from .parts import COMPARE, KARRAS, about_distilled, latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_sdxl", "SDXL",
    text="## SDXL base\n\n"
    "**Compare** fine structure (hair, leaves, lettering) at 12 and at 25 steps. With few steps a solver's error "
    "shows, and there is most to correct.\n\n"
    + KARRAS
    + about_distilled("SDXL Turbo and Lightning, and LCM LoRAs,")
    + COMPARE + where_files_go(SDXL),
    note_height=500,
    model=SDXL, latent=latent_node(),
    prompt="an old lighthouse on a cliff in a storm, waves breaking, oil on canvas", negative="text, watermark",
    sampling={"seed": 1, "steps": 25, "cfg": 8.0, "solver": "abm", "scheduler": "karras", "denoise": 1.0},
)  # fmt: skip
