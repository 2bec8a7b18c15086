from __future__ import annotations

from .parts import (
    NOTE,
    PLOT,
    SMALL,
    WHAT_TO_DO,
    WIDE,
    decode_node,
    demo_node,
    frame,
    ksampler_node,
    note_group,
    plot_node,
    save_node,
    save_plot_node,
    stacked,
)

WORKFLOW = stacked(
    "erk_guid_demo", "Demo, no download",
    note_group(
        "## ERK-Guid in one graph, without any download\n\n"
        "**Demo Model** takes the place of a checkpoint. Its pictures are mosaics whose exact denoiser is known.\n\n"
        "1. Queue. **KSampler (ERK-Guid)** samples, and the plot shows the stiffness and the correction at each "
        "step.\n"
        "2. Set *mode* to *off* and queue again. This is the same solver without the correction.\n"
        "3. Lower *steps* to 8. The larger the steps, the more there is to correct.\n\n"
        f"{WHAT_TO_DO}\n\n"
        "To use your own model, put **Load Checkpoint** in the demo model's place.",
        430,
    ),
    frame("Model", NOTE, demo_node(batch=4, side=384)),
    frame(
        "Sampling", SMALL + 20,
        ksampler_node(
            "sampler", ("demo", "MODEL"), ("demo", "positive"), ("demo", "negative"), ("demo", "LATENT"),
            seed=7, steps=16, cfg=3.0, solver="abm", scheduler="karras", denoise=1.0,
        ),
    ),
    frame("Result", WIDE, decode_node(("sampler", "LATENT"), ("demo", "VAE")), save_node("erk_guid_demo")),
    frame("Stiffness", PLOT, plot_node(trace=("sampler", "trace"))),
    frame("The plot, saved", WIDE, save_plot_node("erk_guid_demo_stiffness")),
    pictures=("save",),
)  # fmt: skip
