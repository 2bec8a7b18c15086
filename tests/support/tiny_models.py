"""Checkpoints of real architectures, a few megabytes each, with random weights: for tests of compatibility.

ComfyUI builds the architecture from a small configuration. The weights are random. The file is saved in the layout
that ComfyUI's stock loaders read and recognise. These models show that a kind of model can be sampled, but their
pictures are noise. Nothing is downloaded.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from devtools.inprocess import load_comfyui

load_comfyui()

import comfy.cldm.cldm  # noqa: E402
import comfy.ops  # noqa: E402
import comfy.supported_models  # noqa: E402
import comfy.taesd.taehv  # noqa: E402
import comfy.taesd.taesd  # noqa: E402
import safetensors.torch  # noqa: E402


@dataclass(frozen=True)
class Conditioning:
    """A replacement for a text encoder's output.

    tokens, width  shape of the embedding [1, tokens, width]
    pooled         width of the pooled output; 0 means none
    extra          further entries of the conditioning; "ones" means an integer mask [1, tokens], a list means a random
                   tensor of that shape
    """

    tokens: int
    width: int
    pooled: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Architecture:
    """One kind of model, made small.

    config         name of the class in comfy.supported_models that the loader must recognise
    unet_config    the configuration to build; by default, the loader also detects it from the file's weights
    latent         class of the core node that makes an empty latent, and its inputs
    shape          the samples' shapes that it then has; several for nested latents
    loader         "UNETLoader" or "CheckpointLoaderSimple"
    metadata       the file's "config", for architectures whose sizes the weights do not show
    prefix         prefix of the names of the network's weights in the file
    beside         further tensors of the file, by their full names
    nodes          further nodes to build the latent from, if one is not enough
    heavy          whether it is slow to build or to call, and so only for the long selection
    undecided      whether its predictions leave anything undecided, as a denoiser's do. Of random weights, the mean of
                   eps^2 may be above 1 at every level; then mode calibrated of samplers with noise has nothing to add
    """

    name: str
    title: str
    prediction: str
    config: str
    unet_config: dict[str, Any]
    conditioning: Conditioning
    latent: tuple[str, dict[str, Any]]
    shape: tuple[tuple[int, ...], ...]
    loader: str = "UNETLoader"
    metadata: dict[str, Any] | None = None
    prefix: str = ""
    beside: dict[str, Callable[[], Tensor]] = field(default_factory=dict)
    nodes: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    heavy: bool = False
    undecided: bool = True
    note: str = ""


_UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1], "transformer_depth_output": [1, 1], "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "legacy": False, "use_checkpoint": False, "adm_in_channels": None, "use_temporal_attention": False,
}  # fmt: skip
SD15_UNET = {**_UNET, "context_dim": 768, "use_linear_in_transformer": False, "num_heads": 8, "num_head_channels": -1}
_FLUX = {
    "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": 96, "hidden_size": 128, "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 1, "depth_single_blocks": 1, "axes_dim": [16, 56, 56], "theta": 10000, "patch_size": 2, "qkv_bias": True,
    "guidance_embed": True, "txt_ids_dims": [],
}  # fmt: skip
_LTX = {
    "num_layers": 1, "in_channels": 128, "num_attention_heads": 2, "attention_head_dim": 32, "cross_attention_dim": 64,
    "caption_channels": 48,
}  # fmt: skip
_LTXAV = {
    **_LTX, "audio_in_channels": 128, "audio_num_attention_heads": 2, "audio_attention_head_dim": 32,
    "audio_cross_attention_dim": 64,
    "connector_attention_head_dim": 32, "connector_num_attention_heads": 1, "connector_num_layers": 1,
}  # fmt: skip
_WAN = {
    "image_model": "wan2.1", "dim": 128, "out_dim": 16, "num_heads": 1, "ffn_dim": 128, "num_layers": 1,
    "patch_size": (1, 2, 2), "freq_dim": 256, "window_size": (-1, -1), "qk_norm": True, "cross_attn_norm": True,
    "eps": 1e-6, "in_dim": 16, "model_type": "t2v", "text_dim": 96,
}  # fmt: skip


def _seconds(which: str) -> dict[str, Callable[[], Tensor]]:
    """The embedder of a length in seconds, which Stable Audio's checkpoints have in addition to the network."""
    place = f"conditioner.conditioners.seconds_{which}.embedder.embedding."
    return {
        f"{place}0.weights": lambda: torch.linspace(-1, 1, 128),
        f"{place}1.weight": lambda: torch.eye(768, 257),
        f"{place}1.bias": lambda: torch.zeros(768),
    }


