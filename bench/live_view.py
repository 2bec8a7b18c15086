"""What the live chart costs per step: python -m bench.live_view.

This runs in a real ComfyUI with a browser's connection. ComfyUI's own KSampler samples a model whose predictions cost
nothing, with an erk_* sampler. The chart is turned off and on in turn. The difference of the two times, divided by the
number of steps, is the whole cost of the chart: measuring the step, recording it, making the message, sending it. The
pack's own nodes measure the step in any case, for their trace. For comparison, a step of a real model is timed on the
same machine: Stable Diffusion 1.5's whole U-Net with random weights, 512 x 512, batch 1 with CFG.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from devtools.comfyui import Server, error_message, exit_on_sigterm, serve
from devtools.inprocess import load_comfyui

from .instruments import command, environment, rows
from .instruments.tables import page, table

SIDES = {"SD 1.5, 512": 96, "SDXL, 1024": 160, "FLUX, 1024": 320}
"""The side of the demo's latent. It has three channels, and with this side it is no smaller than the model's latent."""
SOLVERS = ("deis", "abm")
STEPS = 400
_UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "context_dim": 768, "num_heads": 8,
    "num_head_channels": -1,
    "use_spatial_transformer": True, "use_linear_in_transformer": False, "legacy": False, "use_checkpoint": False,
    "adm_in_channels": None, "use_temporal_attention": False,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One solver on one size of latent. Times are in milliseconds.

    ``cost_ms`` is the median of the repeats' differences.
    """

    latent: str
    solver: str
    mode: str
    off_ms: float
    cost_ms: float
    least_ms: float
    most_ms: float


class Browser:
    """A page's connection. It receives every message, as a page does."""

    def __init__(self, server: Server) -> None:
        import websocket

        self.client = uuid.uuid4().hex
        self.steps = 0
        self._socket = websocket.create_connection(
            f"{server.address.replace('http', 'ws')}/ws?clientId={self.client}", timeout=600
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while self._socket.connected:
            try:
                data = self._socket.recv()
            except Exception:  # the connection is closed, because the measurement is over
                return
            self.steps += isinstance(data, str) and '"erk_guid.step"' in data


def milliseconds(server: Server, browser: Browser, solver: str, side: int, show: str) -> float:
    """The time of one step, in a run of STEPS."""
    server.post("/erk_guid/live", {"client_id": browser.client, "show": show})
    before = browser.steps
    status, answer = server.post(
        "/prompt",
        {"prompt": prompt(solver, side), "client_id": browser.client, "extra_data": {"preview_method": "none"}},
    )
    if status != 200:
        raise RuntimeError(f"ComfyUI refused the prompt: {answer}")
    entry = server.wait(answer["prompt_id"])
    if entry["status"]["status_str"] != "success":
        raise RuntimeError(error_message(entry))
    times = {name: data["timestamp"] for name, data in entry["status"]["messages"]}
    time.sleep(0.2)  # wait for the last messages
    seen = browser.steps - before
    if seen != (STEPS if show == "all" else 0):
        raise RuntimeError(f"The page received {seen} of {STEPS} steps with the chart set to {show!r}.")
    return (times["execution_success"] - times["execution_start"]) / STEPS


def prompt(solver: str, side: int) -> dict[str, Any]:
    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    return {
        "demo": node("DemoModelERKGuid", kind="eps", pictures="arcs", width=side, height=side, batch_size=1),
        "model": node("BenchZeroCostModel", model=["demo", 0]),
        "sampler": node(
            "KSampler", model=["model", 0], positive=["demo", 1], negative=["demo", 2], latent_image=["demo", 4],
            seed=uuid.uuid4().int % 2**32, steps=STEPS, cfg=1.0, sampler_name=f"erk_{solver}", scheduler="karras",
            denoise=1.0,
        ),
        "save": node("SaveLatent", samples=["sampler", 0], filename_prefix="bench"),
    }  # fmt: skip


def model_step() -> float:
    """Milliseconds of one call of Stable Diffusion 1.5's U-Net with batch 2, which is what a step with CFG needs."""
    load_comfyui()
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    with torch.no_grad():
        unet = UNetModel(**_UNET, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
        for weight in unet.parameters():
            weight.normal_(0, 0.02)
        x, text = torch.randn(2, 4, 64, 64), torch.randn(2, 77, 768)
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            unet(x, torch.full((2,), 500.0), context=text)
            times.append(time.perf_counter() - begin)
    return 1e3 * min(times)


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser("live_view", __doc__)
    parser.add_argument("--repeats", type=int, default=7, help="pairs of runs; the median of their differences counts")
    options = parser.parse_args(arguments)
    folder = command.begin(options)
    csv, record, written = (folder / name for name in ("live_view.csv", "live_view.json", "LIVE_VIEW.md"))
    if not options.report:
        measure(options.repeats, csv)
        environment.record(record, command.text(parser, options), model_step_ms=round(model_step()))
    step = environment.told(record, "model_step_ms")
    written.write_text(report(rows.need(csv, Row), step, environment.sentence(record)))
    print(csv, written, sep="\n")
    return 0


def measure(repeats: int, path: Path) -> None:
    """Measure all rows. Each is written as soon as it is made."""
    exit_on_sigterm()
    writer = rows.Writer(path, Row)
    node = Path(__file__).parent / "instruments" / "zero_cost_node"
    with serve(prepare=lambda base: shutil.copytree(node, base / "custom_nodes" / node.name)) as server:
        browser = Browser(server)
        for latent, side in SIDES.items():
            for solver in SOLVERS:
                milliseconds(server, browser, solver, side, "all")
                pairs = [
                    [milliseconds(server, browser, solver, side, show) for show in ("off", "all")]
                    for _ in range(repeats)
                ]
                costs = sorted(on - off for off, on in pairs)
                off_ms, cost_ms = statistics.median(off for off, _ in pairs), statistics.median(costs)
                row = Row(latent, solver, "calibrated", off_ms, cost_ms, costs[0], costs[-1])
                writer.write(row)
                print(row, file=sys.stderr)


def report(made: list[Row], step: float, sentence: str) -> str:
    """The rows as a page of Markdown."""
    heads = (
        "latent at least as large as for",
        "solver",
        "chart off, ms per step",
        "cost of the chart, ms per step",
        "least to most",
        "share of the model's step",
    )
    body = [
        (
            row.latent,
            row.solver,
            f"{row.off_ms:.2f}",
            f"{row.cost_ms:+.3f}",
            f"{row.least_ms:+.3f} to {row.most_ms:+.3f}",
            f"{row.cost_ms / step:.3%}",
        )
        for row in made
    ]
    return page(
        [
            "# What the live chart costs",
            "",
            sentence,
            "",
            *__doc__.splitlines()[2:],
            "",
            f"A step of that model took {step:.0f} ms on a CPU.",
            "",
            *table(heads, body, "llrrrr"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
