"""`python dev.py serve`: ComfyUI with the pack, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys

from .comfyui import ComfyUIError, exit_on_sigterm, serve


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    exit_on_sigterm()
    try:
        print("Starting ComfyUI ...", file=sys.stderr, flush=True)
        with serve(arguments.port) as server:
            print(server.address, flush=True)
            print("Open this address in a browser. Ctrl-C stops the server.", file=sys.stderr, flush=True)
            server.on_line = lambda line: print(line, file=sys.stderr, flush=True)
            server.process.wait()
            print(f"ComfyUI stopped unexpectedly:\n{server.tail()}", file=sys.stderr)
            return 1
    except ComfyUIError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Ended.", file=sys.stderr)
        return 0


if __name__ == "__main__":
    sys.exit(main())
