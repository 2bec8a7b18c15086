"""The live view's server side: what is sent, when, and at what cost. A run neither waits for it nor fails with it."""

from __future__ import annotations

import contextlib
import json
import logging
import statistics
import time
from types import ModuleType
from typing import Any

import pytest
import torch

from devtools.inprocess import load_pack, pack_module

load_pack()

import comfy.samplers  # noqa: E402
from prompts import custom, demo, erk_ksampler, node, saved, stock_ksampler  # noqa: E402
from sampling import sample, sigmas_for  # noqa: E402

live: ModuleType = pack_module("nodes.live")
page_side: ModuleType = pack_module("nodes.live.page")
view_side: ModuleType = pack_module("nodes.live.view")
samplers: ModuleType = pack_module("nodes.samplers")
demo_model: ModuleType = pack_module("nodes.demo.model")
pair: ModuleType = pack_module("erk.pair")
integrate: ModuleType = pack_module("erk.integrate")
erk: ModuleType = pack_module("erk")

ORIGIN = live.Origin(prompt="p", node="3")
ALL = pytest.mark.parametrize(("solver", "mode"), [(solver, mode) for solver in erk.SOLVERS for mode in erk.MODES])


def run(
    solver: str, mode: str, *, trace: Any = None, batch: int = 2, steps: int = 6, callback: Any = None
) -> torch.Tensor:
    model = demo_model.build_demo_model("eps")
    return sample(
        model, f"erk_{solver}", sigmas_for(model, steps), {"mode": mode, "trace": trace}, batch=batch, callback=callback
    )


@pytest.fixture
def sent(monkeypatch):
    """The messages of runs in this process, as if a page were connected."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(page_side, "_connect", lambda trace: live.LiveView(messages.append, ORIGIN))
    return messages


def assert_tells(messages: list[dict[str, Any]], trace: dict[str, Any], traced: bool = True) -> None:
    """One message for each step of a trace's dict, in order, with its numbers."""
    assert len({message["run"] for message in messages}) == 1
    assert [message["step"] for message in messages] == [step["index"] for step in trace["steps"]]
    for message, step in zip(messages, trace["steps"], strict=True):
        known = [value for value in step["stiffness"] if value is not None]
        assert message["stiffness"] == (statistics.median(known) if known else None)
        known_believed = [value for value in step["believed"] if value is not None]
        assert message["believed"] == (statistics.median(known_believed) if known_believed else None)
        assert message["spread"] == ([min(known), max(known)] if known and len(step["stiffness"]) > 1 else None)
        known = [value for value in step["h_stiffness"] if value is not None]
        assert message["h_stiffness"] == (statistics.median(known) if known else None)
        assert message["h_spread"] == ([min(known), max(known)] if known and len(step["h_stiffness"]) > 1 else None)
        known = [value for value in step["correction"] if value is not None]
        assert message["correction"] == (statistics.median(known) if known else None)
        assert message["active"] == any(step["active"])
        assert sum(message["held"].values()) == sum(reason != "" for reason in step["held"])
        assert (message["sigma"], message["sigma_next"]) == (step["sigma"], step["sigma_next"])
        assert message["steps"] == len(trace["run"]["sigmas"]) - 1
        assert [message[name] for name in ("solver", "mode")] == [trace["run"][name] for name in ("solver", "mode")]
        assert message["settings"] == {
            name: trace["run"][name] for name in erk.SETTINGS if trace["run"][name] is not None
        }
    known = [error for error in trace["error"] if error is not None and traced]
    assert messages[-1].get("error") == (pytest.approx(statistics.median(known), rel=0.01) if known else None)
    assert all("error" not in message for message in messages[:-1])


