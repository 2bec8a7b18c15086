from __future__ import annotations

from ..workflow_graph import Node
from .models import WAN, where_files_go
from .parts import COMPARE, about_distilled, decode_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_wan22_video", "Wan 2.2 video",
    text="## Wan 2.2 video (5B, text to video)\n\n"
    "A video is one latent with a time axis. The samplers treat it like any other latent.\n\n"
    "**Look at** flicker in fine structure, and at the plot. With shift 8 most steps are used for motion and layout, "
    "and the last steps are long. Lower *length* for a first try."
    + about_distilled("LoRAs for 4 steps")
    + COMPARE + where_files_go(WAN),
    note_height=480,
    model=WAN, latent=Node("latent", "Wan22ImageToVideoLatent", {"vae": ("vae", "VAE"), "width": 1280, "height": 704,
    "length": 121, "batch_size": 1}),
    prompt="a paper boat drifts down a rainy street, neon signs mirrored in the water, the camera follows it low above "
    "the ground",
    negative="static, blurry, overexposed, worst quality, subtitles",
    sampling={"seed": 1, "steps": 20, "cfg": 5.0, "solver": "abm", "scheduler": "simple", "denoise": 1.0},
    result=(
        decode_node(("sampler", "LATENT"), ("vae", "VAE")),
        Node("video", "CreateVideo", {"images": ("decode", "IMAGE"), "fps": 24.0}),
        Node("save", "SaveVideo", {"video": ("video", "VIDEO"), "filename_prefix": "video/erk_guid_wan22"}),
    ),
)  # fmt: skip
