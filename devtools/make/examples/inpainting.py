from __future__ import annotations

from ..workflow_graph import Node
from .parts import note_group, second_sampling

WORKFLOW = second_sampling(
    "erk_guid_inpainting", "Inpainting",
    note_group(
        "## Inpainting\n\n"
        "The latent has a mask. Only the square in the middle is sampled again, as another kind of mosaic. The rest "
        "stays as it is. The start picture is sampled here, so that the graph runs without any file. With your own "
        "model, put **Load Image** before **VAE Encode**, and connect its *MASK* to **Set Latent Noise Mask**.\n\n"
        "**Look at** the square's border and at the plot. The stiffness is that of the whole latent, including the "
        "part that is kept.",
        380,
    ),
    "circuit", ("masked", "LATENT"),
    (
        Node("nothing", "SolidMask", {"value": 0.0, "width": 256, "height": 256}, title="Keep everything"),
        Node("square", "SolidMask", {"value": 1.0, "width": 128, "height": 128}, title="but a square"),
        Node(
            "mask", "MaskComposite",
            {"destination": ("nothing", "MASK"), "source": ("square", "MASK"), "x": 64, "y": 64, "operation": "add"},
        ),
        Node("masked", "SetLatentNoiseMask", {"samples": ("encode", "LATENT"), "mask": ("mask", "MASK")}),
    ),
    seed=4, steps=16, denoise=1.0,
)  # fmt: skip
