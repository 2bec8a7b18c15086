from __future__ import annotations

from ..workflow_graph import Column, Group, Node, Workflow
from .parts import NOTE, PLOT, SMALL, decode_node, demo_node, frame, ksampler_node, note_group, plot_node, save_node


def _compare_row(steps: int) -> Group:
    """The three modes at one number of steps, side by side."""
    modes = ("off", "paper", "calibrated")
    samplers = tuple(
        Column(
            SMALL,
            (
                ksampler_node(
                    f"{mode}_{steps}", "demo", ("demo", "positive"), ("demo", "negative"), ("demo", "LATENT"),
                    f"{mode}, {steps} steps",
                    seed=("seed", "INT"), steps=steps, cfg=3.0, solver="heun", scheduler="karras", denoise=1.0,
                    mode=mode,
                ),
            ),
        )
        for mode in modes
    )  # fmt: skip
    decodes = tuple(
        decode_node((f"{mode}_{steps}", "LATENT"), ("demo", "VAE"), f"decode_{mode}_{steps}") for mode in modes
    )

    def join(key: str, left: str, right: str) -> Node:
        inputs = {"image1": (left, "IMAGE"), "image2": (right, "IMAGE"), "direction": "right", "spacing_width": 16}
        return Node(f"{key}_{steps}", "ImageStitch", inputs)

    joins = (join("pair", decodes[0].key, decodes[1].key), join("strip", f"pair_{steps}", decodes[2].key))
    title = f"off | paper | calibrated, {steps} steps"
    save = save_node(f"erk_guid_compare_{steps}", f"strip_{steps}", f"save_{steps}", title=title, height=440)
    traces = {"trace" if i == 0 else f"trace_{i + 1}": (f"{mode}_{steps}", "trace") for i, mode in enumerate(modes)}
    plot = plot_node(f"plot_{steps}", labels="off\npaper\ncalibrated", **traces)
    return Group(
        f"{steps} steps", (*samplers, Column(280, (*decodes, *joins)), Column(660, (save,)), Column(PLOT, (plot,)))
    )


WORKFLOW = Workflow(
    "erk_guid_compare_modes", "off, paper, calibrated",
    (
        (
            note_group(
                "## Off, paper, calibrated: the same noise at 8, 16 and 32 steps\n\n"
                "These are nine runs with one seed and one solver: Heun, which the paper tests most and which makes "
                "two model calls per step. Each row has one number of steps. Its strip shows *off*, *paper*, "
                "*calibrated* from left to right.\n\n"
                "**Look at**\n"
                "- the fine grain of the tiles, zoomed in. It is part of these pictures. *off* loses much of it in the "
                "last step at any number of steps. *calibrated* keeps it.\n"
                "- the plots. They show at which steps the modes correct, and by how much. *off* corrects nothing, but "
                "its stiffness is still measured.\n\n"
                "Mode *paper* uses the strengths that the paper chose for another model (ImageNet at 512 pixels). Here "
                "they bring little, and do harm at 32 steps. Set *strengths* to *custom* to try others. To compare the "
                "modes on your own model, put a checkpoint in the demo model's place.",
                460,
            ),
            frame(
                "Model and seed, for all", NOTE,
                demo_node(side=192), Node("seed", "PrimitiveInt", {"value": 7}, title="Seed"),
            ),
        ),
        (_compare_row(8), _compare_row(16), _compare_row(32)),
    ),
    pictures=("save_8", "save_16", "save_32"),
)  # fmt: skip
