"""The documentation is right: links lead somewhere, and the page on adding a solver adds one."""

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

LOADED = """
import asyncio, json, sys
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
SAMPLING = ("KSamplerERKGuid", "KSamplerAdvancedERKGuid", "SamplerERKGuid")
def inputs(node):
    return {one.id: one for one in nodes.NODE_CLASS_MAPPINGS[node].define_schema().inputs}
def of_pack(name):
    pack = sys.argv[2].replace(".", "_x_")
    (found,) = [module for module in sys.modules if module.startswith(pack) and module.endswith("." + name)]
    return sys.modules[found]
"""

SOLVERS_ADDED = """
for name, of_a_step, title in (("kutta_3", 3, "Kutta 3"), ("exponential_ab", 1, "Exponential AB")):
    assert f"erk_{name}" in comfy.samplers.KSampler.SAMPLERS
    assert all(name in inputs(node)["solver"].options for node in SAMPLING)
    sample, errors = getattr(k_diffusion, f"sample_erk_{name}"), {}
    for mode in ("off", "calibrated"):
        calls.clear()
        errors[mode] = float((sample(Gaussian(), x, sigmas, disable=True, mode=mode) - exact).norm() / exact.norm())
        assert len(calls) == of_a_step * 5 + 1, calls
    print(name, errors)
    assert errors["off"] > 0.01 and errors["calibrated"] < 0.5 * errors["off"], errors
    assert of_pack("erk").RunInfo(name, "off", "flow", []).title == title
"""

