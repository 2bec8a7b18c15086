from __future__ import annotations

from ..workflow_graph import Node
from .models import SD35_STRONG, SD35_WEAK, where_files_go
from .parts import (
    NOTE,
    PLOT,
    SMALL,
    WIDE,
    advanced_node,
    decode_node,
    encode_node,
    frame,
    latent_node,
    note_group,
    plot_node,
    save_node,
    stacked,
)

WORKFLOW = stacked(
    "erk_guid_autoguidance", "Autoguidance",
    note_group(
        "## Autoguidance and ERK-Guid together\n\n"
        "Autoguidance moves away from what a weaker model of the same kind would do with the same prompt. Here the "
        "model is SD 3.5 Large and the weaker one is SD 3.5 Medium, with the same latents and text encoders. **Dual "
        "Model CFG Guider** does this when the positive prompt is also connected to its *negative*. *cfg* is the "
        "strength.\n\n"
        "Autoguidance changes the model's prediction. ERK-Guid corrects the solver. So they work together.\n\n"
        "**Look at** the plot with *cfg* 1 (no guidance, half the model calls), 2 and 4. It shows what guidance does "
        "to the stiffness.\n\n"
        "**Then** set *mode* in **Sampler ERK-Guid** to *off* and queue again with the same seed."
        + where_files_go(SD35_STRONG, SD35_WEAK),
        520,
    ),
    frame(
        "Two models", NOTE,
        *SD35_STRONG.loaders, *SD35_WEAK.loaders,
    ),
    frame(
        "Prompt and size", WIDE,
        encode_node(
            "positive", "an astronaut's glove holding a hummingbird, studio photograph", "Prompt, for both models",
            SD35_STRONG.clip,
        ),
        latent_node("EmptySD3LatentImage"),
    ),
    frame(
        "Noise, guider, solver, sigmas", SMALL,
        Node("noise", "RandomNoise", {"noise_seed": 1}),
        Node(
            "guider", "DualModelGuider",
            {
                "model": SD35_STRONG.model, "model_negative": SD35_WEAK.model, "cfg": 2.0,
                "positive": ("positive", "CONDITIONING"), "negative": ("positive", "CONDITIONING"),
            },
        ),
        Node("erk", "SamplerERKGuid", {"solver": "abm"}),
        Node("sigmas", "BasicScheduler", {"model": SD35_STRONG.model, "scheduler": "sgm_uniform", "steps": 24}),
    ),
    frame("Sampling", SMALL, advanced_node(("latent", "LATENT"))),
    frame("Result", WIDE, decode_node(("sampler", "output"), SD35_STRONG.vae), save_node("erk_guid_autoguidance")),
    frame("Stiffness", PLOT, plot_node(trace=("erk", "trace"), latent=("sampler", "output"))),
)  # fmt: skip
