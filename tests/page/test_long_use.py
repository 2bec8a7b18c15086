"""Five hundred prompts in one server, with the page and its chart open all the while."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest
from browser import ComfyPage, a_browser
from graphs import MODES, NOISY, SOLVERS, resident
from prompts import demo, erk_ksampler, node

PROMPTS, A_TENTH = 500, 50
GROWTH = 60
"""MB that the server may grow by from the second tenth to the last: ComfyUI's history of prompts, and plots."""
SIZES = (64, 96, 128)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_and_speed_stay_as_they_are(server, capsys):
    """Sizes, batches, models, solvers and modes change from prompt to prompt. Every eleventh has a plot.

    The times of the same kind of prompt are compared: those of the last fifth with those of the second.
    """
    memory, heap, seconds = [], [], {}
    with a_browser() as browser:
        page = ComfyPage(browser, server, "classic")
        page.load_prompt(
            {
                "1": demo()["demo"],
                "2": _on_one(erk_ksampler("abm", "calibrated", steps=6)["sampler"]),
                "3": node("VAEDecode", samples=["2", 0], vae=["1", 3]),
                "4": node("PreviewImage", images=["3", 0]),
                "5": node("StiffnessVisualizerERKGuid", trace=["2", 1]),
            }
        )
        solvers = [*SOLVERS, *NOISY]
        for number in range(PROMPTS):
            solver, side, kind = solvers[number % 7], SIZES[number % 3], ("eps", "v", "flow")[number % 3]
            mode = MODES[number % 2 if solver in NOISY else number % len(MODES)]
            mode = mode if solver not in NOISY or mode != "paper" else "off"
            for name, value in (("kind", kind), ("width", side), ("height", side), ("batch_size", 1 + number % 4)):
                page.set_widget(1, name, value)
            for name, value in (("seed", number), ("solver", solver), ("mode", mode), ("steps", 4 + number % 5)):
                page.set_widget(2, name, value)
            page.run("(on) => { app.rootGraph.getNodeById(5).mode = on ? 0 : 2; }", number % 11 == 0)
            begin = time.perf_counter()
            page.start()
            done = page.run("() => window.done")
            seconds.setdefault((side, 1 + number % 4), []).append((number, time.perf_counter() - begin))
            assert done["type"] == "execution_success", done
            memory.append(resident(server.process.pid))
            if number % A_TENTH == A_TENTH - 1:
                heap.append(page.run("() => performance.memory.usedJSHeapSize") / 2**20)
                assert page.elements() <= 2 and page.chart(2)["title"]
        assert page.own_errors == []
    early, late = (
        statistics.median(
            statistics.median(second for number, second in kind if first <= number < first + PROMPTS // 5)
            for kind in seconds.values()
        )
        for first in (PROMPTS // 5, PROMPTS - PROMPTS // 5)
    )
    with capsys.disabled():
        print(
            f"\nserver, MB: {[round(one) for one in memory[A_TENTH - 1 :: A_TENTH]]}; "
            f"page, MB: {[round(one) for one in heap]}; seconds a prompt: {early:.2f}, {late:.2f}"
        )
    assert max(memory[-A_TENTH:]) - max(memory[A_TENTH : 2 * A_TENTH]) < GROWTH
    assert heap[-1] - heap[len(heap) // 2] < 30
    assert late < 1.25 * early


def _on_one(sampler: dict) -> dict:
    """The sampler with the demo model under its number."""
    links = {name: ["1", value[1]] if isinstance(value, list) else value for name, value in sampler["inputs"].items()}
    return {**sampler, "inputs": links}
