"""The graphs of examples_workflows/, described."""

from __future__ import annotations

from typing import Any

from .workflow_graph import Column, Group, ModelFile, Node, Workflow, note

_NOTE, _SMALL, _WIDE, _PLOT = 380, 320, 420, 560
"""Widths of columns."""


def _file(directory: str, repository: str, path: str, name: str = "") -> ModelFile:
    """A file of a repository of Hugging Face; `name`, where it is to be renamed."""
    return ModelFile(
        name or path.rsplit("/", 1)[-1], directory, f"https://huggingface.co/{repository}/resolve/main/{path}"
    )


SD15 = _file("checkpoints", "Comfy-Org/stable-diffusion-v1-5-archive", "v1-5-pruned-emaonly-fp16.safetensors")
SDXL = _file("checkpoints", "stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors")
SDXL_VAE = _file("vae", "stabilityai/sdxl-vae", "sdxl_vae.safetensors")
SD35_LARGE = _file("checkpoints", "Comfy-Org/stable-diffusion-3.5-fp8", "sd3.5_large_fp8_scaled.safetensors")
SD35_MEDIUM = _file(
    "checkpoints", "Comfy-Org/stable-diffusion-3.5-fp8", "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors"
)
FLUX = _file("diffusion_models", "Comfy-Org/flux1-dev", "flux1-dev.safetensors")
CLIP_L = _file("text_encoders", "comfyanonymous/flux_text_encoders", "clip_l.safetensors")
T5 = _file("text_encoders", "comfyanonymous/flux_text_encoders", "t5xxl_fp16.safetensors")
FLUX_VAE = _file("vae", "Comfy-Org/Lumina_Image_2.0_Repackaged", "split_files/vae/ae.safetensors")
QWEN = _file(
    "diffusion_models", "Comfy-Org/Qwen-Image_ComfyUI", "split_files/diffusion_models/qwen_image_fp8_e4m3fn.safetensors"
)
QWEN_TEXT = _file(
    "text_encoders", "Comfy-Org/Qwen-Image_ComfyUI", "split_files/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors"
)
QWEN_VAE = _file("vae", "Comfy-Org/Qwen-Image_ComfyUI", "split_files/vae/qwen_image_vae.safetensors")
Z_IMAGE = _file("diffusion_models", "Comfy-Org/z_image", "split_files/diffusion_models/z_image_bf16.safetensors")
Z_IMAGE_TEXT = _file("text_encoders", "Comfy-Org/z_image_turbo", "split_files/text_encoders/qwen_3_4b.safetensors")
Z_IMAGE_VAE = _file("vae", "Comfy-Org/z_image_turbo", "split_files/vae/ae.safetensors")
PIXART = _file(
    "diffusion_models",
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    "transformer/diffusion_pytorch_model.safetensors",
    "PixArt-Sigma-XL-2-1024-MS.safetensors",
)
WAN = _file(
    "diffusion_models",
    "Comfy-Org/Wan_2.2_ComfyUI_Repackaged",
    "split_files/diffusion_models/wan2.2_ti2v_5B_fp16.safetensors",
)
WAN_TEXT = _file(
    "text_encoders",
    "Comfy-Org/Wan_2.1_ComfyUI_repackaged",
    "split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
)
WAN_VAE = _file("vae", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged", "split_files/vae/wan2.2_vae.safetensors")


def _note(text: str, height: int) -> Group:
    return Group(None, (Column(_NOTE, (note(text, height),)),))


def _frame(title: str, width: int, *nodes: Node) -> Group:
    return Group(title, (Column(width, nodes),))


def _stacked(
    name: str, caption: str, text: Group, model: Group, *others: Group, pictures: tuple[str, ...] = ()
) -> Workflow:
    """The usual arrangement: the note above the model, then group after group."""
    return Workflow(name, caption, ((text, model), *((group,) for group in others)), pictures)


def _save_plot(prefix: str) -> Node:
    return Node("save_plot", "SaveImage", {"images": ("plot", "plot"), "filename_prefix": prefix}, height=400)


def _advanced(latent: tuple[str, str]) -> Node:
    inputs = {
        "noise": ("noise", "NOISE"), "guider": ("guider", "GUIDER"), "sampler": ("erk", "SAMPLER"), "sigmas": ("sigmas",
        "SIGMAS"),
        "latent_image": latent,
    }  # fmt: skip
    return Node("sampler", "SamplerCustomAdvanced", inputs)


def _demo(key: str = "demo", kind: str = "eps", pictures: str = "arcs", batch: int = 1, side: int = 256) -> Node:
    inputs = {"kind": kind, "pictures": pictures, "width": side, "height": side, "batch_size": batch}
    return Node(key, "DemoModelERKGuid", inputs)


def _encode(key: str, text: str, title: str, clip: tuple[str, str]) -> Node:
    return Node(key, "CLIPTextEncode", {"text": text, "clip": clip}, title=title)


def _ksampler(
    key: str, model: str, positive: Any, negative: Any, latent: Any, title: str | None = None, **settings: Any
) -> Node:
    wires = {"model": (model, "MODEL"), "positive": positive, "negative": negative, "latent_image": latent}
    return Node(key, "KSamplerERKGuid", {**wires, **settings}, title=title)


def _plot(key: str = "plot", **inputs: Any) -> Node:
    return Node(key, "StiffnessVisualizerERKGuid", inputs)


def _decode(samples: tuple[str, str], vae: tuple[str, str], key: str = "decode") -> Node:
    return Node(key, "VAEDecode", {"samples": samples, "vae": vae})


def _save(prefix: str, images: str = "decode", key: str = "save", **more: Any) -> Node:
    return Node(key, "SaveImage", {"images": (images, "IMAGE"), "filename_prefix": prefix}, **more)


def _text_to_image(
    name: str,
    caption: str,
    *,
    text: str,
    loaders: tuple[Node, ...],
    clip: tuple[str, str],
    vae: tuple[str, str],
    model: str,
    prompt: str,
    latent: Node,
    sampling: dict[str, Any],
    negative: str | None = "",
    conditioning: tuple[Node, ...] = (),
    positive: str = "positive",
    result: tuple[Node, ...] | None = None,
    note_height: int = 420,
) -> Workflow:
    """The graph that all text-to-image models share. `conditioning` stands between the prompt and the sampler;
    `negative` None: the prompt itself, zeroed."""
    prompts = [_encode("positive", prompt, "Prompt", clip)]
    if negative is None:
        prompts.append(
            Node(
                "negative",
                "ConditioningZeroOut",
                {"conditioning": ("positive", "CONDITIONING")},
                title="No negative prompt",
            )
        )
    else:
        prompts.append(_encode("negative", negative, "Negative prompt", clip))
    sampler = _ksampler(
        "sampler", model, (positive, "CONDITIONING"), ("negative", "CONDITIONING"), (latent.key, "LATENT"), **sampling
    )
    return _stacked(
        name, caption, _note(text, note_height), _frame("Model", _NOTE, *loaders),
        _frame("Prompt and size", _WIDE, *prompts, *conditioning, latent),
        _frame("Sampling", _SMALL + 20, sampler),
        _frame("Result", _WIDE, *(result or (_decode(("sampler", "LATENT"), vae), _save(name)))),
        _frame("Stiffness", _PLOT, _plot(trace=("sampler", "trace"))),
    )  # fmt: skip


_COMPARE = (
    "\n\n**Then** set *mode* to *off* and queue again with the same seed: the same solver without the correction, at "
    "the same number of model calls."
)


def _distilled(what: str) -> str:
    """What to choose for models of this family that are distilled to a few steps."""
    return f"\n\n{what} are distilled to few steps: they want solver *euler* with mode *off*."


def _files(*files: ModelFile) -> str:
    """Where the files go, for people whose page offers no download."""
    return "\n\n**Files**\n" + "\n".join(f"- [{file.name}]({file.url}) in `models/{file.directory}`" for file in files)


def _checkpoint(file: ModelFile) -> tuple[Node, ...]:
    return (Node("model", "CheckpointLoaderSimple", {"ckpt_name": file}),)


def _latent(kind: str = "EmptyLatentImage", side: int = 1024) -> Node:
    return Node("latent", kind, {"width": side, "height": side, "batch_size": 1})


_CLIP, _VAE = ("model", "CLIP"), ("model", "VAE")


def _separate(model: Node, clip: Node, vae: ModelFile, *patches: Node) -> tuple[Node, ...]:
    return (model, *patches, clip, Node("vae", "VAELoader", {"vae_name": vae}))


def _unet(file: ModelFile) -> Node:
    return Node("model", "UNETLoader", {"unet_name": file})


_DEMO = _stacked(
    "erk_guid_demo", "Demo, no download",
    _note(
        "## ERK-Guid in one graph, without any download\n\n"
        "**Demo Model** stands for a checkpoint: its pictures are mosaics whose exact denoiser is known.\n\n"
        "1. Queue. **KSampler (ERK-Guid)** samples; the plot shows the stiffness at each step and the correction.\n"
        "2. Set *mode* to *off* and queue again: the same solver without the correction.\n"
        "3. Lower *steps* to 8: the larger the steps, the more there is to correct.\n\n"
        "To use your own model, put **Load Checkpoint** in the demo model's place.",
        380,
    ),
    _frame("Model", _NOTE, _demo(batch=4, side=384)),
    _frame(
        "Sampling", _SMALL + 20,
        _ksampler(
            "sampler", "demo", ("demo", "positive"), ("demo", "negative"), ("demo", "LATENT"),
            seed=7, steps=16, cfg=3.0, solver="heun", scheduler="karras", denoise=1.0,
        ),
    ),
    _frame("Result", _WIDE, _decode(("sampler", "LATENT"), ("demo", "VAE")), _save("erk_guid_demo")),
    _frame("Stiffness", _PLOT, _plot(trace=("sampler", "trace"))),
    _frame("The plot, saved", _WIDE, _save_plot("erk_guid_demo_stiffness")),
    pictures=("save",),
)  # fmt: skip

_CUSTOM = _stacked(
    "erk_guid_custom_sampler", "SamplerCustomAdvanced",
    _note(
        "## ERK-Guid in a custom sampling graph\n\n"
        "**Sampler ERK-Guid** gives a SAMPLER for SamplerCustom and SamplerCustomAdvanced, with any guider and any "
        "sigmas. Here: a flow model, DEIS, the simple schedule.\n\n"
        "**Look at** the plot's last step: the schedules of flow models end with a long one, and most is corrected "
        "there.\n\n"
        "The visualizer needs the sampler's *latent* as well: the trace is filled only when the sampler runs.",
        340,
    ),
    _frame("Model", _NOTE, _demo(kind="flow", pictures="circuit", batch=4, side=384)),
    _frame(
        "Noise, guider, solver, sigmas", _SMALL,
        Node("noise", "RandomNoise", {"noise_seed": 3}),
        Node(
            "guider", "CFGGuider",
            {"model": ("demo", "MODEL"), "positive": ("demo", "positive"), "negative": ("demo", "negative"),
            "cfg": 3.0},
        ),
        Node("erk", "SamplerERKGuid", {"solver": "deis"}),
        Node("sigmas", "BasicScheduler", {"model": ("demo", "MODEL"), "scheduler": "simple", "steps": 16}),
    ),
    _frame("Sampling", _SMALL, _advanced(("demo", "LATENT"))),
    _frame("Result", _WIDE, _decode(("sampler", "output"), ("demo", "VAE")), _save("erk_guid_custom")),
    _frame("Stiffness", _PLOT, _plot(trace=("erk", "trace"), latent=("sampler", "output"))),
    _frame("The plot, saved", _WIDE, _save_plot("erk_guid_custom_stiffness")),
    pictures=("save",),
)  # fmt: skip


def _compare_row(steps: int) -> Group:
    """The three modes at one number of steps, side by side."""
    modes = ("off", "paper", "calibrated")
    samplers = tuple(
        Column(
            _SMALL,
            (
                _ksampler(
                    f"{mode}_{steps}", "demo", ("demo", "positive"), ("demo", "negative"), ("demo", "LATENT"),
                    f"{mode}, {steps} steps",
                    seed=("seed", "INT"), steps=steps, cfg=3.0, solver="heun", scheduler="karras", denoise=1.0,
                    mode=mode,
                ),
            ),
        )
        for mode in modes
    )  # fmt: skip
    decodes = tuple(_decode((f"{mode}_{steps}", "LATENT"), ("demo", "VAE"), f"decode_{mode}_{steps}") for mode in modes)

    def join(key: str, left: str, right: str) -> Node:
        inputs = {"image1": (left, "IMAGE"), "image2": (right, "IMAGE"), "direction": "right", "spacing_width": 16}
        return Node(f"{key}_{steps}", "ImageStitch", inputs)

    joins = (join("pair", decodes[0].key, decodes[1].key), join("strip", f"pair_{steps}", decodes[2].key))
    title = f"off | paper | calibrated, {steps} steps"
    save = _save(f"erk_guid_compare_{steps}", f"strip_{steps}", f"save_{steps}", title=title, height=440)
    traces = {"trace" if i == 0 else f"trace_{i + 1}": (f"{mode}_{steps}", "trace") for i, mode in enumerate(modes)}
    plot = _plot(f"plot_{steps}", labels="off\npaper\ncalibrated", **traces)
    return Group(
        f"{steps} steps", (*samplers, Column(280, (*decodes, *joins)), Column(660, (save,)), Column(_PLOT, (plot,)))
    )


_COMPARISON = Workflow(
    "erk_guid_compare_modes", "off, paper, calibrated",
    (
        (
            _note(
                "## Off, paper, calibrated: the same noise at 8, 16 and 32 steps\n\n"
                "One seed, one solver (Heun, the one that the paper tests most; two model calls a step), nine runs. "
                "Each row is one number of steps; its strip shows *off*, *paper*, *calibrated* from left to right.\n\n"
                "**Look at**\n"
                "- the fine grain of the tiles, zoomed in: it is part of these pictures, *off* loses much of it in the "
                "last step at any number of steps, *calibrated* keeps it;\n"
                "- the plots: at which steps the modes correct, and by how much. *off* corrects nothing; its stiffness "
                "is measured all the same.\n\n"
                "Mode *paper* uses the strengths that the paper chose for another model (ImageNet at 512 pixels); here "
                "they bring little, and do harm at 32 steps; with *strengths* set to *custom* you can try others. With "
                "a checkpoint in the demo model's place, the graph compares the modes on it.",
                460,
            ),
            _frame(
                "Model and seed, for all", _NOTE,
                _demo(side=192), Node("seed", "PrimitiveInt", {"value": 7}, title="Seed"),
            ),
        ),
        (_compare_row(8), _compare_row(16), _compare_row(32)),
    ),
    pictures=("save_8", "save_16", "save_32"),
)  # fmt: skip


def _second_sampling(
    name: str,
    caption: str,
    text: Group,
    pictures: str,
    latent: tuple[str, str],
    mask: tuple[Node, ...],
    **settings: Any,
) -> Workflow:
    """A graph that samples a picture and then samples it anew, so that it needs no file."""
    start = _ksampler(
        "start", "start_demo", ("start_demo", "positive"), ("start_demo", "negative"), ("start_demo", "LATENT"),
        "KSampler (ERK-Guid): start picture", seed=11, steps=16, cfg=3.0, solver="abm", scheduler="karras", denoise=1.0,
    )  # fmt: skip
    again = _ksampler(
        "sampler",
        "demo",
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
            (text, _frame("Model", _NOTE, _demo(pictures=pictures))),
            (
                Group(
                    "Start picture (or Load Image)",
                    (
                        Column(_SMALL, (_demo("start_demo"), start)),
                        Column(
                            _WIDE,
                            (
                                _decode(("start", "LATENT"), ("start_demo", "VAE"), "start_decode"),
                                Node("start_shown", "PreviewImage", {"images": ("start_decode", "IMAGE")}, height=440),
                                Node("encode", "VAEEncode", {"pixels": ("start_decode", "IMAGE"), "vae": ("demo",
                                "VAE")}),
                            ),
                        ),
                    ),
                ),
            ),
            *(((_frame("Mask", _SMALL, *mask),),) if mask else ()),
            (_frame("Sampling", _SMALL + 20, again),),
            (_frame("Result", _WIDE, _decode(("sampler", "LATENT"), ("demo", "VAE")), _save(name)),),
            (_frame("Stiffness", _PLOT, _plot(trace=("sampler", "trace"))),),
        ),
        pictures=("start_shown", "save"),
    )  # fmt: skip


