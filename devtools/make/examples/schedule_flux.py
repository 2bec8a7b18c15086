from __future__ import annotations

from ..workflow_graph import Node
from .models import FLUX, where_files_go
from .parts import (
    KEEP_A_PLAN,
    NOTE,
    WIDE,
    beside,
    decode_node,
    frame,
    latent_node,
    note_group,
    planned_frames,
    prompt_nodes,
    save_node,
    stacked,
)

PREFIX = "erk_guid_schedule_flux1_dev"

WORKFLOW = stacked(
    PREFIX, "Schedule, FLUX",
    note_group(
        "## Plan the noise levels of FLUX.1 dev\n\n"
        "The first sampler takes 20 steps of *simple*. **Schedule from Trace** plans 12 levels from its trace, and the "
        "second sampler takes these with the same seed.\n\n"
        "**Look at** the plan's plot and text, then at the pictures: 20 steps of *simple* on the left, the plan's 12 "
        "on the right.\n\n"
        "**Then** set *steps* of the first sampler to 12 as well, to compare at the same number of model calls. "
        + KEEP_A_PLAN + where_files_go(FLUX),
        560,
    ),
    frame("Model", NOTE, *FLUX.loaders),
    frame(
        "Prompt and size", WIDE,
        *prompt_nodes("macro photograph of a dewdrop on a fern, a whole forest mirrored in it", None, FLUX.clip),
        Node("guidance", "FluxGuidance", {"conditioning": ("positive", "CONDITIONING"), "guidance": 3.5}),
        latent_node("EmptySD3LatentImage"),
    ),
    *planned_frames(
        FLUX.model, ("guidance", "CONDITIONING"), ("negative", "CONDITIONING"), ("latent", "LATENT"),
        steps=20, planned=12, seed=1, cfg=1.0, scheduler="simple",
    ),
    frame(
        "Traced, planned", WIDE,
        decode_node(("sampler", "LATENT"), FLUX.vae),
        decode_node(("again", "LATENT"), FLUX.vae, "decode_again"),
        beside(("decode", "IMAGE"), ("decode_again", "IMAGE"), "two"),
        save_node(PREFIX, "two"),
    ),
)  # fmt: skip
