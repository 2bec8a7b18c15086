from __future__ import annotations

from .models import PIXART, where_files_go
from .parts import COMPARE, KARRAS, latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_pixart_sigma", "PixArt-Sigma",
    text="## PixArt-Sigma\n\n"
    "This is a small transformer (0.6 billion weights) with a large text encoder. It is an older kind of noise model: "
    "its sigma runs from well above 100 down to 0.01, so the first steps are long.\n\n"
    "**Compare** the plot's first steps with its last ones, and try the scheduler *beta* as well.\n\n"
    + KARRAS
    + COMPARE
    + where_files_go(PIXART)
    + "\n\nThe model's file is called `diffusion_pytorch_model.safetensors` there. Save it under the name above.",
    note_height=560,
    model=PIXART, latent=latent_node(),
    prompt="a small cactus with a straw hat in a terracotta pot, desert behind it, watercolour", negative="",
    sampling={"seed": 1, "steps": 20, "cfg": 4.5, "solver": "abm", "scheduler": "karras", "denoise": 1.0},
)  # fmt: skip
