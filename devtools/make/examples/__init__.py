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
    demo, image_to_image, inpainting, convergence, comparison, schedule, custom_sampling,
    sd15, sdxl, sdxl_noise, sd35, flux, z_image, z_image_turbo, qwen_image, pixart, wan, wan_experts, wan_four_steps,
    convergence_sdxl, convergence_flux, schedule_flux, schedule_wan, autoguidance,
)  # fmt: skip
"""From easy to hard: first those without a download, then a model each, then those that compare or need two models."""

WORKFLOWS = tuple(module.WORKFLOW for module in ALL)
