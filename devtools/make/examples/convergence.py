from __future__ import annotations

from .parts import NOTE, convergence_frames, demo_node, frame, note_group, stacked

WORKFLOW = stacked(
    "erk_guid_convergence_test", "Convergence Test",
    note_group(
        "## Which sampler comes nearest, at how many model calls?\n\n"
        "Queue: **Convergence Test** samples the same noise with each sampler of its list, and once with very "
        "many calls: "
        "that is the *converged* picture, which all are measured by. It takes half a minute on a CPU.\n\n"
        "**Look at**\n"
        "- the plot: the lower a line, the nearer; the dashed line is what the converged picture is uncertain by;\n"
        "- the sentence above it: how many calls others need for the same;\n"
        "- the numbers under the pictures of the grid.\n\n"
        "**Then** add a line to *samplers*, such as `uni_pc` or `erk_heun`, and queue again: only the new one "
        "is run. Change "
        "the seed, *cfg* or *scheduler*: single pictures differ a lot, which is why a batch of four is "
        "compared here.\n\n"
        "With **Load Checkpoint** and your prompt in the demo model's place it tells about your model: that is what "
        "counts.",
        560,
    ),
    frame("Model", NOTE, demo_node(kind="flow", batch=4, side=128)),
    *convergence_frames(
        "erk_guid_convergence_test", "demo", ("demo", "positive"), ("demo", "negative"), ("demo", "LATENT"),
        ("demo", "VAE"), seed=7, cfg=3.0, scheduler="beta",
    ),
    pictures=("save",),
)  # fmt: skip
