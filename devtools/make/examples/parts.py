"""The parts that several example workflows share: model files, nodes, groups."""

from __future__ import annotations

from typing import Any

from ..workflow_graph import Column, Group, Node, Workflow, note
from .models import Model

NOTE, SMALL, WIDE, PLOT = 380, 320, 420, 560
"""Widths of columns."""


def note_group(text: str, height: int) -> Group:
    return Group(None, (Column(NOTE, (note(text, height),)),))


def frame(title: str, width: int, *nodes: Node) -> Group:
    return Group(title, (Column(width, nodes),))


def stacked(
    name: str, caption: str, text: Group, model: Group, *others: Group, pictures: tuple[str, ...] = ()
) -> Workflow:
    """The usual arrangement: the note above the model, then one group after the other."""
    return Workflow(name, caption, ((text, model), *((group,) for group in others)), pictures)


def save_plot_node(prefix: str) -> Node:
    return Node("save_plot", "SaveImage", {"images": ("plot", "plot"), "filename_prefix": prefix}, height=400)


def advanced_node(latent: tuple[str, str]) -> Node:
    inputs = {
        "noise": ("noise", "NOISE"), "guider": ("guider", "GUIDER"), "sampler": ("erk", "SAMPLER"), "sigmas": ("sigmas",
        "SIGMAS"),
        "latent_image": latent,
    }  # fmt: skip
    return Node("sampler", "SamplerCustomAdvanced", inputs)


def demo_node(key: str = "demo", kind: str = "eps", pictures: str = "arcs", batch: int = 1, side: int = 256) -> Node:
    inputs = {"kind": kind, "pictures": pictures, "width": side, "height": side, "batch_size": batch}
    return Node(key, "DemoModelERKGuid", inputs)


def encode_node(key: str, text: str, title: str, clip: tuple[str, str]) -> Node:
    return Node(key, "CLIPTextEncode", {"text": text, "clip": clip}, title=title)


def ksampler_node(
    key: str,
    model: tuple[str, str],
    positive: Any,
    negative: Any,
    latent: Any,
    title: str | None = None,
    **settings: Any,
) -> Node:
    wires = {"model": model, "positive": positive, "negative": negative, "latent_image": latent}
    return Node(key, "KSamplerERKGuid", {**wires, **settings}, title=title)


def plot_node(key: str = "plot", **inputs: Any) -> Node:
    return Node(key, "StiffnessVisualizerERKGuid", inputs)


def decode_node(samples: tuple[str, str], vae: tuple[str, str], key: str = "decode") -> Node:
    return Node(key, "VAEDecode", {"samples": samples, "vae": vae})


def save_node(prefix: str, images: str = "decode", key: str = "save", **more: Any) -> Node:
    return Node(key, "SaveImage", {"images": (images, "IMAGE"), "filename_prefix": prefix}, **more)


def text_to_image(
    name: str,
    caption: str,
    *,
    text: str,
    model: Model,
    prompt: str,
    latent: Node,
    sampling: dict[str, Any],
    negative: str | None = "",
    conditioning: tuple[Node, ...] = (),
    positive: str = "positive",
    result: tuple[Node, ...] | None = None,
    note_height: int = 420,
) -> Workflow:
    """The graph that all text-to-image models share.

    The nodes of `conditioning` come between the prompt and the sampler. `negative` is :func:`prompt_nodes`'s.
    """
    sampler = ksampler_node(
        "sampler",
        model.model,
        (positive, "CONDITIONING"),
        ("negative", "CONDITIONING"),
        (latent.key, "LATENT"),
        **sampling,
    )
    return stacked(
        name, caption, note_group(text, note_height), frame("Model", NOTE, *model.loaders),
        frame("Prompt and size", WIDE, *prompt_nodes(prompt, negative, model.clip), *conditioning, latent),
        frame("Sampling", SMALL + 20, sampler),
        frame("Result", WIDE, *(result or (decode_node(("sampler", "LATENT"), model.vae), save_node(name)))),
        frame("Stiffness", PLOT, plot_node(trace=("sampler", "trace"))),
    )  # fmt: skip


def prompt_nodes(prompt: str, negative: str | None, clip: tuple[str, str]) -> tuple[Node, Node]:
    """The nodes "positive" and "negative". If `negative` is None, the prompt itself is zeroed and used instead."""
    if negative is None:
        wire = {"conditioning": ("positive", "CONDITIONING")}
        without = Node("negative", "ConditioningZeroOut", wire, title="No negative prompt")
    else:
        without = encode_node("negative", negative, "Negative prompt", clip)
    return encode_node("positive", prompt, "Prompt", clip), without


