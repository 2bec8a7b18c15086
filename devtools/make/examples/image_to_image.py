from __future__ import annotations

from .parts import note_group, second_sampling

WORKFLOW = second_sampling(
    "erk_guid_img2img", "Image to image",
    note_group(
        "## Image to image\n\n"
        "The start picture is sampled here, so that the graph runs without any file. With your own model, put **Load "
        "Image** before **VAE Encode**.\n\n"
        "**Look at** *denoise*. The second sampler starts inside the schedule, and the plot shows the steps that it "
        "takes from there. Here it asks for mosaics of every kind. At 0.8 some tiles change, at 0.5 hardly any.",
        340,
    ),
    "everything", ("encode", "LATENT"), (), seed=4, steps=16, denoise=0.8,
)  # fmt: skip
