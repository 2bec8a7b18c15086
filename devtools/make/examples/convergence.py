from __future__ import annotations

from .parts import NOTE, convergence_frames, demo_node, frame, note_group, stacked

WORKFLOW = stacked(
    "erk_guid_convergence_test", "Convergence Test",
    note_group(
        "## Which sampler comes nearest, at how many model calls?\n\n"
        "Queue. **Convergence Test** samples the same noise with each sampler of its list, and once with very many "
        "calls. That long run gives the *converged* picture, and all others are measured by it. The model is a small "
        "network that comes with the pack, and all of it takes about half a minute on a CPU.\n\n"
        "**Look at**\n"
        "- the plot: the lower a line, the nearer. The dashed line is the converged picture's own error.\n"
        "- the sentence above it: how many calls others need for the same.\n"
        "- the pictures at 6 and 8 calls. *euler* is blurred, and the spots of the others differ from the converged "
        "picture's.\n\n"
        "**Then** add a line to *samplers*, such as `uni_pc` or `erk_heun`, and queue again: only the new one is run. "
        "Change *seed*, *cfg* or *scheduler*. Single pictures differ a lot, so this compares a batch of four.\n\n"
        "Put **Load Checkpoint** and your prompt in the demo model's place to test your own model.",
        560,
    ),
    frame("Model", NOTE, demo_node(pictures="coffee", batch=4, side=64)),
    *convergence_frames(
        "erk_guid_convergence_test", ("demo", "MODEL"), ("demo", "positive"), ("demo", "negative"), ("demo", "LATENT"),
        ("demo", "VAE"), seed=3, cfg=2.0, scheduler="karras", calls="6, 8, 12, 16, 24", reference=50,
    ),
    pictures=("save",),
)  # fmt: skip
