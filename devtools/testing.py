"""`python dev.py test`: the lint, and then every test. With arguments only the tests that they choose.

All tests run in two halves at once, each in a pytest of its own. The tests in the page wait for it much of the time, so
that two cores are enough.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from . import lint
from .comfyui import ROOT

_PYTEST = ("-c", str(ROOT / "tests" / "pytest.ini"))
_HALVES = ("tests/erk", "tests/page"), ("tests", "--ignore=tests/erk", "--ignore=tests/page")
"""They take about as long as each other."""


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments:
        return lint.main() or side_by_side(*_HALVES)
    import pytest

    named = any(Path(argument.split("::")[0]).exists() for argument in arguments)
    return int(pytest.main([*_PYTEST, *arguments, *([] if named else ["tests"])]))


def side_by_side(held: Sequence[str], shown: Sequence[str]) -> int:
    """Run two pytests, each with its arguments. Returns 0 if all tests of both passed.

    The second's output is shown while it runs, the first's when both have ended, and then what came of both.
    """
    with tempfile.TemporaryDirectory() as folder, Path(folder, "output").open("w+b") as output:
        parts = [Part(held, Path(folder, "held.xml"), output), Part(shown, Path(folder, "shown.xml"), None)]
        # Ctrl-C in a terminal also reaches them. SIGTERM must be passed on, as what lets them end their servers.
        passed_on = signal.SIGTERM if os.name == "nt" else signal.SIGINT
        signal.signal(signal.SIGTERM, lambda *_: [part.process.send_signal(passed_on) for part in parts])
        codes = [part.wait() for part in parts]
        output.seek(0)
        sys.stdout.buffer.write(b"\n" + output.read() + b"\n")
        print("\n".join(line for part in parts for line in part.summary()), flush=True)
        return max(abs(code) for code in codes)


class Part:
    """A pytest process. What it leaves in its report makes the summary."""

    def __init__(self, arguments: Sequence[str], report: Path, output: IO[bytes] | None) -> None:
        self._name, self._report = " ".join(arguments), report
        # Each has its share of the cores. More threads than cores would only wait for each other.
        threads = str(max((os.cpu_count() or 1) // 2, 1))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *_PYTEST, f"--junit-xml={report}", *arguments], cwd=ROOT,
            env={"OMP_NUM_THREADS": threads, **os.environ}, stdout=output, stderr=output and subprocess.STDOUT,
        )  # fmt: skip

    def wait(self) -> int:
        while True:
            try:
                return self.process.wait()
            except KeyboardInterrupt:
                continue

    def summary(self) -> list[str]:
        """How it ended, in one line, and below it each test that failed."""
        code = self.process.returncode
        if not self._report.exists():
            return [f"FAILED  {self._name}: it ended with code {code} and left no report"]
        suite = next(ElementTree.parse(self._report).iter("testsuite"))
        count = {what: int(suite.get(what, 0)) for what in ("tests", "failures", "errors", "skipped")}
        failed = [case for case in suite.iter("testcase") if {"failure", "error"} & {mark.tag for mark in case}]
        return [
            f"{'FAILED' if code else 'passed'}  {self._name}: {count['tests']} tests, {count['failures']} failed, "
            f"{count['errors']} with errors, {count['skipped']} skipped, in {float(suite.get('time', 0)):.0f} s",
            *(f"    {case.get('classname')}::{case.get('name')}" for case in failed),
        ]


if __name__ == "__main__":
    sys.exit(main())
