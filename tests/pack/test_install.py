"""The pack as users get it: the registry's archive, ComfyUI-Manager's cm-cli, and the cost of importing it."""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
from PIL import Image

from devtools.comfyui import FOLDER, PACK, ROOT, Server, comfyui_path, serve

NODES = {
    "KSamplerERKGuid",
    "KSamplerAdvancedERKGuid",
    "SamplerERKGuid",
    "StiffnessVisualizerERKGuid",
    "ConvergenceTestERKGuid",
    "DemoModelERKGuid",
}
ADDRESS = "https://github.com/erk-guid/ComfyUI-ERK-Guid"
ARCHIVE_LIMIT = 6 * 2**20
IMPORT_LIMIT = 0.3  # seconds of processor time over bare ComfyUI

GIT = shutil.which("git")
needs_git = pytest.mark.skipif(GIT is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "core.autocrlf=false")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """A separate git repository with this checkout's current files, so that nothing is written here."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so which files belong to the repository is not known")
    folder = tmp_path_factory.mktemp("checkout")
    names = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "as it is")
    return folder


def comfy(folder: Path, *arguments: str) -> str:
    """comfy-cli in a folder, without questions and without telling anybody."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "HOME": str(home),
        "USERPROFILE": str(home),
        "XDG_CONFIG_HOME": str(home),
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "comfy_cli", "--skip-prompt", "node", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    return text


def project() -> dict[str, Any]:
    return tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()


class TestDescription:
    def test_the_registry_s_fields(self):
        data = project()
        assert data["project"]["name"] == "erk-guid"
        assert re.fullmatch(r"\d+\.\d+\.\d+", data["project"]["version"])
        assert (ROOT / data["project"]["license"]["file"]).is_file()
        comfy_data = data["tool"]["comfy"]
        assert comfy_data["PublisherId"] and comfy_data["DisplayName"] == "ERK-Guid"
        assert "web" not in comfy_data, "WEB_DIRECTORY is set; with both, each script would load twice"
        icon = Image.open(ROOT / "docs" / "images" / comfy_data["Icon"].rsplit("/", 1)[1])
        assert icon.width == icon.height <= 400
        assert len(data["project"]["classifiers"]) == len(set(data["project"]["classifiers"]))

    def test_the_description_is_read_as_it_is_meant(self, checkout, monkeypatch):
        """Read by the registry's own parser, which only warns about what it does not understand, and drops it."""
        from comfy_cli.registry.config_parser import extract_node_configuration

        config = extract_node_configuration(str(checkout / "pyproject.toml"))
        assert config.project.supported_comfyui_version == project()["tool"]["comfy"]["requires-comfyui"]
        assert config.project.supported_os == ["OS Independent"]
        assert len(config.project.supported_accelerators) == 5
        assert config.project.license.file == "LICENSE"
        assert config.project.urls.repository == ADDRESS

    def test_both_lists_of_requirements_are_one(self):
        lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
        assert lines == project()["project"]["dependencies"] == ["matplotlib>=3.6"]

    def test_the_newest_entry_of_the_changelog_is_this_version(self):
        entries = re.findall(
            r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
        )
        assert entries[0] == project()["project"]["version"]


