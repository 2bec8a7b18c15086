"""The Convergence Test in the real server: its numbers against ComfyUI's own nodes; what it keeps, tells, refuses."""

from __future__ import annotations

import csv
import io
import itertools
import json
import time
import uuid
from typing import Any

import numpy as np
import pytest
import torch
from graphs import schedule, tiny
from PIL import Image
from prompts import WIRES, demo, node
from tiny_models import architecture

from devtools.comfyui import ComfyUIError, Server, error_message

_number = itertools.count()
REFERENCE = 20
"""The least that the node allows: these tests are about the node, not about convergence."""


def convergence(samplers: str, calls: str = "4, 7", **more: Any) -> dict[str, Any]:
    inputs = {
        **WIRES, "seed": 5, "cfg": 3.0, "scheduler": "karras", "samplers": samplers, "calls": calls,
        "reference": REFERENCE, "filename_prefix": f"convergence/{uuid.uuid4().hex[:8]}", **more,
    }  # fmt: skip
    return {"test": node("ConvergenceTestERKGuid", **inputs)}


def counted(samplers: str, calls: str = "4, 7", name: str | None = None, **more: Any) -> dict[str, Any]:
    """On the demo model, with every model call counted under the name and told by "tell"."""
    name = name or f"convergence{next(_number)}"
    return {
        **demo(batch=2),
        "model": node("ProbeCount", model=["demo", 0], name=name),
        **convergence(samplers, calls, **{"model": ["model", 0], **more}),
        "tell": node("ProbeTell", text=["test", 3], name=name),
    }


def calls_of(outputs: dict[str, Any]) -> int:
    return json.loads(outputs["tell"]["text"][1]).get("sampler", 0)


def rows_of(server: Server, shown: dict[str, Any]) -> list[dict[str, str]]:
    """The CSV file's rows."""
    (file,) = (file for file in shown["files"] if file["filename"].endswith(".csv"))
    return list(csv.DictReader(io.StringIO(server.image(file).decode())))


def runs_of(rows: list[dict[str, str]]) -> dict[tuple[str, int], dict[str, str]]:
    """The first sample's row of each run, by sampler and budget."""
    return {
        (row["sampler"], int(row["budget"])): row for row in reversed(rows) if row["role"] == "run"
    }  # fmt: skip


def pictures_of(server: Server, shown: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(server.image(file))).convert("RGB")) for file in shown["images"]]


def distance(latent: torch.Tensor, reference: torch.Tensor) -> list[float]:
    """The help page's definition, written down once more."""
    return [
        float(((one - other) ** 2).mean() ** 0.5 / other.std(correction=0))
        for one, other in zip(latent.double(), reference.double(), strict=True)
    ]


