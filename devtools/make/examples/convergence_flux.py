from __future__ import annotations

from ..workflow_graph import Node
from .models import FLUX, where_files_go
from .parts import NOTE, WIDE, convergence_frames, frame, latent_node, note_group, prompt_nodes, stacked

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
        "and saved, and queueing again goes on from there." + where_files_go(FLUX),
        520,
    ),
    frame("Model", NOTE, *FLUX.loaders),
    frame(
        "Prompt and size", WIDE,
        *prompt_nodes("macro photograph of a dewdrop on a fern, a whole forest mirrored in it", None, FLUX.clip),
        Node("guidance", "FluxGuidance", {"conditioning": ("positive", "CONDITIONING"), "guidance": 3.5}),
        latent_node("EmptySD3LatentImage"),
    ),
    *convergence_frames(
        "erk_guid_convergence_flux1_dev", FLUX.model, ("guidance", "CONDITIONING"), ("negative", "CONDITIONING"),
        ("latent", "LATENT"), FLUX.vae, seed=1, cfg=1.0, scheduler="simple", reference=50,
    ),
)  # fmt: skip
