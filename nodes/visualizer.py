"""The node that shows a trace."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from .. import erk
from .compat import SAMPLING, Trace, make


class StiffnessVisualizerERKGuid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return make(
            io.Schema,
            node_id="StiffnessVisualizerERKGuid",
            display_name="Stiffness Visualizer (ERK-Guid)",
            category=SAMPLING,
            description="Plots how stiff the sampling ODE was at each step, which steps were corrected, and by how much. "
            "High stiffness means that the solver errs there: put more steps there, or choose another scheduler.",
            search_aliases=["stiffness", "sampler error", "plot", "ode", "erk", "rho"],
            inputs=[
                Trace.Input("trace", tooltip="From KSampler (ERK-Guid) or Sampler ERK-Guid."),
                io.Latent.Input(
                    "latent", optional=True,
                    tooltip="The sampler's output. Needed with Sampler ERK-Guid only, so that the plot is made after the sampling.",
                ),
            ],
            outputs=[
                io.Image.Output("plot", display_name="plot", tooltip="The plot as an image."),
                io.String.Output("json", display_name="json", tooltip="All numbers as JSON text."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, trace: erk.Trace, latent: dict | None = None) -> io.NodeOutput:
        from .plot import plot_trace  # matplotlib only where it is used

        if not isinstance(trace, erk.Trace):
            raise TypeError(f"ERK-Guid: trace is a {type(trace).__name__}: connect the trace output of an ERK-Guid sampler.")
        image = torch.from_numpy(plot_trace(trace)).float().div(255).unsqueeze(0)
        return io.NodeOutput(image, trace.to_json(), ui=ui.PreviewImage(image, cls=cls))
