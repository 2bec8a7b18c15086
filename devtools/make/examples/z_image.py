from __future__ import annotations

from ..workflow_graph import Node
from .parts import (
    COMPARE,
    Z_IMAGE,
    Z_IMAGE_TEXT,
    Z_IMAGE_VAE,
    latent_node,
    separate,
    text_to_image,
    unet_node,
    where_files_go,
)

WORKFLOW = text_to_image(
    "erk_guid_z_image", "Z-Image",
    text="## Z-Image\n\n"
    "This is the base model, sampled with CFG. (Z-Image Turbo is distilled to few steps. It needs solver *euler* with "
    "mode *off*.)\n\n"
    "**Compare** skin and fabric at 12 and at 25 steps."
    + COMPARE + where_files_go(Z_IMAGE, Z_IMAGE_TEXT, Z_IMAGE_VAE),
    note_height=480,
    loaders=separate(
        unet_node(Z_IMAGE), Node("clip", "CLIPLoader", {"clip_name": Z_IMAGE_TEXT, "type": "lumina2"}), Z_IMAGE_VAE,
        Node("shifted", "ModelSamplingAuraFlow", {"model": ("model", "MODEL"), "shift": 3.0}),
    ),
    clip=("clip", "CLIP"), vae=("vae", "VAE"), model="shifted", latent=latent_node("EmptySD3LatentImage"),
    prompt="portrait of a potter at the wheel, clay on her hands, window light, 35 mm film", negative="blurry, text",
    sampling={"seed": 1, "steps": 25, "cfg": 4.0, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
)  # fmt: skip
