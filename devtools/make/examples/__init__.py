"""The descriptions of the graphs in examples_workflows/, one per file."""

from __future__ import annotations

from . import (
    autoguidance,
    comparison,
    convergence,
    convergence_flux,
    convergence_sdxl,
    custom_sampling,
    demo,
    flux,
    image_to_image,
    inpainting,
    pixart,
    qwen_image,
    schedule,
    schedule_flux,
    schedule_wan,
    sd15,
    sd35,
    sdxl,
    sdxl_noise,
    wan,
    wan_experts,
    wan_four_steps,
    z_image,
    z_image_turbo,
)

ALL = (
    demo, convergence, schedule, custom_sampling, comparison, image_to_image, inpainting, sd15, sdxl, sd35, flux,
    qwen_image, z_image, pixart, wan, autoguidance, convergence_sdxl, convergence_flux, sdxl_noise, z_image_turbo,
    schedule_flux, schedule_wan, wan_experts, wan_four_steps,
)  # fmt: skip

WORKFLOWS = tuple(module.WORKFLOW for module in ALL)
