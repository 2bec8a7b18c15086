from __future__ import annotations

from .models import file_of
from .wan_experts import WAN_REPOSITORY, both, experts

HIGH, LOW = (
    file_of(
        "loras", WAN_REPOSITORY, f"split_files/loras/wan2.2_t2v_lightx2v_4steps_lora_v1.1_{which}_noise.safetensors"
    )
    for which in ("high", "low")
)

WORKFLOW = experts(
    "erk_guid_wan22_4_steps", "Wan 2.2, 4 steps",
    "## Wan 2.2 (14B) with LoRAs for 4 steps\n\n"
    "The LoRAs are distilled: with *euler* each of their 4 steps is right as it is. So solver is *euler*, mode is "
    "*off*, and *cfg* is 1. Two steps on each expert, as in ComfyUI's own template.\n\n"
    "**Look at** the chart: it measures, and corrects nothing.\n\n"
    "**Then** try *abm* to see why not: it expects a smooth ODE, which distilled models do not follow.",
    model=both((HIGH, LOW)), steps=4, cfg=1.0, solver="euler", mode="off",
)  # fmt: skip
