"""The node that compares samplers by their distance to the converged picture."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy_api.latest import io, ui
from PIL import Image

from ..compat import SAMPLING, make, show_on_node
from ..inputs import cfg_input, conditioning_and_latent, scheduler_input, seed_input
from ..live.page import language_of_page
from ..traces.language import speaking, tell, translatable
from ..traces.saving import check_prefix, save_files
from ..traces.style import THEMES
from .comparison import Comparison, sentence
from .entries import read_calls, read_entries
from .experiment import Experiment
from .keeping import kept_for
from .pictures import as_image, picture_of, stacked
from .running import Setting
from .schedules import given, given_to_the_end, scheduled
from .table import as_csv, as_text

_SAMPLERS = "erk_abm\nerk_abm mode=off\ndpmpp_2m\neuler"
_CALLS = "8, 12, 16, 24"
_PREFIX = "erk_guid/convergence"
_REPLACED = translatable("replaced by sigmas")


class ConvergenceTestERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return make(
            io.Schema,
            node_id="ConvergenceTestERKGuid",
            display_name="Convergence Test (ERK-Guid)",
            category=SAMPLING,
            description="Shows how near each sampler comes to the converged picture, on your own model, prompt and "
            "seed: the same noise, with every sampler of a list, at equal numbers of model calls, against one long "
            "run.",
            search_aliases=[
                "erk", "erk-guid", "compare samplers", "test samplers", "benchmark", "convergence", "sampler error",
                "xy plot",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that denoises the latent."),
                *conditioning_and_latent(
                    "The latent to start from, as for a KSampler. A batch gives steadier numbers: the median "
                    "over its pictures counts.",
                ),
                seed_input(
                    "seed",
                    "The seed of the noise, which is the same for all runs. Keep it fixed while you change the list: "
                    "what was run before is then reused.",
                ),
                cfg_input("Classifier-free guidance, the same for all runs."),
                scheduler_input("How the noise levels are spread over the steps, the same for all runs."),
                io.String.Input(
                    "samplers", default=_SAMPLERS, multiline=True,
                    tooltip="One sampler a line, by its name in KSampler's list. Options may follow: erk_abm mode=off, "
                    "erk_deis max_order=4, euler_ancestral eta=0.5. Samplers that add noise run at eta 0 where they "
                    "have one, and are marked where they have not.",
                ),
                io.String.Input(
                    "calls", default=_CALLS,
                    tooltip="Numbers of model calls, such as 8, 12, 16, 24. A sampler that calls the model twice a "
                    "step gets half the steps.",
                ),
                io.Int.Input(
                    "reference", default=100, min=20, max=400,
                    tooltip="Model calls of the long run that all are measured by. It is made once more with twice as "
                    "many: their distance tells how converged it is.",
                ),
                io.Sigmas.Input(
                    "sigmas", optional=True,
                    tooltip="Noise levels to use in place of the scheduler's. They are resampled for each number of "
                    "steps; the first and the last one stay.",
                ),
                io.Vae.Input(
                    "vae", optional=True,
                    tooltip="Decodes the pictures of the grid. Without it they are ComfyUI's rough previews.",
                ),
                io.String.Input(
                    "filename_prefix", default=_PREFIX, optional=True,
                    tooltip="Where to save the table, as text and as CSV, below the output folder; a number is added, "
                    "so that nothing is overwritten. May hold %year%, %month%, %day%, %hour%, %minute% and %second%.",
                ),
                make(
                    io.Combo.Input, "theme", options=list(THEMES), default="light", optional=True, advanced=True,
                    tooltip="A light or a dark background.",
                ),
            ],
            outputs=[
                io.Image.Output("plot", display_name="plot", tooltip="Error over model calls, one line a sampler."),
                io.Image.Output(
                    "grid", display_name="grid",
                    tooltip="The pictures: a row for each sampler, a column for each number of calls, and the "
                    "converged one.",
                ),
                io.String.Output("table", display_name="table", tooltip="All numbers, as text."),
                io.String.Output("sentence", display_name="sentence", tooltip="What comes of it, in one sentence."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI hands inputs over by name
        cls, samplers: str | None = None, calls: str | None = None, filename_prefix: str | None = None
    ) -> bool | str:
        """Tell what cannot be before a model is loaded. None: it comes over a link."""
        try:
            if samplers is not None:
                read_entries(samplers)
            if calls is not None:
                read_calls(calls)
            if filename_prefix is not None:
                check_prefix(filename_prefix)
        except (ValueError, TypeError) as error:
            return str(error)
        return True

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI hands inputs over by name
        cls, model: Any, positive: Any, negative: Any, latent_image: dict[str, Any], seed: int, cfg: float,
        scheduler: str, samplers: str, calls: str, reference: int, sigmas: torch.Tensor | None = None, vae: Any = None,
        filename_prefix: str = _PREFIX, theme: str = "light",
    ) -> io.NodeOutput:  # fmt: skip
        entries, budgets = read_entries(samplers), read_calls(calls)
        check_prefix(filename_prefix)
        # ComfyUI checks values that are typed in; these may also come over links.
        for name, value, known in (
            ("theme", theme, THEMES),
            ("scheduler", scheduler, comfy.samplers.KSampler.SCHEDULERS),
        ):
            if value not in known:
                raise ValueError(f"ERK-Guid: {name} is {value!r}, but must be one of {', '.join(known)}.")
        setting = Setting(model, positive, negative, latent_image, seed, cfg)
        if sigmas is None:
            schedule = long_schedule = scheduled(model, scheduler)
        else:
            schedule, long_schedule = given(sigmas), given_to_the_end(sigmas)
        node = cls.hidden.unique_id if cls.hidden is not None else None
        kept = kept_for(node, setting)
        experiment = Experiment(setting, entries, budgets, reference, schedule, long_schedule, kept)
        settings = {"scheduler": scheduler if sigmas is None else _REPLACED, "cfg": cfg, "seed": seed}

        def results() -> io.NodeOutput:
            return _results(cls, experiment, setting, settings, vae, filename_prefix, theme)

        try:
            experiment.run()
        except comfy.model_management.InterruptProcessingException:
            # ComfyUI drops what an interrupted node returns, so it is shown and saved here; then the prompt ends.
            show_on_node(node, results().ui)
            raise
        return results()


def _results(
    cls: type[io.ComfyNode], experiment: Experiment, setting: Setting, settings: dict[str, Any], vae: Any, prefix: str,
    theme: str,
) -> io.NodeOutput:  # fmt: skip
    """Plot, grid, table and sentence, the first two shown on the node, and the table saved."""
    from . import figure, grid

    comparison = experiment.comparison
    with speaking(language_of_page()):
        said = sentence(comparison)
        title = said if comparison.complete else tell("Stopped before all was run. %s", said)
        about = ", ".join(_about(comparison, setting, settings))
        plot = Image.fromarray(figure.plot(comparison, title, about, theme))
        sheet = grid.draw_grid(comparison, title, lambda latent: picture_of(latent, setting.model, vae), theme)
        text = as_text(comparison, said)
    experiment.progress.end_with(plot if comparison.complete else stacked(plot, sheet))
    # What programs read is the same in every language.
    files = save_files(
        {".txt": f"{text}\n".encode(), ".csv": as_csv(comparison, settings).encode()},
        prefix,
        figure.WIDTH,
        figure.HEIGHT,
        "table",
    )
    images = [as_image(picture) for picture in (plot, sheet)]
    shown = [file for image in images for file in ui.PreviewImage(image, cls=cls).as_dict()["images"]]
    return io.NodeOutput(*images, text, said, ui={"images": shown, "files": files, "text": [said, text]})


def _about(comparison: Comparison, setting: Setting, settings: dict[str, Any]) -> list[str]:
    """What was the same for all runs."""
    batch = (setting.samples.unbind()[0] if setting.samples.is_nested else setting.samples).shape[0]
    reference = comparison.reference
    return [
        tell("scheduler %s", tell(settings["scheduler"])),
        tell("cfg %s", f"{settings['cfg']:g}"),
        tell("seed %s", settings["seed"]),
        *([tell("median of %s pictures", batch)] if batch > 1 else []),
        tell("converged: %s with %s calls", reference.plan.entry.label, reference.calls),
    ]
