"""ERK-Guid for ComfyUI: samplers that estimate the solver's own error and correct it."""

from .nodes import ERKGuidExtension, live
from .nodes.samplers import register_samplers
from .nodes.templates import register_templates

WEB_DIRECTORY = "./js"
register_samplers()
live.register()
register_templates()


async def comfy_entrypoint() -> ERKGuidExtension:
    return ERKGuidExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
