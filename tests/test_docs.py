"""The documentation does what it says: links lead somewhere, and the page on adding a solver adds one."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from devtools.comfyui import PACK, ROOT, install_pack

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
assert "erk_kutta_3" in comfy.samplers.KSampler.SAMPLERS
calls = []
class Gaussian:
    inner_model = None
    def __call__(self, x, sigma, **options):
        calls.append(float(sigma[0]))
        return x * 0.49 / (0.49 + sigma[0] ** 2)
sigmas = torch.tensor([14.6, 6.0, 2.5, 1.0, 0.4, 0.1, 0.0])
x = 14.6 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
exact = x * 0.7 / (0.49 + 14.6**2) ** 0.5
errors = {}
for mode in ("off", "calibrated"):
    calls.clear()
    errors[mode] = float((k_diffusion.sample_erk_kutta_3(Gaussian(), x, sigmas, disable=True, mode=mode) - exact).norm() / exact.norm())
    assert len(calls) == 3 * 5 + 1, calls
print(errors)
assert errors["off"] > 0.01 and errors["calibrated"] < 0.1 * errors["off"], errors
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def test_the_page_on_adding_a_solver_adds_one(tmp_path):
    """A copy of the pack, the page's file and its changes as git applies them, ComfyUI's loader, and a Gaussian under guidance."""
    page = (ROOT / "docs/adding_a_solver.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (changes,) = re.findall(r"```diff\n(.*?)```", page, re.S)
    (name,) = re.findall(r"`(erk/solvers/\w+\.py)`:\n", page)
    pack = install_pack(tmp_path)
    assert {"erk", "nodes"} <= set(PACK)
    (pack / name).write_text(code, encoding="utf-8")
    subprocess.run(["git", "apply", "-"], cwd=pack, input=changes, text=True, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWED, os.environ["COMFYUI_PATH"], str(pack)], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
