from __future__ import annotations

from ..workflow_graph import Node
from .models import FLUX, where_files_go
from .parts import COMPARE, about_distilled, latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_flux1_dev", "FLUX.1 dev",
    text="## FLUX.1 dev\n\n"
    "The guidance is built into the model (*Flux Guidance*), so *cfg* is 1 and each step is one model call.\n\n"
    "**Compare** 20 steps with 10. Queue both with the same seed, and connect both samplers to one visualizer with "
    "*axis* set to *sigma*."
    + about_distilled("FLUX.1 schnell and LoRAs for 4 or 8 steps")
    + COMPARE + where_files_go(FLUX),
    note_height=480,
    model=FLUX, latent=latent_node("EmptySD3LatentImage"), negative=None,
    conditioning=(Node("guidance", "FluxGuidance", {"conditioning": ("positive", "CONDITIONING"), "guidance": 3.5}),),
    positive="guidance",
    prompt="macro photograph of a dewdrop on a fern, a whole forest mirrored in it",
    sampling={"seed": 1, "steps": 20, "cfg": 1.0, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
)  # fmt: skip