_IMG2IMG = _second_sampling(
    "erk_guid_img2img", "Image to image",
    _note(
        "## Image to image\n\n"
        "The start picture is sampled here, so that the graph runs without any file; with a model of your own, put "
        "**Load Image** before **VAE Encode**.\n\n"
        "**Look at** *denoise*: the second sampler starts within the schedule, and the plot shows the steps that it "
        "takes from there. Here it asks for mosaics of every kind: at 0.8 some tiles change, at 0.5 hardly any.",
        340,
    ),
    "everything", ("encode", "LATENT"), (), seed=4, steps=16, denoise=0.8,
)  # fmt: skip

_INPAINTING = _second_sampling(
    "erk_guid_inpainting", "Inpainting",
    _note(
        "## Inpainting\n\n"
        "A mask on the latent: only the square in the middle is sampled anew, as another kind of mosaic; the rest "
        "stays as it is. The start picture is sampled here, so that the graph runs without any file; with a model of "
        "your own, put **Load Image** before **VAE Encode** and its *MASK* into **Set Latent Noise Mask**.\n\n"
        "**Look at** the square's border, and at the plot: the stiffness is that of the whole latent, the kept part "
        "included.",
        380,
    ),
    "circuit", ("masked", "LATENT"),
    (
        Node("nothing", "SolidMask", {"value": 0.0, "width": 256, "height": 256}, title="Keep everything"),
        Node("square", "SolidMask", {"value": 1.0, "width": 128, "height": 128}, title="but a square"),
        Node(
            "mask", "MaskComposite",
            {"destination": ("nothing", "MASK"), "source": ("square", "MASK"), "x": 64, "y": 64, "operation": "add"},
        ),
        Node("masked", "SetLatentNoiseMask", {"samples": ("encode", "LATENT"), "mask": ("mask", "MASK")}),
    ),
    seed=4, steps=16, denoise=1.0,
)  # fmt: skip