ARCHITECTURES = (
    Architecture(
        "sd15", "Stable Diffusion 1.5", "EPS", "SD15", SD15_UNET,
        Conditioning(77, 768), ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}), ((1, 4, 8, 8),),
        loader="CheckpointLoaderSimple", prefix="model.diffusion_model.", note="one level of its U-Net",
    ),
    Architecture(
        "sd2_v", "Stable Diffusion 2 (768-v)", "V", "SD20",
        {**_UNET, "context_dim": 1024, "use_linear_in_transformer": True, "num_heads": -1, "num_head_channels": 64},
        Conditioning(77, 1024), ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}), ((1, 4, 8, 8),),
        # ComfyUI uses this tensor's spread to distinguish V from EPS. The full network has it, but one level does not.
        beside={"output_blocks.11.1.transformer_blocks.0.norm1.bias": lambda: torch.linspace(-1, 1, 320)},
        note="one level of its U-Net",
    ),
    Architecture(
        "sdxl", "SDXL (Segmind Vega)", "EPS", "Segmind_Vega",
        {
            **_UNET, "num_res_blocks": [2, 2, 2], "channel_mult": [1, 1, 1], "transformer_depth": [0, 0, 1, 1, 2, 2],
            "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2], "transformer_depth_middle": -1,
            "context_dim": 2048,
            "use_linear_in_transformer": True, "num_classes": "sequential", "adm_in_channels": 2816,
            "num_head_channels": 64,
            "num_heads": -1,
        },
        Conditioning(77, 2048, 1280), ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}), ((1, 4, 8, 8),
        ),
        heavy=True, note="its distilled form; all levels 320 wide",
    ),
    Architecture(
        "pixart_sigma", "PixArt-Sigma", "EPS", "PixArtSigma",
        {
            "image_model": "pixart_sigma", "num_heads": 16, "patch_size": 2, "hidden_size": 1152, "in_channels": 4,
            "depth": 1,
            "model_max_length": 20, "input_size": 64, "pe_interpolation": 1, "micro_condition": False,
        },
        Conditioning(20, 4096), ("EmptyLatentImage", {"width": 288, "height": 288, "batch_size": 1}), ((1, 4, 36, 36),),
        heavy=True, undecided=False, note="one block",
    ),
    Architecture(
        "sd3", "Stable Diffusion 3", "flow", "SD3",
        {
            "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": 2, "input_size": None,
            "adm_in_channels": 64,
            "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 96,
            "out_features": 128}},
            "num_patches": 1024, "pos_embed_max_size": 32, "pos_embed_scaling_factor": None, "qk_norm": "rms",
            "x_block_self_attn_layers": [],
        },
        Conditioning(20, 96, 64), ("EmptySD3LatentImage", {"width": 64, "height": 64, "batch_size": 1}), ((1, 16, 8, 8),
        ),
        note="two blocks",
    ),
    Architecture(
        "flux", "FLUX.1 dev", "flow", "Flux", {"image_model": "flux", **_FLUX},
        Conditioning(20, 96, 64, {"guidance": 3.5}),
        ("EmptySD3LatentImage", {"width": 64, "height": 64, "batch_size": 1}), ((1, 16, 8, 8),), note="one double, one "
            "single block",
    ),
    Architecture(
        "flux2", "FLUX.2", "flow", "Flux2",
        {
            **_FLUX, "image_model": "flux2", "axes_dim": [32, 32, 32, 32], "mlp_ratio": 3.0, "theta": 2000,
            "in_channels": 128,
            "out_channels": 128, "patch_size": 1, "global_modulation": True, "mlp_silu_act": True, "qkv_bias": False,
            "ops_bias": False,
            "vec_in_dim": None, "default_ref_method": "index", "ref_index_scale": 10.0, "txt_ids_dims": [3],
        },
        Conditioning(20, 96, 0, {"guidance": 3.5}),
        ("EmptyFlux2LatentImage", {"width": 128, "height": 128, "batch_size": 1}), ((1, 128, 8, 8),),
        note="one double, one single block",
    ),
    Architecture(
        "hunyuan_video", "Hunyuan Video", "flow", "HunyuanVideo",
        {
            "image_model": "hunyuan_video", "in_channels": 16, "out_channels": 16, "patch_size": [1, 2, 2],
            "vec_in_dim": 768,
            "context_in_dim": 96, "hidden_size": 128, "mlp_ratio": 4.0, "num_heads": 1, "depth": 1,
            "depth_single_blocks": 1,
            "axes_dim": [16, 56, 56], "theta": 256, "qkv_bias": True, "guidance_embed": True, "byt5": False,
            "meanflow": False,
            "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False,
        },
        Conditioning(20, 96, 768, {"guidance": 6.0}),
        ("EmptyHunyuanLatentVideo", {"width": 64, "height": 64, "length": 9, "batch_size": 1}), ((1, 16, 3, 8, 8),),
        note="one double, one single block",
    ),
    Architecture(
        "wan", "Wan 2.1 text to video", "flow", "WAN21_T2V", _WAN,
        Conditioning(20, 96), ("EmptyHunyuanLatentVideo", {"width": 64, "height": 64, "length": 9, "batch_size": 1}),
        ((1, 16, 3, 8, 8),),
        metadata={"transformer": {"text_dim": 96}}, note="one block",
    ),
    Architecture(
        "ltxv", "LTX-Video", "flow", "LTXV", {"image_model": "ltxv", **_LTX},
        Conditioning(20, 48, 0, {"attention_mask": "ones"}),
        ("EmptyLTXVLatentVideo", {"width": 128, "height": 128, "length": 17, "batch_size": 1}), ((1, 128, 3, 4, 4),),
        metadata={"transformer": _LTX}, note="one block",
    ),
    Architecture(
        "ltxav", "LTX-2 video with sound", "flow", "LTXAV", {"image_model": "ltxav", **_LTXAV},
        Conditioning(20, 96, 0, {"attention_mask": "ones"}),
        ("LTXVConcatAVLatent", {"video_latent": ["video", 0], "audio_latent": ["audio", 0]}), ((1, 128, 3, 4, 4), (1, 8,
        10, 16)),
        nodes={
            "video": ("EmptyLTXVLatentVideo", {"width": 128, "height": 128, "length": 17, "batch_size": 1}),
            "audio": ("ProbeLatent", {"shape": "[1, 8, 10, 16]"}),
        },
        metadata={"transformer": _LTXAV}, note="one block; picture and sound as a nested latent",
    ),
    Architecture(
        "cogvideox", "CogVideoX", "V", "CogVideoX_T2V",
        {
            "image_model": "cogvideox", "num_attention_heads": 1, "attention_head_dim": 64, "time_embed_dim": 32,
            "num_layers": 1,
            "in_channels": 16, "patch_size": 2, "text_embed_dim": 48, "use_learned_positional_embeddings": False,
            "use_rotary_positional_embeddings": True,
        },
        Conditioning(20, 48), ("EmptyHunyuanLatentVideo", {"width": 64, "height": 64, "length": 9, "batch_size": 1}),
        ((1, 16, 3, 8, 8),),
        note="one block",
    ),
    Architecture(
        "stable_audio", "Stable Audio", "V (EDM, continuous)", "StableAudio",
        {
            "audio_model": "dit1.0", "io_channels": 64, "embed_dim": 768, "cond_token_dim": 768,
            "project_cond_tokens": False,
            "global_cond_dim": 1536, "input_concat_dim": 0, "depth": 1, "timestep_features_type": "learned",
        },
        Conditioning(20, 768), ("EmptyLatentAudio", {"seconds": 1.5, "batch_size": 1}), ((1, 64, 32),),
        loader="CheckpointLoaderSimple", prefix="model.model.", beside=_seconds("start") | _seconds("total"),
        note="one block",
    ),
    Architecture(
        "wan22", "Wan 2.2, 5B", "flow", "WAN22_T2V", {**_WAN, "in_dim": 48, "out_dim": 48},
        Conditioning(20, 96), ("ProbeLatent", {"shape": "[1, 48, 3, 4, 4]"}), ((1, 48, 3, 4, 4),),
        metadata={"transformer": {"text_dim": 96}}, note="one block",
    ),
    Architecture(
        "qwen_image", "Qwen-Image", "flow", "QwenImage",
        {"image_model": "qwen_image", "in_channels": 64, "num_layers": 1},
        Conditioning(20, 3584), ("EmptySD3LatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        ((1, 16, 1, 8, 8),),
        heavy=True, note="one block",
    ),
)  # fmt: skip


