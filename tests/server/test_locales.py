"""The texts in every language, compared with the real server's, and the words that find the nodes."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.comfyui import ROOT
from devtools.make import locales
from devtools.make.locales import FILES, LANGUAGES, TOLD, english, key, ours, told

LOCALES = ROOT / "locales"
TRANSLATIONS = [language for language in LANGUAGES if language != "en"]

# Letters that a text in this language has, but English does not.
SCRIPT = {
    "zh": r"[\u4e00-\u9fff]", "zh-TW": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff\u4e00-\u9fff]",
    "ko": r"[\uac00-\ud7a3]",
}  # fmt: skip

# Names that are the same in every language. "paper" only where it is the mode: the word itself is translated.
NAMES = re.compile(
    r"ERK-Guid|SamplerCustomAdvanced|SamplerCustom\b|ComfyUI|\bw_stiff\b|\bw_con\b|1/sigma|%[a-z]+%|\berk_\*|\bJSON\b|\bCSV\b|\bCFG\b|\bODE\b"
    r"|\bSDXL\b|\bSD [0-9.]+\b|\bFLUX\b|\babm\b|\bdeis\b|\beuler\b|\bheun\b|\bdpm_2\b|\bdpmpp_2s\b|\bLCM\b"
    r"|\bcalibrated\b|\bmode paper\b|\bpaper:|\boff:"
)
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])")


def read(language: str, name: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield from leaves(value, f"{path}/{name}")
    else:
        yield path, data


@pytest.fixture(scope="module")
def nodes(object_info):
    names = ours(object_info)
    assert len(names) >= 5
    return names


@pytest.fixture(scope="module")
def schema(object_info, nodes):
    return english(object_info, nodes)


@pytest.fixture(scope="module")
def page_source():
    """The source of the page, which has its own settings for the live chart."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "js").rglob("*.js"))]
    if not sources:
        pytest.skip("this checkout has no live chart")
    return re.sub(r'" \+\s+"', "", "\n".join(sources))  # texts may be split over several lines


def test_every_language_has_its_files():
    assert sorted(path.name for path in LOCALES.iterdir()) == sorted(LANGUAGES)
    for language in LANGUAGES:
        assert sorted(path.name for path in (LOCALES / language).iterdir()) == sorted(f"{name}.json" for name in FILES)


def test_the_server_hands_out_every_text(server):
    served = server.get("/i18n")
    for language in LANGUAGES:
        for name in ("nodeDefs", "settings"):
            for node, texts in read(language, name).items():
                assert served[language][name][node] == texts
        main = read(language, "main")
        assert served[language]["settingsCategories"].items() >= main["settingsCategories"].items()
        assert served[language][TOLD] == main[TOLD]


def test_the_page_offers_every_language():
    page = Path(importlib.import_module("comfyui_frontend_package").__file__).parent / "static" / "assets"
    offered = {
        name
        for script in page.glob("i18n-*.js")
        for name in re.findall(r'["`]?([\w-]+)["`]?:\{text:[`"]', script.read_text(encoding="utf-8"))
    }
    assert offered >= {"en", "ja"} and set(LANGUAGES) <= offered, sorted(offered)


def test_chart_and_plot_tell_what_is_listed():
    assert read("en", "main")[TOLD] == {text: text for text in told()}, "run `python -m devtools.make.locales`"
    assert len(told()) > 60


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_chart_and_plot_keep_the_values(language):
    """Each value has its place in the translation, in the same order: the text cannot say which is which."""
    for text, translation in read(language, "main")[TOLD].items():
        assert translation.count("%s") == text.count("%s"), text
        for name in ("h*rho-hat", "w_con", "ERK-Guid", "dpm_2"):
            assert (name in text) == (name in translation), text


def test_english_is_what_the_nodes_say(schema):
    """Texts that are not there yet are shown as in the node."""
    said = dict(leaves(schema))
    for path, text in leaves(read("en", "nodeDefs")):
        assert said.get(path) == text, f"{path}: run `python -m devtools.make.locales` after changing a node's texts"