class TestNumbers:
    @pytest.mark.parametrize(
        ("kind", "scheduler", "masked"),
        [("eps", "karras", False), ("flow", "simple", False), ("v", "normal", False), ("eps", "karras", True)],
    )
    def test_are_those_of_comfyui_s_own_nodes(self, model_server, kind, scheduler, masked):
        """The same noise, schedule and sampler in KSampler and SamplerCustom give the distances that the table has."""
        server, name = model_server, f"convergence{next(_number)}"
        samplers = ["erk_abm", "dpmpp_2m", "heun", "dpm_2", "uni_pc"]
        prompt = {**demo(kind, batch=2), **convergence("\n".join(samplers), scheduler=scheduler)}
        common = {**WIRES, "seed": 5, "cfg": 3.0, "scheduler": scheduler, "denoise": 1.0}
        steps = {name: [4, 7] for name in samplers} | {"heun": [2, 4], "dpm_2": [2, 4]}
        start = ["demo", 4]
        if masked:
            prompt |= {
                "noise": node("ProbeLatent", shape="[2, 3, 64, 64]", scale=0.5, seed=1),
                "mask": node("SolidMask", value=1.0, width=32, height=64),
                "half": node("MaskComposite", destination=["none", 0], source=["mask", 0], x=16, y=0, operation="add"),
                "none": node("SolidMask", value=0.0, width=64, height=64),
                "start": node("SetLatentNoiseMask", samples=["noise", 0], mask=["half", 0]),
            }
            start = ["start", 0]
        common["latent_image"] = prompt["test"]["inputs"]["latent_image"] = start
        for sampler, numbers in steps.items():
            for budget, count in zip((4, 7), numbers, strict=True):
                key = f"{sampler}_{budget}"
                prompt[key] = node("KSampler", **common, steps=count, sampler_name=sampler)
                prompt[f"{key}_save"] = node("ProbeSave", latent=[key, 0], name=f"{name}_{key}")
        prompt["long_sampler"] = node("SamplerERKGuid", solver="abm", mode="calibrated", max_order=4)
        for count in (REFERENCE, 2 * REFERENCE):
            prompt[f"sigmas_{count}"] = schedule(["demo", 0], count, scheduler)
            prompt[f"long_{count}"] = node(
                "SamplerCustom", model=["demo", 0], add_noise=True, noise_seed=5, cfg=3.0, positive=["demo", 1],
                negative=["demo", 2], sampler=["long_sampler", 0], sigmas=[f"sigmas_{count}", 0],
                latent_image=start,
            )  # fmt: skip
            prompt[f"long_{count}_save"] = node("ProbeSave", latent=[f"long_{count}", 0], name=f"{name}_long_{count}")
        rows = rows_of(server, server.run(prompt)["test"])

        def latent(key: str) -> torch.Tensor:
            return torch.load(server.base / "output" / f"{name}_{key}.pt")["samples"][0]

        reference = latent(f"long_{2 * REFERENCE}")
        told = {(row["role"], row["sampler"], row["budget"], row["sample"]): float(row["error"]) for row in rows}
        for sampler, budget in itertools.product(samplers, (4, 7)):
            expected = distance(latent(f"{sampler}_{budget}"), reference)
            found = [told["run", sampler, str(budget), str(sample)] for sample in (0, 1)]
            assert found == pytest.approx(expected, rel=1e-3), (sampler, budget)
        assert not masked or latent("heun_7")[..., :16].allclose(reference[..., :16], atol=1e-5)
        own = [told["reference", "erk_abm max_order=4", str(2 * REFERENCE), str(sample)] for sample in (0, 1)]
        assert own == pytest.approx(distance(latent(f"long_{REFERENCE}"), reference), rel=1e-3)

    def test_calls_are_those_that_are_made_and_never_more(self, model_server):
        samplers = "erk_abm\nerk_heun\ndpm_2\nheunpp2\nseeds_3\ndpm_fast\ndpmpp_sde\ndpm_adaptive\nlcm"
        outputs = model_server.run(counted(samplers, "5, 9"))
        rows = rows_of(model_server, outputs["test"])
        runs = runs_of(rows)
        for (sampler, budget), row in runs.items():
            assert sampler == "dpm_adaptive" or 0 < int(row["calls"]) <= budget, row
            assert sampler == "dpm_adaptive" or budget - int(row["calls"]) < 3, row
        assert [int(runs["erk_abm", budget]["calls"]) for budget in (5, 9)] == [5, 9]
        assert [int(runs["erk_heun", budget]["steps"]) for budget in (5, 9)] == [3, 5]
        assert [budget for sampler, budget in runs if sampler == "dpm_adaptive"] == [9]
        assert calls_of(outputs) == 3 * REFERENCE + sum(int(row["calls"]) for row in runs.values())
        assert {sampler for (sampler, _), row in runs.items() if row["stochastic"] == "1"} == {"lcm"}
        assert "lcm (stochastic)" in outputs["test"]["text"][1]

    def test_given_sigmas_override_the_scheduler(self, model_server):
        """With as many steps as are given they are taken as they are; the scheduler does not matter."""
        name, found = f"convergence{next(_number)}", []
        for scheduler in ("karras", "normal"):
            prompt = {
                **demo(batch=2), "sigmas": schedule(["demo", 0], 7, "exponential"),
                **convergence("dpmpp_2m", sigmas=["sigmas", 0], scheduler=scheduler),
                "ksampler": node("KSampler", **WIRES, seed=5, cfg=3.0, scheduler="exponential", denoise=1.0, steps=7,
                                 sampler_name="dpmpp_2m"),
                "save": node("ProbeSave", latent=["ksampler", 0], name=name),
            }  # fmt: skip
            rows = rows_of(model_server, model_server.run(prompt)["test"])
            found.append([row["error"] for row in rows])
        assert found[0] == found[1]
        # The reference is unknown here, but two samples at 7 calls are told, and they are not those of karras.
        karras = rows_of(model_server, model_server.run({**demo(batch=2), **convergence("dpmpp_2m")})["test"])
        assert [row["error"] for row in karras] != found[0]

    def test_video_and_sound(self, model_server):
        """5-D latents, and nested ones."""
        for what in ("wan", "ltxav"):
            graph = tiny(model_server, architecture(what))
            graph |= convergence("erk_abm\ndpmpp_2m\neuler", model=["model", 0], positive=["positive", 0],
                                 negative=["negative", 0], latent_image=["latent", 0], scheduler="simple")  # fmt: skip
            shown = model_server.run(graph)["test"]
            errors = [float(row["error"]) for row in rows_of(model_server, shown)]
            assert len(errors) == 7 and all(0 < error < 10 for error in errors), what
            assert pictures_of(model_server, shown)[1].std() > 5, what