RULE_ADDED = """
erk, live, runs, save = (of_pack(name) for name in ("erk", "nodes.live", "nodes.traces.runs", "nodes.traces.saving"))
assert all("richardson" in inputs(node)["mode"].options and list(inputs(node))[-1] == "gamma" for node in SAMPLING)
node = nodes.NODE_CLASS_MAPPINGS["SamplerERKGuid"]
sampler, trace = node.execute(solver="heun", mode="richardson", strengths="preset", gamma=0.25).args
result = sampler.sampler_function(Gaussian(), x, sigmas, disable=True, **sampler.extra_options)
plain = k_diffusion.sample_erk_heun(Gaussian(), x, sigmas, disable=True, mode="off")
assert (result - plain).norm() > 1e-3 * plain.norm()
first = torch.tensor([14.6, 6.0])
ours, heun, euler = (
    getattr(k_diffusion, f"sample_erk_{solver}")(Gaussian(), x, first, disable=True, **options)
    for solver, options in (
        ("heun", {"mode": "richardson", "gamma": 0.25}), ("heun", {"mode": "off"}), ("euler", {"mode": "off"}),
    )
)
assert torch.allclose(ours, heun + 0.25 * (heun - euler), atol=1e-4)
assert json.loads(trace.to_json())["run"]["gamma"] == 0.25
title, (run,) = runs.label_runs([trace])
assert "gamma 0.25" in title
header, row, *_ = (line.split(",") for line in save.as_csv([run]).splitlines())
assert row[header.index("gamma")] == "0.25"
message = live.message(trace.steps[0], trace.info, live.Origin(None, "7"), "r")
assert message["settings"] == {"gamma": 0.25}
try:
    k_diffusion.sample_erk_heun(Gaussian(), x, sigmas, disable=True, mode="richardson", gamma=-1.0)
    raise SystemExit("a negative gamma is taken")
except ValueError as error:
    assert "gamma is -1.0" in str(error)
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def followed(folder: Path, page: str, registry: str) -> Path:
    """A copy of the checkout in which a page has been followed.

    It has the page's files, and their classes are imported and put into the tuple. Nothing is added twice, because this
    also runs in a checkout in which somebody has followed the page.
    """
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    copy = folder / "pack"
    list_files = ["git", "ls-files", "-z", "--others", "--cached", "--exclude-standard"]
    tracked = subprocess.run(list_files, cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, tracked.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    source = (copy / registry).read_text(encoding="utf-8")
    for file, code in re.findall(r"`(erk/\w+/\w+\.py)`:\n\n```python\n(.*?)```", text, re.S):
        (copy / file).write_text(code, encoding="utf-8")
        (name,) = re.findall(r"^class (\w+)", code, re.M)
        line = f"from .{Path(file).stem} import {name}\n"
        if line in source:
            continue
        imports = sorted([*re.findall(r"^from \..*\n", source, re.M), line], key=lambda line: line.split()[1])
        source = re.sub(r"^(from \..*\n)+", "".join(imports), source, count=1, flags=re.M)
        source = re.sub(r"(^ALL = \([^)]*)\)$", rf"\1, {name})", source, count=1, flags=re.M)
    (copy / registry).write_text(source, encoding="utf-8")
    return copy


def lint(copy: Path) -> None:
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], capture_output=True, text=True, cwd=copy)
        assert done.returncode == 0, done.stdout + done.stderr


def passed(copy: Path, tests: list[str], chosen: str) -> int:
    """How many of the chosen tests passed in the copy. None may fail."""
    command = [sys.executable, "-m", "pytest", "-c", "tests/pytest.ini", "-q", *tests, "-k", chosen]
    done = subprocess.run(command, capture_output=True, text=True, cwd=copy, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:]
    return int(re.search(r"(\d+) passed", done.stdout)[1])


def loaded(copy: Path, script: str, folder: Path) -> None:
    """Run the script in a process where ComfyUI has loaded the copy."""
    command = [sys.executable, "-c", LOADED + script, os.environ["COMFYUI_PATH"], str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_without_comfyui_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.S)
    environment = {key: value for key, value in os.environ.items() if key != "COMFYUI_PATH"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(re.match(r"deviation ([\d.]+),", done.stdout)[1]) == pytest.approx(0.7, abs=0.02)


class TestAddingASolver:
    """The page is followed to the letter twice: for a Runge-Kutta method of three stages and for a multistep method."""

    @pytest.fixture(scope="class")
    def copy(self, tmp_path_factory):
        return followed(tmp_path_factory.mktemp("solvers"), "adding_a_solver.md", "erk/solvers/__init__.py")

    def test_it_is_in_comfyui_and_in_each_node(self, copy, tmp_path):
        loaded(copy, SOLVERS_ADDED, tmp_path)

    def test_lint_passes(self, copy):
        lint(copy)

    def test_the_tests_of_every_solver_pass(self, copy):
        tests = ["tests/erk", "tests/comfyui/test_comfyui.py"]
        assert passed(copy, tests, "kutta_3 or exponential_ab or registered or case") > 200


class TestAddingARule:
    """The page is followed to the letter: a rule with its own number, which uses the step that it corrects."""

    @pytest.fixture(scope="class")
    def copy(self, tmp_path_factory):
        copy = followed(tmp_path_factory.mktemp("rule"), "adding_a_rule.md", "erk/guidance/__init__.py")
        (line,) = re.findall(
            r"```python\n(make\(.*?)```", (ROOT / "docs/adding_a_rule.md").read_text(encoding="utf-8"), re.S
        )
        file = copy / "nodes/inputs.py"
        before = "    return []\n"
        text = file.read_text(encoding="utf-8")
        if line.strip() not in text:
            assert text.count(before) == 1
            file.write_text(text.replace(before, f"    return [\n        {line.strip()},\n    ]\n"), encoding="utf-8")
        return copy

    def test_it_reaches_the_samplers_the_nodes_the_trace_and_the_chart(self, copy, tmp_path):
        loaded(copy, RULE_ADDED, tmp_path)

    def test_lint_passes(self, copy):
        lint(copy)

    def test_the_tests_of_every_mode_pass(self, copy):
        assert passed(copy, ["tests/erk", "tests/comfyui/test_comfyui.py"], "richardson or registered or case") > 30
