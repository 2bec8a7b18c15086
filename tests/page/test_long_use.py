"""Five hundred prompts in one server, with the page and its chart open all the while."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

import pytest
from browser import ComfyPage, a_browser
from graphs import MODES, NOISY, NOISY_MODES, SOLVERS, resident
from prompts import demo, erk_ksampler, node

ROUNDS, A_ROUND = 5, 100
GROWTH = 30
"""MB that the server may grow by, in the median, from the second round to the last: ComfyUI's history, and plots."""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_and_speed_stay_as_they_are(server, capsys):
    """A hundred prompts, each drawn by chance, run five times over with other seeds. Every eleventh has a plot."""
    draw = random.Random(0)
    prompts = [_drawn(draw) for _ in range(A_ROUND)]
    memory, heap, seconds = [], [], []
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
        for number in range(ROUNDS * A_ROUND):
            of_demo, of_sampler = prompts[number % A_ROUND]
            for name, value in of_demo.items():
                page.set_widget(1, name, value)
            for name, value in {**of_sampler, "seed": number}.items():
                page.set_widget(2, name, value)
            page.run("(on) => { app.rootGraph.getNodeById(5).mode = on ? 0 : 2; }", number % 11 == 0)
            begin = time.perf_counter()
            page.start()
            done = page.run("() => window.done")
            seconds.append(time.perf_counter() - begin)
            assert done["type"] == "execution_success", done
            memory.append(resident(server.process.pid))
            if number % 50 == 49:
                page.settle()
                assert len(page.chart(2)["points"]) == of_sampler["steps"]
                assert page.elements() <= 2
                heap.append(_held(page))
        assert page.own_errors == []
    rounds = [slice(begin, begin + A_ROUND) for begin in range(0, ROUNDS * A_ROUND, A_ROUND)]
    medians = [statistics.median(memory[one]) for one in rounds]
    slower = statistics.median(
        late / early for early, late in zip(seconds[rounds[1]], seconds[rounds[-1]], strict=True)
    )
    with capsys.disabled():
        print(
            f"\nserver, MB: {[round(one) for one in medians]}, {min(memory[A_ROUND:]):.0f} to "
            f"{max(memory[A_ROUND:]):.0f}; page, MB: {[round(one) for one in heap]}; seconds a prompt: "
            f"{statistics.median(seconds):.2f}, the last round {slower:.2f} times the second"
        )
    assert medians[-1] - medians[1] < GROWTH
    assert heap[-1] - heap[len(heap) // 2] < 30
    assert slower < 1.25


def _held(page: ComfyPage) -> float:
    """MB that the page's scripts hold, without what only waits to be collected."""
    tools = page.page.context.new_cdp_session(page.page)
    tools.send("HeapProfiler.collectGarbage")
    held = tools.send("Runtime.getHeapUsage")["usedSize"] / 2**20
    tools.detach()
    return held


def _drawn(draw: random.Random) -> tuple[dict, dict]:
    """Widgets of the demo model and of the sampler."""
    side = draw.choice((64, 96, 128))
    solver = draw.choice([*SOLVERS, *NOISY])
    return (
        {"kind": draw.choice(("eps", "v", "flow")), "width": side, "height": side, "batch_size": draw.randint(1, 4)},
        {
            "solver": solver,
            "mode": draw.choice(NOISY_MODES if solver in NOISY else MODES),
            "steps": draw.randint(4, 8),
        },
    )


def _on_one(sampler: dict) -> dict:
    """The sampler with the demo model under its number."""
    links = {name: ["1", value[1]] if isinstance(value, list) else value for name, value in sampler["inputs"].items()}
    return {**sampler, "inputs": links}
