"""What other people's saved workflows rely on: names that never change, and workflows saved by earlier versions.

A saved workflow holds its widgets' values in order, not by name. So an input may be added after the others, but nothing
may be renamed, removed or moved. A choice may be added to a list, but none may be removed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devtools.make.workflows import to_prompt

FOLDER = Path(__file__).parent / "saved_workflows"
SAVED = sorted(path for path in FOLDER.glob("*/*.json") if not path.stem.endswith("_api"))
PAGE_ONLY = {"MarkdownNote", "Note", "Reroute"}
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}

SAMPLERS = ["erk_heun", "erk_dpm_2", "erk_dpmpp_2s", "erk_deis", "erk_abm", "erk_euler"]

_GUIDANCE = [("mode", "COMBO"), ("strengths", "COMBO"), ("w_stiff", "FLOAT"), ("w_con", "FLOAT")]
WIDGETS = {
    "KSamplerERKGuid": [
        ("seed", "INT"), ("steps", "INT"), ("cfg", "FLOAT"), ("solver", "COMBO"), ("scheduler", "COMBO"), ("denoise",
        "FLOAT"), *_GUIDANCE,
    ],
    "KSamplerAdvancedERKGuid": [
        ("add_noise", "COMBO"), ("noise_seed", "INT"), ("steps", "INT"), ("cfg", "FLOAT"), ("solver", "COMBO"),
        ("scheduler", "COMBO"),
        ("start_at_step", "INT"), ("end_at_step", "INT"), ("return_with_leftover_noise", "COMBO"), *_GUIDANCE,
    ],
    "SamplerERKGuid": [("solver", "COMBO"), *_GUIDANCE, ("max_order", "INT")],
    "StiffnessVisualizerERKGuid": [
        ("labels", "STRING"), ("plot", "COMBO"), ("axis", "COMBO"), ("width", "INT"), ("height", "INT"), ("theme",
        "COMBO"),
        ("save", "COMBO"), ("filename_prefix", "STRING"),
    ],
    "DemoModelERKGuid": [("kind", "COMBO"), ("pictures", "COMBO"), ("width", "INT"), ("height", "INT"), ("batch_size",
    "INT")],
}  # fmt: skip
"""Node ids, and their widgets in the order of the saved values."""

_SAMPLING = {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"}
LINKS: dict[str, dict[str, str]] = {
    "KSamplerERKGuid": _SAMPLING,
    "KSamplerAdvancedERKGuid": _SAMPLING,
    "SamplerERKGuid": {},
    "StiffnessVisualizerERKGuid": {
        "trace": "ERK_TRACE", "latent": "LATENT", "trace_2": "ERK_TRACE", "latent_2": "LATENT", "trace_3": "ERK_TRACE",
        "latent_3": "LATENT", "trace_4": "ERK_TRACE", "latent_4": "LATENT",
    },
    "DemoModelERKGuid": {},
}  # fmt: skip

OUTPUTS = {
    "KSamplerERKGuid": [("LATENT", "LATENT"), ("trace", "ERK_TRACE")],
    "KSamplerAdvancedERKGuid": [("LATENT", "LATENT"), ("trace", "ERK_TRACE")],
    "SamplerERKGuid": [("SAMPLER", "SAMPLER"), ("trace", "ERK_TRACE")],
    "StiffnessVisualizerERKGuid": [("plot", "IMAGE"), ("json", "STRING")],
    "DemoModelERKGuid": [
        ("MODEL", "MODEL"), ("positive", "CONDITIONING"), ("negative", "CONDITIONING"), ("VAE", "VAE"), ("LATENT",
        "LATENT"),
    ],
}  # fmt: skip
"""Links are saved by the output's number."""

CHOICES = {
    "solver": {"heun", "dpm_2", "dpmpp_2s", "deis", "abm", "euler"},
    "mode": {"calibrated", "paper", "off"},
    "strengths": {"preset", "custom"},
    "add_noise": {"enable", "disable"},
    "return_with_leftover_noise": {"enable", "disable"},
    "plot": {"overview", "rho-hat", "h*rho-hat", "correction size", "estimated S"},
    "axis": {"step", "sigma"},
    "theme": {"light", "dark"},
    "save": {"none", "CSV", "JSON", "both"},
    "kind": {"eps", "v", "flow"},
    "pictures": {
        "arcs",
        "weave",
        "beads",
        "circuit",
        "everything",
        "portrait",
        "cat",
        "coffee",
        "rocket",
        "motorcycle",
        "galaxies",
        "temple",
        "flower",
        "all photographs",
    },
}


