"""The node that plans a schedule from traces."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui

from .. import erk
from .compat import SAMPLING, TraceType, make
from .inputs import further_traces, latent_after_sampling
from .live.page import PLANNER
from .traces.plan_words import advice, as_levels, summary

_WIDTH, _HEIGHT = 1120, 640
_MOST_STEPS = 200


class ScheduleFromTraceERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return make(
            io.Schema,
            node_id=PLANNER,
            display_name="Schedule from Trace (ERK-Guid)",
            category=SAMPLING,
            description="Plans noise levels from a finished run: more steps where the solver erred, fewer where it "
            "did not. It also estimates how wrong the picture still is, and how many steps are enough.",
            search_aliases=["erk", "erk-guid", "sigmas", "scheduler", "schedule", "optimal steps",
                "solver error", "plan"],
            inputs=[
                TraceType.Input("trace", tooltip="From KSampler (ERK-Guid) or Sampler ERK-Guid; 8 steps or more."),
                io.Int.Input(
                    "steps", default=16, min=1, max=_MOST_STEPS,
                    tooltip="Steps of the new schedule. It may differ from the traced run's.",
                ),
                latent_after_sampling("the schedule is planned"),
                *further_traces("Another run of the same model: another prompt or seed."),
            ],
            outputs=[
                io.Sigmas.Output(
                    "sigmas", display_name="sigmas",
                    tooltip="The planned noise levels: for SamplerCustom, or the sigmas input of KSampler (ERK-Guid).",
                ),
                io.String.Output(
                    "levels", display_name="levels",
                    tooltip="The same as text. ManualSigmas takes it, so that the schedule can be kept with a model.",
                ),
                io.Image.Output("picture", display_name="plot", tooltip="Both schedules, and each step's error."),
                io.Float.Output(
                    "predicted_error", display_name="predicted error",
                    tooltip="The solver's error in the picture along the planned levels, relative to its contrast.",
                ),
                io.Float.Output(
                    "given_error", display_name="given error",
                    tooltip="The same along the traced schedule, at as many steps.",
                ),
                io.String.Output(
                    "text", display_name="text", tooltip="The plan in words, and how many steps are enough."
                ),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride]: ComfyUI passes inputs by name
        cls, trace: erk.Trace, steps: int, latent: Any = None,
        trace_2: erk.Trace | None = None, latent_2: Any = None, trace_3: erk.Trace | None = None, latent_3: Any = None,
        trace_4: erk.Trace | None = None, latent_4: Any = None,
    ) -> io.NodeOutput:  # fmt: skip
        from .traces import plan_figure

        planner = erk.Planner([trace, *(one for one in (trace_2, trace_3, trace_4) if one is not None)])
        plan = planner.plan(steps)
        text = f"{summary(plan)} {advice(planner)}"
        picture = torch.from_numpy(plan_figure.plot(plan, _WIDTH, _HEIGHT)).float().div(255).unsqueeze(0)
        shown = {**ui.PreviewImage(picture, cls=cls).as_dict(), "text": (text,)}
        return io.NodeOutput(
            torch.tensor(plan.sigmas, dtype=torch.float32), as_levels(plan.sigmas), picture, plan.predicted_error,
            plan.given_error, text, ui=shown,
        )  # fmt: skip