def convergence_frames(
    name: str, model: tuple[str, str], positive: tuple[str, str], negative: tuple[str, str], latent: tuple[str, str],
    vae: tuple[str, str], **settings: Any,
) -> tuple[Group, ...]:  # fmt: skip
    """The Convergence Test and its results, saved and shown."""
    wires = {"model": model, "positive": positive, "negative": negative, "latent_image": latent, "vae": vae}
    return (
        frame("Convergence Test", PLOT, Node("test", "ConvergenceTestERKGuid", {**wires, **settings})),
        frame(
            "The plot and all numbers", PLOT,
            Node("save", "SaveImage", {"images": ("test", "plot"), "filename_prefix": f"{name}_plot"}, height=460),
            Node("table", "PreviewAny", {"source": ("test", "table")}),
        ),
        frame(
            "The pictures", 760,
            Node("save_grid", "SaveImage", {"images": ("test", "grid"), "filename_prefix": f"{name}_grid"}, height=900),
        ),
    )  # fmt: skip


def planned_frames(
    model: tuple[str, str], positive: tuple[str, str], negative: tuple[str, str], latent: tuple[str, str], steps: int,
    planned: int, **settings: Any,
) -> tuple[Group, ...]:  # fmt: skip
    """A traced run, the schedule that is planned from it, and the run along that schedule."""
    wires = (model, positive, negative, latent)
    settings = {**settings, "solver": "abm", "denoise": 1.0}
    return (
        frame("1. A traced run", SMALL + 20, ksampler_node("sampler", *wires, steps=steps, **settings)),
        frame(
            "2. The plan", PLOT,
            Node("plan", "ScheduleFromTraceERKGuid", {"trace": ("sampler", "trace"), "steps": planned}),
            Node("levels", "PreviewAny", {"source": ("plan", "levels")}, title="Levels, for ManualSigmas", height=200),
        ),
        frame(
            "3. The same seed along the plan", SMALL + 20,
            ksampler_node("again", *wires, steps=planned, sigmas=("plan", "sigmas"), **settings),
        ),
    )  # fmt: skip


def beside(one: tuple[str, str], other: tuple[str, str], key: str) -> Node:
    """Two pictures side by side, or two batches of them."""
    return Node(key, "ImageStitch", {"image1": one, "image2": other})


WHAT_TO_DO = (
    "Where h*rho-hat is above 1, a step is too long: use more steps, or a scheduler that puts more of them there."
)
"""As the nodes say it."""

COMPARE = (
    "\n\n**Then** set *mode* to *off* and queue again with the same seed. This is the same solver without the "
    "correction, at the same number of model calls."
)


KARRAS = (
    "Scheduler *karras*: on noise models such as this one it distributes the steps well, while *normal* ends with "
    "steps that are too long."
)
"""Why the templates of sigma-space models have it; docs/choosing.md has the figures."""

KEEP_A_PLAN = (
    "To keep the levels for a model, copy their text into **ManualSigmas**. A plan can lose, so compare before you "
    "keep it."
)


def about_distilled(what: str) -> str:
    """What to choose for models of this family that are distilled to a few steps."""
    return f"\n\n{what} are distilled to few steps. They need solver *euler* with mode *off*."


def latent_node(kind: str = "EmptyLatentImage", side: int = 1024) -> Node:
    return Node("latent", kind, {"width": side, "height": side, "batch_size": 1})


def second_sampling(
    name: str,
    caption: str,
    text: Group,
    pictures: str,
    latent: tuple[str, str],
    mask: tuple[Node, ...],
    **settings: Any,
) -> Workflow:
    """A graph that samples a picture and then samples it again, so that it needs no file."""
    start = ksampler_node(
        "start", ("start_demo", "MODEL"), ("start_demo", "positive"), ("start_demo", "negative"),
        ("start_demo", "LATENT"),
        "KSampler (ERK-Guid): start picture", seed=11, steps=16, cfg=3.0, solver="abm", scheduler="karras", denoise=1.0,
    )  # fmt: skip
    again = ksampler_node(
        "sampler",
        ("demo", "MODEL"),
        ("demo", "positive"),
        ("demo", "negative"),
        latent,
        cfg=3.0,
        solver="abm",
        scheduler="karras",
        **settings,
    )
    return Workflow(
        name, caption,
        (
            (text, frame("Model", NOTE, demo_node(pictures=pictures))),
            (
                Group(
                    "Start picture (or Load Image)",
                    (
                        Column(SMALL, (demo_node("start_demo"), start)),
                        Column(
                            WIDE,
                            (
                                decode_node(("start", "LATENT"), ("start_demo", "VAE"), "start_decode"),
                                Node("start_shown", "PreviewImage", {"images": ("start_decode", "IMAGE")}, height=440),
                                Node("encode", "VAEEncode", {"pixels": ("start_decode", "IMAGE"), "vae": ("demo",
                                "VAE")}),
                            ),
                        ),
                    ),
                ),
            ),
            *(((frame("Mask", SMALL, *mask),),) if mask else ()),
            (frame("Sampling", SMALL + 20, again),),
            (frame("Result", WIDE, decode_node(("sampler", "LATENT"), ("demo", "VAE")), save_node(name)),),
            (frame("Stiffness", PLOT, plot_node(trace=("sampler", "trace"))),),
        ),
        pictures=("start_shown", "save"),
    )  # fmt: skip
