from __future__ import annotations

from ..workflow_graph import Node
from .parts import (
    KEEP_A_PLAN,
    NOTE,
    SMALL,
    WIDE,
    beside,
    decode_node,
    demo_node,
    frame,
    note_group,
    planned_frames,
    stacked,
)

PREFIX = "erk_guid_schedule"

WORKFLOW = stacked(
    PREFIX, "Schedule from Trace",
    note_group(
        "## Plan the noise levels from one run\n\n"
        "Queue. It runs on a small network that comes with the pack.\n\n"
        "1. **KSampler (ERK-Guid)** takes 8 steps of *karras*. Its *trace* remembers where the steps went wrong.\n"
        "2. **Schedule from Trace** plans 8 other noise levels. Its plot shows both schedules, and what each step "
        "leaves in the picture.\n"
        "3. The second sampler takes these levels through *sigmas*, with the same seed.\n"
        "4. 60 steps show where both should arrive.\n\n"
        "**Look at** small things in the pictures. From left to right: *karras*, the plan, 60 steps. Which of the "
        "first two is nearer to the last?\n\n"
        "**Then** change the seed of the second and third sampler, because one trace serves other seeds too. "
        + KEEP_A_PLAN,
        560,
    ),
    frame("Model", NOTE, demo_node(pictures="coffee", batch=4, side=96)),
    *planned_frames(
        ("demo", "MODEL"), ("demo", "positive"), ("demo", "negative"), ("demo", "LATENT"),
        steps=8, planned=8, seed=7, cfg=2.0, scheduler="karras",
    ),
    frame(
        "4. Where both should arrive", SMALL,
        Node(
            "long", "KSampler",
            {
                "model": ("demo", "MODEL"), "positive": ("demo", "positive"), "negative": ("demo", "negative"),
                "latent_image": ("demo", "LATENT"), "seed": 7, "steps": 60, "cfg": 2.0, "sampler_name": "erk_abm",
                "scheduler": "karras", "denoise": 1.0,
            },
        ),
        decode_node(("sampler", "LATENT"), ("demo", "VAE")),
        decode_node(("again", "LATENT"), ("demo", "VAE"), "decode_again"),
        decode_node(("long", "LATENT"), ("demo", "VAE"), "decode_long"),
    ),
    frame(
        "karras, planned, 60 steps", WIDE,
        beside(("decode", "IMAGE"), ("decode_again", "IMAGE"), "two"),
        beside(("two", "IMAGE"), ("decode_long", "IMAGE"), "three"),
        Node("save", "SaveImage", {"images": ("three", "IMAGE"), "filename_prefix": PREFIX}),
    ),
    pictures=("save",),
)  # fmt: skip
