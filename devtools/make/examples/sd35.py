from __future__ import annotations

from .models import SD35, where_files_go
from .parts import COMPARE, latent_node, text_to_image

WORKFLOW = text_to_image(
    "erk_guid_sd35", "SD 3.5",
    text="## Stable Diffusion 3.5 Large\n\n"
    "This is a flow model: sigma runs from 1 to 0, and the schedule ends with a long last step.\n\n"
    "**Look at** the plot's correction at the last steps. It is most of what *calibrated* does on flow models."
    + COMPARE
    + where_files_go(SD35),
    model=SD35, latent=latent_node("EmptySD3LatentImage"),
    prompt="a bookshop window at dusk with a cat asleep among the books, a sign that reads OPEN LATE", negative="",
    sampling={"seed": 1, "steps": 20, "cfg": 4.0, "solver": "abm", "scheduler": "sgm_uniform", "denoise": 1.0},
)  # fmt: skip
