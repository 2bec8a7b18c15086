from __future__ import annotations

from ..workflow_graph import Node
from .models import WAN, where_files_go
from .parts import (
    KEEP_A_PLAN,
    NOTE,
    WIDE,
    beside,
    decode_node,
    frame,
    note_group,
    planned_frames,
    prompt_nodes,
    stacked,
)

PREFIX = "erk_guid_schedule_wan22"

WORKFLOW = stacked(
    PREFIX, "Schedule, Wan 2.2",
    note_group(
        "## Plan the noise levels of Wan 2.2 (5B)\n\n"
        "The first sampler takes 20 steps of *simple* for a short, small clip. **Schedule from Trace** plans 14 "
        "levels from its trace, and the second sampler takes these with the same seed.\n\n"
        "**Look at** the plan's plot and text, then at motion and fine structure: 20 steps of *simple* on the left, "
        "the plan's 14 on the right.\n\n"
        "**Then** use the levels for longer clips with the same *shift*. "
        + KEEP_A_PLAN + where_files_go(WAN),
        540,
    ),
    frame("Model", NOTE, *WAN.loaders),
    frame(
        "Prompt and size", WIDE,
        *prompt_nodes(
            "a paper boat drifts down a rainy street, neon signs mirrored in the water, the camera follows it low "
            "above the ground",
            "static, blurry, overexposed, worst quality, subtitles", WAN.clip,
        ),
        Node("latent", "Wan22ImageToVideoLatent", {"vae": WAN.vae, "width": 832, "height": 480, "length": 49,
        "batch_size": 1}),
    ),
    *planned_frames(
        WAN.model, ("positive", "CONDITIONING"), ("negative", "CONDITIONING"), ("latent", "LATENT"),
        steps=20, planned=14, seed=1, cfg=5.0, scheduler="simple",
    ),
    frame(
        "Traced, planned", WIDE,
        decode_node(("sampler", "LATENT"), WAN.vae),
        decode_node(("again", "LATENT"), WAN.vae, "decode_again"),
        beside(("decode", "IMAGE"), ("decode_again", "IMAGE"), "two"),
        Node("video", "CreateVideo", {"images": ("two", "IMAGE"), "fps": 24.0}),
        Node("save", "SaveVideo", {"video": ("video", "VIDEO"), "filename_prefix": f"video/{PREFIX}"}),
    ),
)  # fmt: skip
