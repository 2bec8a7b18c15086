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
    "The base model, sampled with CFG. (Z-Image Turbo is distilled to few steps: it wants solver *euler* with mode "
    "*off*.)\n\n"
    "**Look at** skin and fabric at 12 steps against 25."
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