class TestMessages:
    @ALL
    @pytest.mark.parametrize("batch", [1, 2])
    def test_tell_the_trace(self, sent, solver, mode, batch):
        trace = erk.Trace()
        run(solver, mode, trace=trace, batch=batch)
        assert_tells(sent, trace.as_dict())
        measured = sum(message["stiffness"] is not None for message in sent)
        # An off run is measured too. A rule may do without pairs, and then there is no stiffness. Calibrated has pairs
        # if somebody observes the run.
        pairs = getattr(pack_module("erk.guidance").GUIDANCES[mode], "pairs", True)
        assert measured >= 4 if pairs else measured == 0
        json.dumps(sent, allow_nan=False)
        assert all(len(json.dumps(message)) < 700 for message in sent)

    @ALL
    def test_without_a_trace_as_well(self, sent, solver, mode):
        run(solver, mode)
        untraced, trace = list(sent), erk.Trace()
        sent.clear()
        run(solver, mode, trace=trace)
        assert_tells(untraced, trace.as_dict(), traced=False)  # the error is estimated only for a trace
        assert untraced[0]["run"] != sent[0]["run"], "each run has an id of its own"

    @ALL
    def test_the_picture_is_the_same_to_the_bit(self, monkeypatch, solver, mode):
        expected = run(solver, mode)
        messages: list[dict[str, Any]] = []
        monkeypatch.setattr(page_side, "_connect", lambda trace: live.LiveView(messages.append, ORIGIN))
        assert torch.equal(run(solver, mode), expected)
        assert len(messages) == 6

    @pytest.mark.parametrize(
        "values", [[float("nan")], [float("inf")], [float("nan"), 2.0], [float("-inf"), float("nan")]]
    )
    def test_json_never_holds_what_is_not_finite(self, values):
        record = erk.StepRecord(
            0,
            float("inf"),
            0.0,
            values,
            values,
            [False] * len(values),
            values,
            1,
            *[values] * 3,
            ["strayed", "", "repeated"][: len(values)],
        )
        info = erk.RunInfo("heun", "paper", "eps", [1.0, 0.0], {"w_con": float("inf")})
        message = json.loads(json.dumps(live.message(record, info, ORIGIN, "r"), allow_nan=False))
        assert message["stiffness"] == (2.0 if 2.0 in values else None)
        assert message["believed"] == message["stiffness"]
        assert message["held"] == {"strayed": 1}
        assert message["sigma"] is None and message["settings"] == {"w_con": None}


class TestNobodyLooksOn:
    @pytest.mark.parametrize("solver", erk.SOLVERS)
    def test_nothing_is_measured(self, monkeypatch, solver):
        """A script without a server, or a run whose page is gone, computes neither norms nor values."""

        def never(*args, **kwargs):
            raise AssertionError("measured for nobody")

        monkeypatch.setattr(integrate, "measure", never)
        monkeypatch.setattr(pair.EmbeddedPair, "difference", never)
        run(solver, "off")
        server = type("Server", (), {"client_id": "gone", "sockets": {}})()
        monkeypatch.setattr(page_side, "_server", lambda: server)
        run(solver, "off")

    def test_no_server(self):
        assert page_side._server() is None
        with live.watching(None) as view:
            assert view is None


class TestFailures:
    def test_a_failing_connection_costs_the_view_and_not_the_run(self, monkeypatch, caplog):
        expected = run("heun", "calibrated")
        calls = []

        def send(message):
            calls.append(message)
            raise OSError("the wire is cut")

        view_side.warn.cache_clear()
        monkeypatch.setattr(page_side, "_connect", lambda trace: live.LiveView(send, ORIGIN))
        with caplog.at_level(logging.WARNING):
            assert torch.equal(run("heun", "calibrated"), expected)
            assert torch.equal(run("heun", "calibrated"), expected)
        assert len(calls) == 2, "tried once a run"
        assert [record.message for record in caplog.records if "the wire is cut" in record.message] == [
            caplog.records[-1].message
        ]

    def test_a_failing_look_up(self, monkeypatch, caplog):
        view_side.warn.cache_clear()
        expected = run("deis", "off")

        def broken(trace):
            raise AttributeError("ComfyUI has changed")

        monkeypatch.setattr(page_side, "_connect", broken)
        with caplog.at_level(logging.WARNING):
            assert torch.equal(run("deis", "off"), expected)
        assert "ComfyUI has changed" in caplog.text and "the sampling goes on" in caplog.text

    def test_an_interrupted_run_has_told_its_steps_and_raises(self, sent):
        def stop(i, denoised, x, total):
            if i == 3:
                raise comfy.model_management.InterruptProcessingException()

        with pytest.raises(comfy.model_management.InterruptProcessingException):
            run("dpm_2", "off", callback=stop)
        assert [message["step"] for message in sent] == [0, 1, 2]


class _Arrival:
    """A copy from a device that arrives when the test says so."""

    def __init__(self) -> None:
        self.arrived = self.waited = False

    def query(self) -> bool:
        return self.arrived

    def synchronize(self) -> None:
        self.waited = True