Z_IMAGE = Architecture(
    "z_image", "Z-Image", "flow", "ZImage",
    {
        "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 3840, "cap_feat_dim": 2560,
        "n_layers": 1, "qk_norm": True, "n_heads": 30, "n_kv_heads": 30, "axes_dims": [32, 48, 48],
        "axes_lens": [1536, 512, 512], "rope_theta": 256.0, "ffn_dim_multiplier": 8.0 / 3.0,
        "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32,
    },
    Conditioning(20, 2560, 0, {"attention_mask": "ones"}),
    ("EmptySD3LatentImage", {"width": 64, "height": 64, "batch_size": 1}), ((1, 16, 8, 8),),
    heavy=True, note="one layer and its four refiners",
)  # fmt: skip
"""Too slow to be sampled in every way, but the templates need it."""


def architecture(name: str) -> Architecture:
    return next(one for one in (*ARCHITECTURES, Z_IMAGE) if one.name == name)


def write(models: Path, what: Architecture, name: str = "") -> str:
    """Save the checkpoint in ComfyUI's models folder. Returns the name that a loader uses for it."""
    folder = models / ("checkpoints" if what.loader == "CheckpointLoaderSimple" else "diffusion_models")
    path = folder / (name or f"tiny_{what.name}.safetensors")
    if path.exists():
        return path.name
    folder.mkdir(parents=True, exist_ok=True)
    config = getattr(comfy.supported_models, what.config)(dict(what.unet_config))
    config.set_inference_dtype(torch.float32, None)
    beside = {name: make() for name, make in what.beside.items()}
    network = draw(config.get_model(dict(beside), "").diffusion_model.state_dict(), what.name)
    weights = {what.prefix + name: tensor for name, tensor in network.items()} | beside
    metadata = {"config": json.dumps(what.metadata)} if what.metadata else None
    safetensors.torch.save_file(weights, path, metadata)
    return path.name


