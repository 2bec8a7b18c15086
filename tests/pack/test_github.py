"""The files that GitHub reads are well-formed and agree with the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from devtools.comfyui import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def read(path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_well_formed(path):
    data = read(path)
    # YAML 1.1 takes the bare word `on` for true.
    assert data["name"] and data[True] and data["jobs"]
    assert data["permissions"] == {"contents": "read"}, "no more rights than a job needs"
    for job in data["jobs"].values():
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()
            continue
        assert job["runs-on"] and job["steps"]
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def test_the_tests_run_on_every_system_and_python():
    data = read(ROOT / ".github" / "workflows" / "test.yml")
    pairs = data["jobs"]["test"]["strategy"]["matrix"]["include"]
    assert {pair["os"].split("-")[0] for pair in pairs} == {"ubuntu", "windows", "macos"}
    assert {pair["python"] for pair in pairs} == {"3.10", "3.11", "3.12", "3.13"}, "as strings: 3.10 is no number"
    commands = [step["run"] for step in data["jobs"]["test"]["steps"] if "dev.py" in step.get("run", "")]
    assert commands and all(command.startswith("python dev.py test") for command in commands)


def test_publishing_waits_for_the_tests_and_for_a_tag():
    data = read(ROOT / ".github" / "workflows" / "publish.yml")
    assert data[True] == {"push": {"tags": ["v*"]}}
    assert data["jobs"]["publish"]["needs"] == "test"
    action = data["jobs"]["publish"]["steps"][-1]
    assert action["uses"].startswith("Comfy-Org/publish-node-action@")
    assert action["with"] == {"personal_access_token": "${{ secrets.REGISTRY_ACCESS_TOKEN }}"}


def test_the_lines_that_publishing_looks_for_are_there():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_well_formed(path):
    data = read(path)
    assert data["name"] and data["description"] and data["body"]
    ids = [field["id"] for field in data["body"]]
    assert len(ids) == len(set(ids))
    for field in data["body"]:
        assert field["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]


@pytest.mark.parametrize("name", ["1-bug", "2-picture"])
def test_issue_forms_ask_for_what_is_needed(name):
    data = read(ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml")
    text = " ".join(field["attributes"]["label"] + field["attributes"].get("description", "") for field in data["body"])
    for wanted in ("trace as JSON|traces of both runs as JSON", "ComfyUI", "Workflow", "[Vv]ersion"):
        assert re.search(wanted, text), wanted
