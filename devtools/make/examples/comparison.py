from __future__ import annotations

from .parts import NOTE, convergence_frames, demo_node, frame, note_group, stacked

WORKFLOW = stacked(
    "erk_guid_compare_modes", "The modes compared",
    note_group(
        "## Off, paper, calibrated: how near does each mode come?\n\n"
        "The same noise with two solvers and each of their modes. `erk_heun` is the solver that the paper tests most. "
        "It calls the model twice a step, so it gets half the steps. The pictures are mosaics whose exact denoiser is "
        "known.\n\n"
        "**Look at**\n"
        "- the plot. *calibrated* stays below *off*. *paper* uses the strengths that the paper chose for another model "
        "(ImageNet at 512 pixels), and here they bring little or do harm.\n"
        "- the fine grain of the tiles, zoomed in. It is part of these pictures. *off* loses much of it in the last "
        "step, and *calibrated* keeps it.\n\n"
        "`erk_heun mode=paper w_stiff=0.5 w_con=0.3` in the list tries other strengths. To compare the modes on your "
        "own model, put a checkpoint in the demo model's place.",
        560,
    ),
    frame("Model", NOTE, demo_node(kind="flow", batch=4, side=192)),
    *convergence_frames(
        "erk_guid_compare_modes", ("demo", "MODEL"), ("demo", "positive"), ("demo", "negative"), ("demo", "LATENT"),
        ("demo", "VAE"), seed=7, cfg=3.0, scheduler="simple",
        samplers="erk_abm mode=off\nerk_abm\nerk_heun mode=off\nerk_heun mode=paper\nerk_heun",
        calls="8, 16, 32",
    ),
    pictures=("save",),
)  # fmt: skip