@needs_git
class TestArchive:
    @pytest.fixture(scope="class")
    def archive(self, checkout) -> Path:
        text = comfy(checkout, "pack")
        assert "Warning" not in text, text
        return checkout / "node.zip"

    def test_validate_has_no_complaint(self, checkout):
        text = comfy(checkout, "validate")
        assert "All validation checks passed" in text, text
        assert "arning" not in text, text

    def test_it_holds_the_pack_and_nothing_else(self, checkout, archive):
        tracked = git(checkout, "ls-files").split("\n")
        expected = {name for name in tracked if name.split("/")[0] in PACK}
        # And what README shows.
        pictures = re.findall(
            r"!\[[^\]]*\]\((?!https?:)([^)]+)\)", (checkout / "README.md").read_text(encoding="utf-8")
        )
        assert pictures
        expected |= set(pictures)
        with zipfile.ZipFile(archive) as opened:
            assert opened.testzip() is None
            assert set(opened.namelist()) == expected, (
                "what README shows has to be named in .comfyignore, and nothing else"
            )
        assert archive.stat().st_size < ARCHIVE_LIMIT

    def test_unpacked_it_samples_in_comfyui(self, archive, tmp_path):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(tmp_path / "custom_nodes" / "erk-guid")
        with serve(base=tmp_path) as server:
            check_it_works(server)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def check_it_works(server: Server) -> None:
    """Every node is there, and a picture and its plot come out."""
    assert set(server.get("/object_info")) >= NODES, server.tail(60)
    outputs = server.run(
        {
            "demo": node("DemoModelERKGuid", kind="eps", pictures="arcs", width=64, height=64, batch_size=1),
            "sampler": node(
                "KSamplerERKGuid", model=["demo", 0], positive=["demo", 1], negative=["demo", 2], latent_image=["demo",
                4], seed=1,
                steps=8, cfg=3.0, solver="heun", scheduler="karras", denoise=1.0, mode="calibrated",
            ),
            "decode": node("VAEDecode", samples=["sampler", 0], vae=["demo", 3]),
            "save": node("SaveImage", images=["decode", 0], filename_prefix="install"),
            "plot": node("StiffnessVisualizerERKGuid", trace=["sampler", 1]),
        }
    )  # fmt: skip
    picture = np.asarray(Image.open(io.BytesIO(server.image(outputs["save"]["images"][0]))))
    assert picture.shape == (64, 64, 3) and picture.std() > 20
    assert len(outputs["plot"]["images"]) == 1


def has_the_nodes(server: Server) -> bool:
    return bool(set(server.get("/object_info")) & NODES)


