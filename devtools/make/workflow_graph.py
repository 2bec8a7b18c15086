"""Turns a short description of a graph into the JSON that ComfyUI's page saves.

A description names nodes, their inputs and their groups. Positions follow from the groups. Slots, their order and
their types come from the server's /object_info, so that a workflow always fits the nodes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}

# The heights that the page needs, in pixels, in its classic renderer and in Nodes 2.0. A smaller node would grow when
# it is loaded, and cover its neighbour.
_HEIGHTS = {
    "BasicScheduler": 120, "CFGGuider": 110, "CLIPLoader": 120, "CLIPTextEncode": 160, "CheckpointLoaderSimple": 130,
    "ConditioningZeroOut": 40, "ConvergenceTestERKGuid": 728, "CreateVideo": 110, "DemoModelERKGuid": 280,
    "DualCLIPLoader": 150, "DualModelGuider": 150,
    "EmptyHunyuanLatentVideo": 150, "EmptyLatentImage": 120, "EmptySD3LatentImage": 120, "FluxGuidance": 70,
    "ImageStitch": 150, "KSampler": 480,
    "KSamplerAdvancedERKGuid": 960, "KSamplerERKGuid": 830, "LoraLoaderModelOnly": 120,
    "MaskComposite": 140, "ModelSamplingAuraFlow": 70, "ModelSamplingSD3": 70, "PreviewAny": 420, "PreviewImage": 300,
    "PrimitiveInt": 90,
    "RandomNoise": 90, "SamplerCustomAdvanced": 400,
    "ScheduleFromTraceERKGuid": 560, "SamplerERKGuid": 440, "SaveImage": 520, "SaveVideo": 560,
    "SetLatentNoiseMask": 60, "SolidMask": 120, "StiffnessVisualizerERKGuid": 900, "UNETLoader": 90, "VAEDecode": 60,
    "VAEEncode": 60, "VAELoader": 90, "Wan22ImageToVideoLatent": 170,
}  # fmt: skip
_GROWS = {"ConvergenceTestERKGuid": 232}
"""By how much a run makes a node taller in Nodes 2.0 of ComfyUI's newer pages, where a list does not shrink for
pictures. The frame has room for it."""
_TITLE = 30
"""Height of a node's title, which is above its position."""
_GROUP_TITLE = 50
_PADDING = 20
_GAP = 60
"""Distance between groups."""
_BETWEEN = 20
"""Distance between the nodes of a column, and between columns."""


@dataclass(frozen=True)
class ModelFile:
    """A file that a loader needs: its name, its folder in models/, and where to get it."""

    name: str
    directory: str
    url: str


@dataclass(frozen=True)
class Node:
    """A node and its inputs. An input is a value, a ModelFile, or a link ("key of a node", "name of its output")."""

    key: str
    type: str
    inputs: dict[str, Any] = field(default_factory=dict)
    title: str | None = None
    height: int | None = None


