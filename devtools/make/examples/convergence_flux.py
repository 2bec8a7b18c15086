from __future__ import annotations

from ..workflow_graph import Node
from .parts import (
    CLIP_L,
    FLUX,
    FLUX_VAE,
    NOTE,
    T5,
    WIDE,
    convergence_frames,
    frame,
    latent_node,
    note_group,
    prompt_nodes,
    separate,
    stacked,
    unet_node,
    where_files_go,
)

WORKFLOW = stacked(
    "erk_guid_convergence_flux1_dev", "Convergence, FLUX",
    note_group(
        "## Convergence Test on FLUX.1 dev\n\n"
        "The guidance is built into the model (*Flux Guidance*), so *cfg* is 1. The same noise, with each "
        "sampler of the "
        "list at 8, 12, 16 and 24 model calls, against one run of 100 (*reference* 50, doubled once): about 390 model "
        "calls, so give it some minutes.\n\n"
        "**Look at** the sentence above the plot, and at small things in the grid. One picture is one case: try other "
        "seeds and prompts before you believe it.\n\n"
        "**Then** add lines to *samplers*: what has been run is reused. You can stop at any time; what is "
        "there is shown "
        "and saved, and queueing again goes on from there." + where_files_go(FLUX, CLIP_L, T5, FLUX_VAE),
        520,
    ),
    frame(
        "Model", NOTE,
        *separate(
            unet_node(FLUX),
            Node("clip", "DualCLIPLoader", {"clip_name1": CLIP_L, "clip_name2": T5, "type": "flux"}),
            FLUX_VAE,
        ),
    ),
    frame(
        "Prompt and size", WIDE,
        *prompt_nodes("macro photograph of a dewdrop on a fern, a whole forest mirrored in it", None, ("clip", "CLIP")),
        Node("guidance", "FluxGuidance", {"conditioning": ("positive", "CONDITIONING"), "guidance": 3.5}),
        latent_node("EmptySD3LatentImage"),
    ),
    *convergence_frames(
        "erk_guid_convergence_flux1_dev", "model", ("guidance", "CONDITIONING"), ("negative", "CONDITIONING"),
        ("latent", "LATENT"), ("vae", "VAE"), seed=1, cfg=1.0, scheduler="simple", reference=50,
    ),
)  # fmt: skip