@needs_git
@pytest.mark.skipif(
    importlib.util.find_spec("cm_cli") is None,
    reason="ComfyUI-Manager's cm-cli is not installed (`pip install comfyui-manager`)",
)
class TestManager:
    """cm-cli with git's insteadOf, so that the public address leads to a local repository. No network is needed.

    It runs with its own interpreter, which sees the packages of this one. What it installs does not change them.
    """

    @pytest.fixture(scope="class")
    def place(self, checkout, tmp_path_factory) -> Path:
        place = tmp_path_factory.mktemp("manager")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True)
        python = self.python(place)
        own = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
        )
        (Path(own.stdout.strip()) / "shared.pth").write_text(sysconfig.get_path("purelib"))
        left_out = (
            "custom_nodes",
            "models",
            "input",
            "output",
            "temp",
            "user",
            "tests",
            "tests-unit",
            "blueprints",
            "__pycache__",
        )
        shutil.copytree(comfyui_path(), place / "ComfyUI", ignore=shutil.ignore_patterns(*left_out))
        for name in ("custom_nodes", "models", "input", "output"):
            (place / "ComfyUI" / name).mkdir(exist_ok=True)
        # uv looks only at its own environment's packages and would fetch them all again.
        settings = place / "ComfyUI" / "user" / "__manager"
        settings.mkdir(parents=True)
        (settings / "config.ini").write_text("[default]\nuse_uv = False\nnetwork_mode = offline\n")
        (place / "gitconfig").write_text(
            f'[url "{checkout.as_uri()}"]\n\tinsteadOf = {ADDRESS}\n'
            "[safe]\n\tdirectory = *\n[user]\n\tname = test\n\temail = test@example.invalid\n"
        )
        return place

    @staticmethod
    def python(place: Path) -> str:
        return str(place / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))

    def cm(self, place: Path, *arguments: str) -> str:
        environment = {
            **os.environ,
            "COMFYUI_PATH": str(place / "ComfyUI"),
            "GIT_CONFIG_GLOBAL": str(place / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        command = [self.python(place), "-m", "cm_cli", *arguments]
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=300,
        )  # fmt: skip
        text = done.stdout + done.stderr
        assert done.returncode == 0, text
        return text

    def serve(self, place: Path):
        return serve(base=place / "ComfyUI", python=Path(self.python(place)))

    def test_a_pack_s_life(self, checkout, place):
        """install, run, update, run, disable, enable, run, uninstall"""
        folder = place / "ComfyUI" / "custom_nodes" / FOLDER

        text = self.cm(place, "install", ADDRESS, "--mode", "local")
        assert "INSTALLED" in text, text
        assert (folder / "__init__.py").is_file()
        first = git(folder, "rev-parse", "HEAD")
        with self.serve(place) as server:
            check_it_works(server)

        (checkout / "CHANGELOG.md").write_text(
            (checkout / "CHANGELOG.md").read_text(encoding="utf-8") + "\nOne more line.\n", "utf-8"
        )
        git(checkout, "commit", "--quiet", "--all", "--message", "newer")
        text = self.cm(place, "update", FOLDER, "--mode", "local")
        assert git(folder, "rev-parse", "HEAD") == git(checkout, "rev-parse", "HEAD") != first, text

        self.cm(place, "disable", FOLDER, "--mode", "local")
        assert not folder.exists()
        with self.serve(place) as server:
            assert not has_the_nodes(server)

        self.cm(place, "enable", FOLDER, "--mode", "local")
        with self.serve(place) as server:
            check_it_works(server)

        self.cm(place, "uninstall", FOLDER, "--mode", "local")
        left = [path.name for path in (place / "ComfyUI" / "custom_nodes").rglob("__init__.py")]
        assert not left


IMPORT = """
import asyncio, json, sys, time
sys.path.insert(0, {comfyui!r})
import comfy.cli_args
comfy.cli_args.args.cpu = True
comfy.cli_args.args.disable_api_nodes = True
import nodes, server, execution, comfy_extras.nodes_custom_sampler
import comfy_config.config_parser  # ComfyUI reads every pack's description with it
before = set(sys.modules)
start = time.process_time()
ok = asyncio.run(nodes.load_custom_node({pack!r}))
seconds = time.process_time() - start
new = sorted(set(sys.modules) - before)
print(json.dumps(dict(ok=ok, seconds=seconds, new=new)))
"""


class TestImport:
    @pytest.fixture(scope="class")
    def runs(self) -> list[dict[str, Any]]:
        """The import in fresh interpreters, with ComfyUI's modules loaded before."""
        code = IMPORT.format(comfyui=str(comfyui_path()), pack=str(ROOT))
        runs = []
        for _ in range(3):
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=comfyui_path())
            assert done.returncode == 0, done.stderr[-3000:]
            runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
        # The first one may have to write .pyc files.
        return runs[1:]

    def test_brings_in_its_own_modules_and_no_others(self, runs):
        name = str(ROOT).replace(".", "_x_")
        for run in runs:
            assert run["ok"]
            foreign = {module.split(".")[0] for module in run["new"] if not module.startswith(name)}
            assert foreign <= set(sys.stdlib_module_names) | {"comfy_api"}, foreign

    def test_is_quick(self, runs):
        """The faster of two, because a busy machine makes times longer, never shorter."""
        seconds = [run["seconds"] for run in runs]
        print(f"import: {', '.join(f'{s:.3f}' for s in seconds)} s")
        assert min(seconds) < IMPORT_LIMIT


DRAWING = {"canvas", "figure", "grid", "panels", "texts", "plan_figure"}
"""Of nodes/traces/ and nodes/convergence/, imported where the first plot is drawn."""
DRAWN_IN = ("traces", "convergence")


def test_what_draws_is_imported_by_what_draws_alone():
    for path in (ROOT / "nodes").rglob("*.py"):
        if path.parent.name in DRAWN_IN and path.stem in DRAWING:
            continue
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ImportFrom):
                module = (statement.module or "").split(".")[-1]
                assert not DRAWING & {module, *(alias.name for alias in statement.names)}, path


def test_nothing_heavy_is_imported_at_the_top_of_a_module():
    """Also for those that a ComfyUI happens to have imported already."""
    heavy = {"matplotlib", "scipy", "sklearn", "pandas", "pkg_resources", "cv2", "transformers"}
    for path in [ROOT / "__init__.py", *(ROOT / "erk").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]:
        if path.parent.name in DRAWN_IN and path.stem in DRAWING:
            continue
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom) and statement.level == 0:
                names = [statement.module or ""]
            assert not heavy & {name.split(".")[0] for name in names}, path
