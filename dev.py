#!/usr/bin/env python3
"""The one entry point for people and for CI: set up, demonstrate, test, serve, benchmark, lint.

It uses only the standard library of Python 3.10 to 3.13. Every other verb calls ``setup`` first. The work itself runs
with the interpreter of ``.venv/``, or with the running one if an existing ComfyUI is given.
"""

from __future__ import annotations

import argparse
import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

from devtools.setup import ROOT, SetupError, say, set_up


def run(python: Path, comfyui: Path, *command: str) -> int:
    """Run one of our commands with the environment's interpreter. After Ctrl-C, wait until it has ended."""
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([str(python), *command], cwd=ROOT, env=environment)
    # A terminal also sends SIGINT to the child, but SIGTERM must be passed on.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            say("Stopping ...")


def benchmarks() -> dict[str, str]:
    """Each file and each package of bench/ that can be run, with the first line of its docstring."""
    paths = [*(ROOT / "bench").glob("[!_]*.py"), *(ROOT / "bench").glob("*/__main__.py")]
    texts = {(path.parent if path.stem == "__main__" else path).stem: path.read_text("utf-8") for path in paths}
    return {
        name: (ast.get_docstring(ast.parse(texts[name])) or "").splitlines()[0].split(": python -m")[0].rstrip(".")
        for name in sorted(texts)
    }


class Help(argparse.Action):
    """Shows the help of `bench`, or that of a benchmark if one is named."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        if getattr(namespace, "name", None) is None:
            parser.print_help()
            parser.exit()
        namespace.own_help = ["-h"]


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--comfyui", metavar="PATH", help="use this ComfyUI and the running interpreter (also: COMFYUI_PATH)"
    )
    common.add_argument("--torch-index", metavar="URL", help="package index for a CPU or ROCm build of torch")
    top = argparse.ArgumentParser(
        description="ERK-Guid for ComfyUI: set up, demonstrate, test, serve, benchmark, lint."
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, **options: object) -> argparse.ArgumentParser:
        return verbs.add_parser(name, parents=[common], help=text, description=text, **options)

    verb(
        "setup", "build .venv/ and unpack ComfyUI into .comfyui/; existing ones are kept until a pinned version changes"
    )
    demo = verb("demo", "start ComfyUI, sample a workflow, save pictures and the stiffness plot, print an error table")
    demo.add_argument("--output", metavar="DIR", default="output", help="folder for the pictures (default: output/)")
    test = verb(
        "test", "run the lint and then every test; with arguments, which pytest gets, only the tests that they choose"
    )
    test.set_defaults(rest=True)
    serve = verb("serve", "start ComfyUI with the pack and keep it running until Ctrl-C")
    serve.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    bench = verb("bench", "run a benchmark; further arguments are passed to it (`bench accuracy -h`)", add_help=False)
    bench.formatter_class = argparse.RawDescriptionHelpFormatter
    bench.add_argument("name", choices=(measured := benchmarks()), metavar="NAME", help="one of the benchmarks below")
    bench.add_argument(
        "-h", "--help", action=Help, nargs=0, help="show this text, or after a NAME the benchmark's own help"
    )
    bench.epilog = "\n".join(["benchmarks:", *(f"  {name:<14}{text}" for name, text in measured.items())])
    bench.set_defaults(rest=True, own_help=[])
    verb(
        "lint",
        "run ruff, and with node installed pyright, tsc and the tests of js/; list what is not translated",
    )
    return top


def main() -> int:
    top = parser()
    arguments, rest = top.parse_known_args()
    if rest and not getattr(arguments, "rest", False):
        top.error(f"unknown arguments: {' '.join(rest)}")
    try:
        python, comfyui = set_up(arguments)
    except SetupError as error:
        say(f"Setup failed. {error}")
        return 1
    except KeyboardInterrupt:
        say("Setup was interrupted, and nothing unfinished is left. Run the same command again to continue.")
        return 130
    match arguments.verb:
        case "setup":
            say(f"Python: {python}")
            say(f"ComfyUI: {comfyui}")
            return 0
        case "lint":
            return run(python, comfyui, "-m", "devtools.lint")
        case "test":
            return run(python, comfyui, "-m", "devtools.testing", *rest)
        case "demo":
            return run(python, comfyui, "-m", "devtools.demo", "--output", str(Path(arguments.output).resolve()))
        case "serve":
            return run(python, comfyui, "-m", "devtools.serve", "--port", str(arguments.port))
        case "bench":
            return run(python, comfyui, "-m", f"bench.{arguments.name}", *arguments.own_help, *rest)
    raise AssertionError(arguments.verb)


if __name__ == "__main__":
    sys.exit(main())