_SD15 = _text_to_image(
    "erk_guid_sd15", "SD 1.5",
    text="## Stable Diffusion 1.5\n\n"
    "**Look at** the plot's first panel: where the stiffness is high, the solver errs most. Sigma runs from about 14.6 "
    "to 0.03 here, and stiffness (its unit is 1/sigma) rises towards the end.\n\n"
    "Solver *abm* calls the model once a step, as Euler does." + _COMPARE + _files(SD15),
    loaders=_checkpoint(SD15), clip=_CLIP, vae=_VAE, model="model", latent=_latent(side=512),
    prompt="a glass bottle with a galaxy inside, on mossy stones by a stream, morning light",
    negative="text, watermark",
    sampling={"seed": 1, "steps": 20, "cfg": 8.0, "solver": "abm", "scheduler": "normal", "denoise": 1.0},
)  # fmt: skip

_SDXL = _text_to_image(
    "erk_guid_sdxl", "SDXL",
    text="## SDXL base\n\n"
    "**Look at** fine structure (hair, leaves, lettering) at 12 steps against 25: few steps is where a solver's error "
    "shows, and where there is most to correct."
    + _distilled("SDXL Turbo and Lightning, and LCM LoRAs,")
    + _COMPARE + _files(SDXL),
    loaders=_checkpoint(SDXL), clip=_CLIP, vae=_VAE, model="model", latent=_latent(),
    prompt="an old lighthouse on a cliff in a storm, waves breaking, oil on canvas", negative="text, watermark",
    sampling={"seed": 1, "steps": 25, "cfg": 8.0, "solver": "abm", "scheduler": "normal", "denoise": 1.0},
)  # fmt: skip

