"""`python dev.py demo`: a real server, two shipped workflows, pictures, plots, and a table of model calls saved.

It prints the path of each file it made on standard output, one per line. Everything else goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from .comfyui import ComfyUIError, Server, error_message, exit_on_sigterm, serve
from .make.workflows import load, to_prompt

WORKFLOWS = {
    "erk_guid_convergence_test": "Comparing samplers with the converged picture, on a small learned network ...",
    "erk_guid_demo": "Sampling mosaics, and watching the stiffness ...",
}


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def watch(server: Server, prompt: dict[str, Any]) -> dict[str, Any]:
    """Queue a prompt and show its progress from the server's own events. Returns its outputs."""
    import websocket  # websocket-client

    client = uuid.uuid4().hex
    socket = websocket.create_connection(f"{server.address.replace('http', 'ws')}/ws?clientId={client}", timeout=300)
    try:
        prompt_id = server.queue(prompt, client)
        while True:
            message = socket.recv()
            if not isinstance(message, str):
                continue  # a preview picture
            event = json.loads(message)
            data = event["data"]
            if event["type"] == "progress" and data["max"] > 1:
                done = round(30 * data["value"] / data["max"])
                say(f"\rsampling [{'#' * done}{'.' * (30 - done)}] {data['value']}/{data['max']} ", end="")
            elif event["type"] in ("execution_success", "execution_error") and data["prompt_id"] == prompt_id:
                say("")
                break
    finally:
        socket.close()
    entry = server.wait(prompt_id)
    if entry["status"]["status_str"] != "success":
        raise ComfyUIError(error_message(entry))
    return entry["outputs"]


def demonstrate(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    say("Starting ComfyUI with the pack (about 15 s) ...")
    with serve() as server:
        say(f"ComfyUI {server.get('/system_stats')['system']['comfyui_version']} answers at {server.address}")
        for name, text in WORKFLOWS.items():
            say(text)
            prompt = to_prompt(load(name), server.get("/object_info"))
            outputs = watch(server, prompt)
            for node, output in outputs.items():
                if prompt[node]["class_type"] == "SaveImage":
                    for image in output["images"]:
                        path = folder / image["filename"]
                        path.write_bytes(server.image(image))
                        print(path, flush=True)
    say("Counting the model calls that erk_abm saves (under a minute) ...")
    path = folder / "calls_saved.txt"
    table = subprocess.run([sys.executable, "-m", "bench.table"], capture_output=True, text=True)
    if table.returncode:
        raise ComfyUIError(f"The table failed:\n{table.stderr[-2000:]}")
    path.write_text(table.stdout)
    print(path, flush=True)
    say("")
    say(table.stdout)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    exit_on_sigterm()
    try:
        demonstrate(arguments.output)
    except ImportError as error:
        say(
            f"The demo needs the package {error.name}: run `pip install -r requirements-dev.txt` in ComfyUI's "
            "environment."
        )
        return 1
    except (ComfyUIError, OSError) as error:
        say(f"The demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nStopped; ComfyUI was ended.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
