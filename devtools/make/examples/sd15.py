from __future__ import annotations

from .parts import CLIP, COMPARE, SD15, VAE, WHAT_TO_DO, checkpoint_node, latent_node, text_to_image, where_files_go

WORKFLOW = text_to_image(
    "erk_guid_sd15", "SD 1.5",
    text="## Stable Diffusion 1.5\n\n"
    f"**Look at** the chart on the sampler. {WHAT_TO_DO} Sigma runs from about 14.6 to 0.03 here.\n\n"
    "Solver *abm* calls the model once per step, as Euler does." + COMPARE + where_files_go(SD15),
    loaders=checkpoint_node(SD15), clip=CLIP, vae=VAE, model="model", latent=latent_node(side=512),
    prompt="a glass bottle with a galaxy inside, on mossy stones by a stream, morning light",
    negative="text, watermark",
    sampling={"seed": 1, "steps": 20, "cfg": 8.0, "solver": "abm", "scheduler": "normal", "denoise": 1.0},
)  # fmt: skip
