"""One run: the same noise through ComfyUI's own sampling, with one sampler and one schedule."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.utils
import latent_preview
from PIL import Image
from torch import Tensor

from ..compat import fix_empty_latent, is_out_of_memory
from ..traces.language import translatable
from .distances import relative_errors
from .entries import Entry

OUT_OF_MEMORY = translatable("out of memory")


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    latent   on the CPU, as ComfyUI's samplers return it; None where there is none
    calls    model calls that it made
    seconds  that it took
    note     why there is no latent
    added    how far each sample is from the model's own last prediction, relative to its spread: what the sampler
             added to it in the last step to sigma 0. Empty where the levels do not end there
    """

    latent: Tensor | None
    calls: int
    seconds: float
    note: str = ""
    added: tuple[float, ...] = ()


class Setting:
    """What all runs share: model, conditioning, the latent with its mask, the noise, cfg."""

    def __init__(self, model: Any, positive: Any, negative: Any, latent: dict[str, Any], seed: int, cfg: float) -> None:
        self.model, self.positive, self.negative, self.latent = model, positive, negative, latent
        self.seed, self.cfg = seed, cfg
        self.samples = fix_empty_latent(model, latent)
        self.noise = comfy.sample.prepare_noise(self.samples, seed, latent.get("batch_index"))

    def run(self, entry: Entry, sigmas: Tensor, progress: Progress) -> Outcome:
        """Sample. Running out of memory is an outcome; everything else that is raised, an interrupt too, goes on."""
        sampler = entry.make()
        function, counted = sampler.sampler_function, 0

        def counting(model: Any, *args: Any, **options: Any) -> Tensor:
            def count() -> None:
                nonlocal counted
                counted += 1
                progress.called(counted)

            return function(_Counted(model, count), *args, **options)

        sampler.sampler_function = counting
        progress.denoised = None
        begin, latent = time.perf_counter(), None
        try:
            latent = comfy.sample.sample_custom(
                self.model, self.noise, self.cfg, sampler, sigmas.clone(), self.positive, self.negative, self.samples,
                noise_mask=self.latent.get("noise_mask"), callback=progress.show,
                disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=self.seed,
            ).cpu()  # fmt: skip
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        seconds = time.perf_counter() - begin
        if latent is None:  # outside the except block, whose traceback holds what is to be freed
            gc.collect()
            comfy.model_management.unload_all_models()
            comfy.model_management.soft_empty_cache()
            return Outcome(None, counted, seconds, OUT_OF_MEMORY)
        added = self._added(latent, progress.denoised) if sigmas[-1] == 0 and progress.denoised is not None else ()
        return Outcome(latent, counted, seconds, added=added)

    def _added(self, latent: Tensor, denoised: Tensor) -> tuple[float, ...]:
        prediction = self.model.model.process_latent_out(denoised.cpu())
        return tuple(relative_errors(prediction, latent)) if prediction.shape == latent.shape else ()


class _Counted:
    """A model as a sampler has it, that tells of each call."""

    def __init__(self, model: Any, count: Callable[[], None]) -> None:
        self._model, self._count = model, count

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        self._count()
        return self._model(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Progress:
    """One bar over the model calls of all runs, with ComfyUI's previews."""

    def __init__(self, model: Any, total: int) -> None:
        self._bar = comfy.utils.ProgressBar(max(total, 1))
        self._previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self._done = self._here = 0
        self.denoised: Tensor | None = None
        """The newest prediction of the data, in the model's own units."""

    def called(self, count: int) -> None:
        self._here = count

    def show(self, step: int, denoised: Tensor, x: Tensor, total_steps: int) -> None:
        """ComfyUI's callback, once a step."""
        self.denoised = denoised
        preview = None
        if self._previewer is not None:
            if denoised.is_nested:
                denoised = denoised.unbind()[0]
            preview = self._previewer.decode_latent_to_preview_image("JPEG", denoised)
        self._bar.update_absolute(self._done + self._here, preview=preview)

    def finished(self, calls: int) -> None:
        """A run is over that was planned with so many calls."""
        self._done, self._here = self._done + calls, 0
        self._bar.update_absolute(self._done)

    def end_with(self, picture: Image.Image) -> None:
        """ComfyUI's page keeps the last preview in front of what a node returns: let that be what came of it all."""
        if self._previewer is not None:
            self._bar.update_absolute(self._bar.current, preview=("PNG", picture, None))
