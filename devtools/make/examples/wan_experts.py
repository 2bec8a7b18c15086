"""Wan 2.2's two experts, with the levels of ComfyUI's own template: shift 5, simple, and the change half-way."""

from __future__ import annotations

from typing import Any

from ..workflow_graph import ModelFile, Node, Workflow
from .models import WAN_CLIP, Model, file_of, where_files_go
from .parts import NOTE, PLOT, SMALL, WIDE, decode_node, frame, note_group, plot_node, prompt_nodes, stacked

WAN_REPOSITORY = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"
HIGH, LOW = (
    file_of(
        "diffusion_models", WAN_REPOSITORY,
        f"split_files/diffusion_models/wan2.2_t2v_{which}_noise_14B_fp8_scaled.safetensors",
    )
    for which in ("high", "low")
)  # fmt: skip
VAE = file_of("vae", WAN_REPOSITORY, "split_files/vae/wan_2.1_vae.safetensors")

PROMPT = (
    "a paper boat drifts down a rainy street, neon signs mirrored in the water, the camera follows it low above the "
    "ground"
)
NEGATIVE = "static, blurry, overexposed, worst quality, subtitles"


def both(lora: tuple[ModelFile, ModelFile] | None = None) -> Model:
    """The experts "high_shifted" and "low_shifted", each with its LoRA if there are any."""
    high, low = (
        Node(key, "UNETLoader", {"unet_name": file, "weight_dtype": "default"}, title=title)
        for key, file, title in (("high", HIGH, "High noise"), ("low", LOW, "Low noise"))
    )
    patches = [
        Node(f"{key}_lora", "LoraLoaderModelOnly", {"model": (key, "MODEL"), "lora_name": file, "strength_model": 1.0})
        for key, file in zip(("high", "low"), lora or (), strict=bool(lora))
    ]
    shifted = [
        Node(f"{key}_shifted", "ModelSamplingSD3", {"model": (f"{key}_lora" if lora else key, "MODEL"), "shift": 5.0})
        for key in ("high", "low")
    ]
    loaders = (high, low, *patches, *shifted, WAN_CLIP, Node("vae", "VAELoader", {"vae_name": VAE}))
    return Model(loaders, ("high_shifted", "MODEL"), ("clip", "CLIP"), ("vae", "VAE"))


def experts(name: str, caption: str, text: str, model: Model, steps: int, **settings: Any) -> Workflow:
    """Two samplers, one run."""

    def sampler(key: str, model: str, latent: tuple[str, str], first: bool) -> Node:
        half = steps // 2
        inputs = {
            "model": (model, "MODEL"), "positive": ("positive", "CONDITIONING"),
            "negative": ("negative", "CONDITIONING"), "latent_image": latent,
            "add_noise": "enable" if first else "disable", "noise_seed": 1, "steps": steps, "scheduler": "simple",
            "start_at_step": 0 if first else half, "end_at_step": half if first else 10000,
            "return_with_leftover_noise": "enable" if first else "disable", **settings,
        }  # fmt: skip
        return Node(key, "KSamplerAdvancedERKGuid", inputs)

    return stacked(
        name, caption, note_group(text + where_files_go(model), 620), frame("Models", NOTE, *model.loaders),
        frame(
            "Prompt and size", WIDE,
            *prompt_nodes(PROMPT, NEGATIVE, model.clip),
            Node("latent", "EmptyHunyuanLatentVideo", {"width": 640, "height": 640, "length": 81, "batch_size": 1}),
        ),
        frame("High noise", SMALL + 20, sampler("first", "high_shifted", ("latent", "LATENT"), True)),
        frame("Low noise", SMALL + 20, sampler("second", "low_shifted", ("first", "LATENT"), False)),
        frame(
            "Result", WIDE,
            decode_node(("second", "LATENT"), model.vae),
            Node("video", "CreateVideo", {"images": ("decode", "IMAGE"), "fps": 16.0}),
            Node("save", "SaveVideo", {"video": ("video", "VIDEO"), "filename_prefix": f"video/{name}"}),
        ),
        frame(
            "Stiffness of both", PLOT,
            plot_node(trace=("first", "trace"), trace_2=("second", "trace"), labels="high noise, low noise",
                axis="sigma"),
        ),
    )  # fmt: skip


WORKFLOW = experts(
    "erk_guid_wan22_experts", "Wan 2.2, two experts",
    "## Wan 2.2 (14B): two experts, one run\n\n"
    "The high-noise model makes the first 10 of 20 steps, and the low-noise model the rest, as in ComfyUI's own "
    "template. The second sampler goes on with what the first one knows, if the second model's first prediction "
    "agrees with it. So nothing is lost at the change.\n\n"
    "**Look at** the plot, where both runs share one axis. A jump in stiffness at the change means that the experts "
    "disagree there: move the change (*end_at_step* and *start_at_step*).\n\n"
    "**Then** set *mode* to *off* in both samplers and queue again with the same seed. Lower *length* for a first "
    "try.",
    model=both(), steps=20, cfg=3.5, solver="abm",
)  # fmt: skip
