from __future__ import annotations

from ..workflow_graph import Node
from .parts import note_group, second_sampling

WORKFLOW = second_sampling(
    "erk_guid_inpainting", "Inpainting",
    note_group(
        "## Inpainting\n\n"
        "A mask on the latent: only the square in the middle is sampled anew, as another kind of mosaic; the rest "
        "stays as it is. The start picture is sampled here, so that the graph runs without any file; with a model of "
        "your own, put **Load Image** before **VAE Encode** and its *MASK* into **Set Latent Noise Mask**.\n\n"
        "**Look at** the square's border, and at the plot: the stiffness is that of the whole latent, the kept part "
        "included.",
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
