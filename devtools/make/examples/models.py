"""The models of the example workflows: where their files are, and the nodes that load them."""

from __future__ import annotations

from dataclasses import dataclass

from ..workflow_graph import ModelFile, Node

Link = tuple[str, str]


@dataclass(frozen=True)
class Model:
    """The nodes that load a model.

    model, clip, vae  their outputs
    """

    loaders: tuple[Node, ...]
    model: Link
    clip: Link
    vae: Link


def where_files_go(*models: Model) -> str:
    """Where to put the files, for people whose page offers no download."""
    values = [value for model in models for node in model.loaders for value in node.inputs.values()]
    files = sorted((value for value in values if isinstance(value, ModelFile)), key=lambda file: file.directory)
    return "\n\n**Files**\n" + "\n".join(f"- [{file.name}]({file.url}) in `models/{file.directory}`" for file in files)


def _checkpoint(file: ModelFile, key: str = "model", title: str | None = None) -> Model:
    """One file with the model, its text encoder and its VAE."""
    loader = Node(key, "CheckpointLoaderSimple", {"ckpt_name": file}, title=title)
    return Model((loader,), (key, "MODEL"), (key, "CLIP"), (key, "VAE"))


def _separate(file: ModelFile, clip: Node, vae: ModelFile, shift: Node | None = None) -> Model:
    """A file for each of model, text encoder and VAE, and a node that shifts the model's noise levels, if given."""
    loaders = (
        Node("model", "UNETLoader", {"unet_name": file}), *([shift] if shift else []), clip,
        Node("vae", "VAELoader", {"vae_name": vae}),
    )  # fmt: skip
    return Model(loaders, (shift.key if shift else "model", "MODEL"), ("clip", "CLIP"), ("vae", "VAE"))


def _clip(file: ModelFile, kind: str) -> Node:
    return Node("clip", "CLIPLoader", {"clip_name": file, "type": kind})


def _shift(kind: str, shift: float) -> Node:
    return Node("shifted", kind, {"model": ("model", "MODEL"), "shift": shift})


def file_of(directory: str, repository: str, path: str, name: str = "") -> ModelFile:
    """A file in a repository on Hugging Face. `name` is given if the file should be renamed."""
    return ModelFile(
        name or path.rsplit("/", 1)[-1], directory, f"https://huggingface.co/{repository}/resolve/main/{path}"
    )


_SD15 = file_of("checkpoints", "Comfy-Org/stable-diffusion-v1-5-archive", "v1-5-pruned-emaonly-fp16.safetensors")
_SDXL = file_of("checkpoints", "stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors")
_SDXL_VAE = file_of("vae", "stabilityai/sdxl-vae", "sdxl_vae.safetensors")
_SD35_LARGE = file_of("checkpoints", "Comfy-Org/stable-diffusion-3.5-fp8", "sd3.5_large_fp8_scaled.safetensors")
_SD35_MEDIUM = file_of(
    "checkpoints", "Comfy-Org/stable-diffusion-3.5-fp8", "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors"
)
_FLUX = file_of("diffusion_models", "Comfy-Org/flux1-dev", "flux1-dev.safetensors")
_CLIP_L = file_of("text_encoders", "comfyanonymous/flux_text_encoders", "clip_l.safetensors")
_T5 = file_of("text_encoders", "comfyanonymous/flux_text_encoders", "t5xxl_fp16.safetensors")
_FLUX_VAE = file_of("vae", "Comfy-Org/Lumina_Image_2.0_Repackaged", "split_files/vae/ae.safetensors")
_QWEN = file_of(
    "diffusion_models", "Comfy-Org/Qwen-Image_ComfyUI", "split_files/diffusion_models/qwen_image_fp8_e4m3fn.safetensors"
)
_QWEN_TEXT = file_of(
    "text_encoders", "Comfy-Org/Qwen-Image_ComfyUI", "split_files/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors"
)
_QWEN_VAE = file_of("vae", "Comfy-Org/Qwen-Image_ComfyUI", "split_files/vae/qwen_image_vae.safetensors")
_Z_IMAGE = file_of("diffusion_models", "Comfy-Org/z_image", "split_files/diffusion_models/z_image_bf16.safetensors")
_Z_IMAGE_TURBO = file_of(
    "diffusion_models", "Comfy-Org/z_image_turbo", "split_files/diffusion_models/z_image_turbo_bf16.safetensors"
)
_Z_IMAGE_TEXT = file_of("text_encoders", "Comfy-Org/z_image_turbo", "split_files/text_encoders/qwen_3_4b.safetensors")
_Z_IMAGE_VAE = file_of("vae", "Comfy-Org/z_image_turbo", "split_files/vae/ae.safetensors")
_PIXART = file_of(
    "diffusion_models",
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    "transformer/diffusion_pytorch_model.safetensors",
    "PixArt-Sigma-XL-2-1024-MS.safetensors",
)
_WAN = file_of(
    "diffusion_models",
    "Comfy-Org/Wan_2.2_ComfyUI_Repackaged",
    "split_files/diffusion_models/wan2.2_ti2v_5B_fp16.safetensors",
)
_WAN_TEXT = file_of(
    "text_encoders",
    "Comfy-Org/Wan_2.1_ComfyUI_repackaged",
    "split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
)
_WAN_VAE = file_of("vae", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged", "split_files/vae/wan2.2_vae.safetensors")

SD15 = _checkpoint(_SD15)
SDXL = _checkpoint(_SDXL)
SD35 = _checkpoint(_SD35_LARGE)
SD35_STRONG = _checkpoint(_SD35_LARGE, title="The model")
SD35_WEAK = _checkpoint(_SD35_MEDIUM, "weaker", "A weaker model of the same kind")
FLUX = _separate(
    _FLUX, Node("clip", "DualCLIPLoader", {"clip_name1": _CLIP_L, "clip_name2": _T5, "type": "flux"}), _FLUX_VAE
)
QWEN_IMAGE = _separate(_QWEN, _clip(_QWEN_TEXT, "qwen_image"), _QWEN_VAE, _shift("ModelSamplingAuraFlow", 3.1))
Z_IMAGE, Z_IMAGE_TURBO = (
    _separate(file, _clip(_Z_IMAGE_TEXT, "lumina2"), _Z_IMAGE_VAE, _shift("ModelSamplingAuraFlow", 3.0))
    for file in (_Z_IMAGE, _Z_IMAGE_TURBO)
)
WAN_CLIP = _clip(_WAN_TEXT, "wan")
PIXART = _separate(_PIXART, _clip(_T5, "pixart"), _SDXL_VAE)
WAN = _separate(_WAN, WAN_CLIP, _WAN_VAE, _shift("ModelSamplingSD3", 8.0))