class TestWhatIsShown:
    def test_plot_grid_table_and_sentence(self, model_server):
        prompt = {
            **demo(batch=2), **convergence("erk_abm\neuler", vae=["demo", 3]),
            "plot": node("SaveImage", images=["test", 0], filename_prefix="plot"),
            "grid": node("SaveImage", images=["test", 1], filename_prefix="grid"),
            "table": node("PreviewAny", source=["test", 2]), "sentence": node("PreviewAny", source=["test", 3]),
        }  # fmt: skip
        outputs = model_server.run(prompt)
        shown = outputs["test"]
        plot, grid = pictures_of(model_server, shown)
        assert plot.shape == (760, 1120, 3) and plot.std() > 10
        # Two rows of three pictures of 64 pixels, made twice as large, with room for words.
        assert grid.shape[0] > 2 * 128 and grid.shape[1] > 3 * 128 and grid.std() > 10
        for name, picture in (("plot", plot), ("grid", grid)):
            assert np.array_equal(pictures_of(model_server, outputs[name])[0], picture), name
        sentence, table = shown["text"]
        assert sentence.startswith("erk_abm at 4 calls is as near as euler at ")
        assert table.splitlines()[0] == sentence and "converged: erk_abm max_order=4" in table
        assert outputs["sentence"]["text"] == [sentence] and outputs["table"]["text"] == [table]
        saved = {file["filename"].rsplit(".")[-1]: model_server.image(file).decode() for file in shown["files"]}
        assert set(saved) == {"txt", "csv"} and saved["txt"] == table + "\n"
        medians = {row["median"] for row in rows_of(model_server, shown) if row["sampler"] == "euler"}
        assert {f"{float(value):.3g}" for value in medians} <= set(table.split())

    def test_pictures_are_decoded_ones_with_a_vae_and_previews_without(self, model_server):
        """The demo model's latents are pictures, so that both are the same."""
        grids = [
            pictures_of(model_server, model_server.run({**demo(), **convergence("euler", **more)})["test"])[1]
            for more in ({}, {"vae": ["demo", 3]})
        ]
        assert grids[0].shape == grids[1].shape
        assert np.abs(grids[0].astype(int) - grids[1]).max() <= 1 and grids[0].std() > 10

    def test_one_bar_over_all_runs_and_previews(self, model_server):
        with listening(model_server) as (socket, client):
            prompt_id = model_server.queue(counted("erk_heun\neuler"), client)
            values, previews, total = [], 0, set()
            for event in events(socket, prompt_id):
                if event["type"] == "preview":
                    previews += 1
                elif event["type"] == "progress":
                    values.append(event["data"]["value"])
                    total.add(event["data"]["max"])
        # 20 and 40 calls of the long run, 3 and 7 of heun, 4 and 7 of euler.
        assert total == {81} and values == sorted(values) and values[-1] == 81 and previews > 10

    def test_no_live_chart(self, model_server):
        """Its runs are many and short: the plot is what counts."""
        with listening(model_server) as (socket, client):
            prompt_id = model_server.queue(counted("erk_heun"), client)
            kinds = {event["type"] for event in events(socket, prompt_id)}
        assert "progress" in kinds and "erk_guid.step" not in kinds


