"""The node that plots traces."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui

from .. import erk
from .compat import SAMPLING, TraceType, make
from .inputs import further_traces, latent_after_sampling
from .live.page import language_of_page
from .traces.language import speaking
from .traces.runs import as_json, label_runs, split_labels
from .traces.saving import DEFAULT_PREFIX, FORMATS, check_prefix, save_runs
from .traces.source import settings_of
from .traces.style import AXES, PLOTS, THEMES
from .traces.words import WHAT_TO_DO

# The default and the allowed sizes of a plot. They are here because matplotlib is imported only where it is used.
_WIDTH, _HEIGHT = 1120, 800
_WIDTHS, _HEIGHTS = (320, 4096), (240, 4096)


class StiffnessVisualizerERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return make(
            io.Schema,
            node_id="StiffnessVisualizerERKGuid",
            display_name="Stiffness Visualizer (ERK-Guid)",
            category=SAMPLING,
            description="Plots how stiff the sampling ODE was at each step, which steps were corrected, and by how "
            f"much. It can compare several runs in one plot. {WHAT_TO_DO}",
            search_aliases=[
                "erk", "erk-guid", "stiffness", "stiff", "sampler error", "solver error", "truncation error", "ode",
                "ode solver",
                "plot", "chart", "compare", "rho",
            ],
            inputs=[
                TraceType.Input("trace", tooltip="From KSampler (ERK-Guid) or Sampler ERK-Guid."),
                latent_after_sampling("the plot is made"),
                *further_traces("Another run to compare, drawn over the first one."),
                make(
                    io.String.Input, "labels", default="", optional=True, advanced=True,
                    tooltip="Names of the runs in the legend, with commas, in the order trace, trace_2, ... A run "
                    "without a name is labelled by what distinguishes it: solver, mode, steps.",
                ),
                io.Combo.Input(
                    "plot", options=list(PLOTS), default=PLOTS[0], optional=True,
                    tooltip="overview: all of the following. rho-hat: the stiffness. h*rho-hat: stiffness times step "
                    "length; near 1 and above, the step is too long. correction size: how much was added, in % of the "
                    "step. estimated S: the scale of the data.",
                ),
                io.Combo.Input(
                    "axis", options=list(AXES), default=AXES[0], optional=True,
                    tooltip="step: by each run's own step numbers. sigma: by noise level, so that runs with different "
                    "lengths or schedules line up.",
                ),
                make(
                    io.Int.Input, "width", default=_WIDTH, min=_WIDTHS[0], max=_WIDTHS[1], optional=True, advanced=True,
                    tooltip="Width of the plot in pixels.",
                ),
                make(
                    io.Int.Input, "height", default=_HEIGHT, min=_HEIGHTS[0], max=_HEIGHTS[1], optional=True,
                    advanced=True,
                    tooltip="Height of the plot in pixels.",
                ),
                make(
                    io.Combo.Input, "theme", options=list(THEMES), default="light", optional=True, advanced=True,
                    tooltip="A light or a dark background.",
                ),
                io.Combo.Input(
                    "save", options=list(FORMATS), default="none", optional=True,
                    tooltip="Also write to ComfyUI's output folder: the numbers as CSV (for a spreadsheet), JSON (for "
                    "a program) or both, the plot as PNG or SVG, or all four.",
                ),
                make(
                    io.String.Input, "filename_prefix", default=DEFAULT_PREFIX, optional=True, advanced=True,
                    tooltip="Where to save inside the output folder. A number is added, so that nothing is "
                    "overwritten. It may contain %year%, %month%, %day%, %hour%, %minute% and %second%.",
                ),
            ],
            outputs=[
                # The input is called "plot", and ComfyUI before 0.8.0 does not accept an output with the same id.
                io.Image.Output("picture", display_name="plot", tooltip="The plot as an image."),
                io.String.Output("json", display_name="json", tooltip="All numbers as JSON text."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, filename_prefix: str | None = None
    ) -> bool | str:
        """Report an invalid file name before anything is sampled. None means that it comes over a link."""
        try:
            if filename_prefix is not None:
                check_prefix(str(filename_prefix))
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, trace: erk.Trace, latent: Any = None,
        trace_2: erk.Trace | None = None, latent_2: Any = None, trace_3: erk.Trace | None = None, latent_3: Any = None,
        trace_4: erk.Trace | None = None, latent_4: Any = None, labels: str = "", plot: str = PLOTS[0],
        axis: str = AXES[0],
        width: int = _WIDTH, height: int = _HEIGHT, theme: str = "light", save: str = "none",
        filename_prefix: str = DEFAULT_PREFIX,
    ) -> io.NodeOutput:  # fmt: skip
        from .traces import figure as drawing

        # ComfyUI checks values that are typed in, but these may also come over links.
        for name, value, known in (
            ("plot", plot, PLOTS),
            ("axis", axis, AXES),
            ("theme", theme, THEMES),
            ("save", save, FORMATS),
        ):
            if value not in known:
                raise ValueError(f"ERK-Guid: {name} is {value!r}, but must be one of {', '.join(known)}.")
        for name, size, (least, most) in (("width", width, _WIDTHS), ("height", height, _HEIGHTS)):
            if not least <= size <= most:
                raise ValueError(f"ERK-Guid: {name} is {size}, but must be between {least} and {most} pixels.")
        given = {"trace": trace, "trace_2": trace_2, "trace_3": trace_3, "trace_4": trace_4}
        names = dict(zip(given, split_labels(labels), strict=False))
        for name, value in given.items():
            if not isinstance(value, erk.Trace) and (value is not None or name == "trace"):
                raise TypeError(
                    f"ERK-Guid: {name} is a {type(value).__name__}: connect the trace output of an ERK-Guid sampler."
                )
        traces = {name: value for name, value in given.items() if value is not None}
        prompt, node = ({}, "") if cls.hidden is None else (cls.hidden.prompt or {}, str(cls.hidden.unique_id))
        settings = [settings_of(prompt, node, name) for name in traces]
        with speaking(language_of_page()):
            title, runs = label_runs(list(traces.values()), [names.get(name, "") for name in traces], settings)
            figure = drawing.draw(runs, title, plot, axis, width, height, theme)
        image = torch.from_numpy(drawing.pixels(figure)).float().div(255).unsqueeze(0)
        files = save_runs(runs, save, filename_prefix, width, height, lambda kind: drawing.file_of(figure, kind))
        shown = ui.PreviewImage(image, cls=cls).as_dict()
        return io.NodeOutput(image, as_json(runs), ui={**shown, "files": files} if files else shown)
