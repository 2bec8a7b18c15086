from __future__ import annotations

from ..workflow_graph import Node
from .parts import (
    NOTE,
    PLOT,
    SMALL,
    WIDE,
    advanced_node,
    decode_node,
    demo_node,
    frame,
    note_group,
    plot_node,
    save_node,
    save_plot_node,
    stacked,
)

WORKFLOW = stacked(
    "erk_guid_custom_sampler", "SamplerCustomAdvanced",
    note_group(
        "## ERK-Guid in a custom sampling graph\n\n"
        "**Sampler ERK-Guid** outputs a SAMPLER for SamplerCustom and SamplerCustomAdvanced. It works with any guider "
        "and any sigmas. This graph uses a flow model, DEIS and the simple schedule.\n\n"
        "**Look at** the plot's last step. The schedules of flow models end with a long step, and most is corrected "
        "there.\n\n"
        "Also connect the sampler's *latent* to the visualizer, because the trace is recorded only when the sampler "
        "runs.",
        340,
    ),
    frame("Model", NOTE, demo_node(kind="flow", pictures="circuit", batch=4, side=384)),
    frame(
        "Noise, guider, solver, sigmas", SMALL,
        Node("noise", "RandomNoise", {"noise_seed": 3}),
        Node(
            "guider", "CFGGuider",
            {"model": ("demo", "MODEL"), "positive": ("demo", "positive"), "negative": ("demo", "negative"),
            "cfg": 3.0},
        ),
        Node("erk", "SamplerERKGuid", {"solver": "deis"}),
        Node("sigmas", "BasicScheduler", {"model": ("demo", "MODEL"), "scheduler": "simple", "steps": 16}),
    ),
    frame("Sampling", SMALL, advanced_node(("demo", "LATENT"))),
    frame("Result", WIDE, decode_node(("sampler", "output"), ("demo", "VAE")), save_node("erk_guid_custom")),
    frame("Stiffness", PLOT, plot_node(trace=("erk", "trace"), latent=("sampler", "output"))),
    frame("The plot, saved", WIDE, save_plot_node("erk_guid_custom_stiffness")),
    pictures=("save",),
)  # fmt: skip