class TestReuse:
    def test_only_what_is_new_is_run(self, model_server):
        name = f"convergence{next(_number)}"
        first = model_server.run(counted("erk_abm\neuler", name=name))
        assert calls_of(first) == 3 * REFERENCE + 2 * (4 + 7)
        grown = model_server.run(counted("erk_abm\neuler\nheun", "4, 7, 9", name=name))
        # heun at 4, 7 and 9 calls makes 3, 7 and 9; the others are run at 9 only.
        assert calls_of(grown) - calls_of(first) == (3 + 7 + 9) + 2 * 9
        for label in ("erk_abm", "euler"):
            for budget in (4, 7):
                before, after = (
                    runs_of(rows_of(model_server, outputs["test"]))[label, budget] for outputs in (first, grown)
                )
                assert before == after, (label, budget)
        again = model_server.run(counted("euler", "9", name=name, theme="dark"))
        assert calls_of(again) == calls_of(grown), "fewer lines, and another look, run nothing"

    @pytest.mark.parametrize("change", ["seed", "cfg", "latent", "positive", "model", "scheduler"])
    def test_never_what_would_come_out_differently(self, model_server, change):
        name = f"convergence{next(_number)}"
        first = model_server.run(counted("euler", "4", name=name))
        prompt = counted("euler", "4", name=name)
        inputs = prompt["test"]["inputs"]
        if change == "latent":
            prompt["latent"] = node("LatentMultiply", samples=["noise", 0], multiplier=0.5)
            prompt["noise"] = node("ProbeLatent", shape="[2, 3, 64, 64]", scale=1.0, seed=1)
            inputs["latent_image"] = ["latent", 0]
        elif change == "positive":
            inputs["positive"] = ["demo", 2]
        elif change == "model":
            prompt["rescaled"] = node("RescaleCFG", model=["model", 0], multiplier=0.7)
            inputs["model"] = ["rescaled", 0]
        else:
            inputs |= {"seed": {"seed": 6}, "cfg": {"cfg": 4.0}, "scheduler": {"scheduler": "normal"}}[change]
        changed = model_server.run(prompt)
        assert calls_of(changed) - calls_of(first) == 3 * REFERENCE + 4
        errors = [[row["error"] for row in rows_of(model_server, outputs["test"])] for outputs in (first, changed)]
        assert errors[0] != errors[1]


class TestWhenItDoesNotGoThrough:
    def test_interrupted(self, model_server):
        """What was run is shown and saved, the prompt ends as interrupted, and the next one goes on from there."""
        name = f"convergence{next(_number)}"

        def prompt() -> dict[str, Any]:
            made = counted("euler\nerk_heun", "4, 200, 400", name=name, reference=20)
            made["demo"]["inputs"] |= {"width": 128, "height": 128}
            return made

        with listening(model_server) as (socket, client):
            prompt_id = model_server.queue(prompt(), client)
            shown, ended, asked = None, None, False
            for event in events(socket, prompt_id):
                # The long run takes 400 and 800 calls, the runs of 4 calls 4 and 3: then those of 200 begin.
                if event["type"] == "progress" and event["data"]["value"] >= 1250 and not asked:
                    model_server.post("/interrupt", {})
                    asked = True
                if event["type"] == "executed" and event["data"]["node"] == "test":
                    shown = event["data"]
                ended = event["type"]
        assert ended == "execution_interrupted"
        assert shown is not None and shown["prompt_id"] == prompt_id and shown["display_node"] == "test"
        _, table = shown["output"]["text"]
        assert "Stopped before all was run" in table and table.count("not run") >= 1
        rows = runs_of(rows_of(model_server, shown["output"]))
        assert all(rows[label, 4]["error"] for label in ("euler", "erk_heun"))
        assert rows["euler", 400]["note"] == "not run" and not rows["euler", 400]["error"]
        assert all(picture.std() > 5 for picture in pictures_of(model_server, shown["output"]))

        whole = model_server.run(prompt())
        runs = runs_of(rows_of(model_server, whole["test"]))
        assert all(row["error"] for row in runs.values())
        made = 1200 + sum(int(row["calls"]) for row in runs.values())
        # What was cut off was begun once more; nothing else was.
        assert made <= calls_of(whole) < made + 400

    def test_interrupted_before_anything_was_finished(self, model_server):
        with listening(model_server) as (socket, client):
            prompt = counted("euler", "400", reference=400)
            prompt_id = model_server.queue(prompt, client)
            shown = None
            for event in events(socket, prompt_id):
                if event["type"] == "progress" and event["data"]["value"] == 1:
                    model_server.post("/interrupt", {})
                if event["type"] == "executed":
                    shown = event["data"]["output"]
        assert shown is not None and "No run of 400 calls can be compared yet." in shown["text"][0]
        assert all(picture.shape[2] == 3 for picture in pictures_of(model_server, shown))

    def test_out_of_memory_is_told_in_its_row_and_the_rest_goes_on(self, model_server):
        prompt = counted("erk_abm\neuler")
        prompt["broken"] = node("ProbeOutOfMemory", model=["model", 0], steps=7)
        prompt["test"]["inputs"]["model"] = ["broken", 0]
        shown = model_server.run(prompt)["test"]
        runs = runs_of(rows_of(model_server, shown))
        for label in ("erk_abm", "euler"):
            assert runs[label, 7]["note"] == "out of memory" and not runs[label, 7]["error"]
            assert float(runs[label, 4]["error"]) > 0 and not runs[label, 4]["note"]
        assert shown["text"][1].count("out of memory") == 2

    def test_out_of_memory_in_the_long_run(self, model_server):
        """There is nothing to measure by, and the pictures are there all the same."""
        for steps, known in ((2 * REFERENCE, True), (REFERENCE, True)):
            prompt = counted("euler")
            prompt["broken"] = node("ProbeOutOfMemory", model=["model", 0], steps=steps)
            prompt["test"]["inputs"]["model"] = ["broken", 0]
            shown = model_server.run(prompt)["test"]
            rows = rows_of(model_server, shown)
            assert all(bool(row["error"]) == known for row in rows if row["role"] == "run")
            assert not any(row["error"] for row in rows if row["role"] == "reference"), "its own error is not known"

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"samplers": ""}, "samplers is empty"),
            ({"samplers": "erk_amb"}, "the nearest names are erk_abm"),
            ({"samplers": "erk_abm mode=best"}, "mode is 'best', but must be one of"),
            ({"samplers": "erk_abm max_order=7"}, "max_order is 7, but must be"),
            ({"samplers": "erk_heun max_order=3"}, "which it does not have; it takes mode, w_stiff, w_con"),
            ({"samplers": "dpmpp_2m eta=0"}, "which it does not have; it takes none"),
            ({"samplers": "\n".join(f"erk_abm w_con={i}" for i in range(17))}, "17 lines, and 16 are the most"),
            ({"calls": ""}, "calls is empty"),
            ({"calls": "8, 1"}, "calls has '1', but must be whole numbers from 2 to 500"),
            ({"calls": "8, many"}, "calls has 'many'"),
            ({"filename_prefix": "../out"}, "leads out of its folder"),
        ],
    )  # fmt: skip
    def test_refused_before_anything_runs(self, model_server, change, words):
        with pytest.raises(ComfyUIError, match="refused") as refused:
            prompt = counted("euler")
            prompt["test"]["inputs"] |= change
            model_server.queue(prompt)
        assert words in str(refused.value)

    @pytest.mark.parametrize(
        ("levels", "words"),
        [("14.6, 0.0", "2 noise levels, but must have 3 or more"), ("14.6, 20, 0", "goes from 14.6 to 20"),
         ("14.6, 3, 3, 0", "goes from 3 to 3")],
    )  # fmt: skip
    def test_sigmas_that_cannot_be(self, model_server, levels, words):
        prompt = counted("euler")
        prompt["sigmas"] = node("ManualSigmas", sigmas=levels)
        prompt["test"]["inputs"]["sigmas"] = ["sigmas", 0]
        entry = model_server.wait(model_server.queue(prompt))
        assert words in error_message(entry)

    def test_a_sampler_that_cannot_run_is_told_before_the_model_is_called(self, model_server):
        name = f"convergence{next(_number)}"
        entry = model_server.wait(model_server.queue(counted("euler\ndpmpp_2m_sde solver_type=best", name=name)))
        assert "the line 'dpmpp_2m_sde solver_type=best' of samplers cannot run" in error_message(entry)
        prompt = {**demo(), "text": node("PrimitiveString", value="x"), "tell": node("ProbeTell", text=["text", 0],
                  name=name)}  # fmt: skip
        assert json.loads(model_server.run(prompt)["tell"]["text"][1]) == {}