@dataclass(frozen=True)
class Column:
    width: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Group:
    """Columns of nodes in a frame. Without a title there is no frame."""

    title: str | None
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Workflow:
    name: str
    caption: str
    stacks: tuple[tuple[Group, ...], ...]
    """Stacks from left to right, as the data flows. The groups of a stack are one below the other."""
    pictures: tuple[str, ...] = ()
    """Keys of the SaveImage nodes that make the template's picture. Empty if the graph needs model files."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(
            node for stack in self.stacks for group in stack for column in group.columns for node in column.nodes
        )


def note(text: str, height: int) -> Node:
    return Node("note", "MarkdownNote", {"text": text}, height=height)


def _node_height(node: Node) -> int:
    # Mode paper shows its settings too.
    return node.height or _HEIGHTS[node.type] + (85 if node.inputs.get("mode") == "paper" else 0)


def _layout(workflow: Workflow) -> tuple[dict[str, tuple[list[int], list[int]]], list[dict[str, Any]]]:
    """Position and size of each node by key, and the groups."""
    places: dict[str, tuple[list[int], list[int]]] = {}
    groups: list[dict[str, Any]] = []
    left = 0
    for stack in workflow.stacks:
        top = widest = 0
        for group in stack:
            x = left + _PADDING
            bottom = 0
            for column in group.columns:
                y = top + (_GROUP_TITLE if group.title else 0)
                for node in column.nodes:
                    y += _TITLE
                    places[node.key] = ([x, y], [column.width, _node_height(node)])
                    y += _node_height(node) + _GROWS.get(node.type, 0) + _BETWEEN
                x += column.width + _BETWEEN
                bottom = max(bottom, y)
            right = x - _BETWEEN + _PADDING
            if group.title:
                groups.append(
                    {
                        "id": len(groups) + 1, "title": group.title, "bounding": [left, top, right - left,
                        bottom - top],
                        "color": "#3f789e", "font_size": 24, "flags": {},
                    }
                )  # fmt: skip
            top = bottom + _GAP
            widest = max(widest, right)
        left = widest + _GAP
    return places, groups


def _inputs(info: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], bool, bool]]:
    """Name, type, options, whether it is a widget, whether it is optional.

    The inputs come in the page's order: first sockets, then widgets.
    """
    declared = []
    for part in ("required", "optional"):
        for name, (kind, *rest) in info["input"].get(part, {}).items():
            options = dict(rest[0]) if rest else {}
            if isinstance(kind, list):
                options["options"], kind = kind, "COMBO"
            is_widget = kind in _WIDGET_TYPES and not options.get("forceInput")
            declared.append((name, kind, options, is_widget, part == "optional"))
    yield from sorted(declared, key=lambda entry: entry[3])


def _default(kind: str, options: dict[str, Any]) -> Any:
    if "default" in options:
        return options["default"]
    choices = options.get("options")
    if not choices:
        return None
    return choices[0]["key"] if kind == "COMFY_DYNAMICCOMBO_V3" else choices[0]


def ui_graph(workflow: Workflow, object_info: dict[str, Any]) -> dict[str, Any]:
    """The workflow as ComfyUI's page saves it.

    Raises ValueError for an input that the node does not have, and for a required input that is missing.
    """
    ids = {node.key: number for number, node in enumerate(workflow.nodes, start=1)}
    types = {node.key: node.type for node in workflow.nodes}
    places, groups = _layout(workflow)
    links: list[list[Any]] = []
    nodes: list[dict[str, Any]] = []
    for order, node in enumerate(workflow.nodes):
        position, size = places[node.key]
        entry: dict[str, Any] = {
            "id": ids[node.key], "type": node.type, "pos": position, "size": size, "flags": {}, "order": order,
            "mode": 0,
            "inputs": [], "outputs": [], "properties": {},
        }  # fmt: skip
        if node.title:
            entry["title"] = node.title
        nodes.append(entry)
        info = object_info.get(node.type)
        if info is None:  # the node exists only in the page
            entry |= {"widgets_values": list(node.inputs.values()), "color": "#432", "bgcolor": "#653"}
            continue
        widgets: list[Any] = []
        known = list(_inputs(info))
        unknown = set(node.inputs) - {name for name, *_ in known}
        if unknown:
            raise ValueError(f"{workflow.name}: {node.type} has no input {', '.join(unknown)}")
        for name, kind, options, is_widget, is_optional in known:
            value = node.inputs.get(name)
            slot: dict[str, Any] = {"name": name, "type": kind, "link": None}
            if is_optional:
                slot["shape"] = 7
            if is_widget:
                slot["widget"] = {"name": name}
            if isinstance(value, tuple):
                source, output = value
                number = object_info[types[source]]["output_name"].index(output)
                slot["link"] = len(links) + 1
                links.append([len(links) + 1, ids[source], number, ids[node.key], len(entry["inputs"]), kind])
                value = None
            elif not is_widget and not is_optional:
                raise ValueError(f"{workflow.name}: {node.type} needs {name}")
            if is_widget:
                if isinstance(value, ModelFile):
                    file = {"name": value.name, "url": value.url, "directory": value.directory}
                    entry["properties"].setdefault("models", []).append(file)
                    value = value.name
                widgets.append(_default(kind, options) if value is None else value)
                if options.get("control_after_generate"):
                    widgets.append("fixed")
            entry["inputs"].append(slot)
        outputs = zip(info["output_name"], info["output"], strict=True)
        entry["outputs"] = [{"name": name, "type": kind, "links": []} for name, kind in outputs]
        is_ours = info["python_module"].startswith("custom_nodes.")
        entry["properties"] |= {"cnr_id": "erk-guid" if is_ours else "comfy-core", "Node name for S&R": node.type}
        entry["widgets_values"] = widgets
    for link, source, slot_number, *_ in links:
        nodes[source - 1]["outputs"][slot_number]["links"].append(link)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"erk-guid/{workflow.name}")),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": groups,
        "config": {},
        "extra": {},
        "version": 0.4,
    }