@pytest.mark.parametrize("language", TRANSLATIONS)
class TestTranslation:
    def test_no_key_is_left_over(self, schema, language):
        """A missing text is shown in English and listed by the lint."""
        expected = {"nodeDefs": schema, "settings": read("en", "settings"), "main": read("en", "main")}
        for name, wanted in expected.items():
            left_over = {path for path, _ in leaves(read(language, name))} - {path for path, _ in leaves(wanted)}
            assert not left_over, name

    def test_every_text_says_something(self, language):
        for name in FILES:
            for path, text in leaves(read(language, name)):
                assert isinstance(text, str) and text.strip() == text != "", f"{name}{path}"
                if not path.endswith("tooltip"):
                    assert not set(text) & set("@{}|"), (
                        f"{name}{path}: the page would read {text!r} as a message with parameters"
                    )

    def test_sentences_are_translated(self, schema, language):
        texts = dict(leaves(read(language, "nodeDefs"))) | dict(leaves(read(language, "settings")))
        for path, text in [*leaves(schema), *leaves(read("en", "settings"))]:
            if path in texts and path.endswith(("tooltip", "description")):
                assert texts[path] != text, f"{path} is English still"
                if language in SCRIPT:
                    assert re.search(SCRIPT[language], texts[path]), f"{path}: {texts[path]!r}"
                assert len(texts[path]) > len(text) / 6, f"{path} says less than the English: {texts[path]!r}"

    def test_names_and_numbers_stay(self, schema, language):
        texts = dict(leaves(read(language, "nodeDefs"))) | dict(leaves(read(language, "settings")))
        for path, text in [*leaves(schema), *leaves(read("en", "settings"))]:
            if path not in texts:
                continue
            for name in NAMES.findall(text):
                name = name.removeprefix("mode ").removesuffix(":")
                assert name in texts[path], f"{path}: {name} is missing in {texts[path]!r}"
            if path.endswith(("tooltip", "description")):
                told = re.sub(r"(?<=\d),(?=\d)", ".", texts[path])  # French writes a decimal comma
                assert set(NUMBER.findall(text)) <= set(re.findall(r"\d+(?:\.\d+)?", told)), f"{path}: {texts[path]!r}"

    def test_options_that_a_tooltip_explains_keep_their_names(self, object_info, nodes, language):
        """The page shows a combo's options as they are, so a tooltip must use the same names."""
        texts = read(language, "nodeDefs")
        explained = 0
        for node in nodes:
            for group in object_info[node]["input"].values():
                for name, spec in group.items():
                    options = (
                        spec[0] if isinstance(spec[0], list) else spec[1].get("options", []) if len(spec) > 1 else []
                    )
                    for option in options:
                        if re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", spec[1]["tooltip"]):
                            explained += 1
                            translated = texts.get(key(node), {"inputs": {}})["inputs"].get(key(name), {})
                            text = translated.get("tooltip", spec[1]["tooltip"])
                            assert option in text, f"{node}.{name}: {option} is missing in {text!r}"
        assert explained > 30

    def test_inputs_can_be_told_apart(self, language):
        for node, texts in read(language, "nodeDefs").items():
            for kind in ("inputs", "outputs"):
                names = [text["name"] for text in texts[kind].values() if "name" in text]
                assert len(set(names)) == len(names), f"{node}: {names}"
        titles = [texts["display_name"] for texts in read(language, "nodeDefs").values()]
        assert len(set(titles)) == len(titles) and all("ERK-Guid" in title for title in titles)

    def test_nodes_are_called_by_their_names(self, language):
        """A text that points to the visualizer uses the name that the node has in this language."""
        texts = read(language, "nodeDefs")
        title = texts["StiffnessVisualizerERKGuid"]["display_name"].removesuffix("(ERK-Guid)").strip()
        for node in ("KSamplerERKGuid", "KSamplerAdvancedERKGuid", "SamplerERKGuid"):
            assert title in texts[node]["inputs"]["w_con"]["tooltip"]
            assert title in texts[node]["outputs"]["1"]["tooltip"]
        sources = texts["StiffnessVisualizerERKGuid"]["inputs"]["trace"]["tooltip"]
        assert (
            texts["KSamplerERKGuid"]["display_name"] in sources and texts["SamplerERKGuid"]["display_name"] in sources
        )


def test_what_is_not_translated_is_listed(monkeypatch, tmp_path):
    shutil.copytree(LOCALES, tmp_path / "locales")
    file = tmp_path / "locales" / "ja" / "settings.json"
    before = locales.missing("ja")
    texts = json.loads(file.read_text(encoding="utf-8"))
    gone = texts.popitem()[0]
    file.write_text(json.dumps(texts), encoding="utf-8")
    monkeypatch.setattr(locales, "ROOT", tmp_path)
    listed = set(locales.missing("ja")) - set(before)
    assert listed and all(path.startswith(f"settings/{gone}/") for path in listed)
    assert not [path for path in locales.missing("fr") if path.startswith("settings/")]


def test_settings_are_those_of_the_page(page_source):
    settings = read("en", "settings")
    assert set(settings) == {key(name) for name in re.findall(r'"(ERK-Guid\.[\w.]+)"', page_source)}
    for texts in settings.values():
        for text in (texts["name"], texts["tooltip"], *texts["options"]):
            assert json.dumps(text) in page_source, f"the page has no text {text!r}"
        assert all(name == text for name, text in texts["options"].items())
    options = {option for texts in settings.values() for option in texts["options"]}
    assert options == set(re.findall(r'\btext: "([^"]+)", value: ', page_source))
    for category in re.findall(r'category: \["ERK-Guid", "([^"]+)"', page_source):
        assert read("en", "main")["settingsCategories"][category] == category


SAMPLERS = {"KSamplerERKGuid", "KSamplerAdvancedERKGuid", "SamplerERKGuid"}
BOTH = SAMPLERS | {"StiffnessVisualizerERKGuid"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("heun", SAMPLERS),
        ("abm", SAMPLERS),
        ("euler", SAMPLERS),
        ("stiffness", BOTH),
        ("sampler error", BOTH | {"ConvergenceTestERKGuid"}),
        ("ode", BOTH | {"DemoModelERKGuid"}),
        ("ode solver", BOTH),
        ("erk", BOTH | {"ConvergenceTestERKGuid", "DemoModelERKGuid", "ScheduleFromTraceERKGuid"}),
        ("sigmas", {"ScheduleFromTraceERKGuid"}),
        ("benchmark", {"ConvergenceTestERKGuid"}),
    ],
)
def test_words_that_find_the_nodes(object_info, nodes, word, expected):
    found = {
        node for node in nodes
        if word in (object_info[node]["display_name"].lower(), *object_info[node]["search_aliases"])
        or word in object_info[node]["display_name"].lower().split()
    }  # fmt: skip
    assert found == expected
