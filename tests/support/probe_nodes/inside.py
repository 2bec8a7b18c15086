"""Stand-ins for nodes of other packs that sample inside themselves, or that come between a sampler and its model.

Each makes the call of a published node, as far as the sampler can see it. Only what a test needs is here: no images,
no detectors, no settings. Numbers of pixels are those of the latent.
"""

import itertools
import json

import comfy.k_diffusion.sampling
import comfy.sample
import comfy.samplers
import numpy as np
import torch

CATEGORY = "tests"

_SAMPLING = {
    "model": ("MODEL",),
    "positive": ("CONDITIONING",),
    "negative": ("CONDITIONING",),
    "sampler": ("SAMPLER",),
    "sigmas": ("SIGMAS",),
    "latent": ("LATENT",),
    "seed": ("INT", {"default": 0}),
    "cfg": ("FLOAT", {"default": 1.0}),
}


def _sample(model, positive, negative, cfg, sampler, sigmas, latent, noise, seed, mask=None, callback=None):
    return comfy.sample.sample_custom(
        model, noise, cfg, sampler, sigmas, positive, negative, latent,
        noise_mask=mask, callback=callback, disable_pbar=True, seed=seed,
    ).to(latent)  # fmt: skip


def _blurred(mask, width):
    """A mask [1, 1, H, W] whose edges are this wide."""
    return torch.nn.functional.avg_pool2d(mask, 2 * width + 1, 1, width, count_include_pad=False) if width else mask


class ProbeConverged:
    """A SAMPLER that cuts each step into many and follows them with ComfyUI's heun: what other samplers should reach.

    The step to 0 is cut into 32 steps of equal ratio, down to a thousandth of its start; the others into equal steps.
    """

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("SAMPLER",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"parts": ("INT", {"default": 16})}}

    def make(self, parts):
        def cut(begin, end):
            share = torch.linspace(0, 1, (parts if end > 0 else 32) + 1, dtype=torch.float64)[:-1]
            return begin + (end - begin) * share if end > 0 else begin * 1e-3**share

        def converged(model, x, sigmas, extra_args=None, callback=None, disable=None):
            steps = [cut(begin, end) for begin, end in itertools.pairwise(sigmas.double())]
            levels = torch.cat([*steps, sigmas[-1:].double()]).to(sigmas)
            last_parts = {count - 1: i for i, count in enumerate(itertools.accumulate(map(len, steps)))}

            def once_a_step(told):
                if callback is not None and told["i"] in last_parts:
                    callback({**told, "i": last_parts[told["i"]]})

            return comfy.k_diffusion.sampling.sample_heun(model, x, levels, extra_args, once_a_step, disable)

        return (comfy.samplers.KSAMPLER(converged),)


class ProbeDetailer:
    """A detailer, as FaceDetailer of ComfyUI-Impact-Pack.

    Each box is cut out, enlarged twice, sampled with a noise mask, and pasted back. Every box has its own seed and uses
    the same SAMPLER. The result is what the sampler's last callback showed as its prediction of the picture.
    """

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        boxes = ("STRING", {"default": "[[0, 0, 32]]"})
        return {"required": {**_SAMPLING, "boxes": boxes, "feather": ("INT", {"default": 0})}}

    def make(self, model, positive, negative, sampler, sigmas, latent, seed, cfg, boxes, feather):
        picture = latent["samples"].clone()
        for number, (top, left, side) in enumerate(json.loads(boxes)):
            place = picture[..., top : top + side, left : left + side]
            larger = torch.nn.functional.interpolate(place, scale_factor=2, mode="bilinear")
            mask, edge = torch.zeros_like(larger[:1, :1]), side // 4
            mask[..., edge:-edge, edge:-edge] = 1
            mask, shown = _blurred(mask, feather), {}

            def callback(step, denoised, x, steps, shown=shown):
                shown["picture"] = denoised

            noise = comfy.sample.prepare_noise(larger, seed + number)
            _sample(
                model, positive, negative, cfg, sampler, sigmas, larger, noise, seed + number, mask[0], callback
            )  # fmt: skip
            refined = model.model.process_latent_out(shown["picture"].to(larger))
            smaller, of_place = (torch.nn.functional.avg_pool2d(part, 2) for part in (refined, mask))
            place.lerp_(smaller, of_place)
        return ({"samples": picture},)


