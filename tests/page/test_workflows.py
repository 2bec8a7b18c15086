"""The shipped workflows: as files, over HTTP, in Browse Templates, and in ComfyUI's page."""

from __future__ import annotations

import copy
import io
import itertools
import json
import logging
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import ComfyPage, a_browser
from PIL import Image

import erk
from devtools.comfyui import FOLDER as PACK_FOLDER
from devtools.comfyui import ROOT, Server
from devtools.inprocess import pack_module
from devtools.make.workflows import SIDE, WORKFLOWS, load, model_files, results, titles, to_prompt, ui_graph

FOLDER = ROOT / "examples_workflows"
NAMES = [workflow.name for workflow in WORKFLOWS]
TITLES = dict(line.split(": ") for line in titles().splitlines())
"""In Browse Templates."""
RUNNABLE = [workflow for workflow in WORKFLOWS if workflow.pictures]
each_name = pytest.mark.parametrize("name", NAMES)
PLANNER = "ScheduleFromTraceERKGuid"
LOADERS = {"CheckpointLoaderSimple", "UNETLoader", "CLIPLoader", "DualCLIPLoader", "LoraLoaderModelOnly", "VAELoader"}

# The directories of models/ that a file may go to. Others would not be looked into.
DIRECTORIES = {"checkpoints", "diffusion_models", "loras", "text_encoders", "vae"}


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def boxes_of(nodes: list[dict[str, Any]]) -> list[Box]:
    """Of the nodes with their title bars."""
    places = [(*node["pos"], *node["size"]) for node in nodes]
    return [(x, y - 30, x + width, y + height) for x, y, width, height in places]


def overlapping(boxes: list[Box]) -> list[tuple[Box, Box]]:
    """Pairs of which one overlaps the other."""
    return [
        (one, other)
        for one, other in itertools.combinations(boxes, 2)
        if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    ]


def nodes_of(graph: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node for node in graph["nodes"] if node["type"] == kind]


