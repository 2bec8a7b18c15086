from __future__ import annotations

from ..workflow_graph import Node
from .parts import (
    CLIP_L,
    FLUX,
    FLUX_VAE,
    KEEP_A_PLAN,
    NOTE,
    T5,
    WIDE,
    beside,
    decode_node,
    frame,
    latent_node,
    note_group,
    planned_frames,
    prompt_nodes,
    save_node,
    separate,
    stacked,
    unet_node,
    where_files_go,
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
        + KEEP_A_PLAN + where_files_go(FLUX, CLIP_L, T5, FLUX_VAE),
        560,
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
    *planned_frames(
        "model", ("guidance", "CONDITIONING"), ("negative", "CONDITIONING"), ("latent", "LATENT"),
        steps=20, planned=12, seed=1, cfg=1.0, scheduler="simple",
    ),
    frame(
        "Traced, planned", WIDE,
        decode_node(("sampler", "LATENT"), ("vae", "VAE")),
        decode_node(("again", "LATENT"), ("vae", "VAE"), "decode_again"),
        beside(("decode", "IMAGE"), ("decode_again", "IMAGE"), "two"),
        save_node(PREFIX, "two"),
    ),
)  # fmt: skip