def test_speaks_the_page_s_language(model_server):
    """Sentence and table; the CSV file is the same for everyone."""
    with listening(model_server) as (_, client):
        wish = {"client_id": client, "show": "off", "language": "fr"}
        assert model_server.post("/erk_guid/live", wish) == (200, {"connected": True})
        prompt = {**demo(), **convergence("erk_abm\neuler", seed=77)}
        shown = model_server.wait(model_server.queue(prompt, client))["outputs"]["test"]
        said, text = shown["text"]
        assert "est aussi proche que" in said and said in text and "échantillonneur" in text
        assert {row["sampler"] for row in rows_of(model_server, shown)} == {"erk_abm max_order=4", "erk_abm", "euler"}


class listening:
    """A page's connection: (socket, client id)."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __enter__(self):
        import websocket

        client = uuid.uuid4().hex
        address = f"{self.server.address.replace('http', 'ws')}/ws?clientId={client}"
        self.socket = websocket.create_connection(address, timeout=120)
        return self.socket, client

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def events(socket: Any, prompt_id: str) -> Any:
    """What the server tells until the prompt is over, its end included; a picture is {"type": "preview"}."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        message = socket.recv()
        if isinstance(message, bytes):
            yield {"type": "preview", "data": {}}
            continue
        event = json.loads(message)
        yield event
        ended = event["type"] in ("execution_success", "execution_error", "execution_interrupted")
        if ended and event["data"].get("prompt_id") == prompt_id:
            return
    raise AssertionError("no end of the prompt was told")
