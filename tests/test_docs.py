"""The documentation does what it says: links lead somewhere, and the page on adding a solver adds one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.comfyui import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "bench/results").glob("*.md")),
]

FOLLOWED = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import comfy.cli_args
comfy.cli_args.args.cpu = True
import nodes, torch
assert asyncio.run(nodes.load_custom_node(sys.argv[2]))
import comfy.k_diffusion.sampling as k_diffusion, comfy.samplers
calls = []
class Gaussian:
    inner_model = None
    def __call__(self, x, sigma, **options):
        calls.append(float(sigma[0]))
        return x * 0.49 / (0.49 + sigma[0] ** 2)
sigmas = torch.tensor([14.6, 6.0, 2.5, 1.0, 0.4, 0.1, 0.0])
x = 14.6 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
exact = x * 0.7 / (0.49 + 14.6**2) ** 0.5
for name, of_a_step in (("erk_kutta_3", 3), ("erk_exponential_ab", 1)):
    assert name in comfy.samplers.KSampler.SAMPLERS
    for node in ("KSamplerERKGuid", "KSamplerAdvancedERKGuid", "SamplerERKGuid"):
        (solver,) = [one for one in nodes.NODE_CLASS_MAPPINGS[node].define_schema().inputs if one.id == "solver"]
        assert name.removeprefix("erk_") in solver.options
    errors = {}
    for mode in ("off", "calibrated"):
        calls.clear()
        sample = getattr(k_diffusion, f"sample_{name}")
        errors[mode] = float((sample(Gaussian(), x, sigmas, disable=True, mode=mode) - exact).norm() / exact.norm())
        assert len(calls) == of_a_step * 5 + 1, calls
    print(name, errors)
    assert errors["off"] > 0.01 and errors["calibrated"] < 0.5 * errors["off"], errors
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the whole checkout in which the page has been followed: its files, and their classes in the tuple."""
    page = (ROOT / "docs/adding_a_solver.md").read_text(encoding="utf-8")
    copy = tmp_path_factory.mktemp("copy") / "pack"
    list_files = ["git", "ls-files", "-z", "--others", "--cached", "--exclude-standard"]
    tracked = subprocess.run(list_files, cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, tracked.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    registry = copy / "erk/solvers/__init__.py"
    text = registry.read_text(encoding="utf-8")
    for file, code in re.findall(r"`(erk/solvers/\w+\.py)`:\n\n```python\n(.*?)```", page, re.S):
        (copy / file).write_text(code, encoding="utf-8")
        (name,) = re.findall(r"^class (\w+)", code, re.M)
        line = f"from .{Path(file).stem} import {name}\n"
        imports = sorted([*re.findall(r"^from \..*\n", text, re.M), line], key=lambda line: line.split()[1])
        text = re.sub(r"^(from \..*\n)+", "".join(imports), text, count=1, flags=re.M)
        text = re.sub(r"(for solver in \([^)]*)\)", rf"\1, {name})", text, count=1)
    registry.write_text(text, encoding="utf-8")
    return copy


class TestAddingASolver:
    """The page followed to the letter, twice: a Runge-Kutta method of three stages, and a multistep one."""

    def test_it_is_in_comfyui_and_in_each_node(self, copy, tmp_path):
        command = [sys.executable, "-c", FOLLOWED, os.environ["COMFYUI_PATH"], str(copy)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_lint_passes(self, copy):
        for command in (["check"], ["format", "--check"]):
            done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], capture_output=True, text=True, cwd=copy)
            assert done.returncode == 0, done.stdout + done.stderr

    def test_the_tests_of_every_solver_pass(self, copy):
        tests = ["recorded_results", "solvers", "options", "guidance", "calibrated", "robustness", "comfyui"]
        command = [sys.executable, "-m", "pytest", "-c", "tests/pytest.ini", "-q", *(f"tests/test_{name}.py" for name in tests)]
        command += ["-k", "kutta_3 or exponential_ab or registered or case"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=copy, timeout=600)
        assert done.returncode == 0, done.stdout[-6000:]
        assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 200
