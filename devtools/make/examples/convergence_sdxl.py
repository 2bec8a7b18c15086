from __future__ import annotations

from .models import SDXL, where_files_go
from .parts import NOTE, WIDE, convergence_frames, frame, latent_node, note_group, prompt_nodes, stacked

WORKFLOW = stacked(
    "erk_guid_convergence_sdxl", "Convergence, SDXL",
    note_group(
        "## Convergence Test on SDXL\n\n"
        "The same noise, with each sampler of the list at 8, 12, 16 and 24 model calls, against one run of "
        "200. With the "
        "default list these are about 540 model calls, so give it some minutes; *reference* 50 halves most of it.\n\n"
        "**Look at** the sentence above the plot, and at fine structure in the grid. One picture is one case: "
        "try other "
        "seeds and prompts, or a batch, before you believe it.\n\n"
        "**Then** add lines to *samplers*: what has been run is reused. You can stop at any time; what is "
        "there is shown "
        "and saved, and queueing again goes on from there." + where_files_go(SDXL),
        460,
    ),
    frame("Model", NOTE, *SDXL.loaders),
    frame(
        "Prompt and size", WIDE,
        *prompt_nodes(
            "an old lighthouse on a cliff in a storm, waves breaking, oil on canvas", "text, watermark", SDXL.clip
        ),
        latent_node(),
    ),
    *convergence_frames(
        "erk_guid_convergence_sdxl", SDXL.model, ("positive", "CONDITIONING"), ("negative", "CONDITIONING"),
        ("latent", "LATENT"), SDXL.vae, seed=1, cfg=7.0, scheduler="karras",
    ),
)  # fmt: skip
