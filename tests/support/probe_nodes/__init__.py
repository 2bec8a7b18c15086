"""Nodes only for the tests: they let a graph sample a tiny model and report what happened. Not part of the pack.

The tests put this folder into the custom_nodes of the server that they start. Random conditionings replace a text
encoder's output, because no encoder is small.
"""

import json
from pathlib import Path

import comfy.k_diffusion.sampling
import comfy.model_sampling
import comfy.nested_tensor
import comfy.patcher_extension
import comfy.samplers
import folder_paths
import torch

from . import inside

CATEGORY = "tests"
_counts: dict[str, dict[str, int]] = {}
_KINDS = ("CONST", "V_PREDICTION", "V_PREDICTION_DDPM", "EDM", "X0", "EPS")


class ProbeConditioning:
    """A CONDITIONING of random numbers, [1, tokens, width], seeded."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        number = ("INT", {"default": 0, "min": 0, "max": 10**6})
        return {
            "required": {
                "tokens": number,
                "width": number,
                "pooled": number,
                "seed": number,
                "extra": ("STRING", {"default": "{}"}),
            }
        }

    def make(self, tokens, width, pooled, seed, extra):
        generator = torch.Generator().manual_seed(seed)
        embedding = torch.randn((1, tokens, width), generator=generator)
        entries = {}
        if pooled:
            entries["pooled_output"] = torch.randn((1, pooled), generator=generator)
        for name, value in json.loads(extra).items():
            if value == "ones":
                value = torch.ones((1, tokens), dtype=torch.int64)
            elif isinstance(value, list):
                value = torch.randn(value, generator=generator)
            entries[name] = value
        return ([[embedding, entries]],)


class ProbeLatent:
    """A LATENT of zeros (or of seeded random numbers) of any shape."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {
            "required": {"shape": ("STRING", {"default": "[1, 4, 8, 8]"})},
            "optional": {"scale": ("FLOAT", {"default": 0.0}), "seed": ("INT", {"default": 0})},
        }

    def make(self, shape, scale=0.0, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return ({"samples": scale * torch.randn(json.loads(shape), generator=generator)},)


class ProbeCount:
    """The model, with every call of the sampler and of the network counted under a name."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",), "name": ("STRING", {"default": ""})}}

    def make(self, model, name):
        model = model.clone()
        counts = _counts[name] = {}

        def counting(what):
            def wrapper(executor, *args, **kwargs):
                counts[what] = counts.get(what, 0) + 1
                return executor(*args, **kwargs)

            return wrapper

        def told(executor, *args, **kwargs):
            sampling = executor.class_obj.model_sampling
            counts["kind"] = next(
                (kind for kind in _KINDS if isinstance(sampling, getattr(comfy.model_sampling, kind))), "?"
            )
            counts["model"] = type(executor.class_obj).__name__
            return wrapper(executor, *args, **kwargs)

        wrappers = comfy.patcher_extension.WrappersMP
        wrapper = counting("network")
        model.add_wrapper(wrappers.PREDICT_NOISE, counting("sampler"))
        model.add_wrapper(wrappers.APPLY_MODEL, told)
        return (model,)


class ProbeSave:
    """Saves a latent, bit for bit, and what was counted under its name."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = CATEGORY, "save", (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"latent": ("LATENT",), "name": ("STRING", {"default": ""})}}

    def save(self, latent, name):
        samples = latent["samples"]
        parts = samples.unbind() if isinstance(samples, comfy.nested_tensor.NestedTensor) else [samples]
        path = Path(folder_paths.get_output_directory()) / f"{name}.pt"
        path.parent.mkdir(exist_ok=True)
        torch.save({"samples": [part.cpu().clone() for part in parts], "counts": dict(_counts.get(name, {}))}, path)
        return {"ui": {"text": [path.name]}}


class ProbePostCFG:
    """The model with a post-CFG function that uses the unconditional prediction, as many patches do."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",)}}

    def make(self, model):
        def nearer_to_unconditional(args):
            return args["denoised"] + 0.1 * (args["uncond_denoised"] - args["denoised"])

        model = model.clone()
        model.set_model_sampler_post_cfg_function(nearer_to_unconditional, disable_cfg1_optimization=True)
        return (model,)


class ProbeBareWrapper:
    """A SAMPLER that passes on a model object with only `inner_model` and `sigmas`, as packs that wrap samplers do."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("SAMPLER",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"sampler": ("SAMPLER",)}}

    def make(self, sampler):
        class Bare:
            def __init__(self, model, sigmas):
                self.inner_model, self.sigmas = model, sigmas

            def __call__(self, x, sigma, **kwargs):
                return self.inner_model(x, sigma, **kwargs)

        def wrapped(model, x, sigmas, extra_args=None, callback=None, disable=None, **options):
            return sampler.sampler_function(Bare(model, sigmas), x, sigmas, extra_args, callback, disable, **options)

        return (comfy.samplers.KSAMPLER(wrapped, sampler.extra_options),)


class ProbeCompile:
    """The model compiled by ComfyUI's helper, with the backends that its node does not offer."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",), "backend": (["eager", "aot_eager"],)}}

    def make(self, model, backend):
        from comfy_api.torch_helpers import set_torch_compile_wrapper

        model = model.clone()
        set_torch_compile_wrapper(model=model, backend=backend)
        return (model,)


class ProbeNoise:
    """A NOISE with a separate seed for each sample of the batch."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("NOISE",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"seeds": ("STRING", {"default": "[1, 2]"})}}

    def make(self, seeds):
        class Noise:
            seed = json.loads(seeds)[0]

            def generate_noise(self, latent):
                shape = latent["samples"].shape[1:]
                return torch.stack(
                    [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in json.loads(seeds)]
                )

        return (Noise(),)


class ProbeTell:
    """Tells what was counted under a name, once the node whose text is connected has run."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = CATEGORY, "tell", (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"text": ("STRING", {"forceInput": True}), "name": ("STRING", {"default": ""})}}

    @classmethod
    def IS_CHANGED(cls, **_):  # noqa: N802
        return float("nan")

    def tell(self, text, name):
        return {"ui": {"text": [text, json.dumps(_counts.get(name, {}))]}}


class ProbeOutOfMemory:
    """The model, out of memory in every run of so many steps."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",), "steps": ("INT", {"default": 0})}}

    def make(self, model, steps):
        def failing(executor, x, timestep, model_options, seed):
            if len(model_options["transformer_options"]["sample_sigmas"]) - 1 == steps:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
            return executor(x, timestep, model_options, seed)

        model = model.clone()
        model.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, failing)
        return (model,)


NODE_CLASS_MAPPINGS = {
    kind.__name__: kind
    for kind in (
        ProbeConditioning,
        ProbeLatent,
        ProbeCount,
        ProbeSave,
        ProbePostCFG,
        ProbeBareWrapper,
        ProbeCompile,
        ProbeNoise,
        ProbeTell,
        ProbeOutOfMemory,
        *inside.NODES,
    )
}
