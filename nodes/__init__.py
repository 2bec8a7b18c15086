"""The thin layer between the pack and ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .convergence.node import ConvergenceTestERKGuid
from .demo.model import DemoModelERKGuid
from .ksampler import KSamplerAdvancedERKGuid, KSamplerERKGuid, SamplerERKGuid
from .schedule import ScheduleFromTraceERKGuid
from .visualizer import StiffnessVisualizerERKGuid


class ERKGuidExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            KSamplerERKGuid,
            KSamplerAdvancedERKGuid,
            SamplerERKGuid,
            StiffnessVisualizerERKGuid,
            ConvergenceTestERKGuid,
            ScheduleFromTraceERKGuid,
            DemoModelERKGuid,
        ]