def declared(info: dict[str, Any]) -> dict[str, tuple[str, list[Any] | None]]:
    """Inputs in order: the type for each name or, for a list of choices, the choices."""
    inputs: dict[str, tuple[str, list[Any] | None]] = {}
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            kind, *rest = info["input"][group][name]
            choices = kind if isinstance(kind, list) else (rest[0] if rest else {}).get("options")
            inputs[name] = ("COMBO", choices) if isinstance(kind, list) or kind == "COMBO" else (kind, None)
    return inputs


class TestNamesNeverChange:
    @pytest.mark.parametrize("node_id", WIDGETS)
    def test_widgets_stay_where_they_are(self, object_info, node_id):
        widgets = [(name, kind) for name, (kind, _) in declared(object_info[node_id]).items() if kind in WIDGET_TYPES]
        assert widgets[: len(WIDGETS[node_id])] == WIDGETS[node_id], (
            "new inputs go behind these; none is renamed, moved or removed"
        )

    @pytest.mark.parametrize("node_id", LINKS)
    def test_links_keep_their_names_and_types(self, object_info, node_id):
        inputs = {name: kind for name, (kind, _) in declared(object_info[node_id]).items()}
        assert LINKS[node_id].items() <= inputs.items()

    @pytest.mark.parametrize("node_id", OUTPUTS)
    def test_outputs_stay_where_they_are(self, object_info, node_id):
        info = object_info[node_id]
        outputs = list(zip(info["output_name"], info["output"], strict=True))
        assert outputs[: len(OUTPUTS[node_id])] == OUTPUTS[node_id]

    @pytest.mark.parametrize("node_id", WIDGETS)
    def test_no_choice_is_taken_away(self, object_info, node_id):
        for name, (_, choices) in declared(object_info[node_id]).items():
            if name in CHOICES and choices is not None:
                assert CHOICES[name] <= set(choices), f"{node_id}.{name}"

    @pytest.mark.parametrize("node_id", ["KSampler", "KSamplerAdvanced", "KSamplerSelect"])
    def test_samplers_keep_their_names(self, object_info, node_id):
        """KSampler silently replaces an unknown name with euler."""
        _, choices = declared(object_info[node_id])["sampler_name"]
        assert set(SAMPLERS) <= set(choices)

    def test_no_new_required_input(self, object_info):
        """Prompts saved in API format name what they set. Everything else must have a default."""
        for node_id, widgets in WIDGETS.items():
            known = {name for name, _ in widgets} | set(LINKS[node_id])
            assert set(object_info[node_id]["input_order"].get("required", [])) <= known, node_id


def small(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt with smaller and fewer pictures of the demo model. Nothing else is changed before it runs."""
    for node in prompt.values():
        if node["class_type"] == "DemoModelERKGuid":
            node["inputs"] |= {"width": 96, "height": 96, "batch_size": 1}
    return prompt


@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}-{path.stem}")
class TestSavedByEarlierVersions:
    def test_the_page_s_graph_means_the_same(self, object_info, path):
        """When it is converted today, each input that existed then has the same value as then."""
        graph = json.loads(path.read_text(encoding="utf-8"))
        assert {node["type"] for node in graph["nodes"]} <= set(object_info) | PAGE_ONLY
        then = json.loads(path.with_name(f"{path.stem}_api.json").read_text(encoding="utf-8"))
        now = to_prompt(graph, object_info)
        assert now.keys() == then.keys()
        for key, node in then.items():
            assert now[key]["class_type"] == node["class_type"]
            assert node["inputs"].items() <= now[key]["inputs"].items(), node["class_type"]
            for name, value in now[key]["inputs"].items():
                _, choices = declared(object_info[node["class_type"]])[name]
                assert choices is None or isinstance(value, list) or value in choices, (
                    f"{node['class_type']}.{name} = {value!r}"
                )

    @pytest.mark.parametrize("api", [False, True], ids=["graph", "api"])
    def test_runs(self, server, object_info, path, api):
        file = path.with_name(f"{path.stem}_api.json") if api else path
        saved = json.loads(file.read_text(encoding="utf-8"))
        prompt = small(saved if api else to_prompt(saved, object_info))
        outputs = server.run(prompt)
        kept = {node: output["images"] for node, output in outputs.items() if prompt[node]["class_type"] == "SaveImage"}
        assert len(kept) == 2 and all(len(images) == 1 for images in kept.values()), "a picture and its plot"


def test_there_are_workflows_of_every_version():
    assert {path.parent.name for path in SAVED} >= {"0.1", "1.0"}
    assert all(path.with_name(f"{path.stem}_api.json").is_file() for path in SAVED)