_SD35 = _text_to_image(
    "erk_guid_sd35", "SD 3.5",
    text="## Stable Diffusion 3.5 Large\n\n"
    "A flow model: sigma runs from 1 to 0, and the schedule ends with a long last step.\n\n"
    "**Look at** the plot's correction at the last steps; it is most of what *calibrated* does on flow models."
    + _COMPARE
    + _files(SD35_LARGE),
    loaders=_checkpoint(SD35_LARGE), clip=_CLIP, vae=_VAE, model="model", latent=_latent("EmptySD3LatentImage"),
    prompt="a bookshop window at dusk with a cat asleep among the books, a sign that reads OPEN LATE", negative="",
    sampling={"seed": 1, "steps": 20, "cfg": 4.0, "solver": "abm", "scheduler": "sgm_uniform", "denoise": 1.0},
)  # fmt: skip

_FLUX = _text_to_image(
    "erk_guid_flux1_dev", "FLUX.1 dev",
    text="## FLUX.1 dev\n\n"
    "The guidance is built into the model (*Flux Guidance*), so *cfg* is 1 and each step is one model call.\n\n"
    "**Look at** 20 steps against 10: queue both with the same seed and connect both samplers to one visualizer, "
    "*axis* set to *sigma*."
    + _distilled("FLUX.1 schnell and LoRAs for 4 or 8 steps")
    + _COMPARE + _files(FLUX, CLIP_L, T5, FLUX_VAE),
    note_height=480,
    loaders=_separate(
        _unet(FLUX), Node("clip", "DualCLIPLoader", {"clip_name1": CLIP_L, "clip_name2": T5, "type": "flux"}), FLUX_VAE
    ),
    clip=("clip", "CLIP"), vae=("vae", "VAE"), model="model", latent=_latent("EmptySD3LatentImage"), negative=None,
    conditioning=(Node("guidance", "FluxGuidance", {"conditioning": ("positive", "CONDITIONING"), "guidance": 3.5}),),
    positive="guidance",
    prompt="macro photograph of a dewdrop on a fern, a whole forest mirrored in it",
    sampling={"seed": 1, "steps": 20, "cfg": 1.0, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
)  # fmt: skip

_QWEN = _text_to_image(
    "erk_guid_qwen_image", "Qwen-Image",
    text="## Qwen-Image\n\n"
    "**ModelSamplingAuraFlow** sets the shift, which decides how the steps are spread: a larger one puts more of them "
    "where the picture's layout is decided, and makes the last ones longer.\n\n"
    "**Look at** lettering and fine lines, and in the plot at what a change of *shift* does to the stiffness per step."
    + _distilled("Lightning LoRAs for 4 or 8 steps")
    + _COMPARE
    + _files(QWEN, QWEN_TEXT, QWEN_VAE),
    note_height=480,
    loaders=_separate(
        _unet(QWEN), Node("clip", "CLIPLoader", {"clip_name": QWEN_TEXT, "type": "qwen_image"}), QWEN_VAE,
        Node("shifted", "ModelSamplingAuraFlow", {"model": ("model", "MODEL"), "shift": 3.1}),
    ),
    clip=("clip", "CLIP"), vae=("vae", "VAE"), model="shifted", latent=_latent("EmptySD3LatentImage", 1328),
    prompt="a chalkboard outside a cafe, lettered by hand: TODAY, SOUP AND SUN", negative="",
    sampling={"seed": 1, "steps": 20, "cfg": 2.5, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
)  # fmt: skip

_Z_IMAGE = _text_to_image(
    "erk_guid_z_image", "Z-Image",
    text="## Z-Image\n\n"
    "The base model, sampled with CFG. (Z-Image Turbo is distilled to few steps: it wants solver *euler* with mode "
    "*off*.)\n\n"
    "**Look at** skin and fabric at 12 steps against 25." + _COMPARE + _files(Z_IMAGE, Z_IMAGE_TEXT, Z_IMAGE_VAE),
    note_height=480,
    loaders=_separate(
        _unet(Z_IMAGE), Node("clip", "CLIPLoader", {"clip_name": Z_IMAGE_TEXT, "type": "lumina2"}), Z_IMAGE_VAE,
        Node("shifted", "ModelSamplingAuraFlow", {"model": ("model", "MODEL"), "shift": 3.0}),
    ),
    clip=("clip", "CLIP"), vae=("vae", "VAE"), model="shifted", latent=_latent("EmptySD3LatentImage"),
    prompt="portrait of a potter at the wheel, clay on her hands, window light, 35 mm film", negative="blurry, text",
    sampling={"seed": 1, "steps": 25, "cfg": 4.0, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
)  # fmt: skip

_PIXART = _text_to_image(
    "erk_guid_pixart_sigma", "PixArt-Sigma",
    text="## PixArt-Sigma\n\n"
    "A small transformer (0.6 billion weights) with a large text encoder; as a noise model of the old kind its sigma "
    "runs from well above 100 down to 0.01, so the first steps are long.\n\n"
    "**Look at** the plot's first steps against its last ones, and try the scheduler *karras* for comparison."
    + _COMPARE
    + _files(PIXART, T5, SDXL_VAE)
    + "\n\nThe model is offered for download as `diffusion_pytorch_model.safetensors`: save it under the name above.",
    note_height=480,
    loaders=_separate(_unet(PIXART), Node("clip", "CLIPLoader", {"clip_name": T5, "type": "pixart"}), SDXL_VAE),
    clip=("clip", "CLIP"), vae=("vae", "VAE"), model="model", latent=_latent(),
    prompt="a small cactus with a straw hat in a terracotta pot, desert behind it, watercolour", negative="",
    sampling={"seed": 1, "steps": 20, "cfg": 4.5, "solver": "abm", "scheduler": "normal", "denoise": 1.0},
)  # fmt: skip

_WAN = _text_to_image(
    "erk_guid_wan22_video", "Wan 2.2 video",
    text="## Wan 2.2 video (5B, text to video)\n\n"
    "A video is one latent with a time axis; the samplers treat it as any other.\n\n"
    "**Look at** flicker in fine structure, and at the plot: with shift 8 most steps are spent on motion and layout, "
    "and the last ones are long. Lower *length* for a first try."
    + _distilled("LoRAs for 4 steps")
    + _COMPARE + _files(WAN, WAN_TEXT, WAN_VAE),
    note_height=480,
    loaders=_separate(
        _unet(WAN), Node("clip", "CLIPLoader", {"clip_name": WAN_TEXT, "type": "wan"}), WAN_VAE,
        Node("shifted", "ModelSamplingSD3", {"model": ("model", "MODEL"), "shift": 8.0}),
    ),
    clip=("clip", "CLIP"), vae=("vae", "VAE"), model="shifted",
    latent=Node("latent", "Wan22ImageToVideoLatent", {"vae": ("vae", "VAE"), "width": 1280, "height": 704,
    "length": 121, "batch_size": 1}),
    prompt="a paper boat drifts down a rainy street, neon signs mirrored in the water, the camera follows it low above "
    "the ground",
    negative="static, blurry, overexposed, worst quality, subtitles",
    sampling={"seed": 1, "steps": 20, "cfg": 5.0, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
    result=(
        _decode(("sampler", "LATENT"), ("vae", "VAE")),
        Node("video", "CreateVideo", {"images": ("decode", "IMAGE"), "fps": 24.0}),
        Node("save", "SaveVideo", {"video": ("video", "VIDEO"), "filename_prefix": "video/erk_guid_wan22"}),
    ),
)  # fmt: skip

_AUTOGUIDANCE = _stacked(
    "erk_guid_autoguidance", "Autoguidance",
    _note(
        "## Autoguidance and ERK-Guid together\n\n"
        "Autoguidance moves away from what a weaker model of the same kind would do with the same prompt; here SD 3.5 "
        "Medium is the weaker one of SD 3.5 Large (same latents, same text encoders). **Dual Model CFG Guider** does "
        "it when its *negative* is the positive again; *cfg* is the strength.\n\n"
        "Autoguidance changes the model's prediction, ERK-Guid what the solver makes of it: they add up.\n\n"
        "**Look at** the plot with *cfg* 1 (no guidance, half the model calls), 2 and 4: what guidance does to the "
        "stiffness.\n\n"
        "**Then** set *mode* in **Sampler ERK-Guid** to *off* and queue again with the same seed."
        + _files(SD35_LARGE, SD35_MEDIUM),
        520,
    ),
    _frame(
        "Two models", _NOTE,
        Node("model", "CheckpointLoaderSimple", {"ckpt_name": SD35_LARGE}, title="The model"),
        Node("weaker", "CheckpointLoaderSimple", {"ckpt_name": SD35_MEDIUM}, title="A weaker one of its kind"),
    ),
    _frame(
        "Prompt and size", _WIDE,
        _encode("positive", "an astronaut's glove holding a hummingbird, studio photograph", "Prompt, for both models",
        _CLIP),
        _latent("EmptySD3LatentImage"),
    ),
    _frame(
        "Noise, guider, solver, sigmas", _SMALL,
        Node("noise", "RandomNoise", {"noise_seed": 1}),
        Node(
            "guider", "DualModelGuider",
            {
                "model": ("model", "MODEL"), "model_negative": ("weaker", "MODEL"), "cfg": 2.0,
                "positive": ("positive", "CONDITIONING"), "negative": ("positive", "CONDITIONING"),
            },
        ),
        Node("erk", "SamplerERKGuid", {"solver": "abm"}),
        Node("sigmas", "BasicScheduler", {"model": ("model", "MODEL"), "scheduler": "sgm_uniform", "steps": 24}),
    ),
    _frame("Sampling", _SMALL, _advanced(("latent", "LATENT"))),
    _frame("Result", _WIDE, _decode(("sampler", "output"), _VAE), _save("erk_guid_autoguidance")),
    _frame("Stiffness", _PLOT, _plot(trace=("erk", "trace"), latent=("sampler", "output"))),
)  # fmt: skip

WORKFLOWS = (
    _DEMO, _CUSTOM, _COMPARISON, _IMG2IMG, _INPAINTING, _SD15, _SDXL, _SD35, _FLUX, _QWEN, _Z_IMAGE, _PIXART, _WAN,
    _AUTOGUIDANCE,
)  # fmt: skip