class TestCopiesOnTheirWay:
    def steps(self, count: int) -> list[Any]:
        return [
            erk.MeasuredStep(
                i, float(count - i), float(count - i - 1), i, torch.full((len(erk.QUANTITIES), 1), float(i))
            )
            for i in range(count)
        ]

    def test_sent_in_order_when_they_have_come_and_waited_for_at_the_end_alone(self, monkeypatch):
        messages: list[dict[str, Any]] = []
        view = live.LiveView(messages.append, ORIGIN)
        arrivals = [_Arrival() for _ in range(4)]
        monkeypatch.setattr(view, "_fetch", lambda step: view_side._OnItsWay(step, step.values, arrivals[step.index]))
        view.begin(erk.RunInfo("heun", "off", "eps", [4.0, 3.0, 2.0, 1.0, 0.0]))
        one, two, three, four = self.steps(4)
        view.record(one)
        view.record(two)
        assert messages == []
        arrivals[1].arrived = True
        view.poll()
        assert messages == [], "the first is still on its way, and order is kept"
        arrivals[0].arrived = True
        view.poll()
        assert [message["step"] for message in messages] == [0, 1]
        view.record(three)
        view.record(four)
        view.finish()
        assert [message["stiffness"] for message in messages] == [0.0, 1.0, 2.0, 3.0]
        assert arrivals[2].waited and arrivals[3].waited

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu_recording_never_waits(self):
        messages: list[dict[str, Any]] = []
        view = live.LiveView(messages.append, ORIGIN)
        view.begin(erk.RunInfo("heun", "off", "eps", [4.0, 3.0, 2.0, 1.0, 0.0]))
        steps = [erk.MeasuredStep(s.index, s.sigma, s.sigma_next, 1, s.values.cuda()) for s in self.steps(4)]
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in steps:
                view.record(step)
                view.poll()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        view.finish()
        assert [message["stiffness"] for message in messages] == [0.0, 1.0, 2.0, 3.0]