class TestFiles:
    def test_one_graph_and_one_picture_for_each_description(self):
        assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(NAMES)
        assert sorted(path.stem for path in FOLDER.glob("*.jpg")) == sorted(NAMES)
        assert {path.name for path in FOLDER.iterdir()} - {"titles.txt"} == {
            f"{name}{suffix}" for name in NAMES for suffix in (".json", ".jpg")
        }

    @each_name
    def test_names_and_picture(self, name):
        assert re.fullmatch(r"[a-z0-9_]+", name)
        path = FOLDER / f"{name}.jpg"
        assert path.stat().st_size < 60_000
        picture = Image.open(path)
        assert picture.format == "JPEG" and picture.size == (SIDE, SIDE)
        assert np.asarray(picture).std() > 10, "not blank"

    @each_name
    def test_has_a_note_and_nodes_of_ours(self, name):
        """A sampler and the visualizer or the planner, or the Convergence Test, which samples by itself."""
        graph = load(name)
        (note,) = nodes_of(graph, "MarkdownNote")
        text = note["widgets_values"][0]
        assert text.startswith("## ") and "**" in text and 200 < len(text) < 2000
        if nodes_of(graph, "ConvergenceTestERKGuid"):
            assert len(graph["nodes"]) <= 12
            return
        outputs = {node["id"]: node["outputs"] for node in graph["nodes"]}
        plots = [node for kind in ("StiffnessVisualizerERKGuid", PLANNER) for node in nodes_of(graph, kind)]
        assert plots
        for plot in plots:
            connected = {slot["name"]: slot["link"] for slot in plot["inputs"] if slot["link"] is not None}
            assert "trace" in connected
            for slot, link in connected.items():
                (source,) = [(entry[1], entry[2]) for entry in graph["links"] if entry[0] == link]
                assert outputs[source[0]][source[1]]["type"] == ("ERK_TRACE" if slot.startswith("trace") else "LATENT")
        custom = nodes_of(graph, "SamplerERKGuid")
        assert custom or nodes_of(graph, "KSamplerERKGuid") or nodes_of(graph, "KSamplerAdvancedERKGuid")
        if custom:  # the plot has to wait for the sampling
            assert all(slot["link"] for plot in plots for slot in plot["inputs"] if slot["name"] == "latent")

    @each_name
    def test_no_two_nodes_overlap_and_groups_frame_theirs(self, name):
        graph = load(name)
        boxes = boxes_of(graph["nodes"])
        frames = [
            (x, y, x + width, y + height) for x, y, width, height in (group["bounding"] for group in graph["groups"])
        ]
        assert overlapping(boxes) == [] and overlapping(frames) == []
        for node, box in zip(graph["nodes"], boxes, strict=True):
            around = [
                frame
                for frame in frames
                if frame[0] < box[0] and frame[1] < box[1] and box[2] < frame[2] and box[3] < frame[3]
            ]
            assert len(around) == (node["type"] != "MarkdownNote"), f"{node['type']} stands in {len(around)} groups"

    @each_name
    def test_model_files_can_be_fetched(self, name):
        graph = load(name)
        text = nodes_of(graph, "MarkdownNote")[0]["widgets_values"][0]
        for node in graph["nodes"]:
            files = node["properties"].get("models", [])
            assert bool(files) == (node["type"] in LOADERS), f"{node['type']} tells what it needs"
            for file in files:
                assert set(file) == {"name", "url", "directory"}
                assert file["name"] in node["widgets_values"] and file["directory"] in DIRECTORIES
                # What the page offers for download: such addresses and safetensors only.
                assert file["url"].startswith("https://huggingface.co/") and "/resolve/main/" in file["url"]
                assert file["url"].endswith(".safetensors") and file["name"].endswith(".safetensors")
                assert f"[{file['name']}]({file['url']}) in `models/{file['directory']}`" in text
                fetched_as = file["url"].rsplit("/", 1)[1]
                assert fetched_as == file["name"] or f"`{fetched_as}`" in text, "a file to be renamed is told of"

    def test_addresses_are_those_of_comfyui_s_own_templates(self):
        """If ComfyUI's templates need a file with the same name, they fetch it from the same address."""
        package = pytest.importorskip(
            "comfyui_workflow_templates_json", reason="this ComfyUI's templates lie elsewhere"
        )
        ours = {file["name"]: file["url"] for name in NAMES for file in model_files(load(name))}
        theirs: dict[str, set[str]] = {name: set() for name in ours}
        address = re.compile(r'https://huggingface\.co/[^"\s)?\\]+/([^"\s)?/\\]+\.safetensors)')
        for path in (Path(package.__file__).parent / "templates").glob("*.json"):
            for found in address.finditer(path.read_text(encoding="utf-8")):
                if found[1] in theirs:
                    theirs[found[1]].add(found[0].replace("/blob/main/", "/resolve/main/"))
        known = {name for name, urls in theirs.items() if urls}
        assert len(known) >= 14, f"only {sorted(known)} were found in the templates"
        assert {name for name in known if ours[name] not in theirs[name]} == set()

    def test_the_comparison_has_each_mode_and_few_nodes(self):
        graph = load("erk_guid_compare_modes")
        (test,) = nodes_of(graph, "ConvergenceTestERKGuid")
        (samplers,) = [value for value in test["widgets_values"] if "erk_heun" in str(value)]
        assert set(samplers.splitlines()) == {
            "erk_abm mode=off", "erk_abm", "erk_heun mode=off", "erk_heun mode=paper", "erk_heun",
        }  # fmt: skip
        assert len(graph["nodes"]) <= 12

    @pytest.mark.parametrize("name", [name for name in NAMES if "schedule" in name])
    def test_a_second_sampler_follows_the_plan_with_the_same_seed(self, name):
        graph = load(name)
        (plan,) = nodes_of(graph, PLANNER)
        sources = {link[0]: link[1] for link in graph["links"]}
        traced, again = nodes_of(graph, "KSamplerERKGuid")
        assert sources[plan["inputs"][0]["link"]] == traced["id"]
        (sigmas,) = [slot["link"] for slot in again["inputs"] if slot["name"] == "sigmas"]
        assert sources[sigmas] == plan["id"] and again["widgets_values"][0] == traced["widgets_values"][0]

    def test_wan_s_experts_run_as_in_comfyui_s_own_template(self):
        """Shift, steps, the change, scheduler and CFG, with and without the LoRAs."""
        package = pytest.importorskip(
            "comfyui_workflow_templates_json", reason="this ComfyUI's templates lie elsewhere"
        )
        path = Path(package.__file__).parent / "templates" / "video_wan2_2_14B_t2v.json"
        (theirs,) = json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"]
        numbers = {node["widgets_values"][0] for node in theirs["nodes"] if node["type"].startswith("Primitive")}
        samplers = nodes_of(theirs, "KSamplerAdvanced")
        for name, steps, cfg in (("erk_guid_wan22_experts", 20, 3.5), ("erk_guid_wan22_4_steps", 4, 1)):
            assert {steps, steps // 2, cfg} <= numbers
            graph = load(name)
            first, second = nodes_of(graph, "KSamplerAdvancedERKGuid")
            assert [node["widgets_values"][0] for node in (first, second)] == ["enable", "disable"]
            assert {node["widgets_values"][6] for node in samplers} == {"simple"}
            for ours in (first, second):
                assert steps in ours["widgets_values"] and cfg in ours["widgets_values"]
                assert "simple" in ours["widgets_values"] and steps // 2 in ours["widgets_values"]
            for node in (*nodes_of(graph, "ModelSamplingSD3"), *nodes_of(theirs, "ModelSamplingSD3")):
                assert round(node["widgets_values"][0], 6) == 5
            latents = [nodes_of(one, "EmptyHunyuanLatentVideo")[0]["widgets_values"] for one in (graph, theirs)]
            assert latents[0] == latents[1]

    def test_autoguidance_uses_one_prompt_on_two_models(self):
        graph = load("erk_guid_autoguidance")
        (guider,) = nodes_of(graph, "DualModelGuider")
        sources = {
            slot["name"]: next(link[1:3] for link in graph["links"] if link[0] == slot["link"])
            for slot in guider["inputs"][:4]
        }
        assert sources["positive"] == sources["negative"] and sources["model"][0] != sources["model_negative"][0]


FURTHER_SETTINGS = {name for name in erk.SETTINGS if name not in ("w_stiff", "w_con")}
"""Of rules that are newer than the workflows."""

ROW = 24
"""The height of a widget in the page."""


def without_further_settings(object_info: dict[str, Any]) -> dict[str, Any]:
    """The nodes without the inputs that have those settings."""
    known = copy.deepcopy(object_info)
    for info in known.values():
        for group in info["input"].values():
            for name in FURTHER_SETTINGS & group.keys():
                del group[name]
    return known


class TestServer:
    @pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
    def test_the_file_is_what_its_description_gives(self, object_info, workflow):
        graph = ui_graph(workflow, without_further_settings(object_info))
        assert load(workflow.name) == graph, "run `python -m devtools.make.workflows` after changing them"

    @each_name
    def test_every_node_and_every_value_arrives_in_the_prompt(self, object_info, name):
        graph = load(name)
        prompt = to_prompt(graph, object_info)
        assert {key: entry["class_type"] for key, entry in prompt.items()} == {
            str(node["id"]): node["type"] for node in graph["nodes"] if node["type"] != "MarkdownNote"
        }
        assert all(entry["class_type"] in object_info for entry in prompt.values())
        linked = [value for entry in prompt.values() for value in entry["inputs"].values() if isinstance(value, list)]
        assert len(linked) == len(graph["links"])
        for key, entry in prompt.items():
            known = object_info[entry["class_type"]]["input"]
            declared = {**known.get("required", {}), **known.get("optional", {})}
            assert set(known.get("required", {})) <= set(entry["inputs"]) <= set(declared), f"{name}, node {key}"

    @pytest.mark.parametrize("name", [workflow.name for workflow in WORKFLOWS if not workflow.pictures])
    def test_the_only_complaint_is_a_model_file_that_is_not_there(self, server: Server, object_info, name):
        graph = load(name)
        status, answer = server.post("/prompt", {"prompt": to_prompt(graph, object_info)})
        assert status == 400
        complaints = {
            (key, error["extra_info"]["received_value"]) if error["type"] == "value_not_in_list" else (key, str(error))
            for key, entry in answer["node_errors"].items()
            for error in entry["errors"]
        }
        needed = {
            (str(node["id"]), file["name"]) for node in graph["nodes"] for file in node["properties"].get("models", [])
        }
        assert complaints == needed

    @pytest.mark.parametrize("workflow", RUNNABLE, ids=lambda workflow: workflow.name)
    def test_runs_without_any_file(self, server: Server, object_info, workflow):
        graph = load(workflow.name)
        assert model_files(graph) == []
        outputs = server.run(to_prompt(graph, object_info), timeout=900)
        for key, pictures in results(server, workflow, outputs).items():
            for picture in pictures:
                assert np.asarray(picture).std() > 20, f"{key} is blank"
        for plot in nodes_of(graph, "StiffnessVisualizerERKGuid"):
            (file,) = outputs[str(plot["id"])]["images"]
            drawn = np.asarray(Image.open(io.BytesIO(server.image(file))).convert("RGB")).astype(int)
            assert drawn.shape == (800, 1120, 3) and drawn.std() > 10

    def test_directories_are_comfyui_s(self, server: Server):
        assert set(server.get("/models")) >= DIRECTORIES


class TestBrowseTemplates:
    @pytest.mark.parametrize("address", ["/workflow_templates", "/api/workflow_templates"])
    def test_all_are_listed_under_the_pack(self, server: Server, address):
        """By titles in words, from easy to hard."""
        assert server.get(address)[PACK_FOLDER] == list(TITLES.values())
        assert list(TITLES) == [workflow.name for workflow in WORKFLOWS]

    def test_titles_can_stand_in_an_address_and_in_a_file_name(self):
        assert (FOLDER / "titles.txt").read_text(encoding="utf-8") == titles()
        assert len(set(TITLES.values())) == len(TITLES) == len(NAMES)
        assert all(re.fullmatch(r"[A-Za-z0-9 .,()-]+", title) for title in TITLES.values())

    @each_name
    def test_graph_and_picture_are_served(self, server: Server, name):
        for ending, kind in ((".json", "application/json"), (".jpg", "image/jpeg")):
            for asked in (name, urllib.parse.quote(TITLES[name])):
                with urllib.request.urlopen(
                    f"{server.address}/api/workflow_templates/{PACK_FOLDER}/{asked}{ending}", timeout=30
                ) as answer:
                    assert answer.status == 200 and answer.headers["Content-Type"] == kind
                    assert answer.read() == (FOLDER / f"{name}{ending}").read_bytes()

    @pytest.mark.parametrize(
        "path",
        ["..%2f__init__.py", "%2e%2e/__init__.py", "../__init__.py", "..%5c__init__.py", "", "none.json", "titles.txt"],
    )
    def test_nothing_else_is_served(self, server: Server, path):
        import http.client

        # Not through urllib, which would tidy the path.
        connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=30)
        try:
            connection.request("GET", f"/api/workflow_templates/{PACK_FOLDER}/{path}")
            answer = connection.getresponse()
            assert answer.status in (403, 404) and b"ERKGuidExtension" not in answer.read()
        finally:
            connection.close()

    def test_other_answers_are_left_alone(self, server: Server):
        assert "system" in server.get("/api/system_stats")
        request = urllib.request.Request(server.address + "/workflow_templates", b"{}", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(request, timeout=30)


class TestRegistration:
    """If the server is not as expected, only the templates are missing."""

    @pytest.fixture()
    def register(self):
        return pack_module("nodes.templates").register_templates

    def server_with(self, monkeypatch, app: Any) -> None:
        module = ModuleType("server")
        module.PromptServer = SimpleNamespace(instance=SimpleNamespace(app=app))
        monkeypatch.setitem(sys.modules, "server", module)

    def test_without_a_server_nothing_is_done_or_said(self, register, monkeypatch, caplog):
        monkeypatch.delitem(sys.modules, "server", raising=False)
        assert register() is False
        assert not caplog.records

    def test_twice_is_once(self, register, monkeypatch):
        from aiohttp import web

        app = web.Application()
        self.server_with(monkeypatch, app)
        assert register() and register()
        assert len(app.middlewares) == 1 and len(app.router.resources()) == 1

    @pytest.mark.parametrize("broken", ["no PromptServer", "no instance", "frozen app", "no folder"])
    def test_a_failure_costs_the_templates_only(self, register, monkeypatch, caplog, tmp_path, broken):
        from aiohttp import web

        app = web.Application()
        self.server_with(monkeypatch, app)
        if broken == "no PromptServer":
            del sys.modules["server"].PromptServer
        elif broken == "no instance":
            sys.modules["server"].PromptServer.instance = None
        elif broken == "frozen app":
            app.freeze()
        with caplog.at_level(logging.WARNING):
            assert register(*([tmp_path] if broken == "no folder" else [])) is False
        (record,) = caplog.records
        assert record.getMessage().startswith("ERK-Guid: the example workflows are not in Browse Templates")

    def test_the_pack_loads_where_registration_fails(self):
        """In a separate process, with ComfyUI's loader and a server whose application accepts no more routes."""
        script = (
            "import sys, types\n"
            "from aiohttp import web\n"
            "from devtools.inprocess import load_pack\n"
            "app = web.Application()\n"
            "app.freeze()\n"
            "sys.modules['server'] = types.ModuleType('server')\n"
            "sys.modules['server'].PromptServer = types.SimpleNamespace(instance=types.SimpleNamespace(app=app))\n"
            "load_pack()\n"
            "import nodes\n"
            "print(*[name for name in nodes.NODE_CLASS_MAPPINGS if name.endswith('ERKGuid')])\n"
        )
        result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr[-2000:]
        assert len(result.stdout.split()) == 7 and "KSamplerERKGuid" in result.stdout
        assert result.stderr.count("the example workflows are not in Browse Templates") == 1


def test_browse_templates_shows_the_titles_in_order_and_opens_one(server: Server):
    with a_browser() as browser:
        comfy = ComfyPage(browser, server, "classic")
        comfy.run("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        comfy.page.get_by_text(PACK_FOLDER, exact=True).first.click()
        title = TITLES["erk_guid_img2img"]
        comfy.page.get_by_text(title, exact=True).first.wait_for()
        comfy.settle()
        # Newer pages have a badge above the title.
        cards = comfy.run(
            "(titles) => [...document.querySelectorAll('[data-testid^=\"template-workflow-\"]')]"
            ".map((card) => card.innerText.split('\\n').find((line) => titles.includes(line)))",
            list(TITLES.values()),
        )
        assert cards == list(TITLES.values())
        comfy.page.get_by_text(title, exact=True).first.click()
        comfy.page.wait_for_function(
            "(title) => app.extensionManager.workflow.activeWorkflow.filename === title", arg=title
        )
        comfy.settle()
        assert [node["type"] for node in comfy.nodes()] == [node["type"] for node in load("erk_guid_img2img")["nodes"]]
        assert comfy.own_errors == []
        comfy.page.close()


@pytest.mark.parametrize("renderer", ["classic", "nodes2"])
def test_in_the_page(server: Server, object_info, renderer):
    """ComfyUI's page loads each graph: it knows all nodes and lays them out as saved.

    It makes the same prompt as the conversion.
    """
    with a_browser() as browser:
        page = ComfyPage(browser, server, renderer)
        for name in NAMES:
            graph = load(name)
            page.load(graph, name)
            drawn = page.nodes()
            assert [node["type"] for node in drawn] == [node["type"] for node in graph["nodes"]], name
            assert all(node["known"] for node in drawn), name
            for node, saved in zip(drawn, graph["nodes"], strict=True):
                assert node["pos"] == saved["pos"] and node["size"][0] == saved["size"][0], f"{name}: {node['type']}"
                # ComfyUI gives SaveVideo the height it likes; no node may need more than it was given, except for
                # settings that are newer than the workflow.
                inputs = object_info[node["type"]]["input"].values() if node["type"] in object_info else ()
                newer = sum(len(FURTHER_SETTINGS & group.keys()) for group in inputs)
                assert node["size"][1] <= saved["size"][1] + ROW * newer, f"{name}: {node['type']} grew"
            page.picture(f"workflow_{name}", whole_graph=True)
            converted = to_prompt(graph, object_info)
            prompt = page.to_prompt()
            assert {key: entry["class_type"] for key, entry in prompt.items()} == {
                key: entry["class_type"] for key, entry in converted.items()
            }
            for key, entry in converted.items():
                assert prompt[key]["inputs"] == entry["inputs"], f"{name}: {entry['class_type']}"
        assert page.own_errors == []