class ProbeTiledUpscale:
    """Tiles sampled one after the other, as Ultimate SD Upscale: each with its surroundings, all with one seed."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        number = ("INT", {"default": 0})
        return {"required": {**_SAMPLING, "tile": number, "padding": number, "blur": number}}

    def make(self, model, positive, negative, sampler, sigmas, latent, seed, cfg, tile, padding, blur):
        picture = latent["samples"].clone()
        height, width = picture.shape[-2:]
        side = tile + 2 * padding
        for y in range(0, height, tile):
            for x in range(0, width, tile):
                top, left = (min(max(at - padding, 0), end - side) for at, end in ((y, height), (x, width)))
                place = picture[..., top : top + side, left : left + side]
                mask = torch.zeros_like(place[:1, :1])
                mask[..., y - top : y - top + tile, x - left : x - left + tile] = 1
                noise = comfy.sample.prepare_noise(place, seed)
                place.lerp_(
                    _sample(model, positive, negative, cfg, sampler, sigmas, place.clone(), noise, seed),
                    _blurred(mask, blur),
                )
        return ({"samples": picture},)


class ProbeTilesInTurn:
    """All tiles one step at a time, as TiledKSampler's strategy "random strict": the grid moves after each step.

    A tile that is cut off at an edge is sampled whole, with a noise mask. No noise is added: the latent already has it.
    As published, it is for sigma-space models only.
    """

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        number = ("INT", {"default": 1})
        return {"required": {**_SAMPLING, "tile": number}, "optional": {"backwards": ("BOOLEAN", {"default": False})}}

    def make(self, model, positive, negative, sampler, sigmas, latent, seed, cfg, tile, backwards=False):
        start = latent["samples"]
        picture = start + sigmas[0] * comfy.sample.prepare_noise(start, seed)
        generator = torch.Generator().manual_seed(seed)
        for step in range(len(sigmas) - 1):
            down, right = (torch.rand(2, generator=generator) * tile).int().tolist()
            cuts = [self._cuts(picture.shape[-2], tile, down), self._cuts(picture.shape[-1], tile, right)]
            tiles, made = list(itertools.product(*cuts)), picture.clone()
            for (top, rows), (left, columns) in reversed(tiles) if backwards else tiles:
                place = (..., slice(top, top + tile), slice(left, left + tile))
                mask = torch.zeros(1, 1, tile, tile)
                mask[..., rows, columns] = 1
                given = picture[place].clone()
                result = _sample(
                    model, positive, negative, cfg, sampler, sigmas[step : step + 2], given, torch.zeros_like(given),
                    seed, None if mask.all() else mask[0],
                )  # fmt: skip
                made[place] = torch.lerp(made[place], result, mask)
            picture = made
        return ({"samples": picture},)

    @staticmethod
    def _cuts(length, tile, shift):
        """Where each tile begins, and which part of it is new."""
        edges = sorted({min(max(tile * number - shift, 0), length) for number in range(length // tile + 3)})
        for begin, end in itertools.pairwise(edges):
            at = min(begin, length - tile)
            yield at, slice(begin - at, end - at)


class ProbeTiledModel:
    """The model, run on overlapping tiles whose predictions are averaged, as MultiDiffusion of Tiled Diffusion."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        number = ("INT", {"default": 0})
        return {"required": {"model": ("MODEL",), "tile": number, "stride": number}}

    def make(self, model, tile, stride):
        def in_tiles(apply_model, arguments):
            x = arguments["input"]
            tops, lefts = ([*range(0, length - tile, stride), length - tile] for length in x.shape[-2:])
            places = [(..., slice(y, y + tile), slice(z, z + tile)) for y in tops for z in lefts]
            total, times = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
            for place in places:
                total[place] += apply_model(x[place], arguments["timestep"], **arguments["c"])
                times[place] += 1
            return total / times

        model = model.clone()
        model.set_model_unet_function_wrapper(in_tiles)
        return (model,)


class ProbeLyingSigma:
    """A SAMPLER whose model is asked for another noise level than the solver asks for.

    It makes the calls of Detail Daemon (``bump``: the lie grows and falls again along the schedule) and of Lying Sigma
    (a constant lie between two levels).

    amount  by how much the level is lowered, as a share of it
    """

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "make", ("SAMPLER",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        amount, bump = ("FLOAT", {"default": 0.0, "min": -1.0}), ("BOOLEAN", {"default": True})
        return {"required": {"sampler": ("SAMPLER",), "amount": amount, "bump": bump}}

    def make(self, sampler, amount, bump):
        def lying(model, x, sigmas, **options):
            shares = self._bump(sigmas) if bump else self._constant(sigmas)

            def asked(x, sigma, **extra_args):
                return model(x, sigma * max(1e-6, 1 - amount * shares(float(sigma.max()))), **extra_args)

            asked.inner_model, asked.sigmas = model.inner_model, model.sigmas
            return sampler.sampler_function(asked, x, sigmas, **options, **sampler.extra_options)

        return (comfy.samplers.KSAMPLER(lying),)

    @staticmethod
    def _constant(sigmas):
        steps = len(sigmas) - 1
        top, bottom = float(sigmas[round(0.1 * steps)]), float(sigmas[round(0.9 * steps)])
        return lambda sigma: float(bottom <= sigma <= top)

    @staticmethod
    def _bump(sigmas):
        """From 0.2 to 0.8 of the steps, linear in sigma between them."""
        levels = sigmas[:-1].flip(0).double().cpu().numpy()
        last = len(levels) - 1
        begin, middle, end = (round(share * last) for share in (0.2, 0.5, 0.8))
        rise = np.linspace(0, 1, middle - begin + 1)
        fall = np.linspace(1, 0, end - middle + 1)
        heights = np.zeros(last + 1)
        heights[begin : middle + 1], heights[middle : end + 1] = rise, fall
        heights = (0.5 - 0.5 * np.cos(np.pi * heights))[::-1]
        return lambda sigma: float(np.interp(sigma, levels, heights))


NODES = (ProbeConverged, ProbeDetailer, ProbeTiledUpscale, ProbeTilesInTurn, ProbeTiledModel, ProbeLyingSigma)