@pytest.fixture
def page(server):
    """The messages on a page's connection. Call it with a prompt to get the messages and the outputs."""
    import websocket

    client = f"live-{time.monotonic_ns()}"
    socket = websocket.create_connection(f"{server.address.replace('http', 'ws')}/ws?clientId={client}", timeout=120)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    def queue(prompt: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        prompt_id = server.queue(prompt, client)
        messages = []
        while True:
            data = socket.recv()
            if isinstance(data, bytes):
                continue
            event = json.loads(data, parse_constant=refuse)
            if event["type"] == "erk_guid.step":
                assert event["data"]["prompt_id"] == prompt_id
                messages.append(event["data"])
            if event["type"] in ("execution_success", "execution_error") and event["data"]["prompt_id"] == prompt_id:
                assert event["type"] == "execution_success", event
                return messages, server.wait(prompt_id)["outputs"]

    queue.client = client
    queue.socket = socket
    yield queue
    socket.close()


def seed() -> int:
    return time.monotonic_ns() % 2**32


class TestServer:
    shown = {
        "plot": node("StiffnessVisualizerERKGuid", trace=["sampler", 1]),
        "show": node("PreviewAny", source=["plot", 1]),
    }

    @pytest.mark.parametrize("mode", ["calibrated", "paper", "off"])
    def test_one_message_a_step(self, page, mode):
        messages, outputs = page(
            {**demo(batch=2), **erk_ksampler("heun", mode, seed=seed()), **self.shown, **saved(["sampler", 0])}
        )
        assert len(messages) == 8
        assert_tells(messages, json.loads(outputs["show"]["text"][0]))
        assert {message["node"] for message in messages} == {"sampler"}
        assert all(message["views"] == ["plot"] and message["type"] == "KSamplerERKGuid" for message in messages)

    def test_stock_node(self, page):
        messages, _ = page({**demo(), **stock_ksampler("erk_dpm_2", seed=seed()), **saved(["sampler", 0])})
        assert [message["step"] for message in messages] == list(range(8))
        assert {(message["node"], message["type"], len(message["views"])) for message in messages} == {
            ("sampler", "KSampler", 0)
        }
        assert page({**demo(), **stock_ksampler("euler", seed=seed()), **saved(["sampler", 0])})[0] == []

    def test_sampler_node_and_its_visualizers(self, page):
        """Two samplers with the same settings are separate: each visualizer gets the steps of its own."""
        prompt = {**demo(), **custom("deis", "paper", seed=seed()), **saved(["sampler", 0])}
        prompt["erk2"] = dict(prompt["erk"])
        prompt["sampler2"] = node("SamplerCustomAdvanced", **{**prompt["sampler"]["inputs"], "sampler": ["erk2", 0]})
        for i, (name, run_by) in enumerate([("erk", "sampler"), ("erk2", "sampler2")]):
            prompt[f"plot{i}"] = node("StiffnessVisualizerERKGuid", trace=[name, 1], latent=[run_by, 0])
            prompt[f"show{i}"] = node("PreviewAny", source=[f"plot{i}", 1])
        messages, outputs = page(prompt)
        for i, run_by in enumerate(("sampler", "sampler2")):
            told = [message for message in messages if message["node"] == run_by]
            assert_tells(told, json.loads(outputs[f"show{i}"]["text"][0]))
            assert all(
                message["views"] == [f"plot{i}"] and message["type"] == "SamplerCustomAdvanced" for message in told
            )

    def test_two_runs_in_one_node(self, page):
        """A list of latents makes a node run twice. These are two separate runs."""
        prompt = {**demo(), **stock_ksampler("erk_deis", seed=seed()), **saved(["sampler", 0])}
        prompt["twice"] = node("RebatchLatents", latents=["batch", 0], batch_size=1)
        prompt["batch"] = node("RepeatLatentBatch", samples=["demo", 4], amount=2)
        prompt["sampler"]["inputs"]["latent_image"] = ["twice", 0]
        messages, _ = page(prompt)
        runs = list(dict.fromkeys(message["run"] for message in messages))
        assert len(runs) == 2
        assert [message["step"] for message in messages] == [*range(8), *range(8)]

    @pytest.mark.parametrize(("show", "ours", "stock"), [("off", 0, 0), ("erk", 8, 0), ("all", 8, 8)])
    def test_a_page_says_where_it_wants_the_chart(self, server, page, show, ours, stock):
        assert server.post(live.ROUTE, {"client_id": page.client, "show": show}) == (200, {"connected": True})
        assert len(page({**demo(), **erk_ksampler("deis", seed=seed()), **saved(["sampler", 0])})[0]) == ours
        assert len(page({**demo(), **stock_ksampler("erk_deis", seed=seed()), **saved(["sampler", 0])})[0]) == stock

    @pytest.mark.parametrize(
        "data", [{}, [], 1, {"client_id": "x"}, {"client_id": "x", "show": "some"}, {"client_id": "x", "show": None}]
    )
    def test_a_wrong_wish_is_refused(self, server, data):
        status, answer = server.post(live.ROUTE, data)
        assert status == 400 and "ERK-Guid" in answer["error"]

    @pytest.mark.parametrize("language", ["fr", "en", "xx", "../../x", None])
    def test_the_plot_speaks_the_page_s_language(self, server, page, language):
        """In one that there is not, English."""
        wish = {"client_id": page.client, "show": "all", **({} if language is None else {"language": language})}
        assert server.post(live.ROUTE, wish) == (200, {"connected": True})
        view = {
            "view": node("StiffnessVisualizerERKGuid", trace=["sampler", 1], trace_2=["sampler", 1]),
            "text": node("PreviewAny", source=["view", 1]),
        }
        _, outputs = page({**demo(), **erk_ksampler("deis", seed=seed()), **view})
        labels = [run["label"] for run in json.loads(outputs["text"]["text"][0])["runs"]]
        assert labels == (["exécution 1", "exécution 2"] if language == "fr" else ["run 1", "run 2"])

    def test_an_unknown_page_is_not_remembered(self, server):
        assert server.post(live.ROUTE, {"client_id": "nobody", "show": "off"}) == (200, {"connected": False})

    def test_a_page_that_goes_while_sampling(self, server, page):
        prompt = {**demo(), **erk_ksampler("heun", seed=seed(), steps=60), **saved(["sampler", 0])}
        prompt_id = server.queue(prompt, page.client)
        with contextlib.suppress(Exception):
            page.socket.close()
        assert server.wait(prompt_id)["status"]["status_str"] == "success"