def draw(shapes: dict[str, Tensor], seed: str) -> dict[str, Tensor]:
    """Random weights for a state dict. Matrices keep the size of their inputs, and norms start near 1."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    made = {}
    for name, tensor in shapes.items():
        if name.endswith("inv_freq"):  # of rotary embeddings: read from the file, so ComfyUI leaves it unset
            made[name] = 10_000.0 ** -(torch.arange(len(tensor)) / len(tensor))
            continue
        if not tensor.is_floating_point():
            made[name] = tensor.clone().contiguous()
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim >= 2 and min(tensor.shape[:2]) > 1:
            made[name] = noise / math.sqrt(tensor[0].numel())
        elif name.endswith(("bias", "beta")):
            made[name] = 0.02 * noise
        elif tensor.ndim == 1:
            made[name] = 1 + 0.1 * noise
        else:
            made[name] = 0.1 * noise
    return made


def write_vae(models: Path, name: str, channels: int, video: bool) -> None:
    """A tiny autoencoder for latents with that many channels, as ComfyUI's VAELoader reads it."""
    path = models / "vae" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(autoencoder(channels, video), path)


def autoencoder(channels: int, video: bool = False) -> dict[str, Tensor]:
    """Random weights of TAESD, or of TAEHV for video."""
    network = comfy.taesd.taehv.TAEHV(channels) if video else comfy.taesd.taesd.TAESD(latent_channels=channels)
    return draw(network.state_dict(), f"autoencoder of {channels} channels")


def write_controlnet(models: Path) -> str:
    """A ControlNet for the tiny Stable Diffusion 1.5; returns its name."""
    path = models / "controlnet" / "tiny_controlnet.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in SD15_UNET.items() if key not in ("out_channels", "transformer_depth_output")}
    network = comfy.cldm.cldm.ControlNet(
        **config, hint_channels=3, operations=comfy.ops.disable_weight_init, dtype=torch.float32
    )
    weights = draw(network.state_dict(), "controlnet")
    safetensors.torch.save_file({f"control_model.{name}": tensor for name, tensor in weights.items()}, path)
    return path.name


def write_wan_lora(models: Path, name: str) -> None:
    """A LoRA of rank 2 for the tiny Wan."""
    path = models / "loras" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    layer = "diffusion_model.blocks.0.self_attn.q"
    weights = {f"{layer}.lora_down.weight": torch.zeros((2, 128)), f"{layer}.lora_up.weight": torch.zeros((128, 2))}
    safetensors.torch.save_file(draw(weights, name), path)


def write_lora(models: Path) -> str:
    """A LoRA of rank 2 for the tiny Stable Diffusion 1.5; returns its name."""
    path = models / "loras" / "tiny_lora.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    weights = {}
    block = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0"
    for layer, width in (("attn1_to_q", 320), ("attn1_to_v", 320), ("attn2_to_k", 768), ("attn2_to_v", 768)):
        weights[f"{block}_{layer}.lora_down.weight"] = torch.randn((2, width), generator=generator) / math.sqrt(width)
        weights[f"{block}_{layer}.lora_up.weight"] = torch.randn((320, 2), generator=generator)
        weights[f"{block}_{layer}.alpha"] = torch.tensor(2.0)
    safetensors.torch.save_file(weights, path)
    return path.name
