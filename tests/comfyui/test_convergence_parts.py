"""Parts of the Convergence Test: counting, schedules, distances, the sentence, what is kept."""

from __future__ import annotations

import gc
import importlib
import itertools
import math
from typing import Any

import pytest
import torch

from devtools.inprocess import load_pack, pack_module

load_pack()

import comfy.samplers  # noqa: E402

PACK = load_pack().__name__


def part(name: str) -> Any:
    return importlib.import_module(f"{PACK}.nodes.convergence.{name}")


entries, schedules, counting, running = part("entries"), part("schedules"), part("counting"), part("running")
comparison, distances, keeping, pictures = part("comparison"), part("distances"), part("keeping"), part("pictures")
table, grid, figure = part("table"), part("grid"), part("figure")
demo, language = pack_module("nodes.demo.model"), pack_module("nodes.traces.language")
texts = importlib.import_module(f"{PACK}.nodes.traces.texts")


class Silent:
    """A progress bar that nobody sees."""

    denoised = None

    def called(self, count: int) -> None:
        pass

    def show(self, *_: Any) -> None:
        pass


def entry(line: str) -> Any:
    return entries.read_entries(line)[0]


def setting(kind: str = "eps", batch: int = 1, seed: int = 3, cfg: float = 3.0, model: Any = None) -> Any:
    return running.Setting(
        model or demo.build_demo_model(kind), demo.class_conditioning("arcs"), demo.class_conditioning("everything"),
        {"samples": torch.zeros(batch, 3, 64, 64)}, seed, cfg,
    )  # fmt: skip


def counter(kind: str, scheduler: str) -> Any:
    model = demo.build_demo_model(kind)
    return counting.Counter(model.get_model_object("model_sampling"), schedules.scheduled(model, scheduler))


def row(label: str, budget: int, errors: list[float], calls: int | None = None, note: str = "") -> Any:
    plan = counting.Plan(entries.Entry(label, label.split()[0]), budget, torch.ones(budget + 1), budget)
    outcome = running.Outcome(torch.zeros(1, 3, 64, 64), calls or budget, 1.0, note)
    return comparison.Row(plan, outcome, errors)


def compared(curves: dict[str, dict[int, float]], floor: float = 1e-5, stochastic: tuple[str, ...] = ()) -> Any:
    rows = [row(label, calls, [error]) for label, curve in curves.items() for calls, error in curve.items()]
    return comparison.Comparison(row("reference", 200, [floor]), rows, frozenset(stochastic))


class TestCounting:
    @pytest.mark.parametrize(
        ("kind", "scheduler"), [("eps", "karras"), ("eps", "ddim_uniform"), ("flow", "simple"), ("v", "beta")]
    )
    def test_a_dry_run_makes_the_calls_of_a_run_with_every_sampler(self, kind, scheduler):
        """And the plan is the longest run that makes no more than its budget."""
        here, counts = setting(kind), counter(kind, scheduler)
        for name in comfy.samplers.SAMPLER_NAMES:
            one = entry(name)
            for plan in counts.plans(one, [3, 8]):
                made = here.run(one, plan.sigmas, Silent()).calls
                if plan.adaptive:
                    assert name == "dpm_adaptive"
                    continue
                assert made == plan.calls <= plan.budget, (name, plan.budget)
                assert counts._calls(one, plan.steps + 1) > plan.budget or scheduler == "ddim_uniform", name

    def test_samplers_that_draw_noise_are_found(self):
        counts = counter("eps", "karras")
        drawing = {name for name in comfy.samplers.SAMPLER_NAMES if counts.is_stochastic(entry(name))}
        assert {"lcm", "ddpm", "er_sde", "sa_solver"} <= drawing
        quiet = {
            "euler",
            "euler_ancestral",
            "dpmpp_2m_sde",
            "dpmpp_sde",
            "seeds_3",
            "uni_pc",
            "erk_abm",
            "dpm_adaptive",
        }
        assert not quiet & drawing
        for name in (name for name in comfy.samplers.SAMPLER_NAMES if name.endswith("euler_ancestral")):
            assert not counts.is_stochastic(entry(name)) and counts.is_stochastic(entry(f"{name} eta=0.5")), name

    def test_the_state_of_random_numbers_stays(self):
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        counter("eps", "karras").is_stochastic(entry("dpmpp_sde"))
        assert torch.equal(torch.random.get_rng_state(), before)


class TestSchedules:
    def test_resampled_levels_keep_their_ends_and_fall(self):
        levels = [14.6, 5.0, 1.0, 0.3, 0.03, 0.0]
        assert schedules.resample(levels, 5) == pytest.approx(levels)
        for steps in (2, 3, 8, 40):
            made = schedules.resample(levels, steps)
            assert len(made) == steps + 1 and made[0] == 14.6 and made[-2:] == [0.03, 0.0]
            assert all(one > other for one, other in itertools.pairwise(made))
        assert schedules.resample(levels[:-1], 8)[-1] == 0.03
        # Halfway between two levels in number is halfway between their logarithms.
        assert schedules.resample([4.0, 1.0, 0.25, 0.0], 5)[1] == pytest.approx(2.0)

    def test_the_long_run_divides_the_last_step_too(self):
        made = schedules.given_to_the_end(torch.tensor([1.0, 0.5, 0.2, 0.0]))("erk_abm", 12).tolist()
        assert len(made) == 13 and made[-1] == 0.0 and sum(level < 0.2 for level in made) == 4
        assert made[-4:] == pytest.approx([0.15, 0.1, 0.05, 0.0])

    @pytest.mark.parametrize("levels", [[1.0, 0.0], [1.0, 1.0, 0.0], [0.5, 1.0, 0.0], [math.inf, 1.0, 0.0], [1, 0, -1]])
    def test_levels_that_cannot_be(self, levels):
        with pytest.raises(ValueError, match="ERK-Guid: sigmas"):
            schedules.check_levels(torch.tensor(levels, dtype=torch.float32))


class TestSentence:
    def test_calls_are_interpolated_and_never_extrapolated(self):
        curve = [(8, 0.08), (16, 0.02)]  # error falls with the square of the calls
        assert comparison.calls_to_reach(curve, 0.08 / 2) == pytest.approx(8 * math.sqrt(2))
        assert comparison.calls_to_reach(curve, 0.02) == pytest.approx(16)
        assert comparison.calls_to_reach(curve, 0.019) is None
        assert comparison.calls_to_reach(curve, 0.5) == 8

    def test_names_the_nearest_and_what_the_others_need(self):
        curves = {
            "erk_abm": {8: 0.1, 12: 0.04, 16: 0.02, 24: 0.01}, "dpmpp_2m": {8: 0.16, 12: 0.1, 16: 0.07, 24: 0.02},
            "euler": {8: 0.4, 12: 0.3, 16: 0.2, 24: 0.1}, "lcm": {8: 0.01, 12: 0.01, 16: 0.01, 24: 0.01},
        }  # fmt: skip
        said = comparison.sentence(compared(curves, stochastic=("lcm",)))
        assert said == "erk_abm at 12 calls is as near as dpmpp_2m at 20 and euler at more than 24."
        curves["dpmpp_2m"] = dict.fromkeys((8, 12, 16, 24), 0.001)
        assert comparison.sentence(compared(curves, stochastic=("lcm",))) == (
            "dpmpp_2m at 12 calls is as near as erk_abm and euler at more than 24."
        )

    def test_where_nothing_can_be_said(self):
        curves = {"erk_abm": {8: 0.1}}
        assert "is 0.1 of the picture's own spread away" in comparison.sentence(compared(curves))
        assert "own error (0.2): raise reference" in comparison.sentence(compared(curves, floor=0.2))
        assert "can be compared yet" in comparison.sentence(compared({"erk_abm": {8: math.inf}}))


class TestDistances:
    def test_per_sample_relative_to_the_reference(self):
        reference = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        latent = reference.clone()
        latent[1] += 0.5 * reference[1].std(correction=0)
        latent[2, 0, 0, 0] = math.nan
        assert distances.relative_errors(latent, reference) == pytest.approx([0.0, 0.5, math.inf])
        assert comparison.Row(None, None, [0.01, 0.02, 5.0]).median == 0.02


class TestKept:
    def test_by_what_decides_a_run(self):
        model = demo.build_demo_model("eps")
        one, sigmas = entry("euler"), torch.tensor([14.6, 1.0, 0.0])
        outcome = running.Outcome(torch.zeros(1, 3, 64, 64), 2, 0.1)
        kept = keeping.kept_for("7", setting(model=model))
        kept.put(one, sigmas, outcome)
        assert keeping.kept_for("7", setting(model=model)).get(one, sigmas) is outcome
        assert kept.get(entry("euler s_churn=1"), sigmas) is None and kept.get(one, sigmas / 2) is None
        for other in (setting(model=model, seed=4), setting(model=model, cfg=2.0), setting(), setting(batch=2)):
            assert keeping.kept_for("7", other).get(one, sigmas) is None
        assert keeping.kept_for("7", setting(model=model)).get(one, sigmas) is None, "the old setting was let go of"
        assert keeping.kept_for(None, setting(model=model)).get(one, sigmas) is None

    def test_bounded_and_gone_with_the_model(self, monkeypatch):
        monkeypatch.setattr(keeping, "MOST_BYTES", 3 * 3 * 64 * 64 * 4)
        here, one = setting(), entry("euler")
        kept = keeping.kept_for("9", here)
        for steps in range(2, 8):
            kept.put(one, torch.ones(steps), running.Outcome(torch.zeros(1, 3, 64, 64), steps, 0.1))
        assert [steps for steps in range(2, 8) if kept.get(one, torch.ones(steps))] == [5, 6, 7]
        held = len(keeping._kept)
        del here, kept
        gc.collect()
        assert len(keeping._kept) < held

    def test_out_of_memory_is_tried_again(self):
        kept = keeping.kept_for("8", setting())
        kept.put(entry("euler"), torch.ones(3), running.Outcome(None, 1, 0.1, "out of memory"))
        assert kept.get(entry("euler"), torch.ones(3)) is None


class TestPictures:
    def test_sixteen_lines_look_different_and_stay_inside(self):
        curves = {f"erk_abm w_con={i}": {8: 0.1 / (i + 1), 24: 0.01 / (i + 1)} for i in range(16)}
        drawn = figure.draw(compared(curves), "A sentence.", "about", "light")
        lines = [line for line in drawn.axes[0].lines if line.get_gid() in curves]
        looks = {(line.get_color(), str(line.get_linestyle()), line.get_marker()) for line in lines}
        assert len(lines) == 16 and len(looks) == 16
        (floor,) = [line for line in drawn.axes[0].lines if line.get_gid() == "floor"]
        assert floor.get_ydata()[0] == 1e-5
        assert (drawn.axes[0].get_xscale(), drawn.axes[0].get_yscale()) == ("log", "log")

    def test_what_a_latent_shows(self):
        here = setting()
        latent = torch.rand(2, 3, 64, 32) * 2 - 1
        shown = pictures.picture_of(latent, here.model)
        assert shown.size == (32, 64)
        sound = torch.zeros(1, 8, 100)
        assert pictures.picture_of(sound, here.model) is None
        made = grid.draw_grid(compared({"euler": {8: 0.1}}), "A sentence.", lambda _: None, "dark")
        assert made.size[0] > 300, "a grey field stands in the place of a picture"

    def test_the_table_has_every_note(self):
        rows = [row("euler", 8, [0.1, 0.3]), row("euler", 16, [], note="out of memory")]
        made = comparison.Comparison(row("reference", 200, [0.001]), rows, complete=False)
        text = table.as_text(made, "A sentence.")
        assert "0.2" in text and "out of memory" in text and "Stopped before all was run" in text
        lines = table.as_csv(made, {"seed": 7}).splitlines()
        assert lines[0].endswith(",note,seed") and len(lines) == 1 + 1 + 2 + 1
        assert lines[-1].endswith(",out of memory,7")


class TestLanguage:
    """The page's language, as in the visualizer's plot; what programs read stays English."""

    CURVES = {"erk_abm": {8: 0.1, 12: 0.04, 16: 0.02}, "euler": {8: 0.4, 12: 0.3, 16: 0.2}}

    def test_sentence_plot_and_table(self):
        made = compared(self.CURVES)
        with language.speaking("fr"):
            said = comparison.sentence(made)
            drawn = figure.draw(made, said, "", "light")
            text = table.as_text(made, said)
        assert said == "erk_abm à 12 appels est aussi proche que euler à plus de 16."
        assert drawn.axes[0].get_xlabel() == "appels au modèle"
        floor = drawn.legends[0].get_texts()[-1].get_text()
        assert floor == "erreur propre de l\N{RIGHT SINGLE QUOTATION MARK}image convergée"
        assert "échantillonneur" in text and "converged" not in text and "sampler" not in text
        assert comparison.sentence(made).startswith("erk_abm at 12 calls is as near as")

    def test_notes_are_english_where_programs_read_them(self):
        rows = [row("euler", 8, [0.1]), row("euler", 16, [], note=running.OUT_OF_MEMORY)]
        made = comparison.Comparison(row("reference", 200, [0.001]), rows)
        with language.speaking("fr"):
            assert "mémoire insuffisante" in table.as_text(made, "")
        assert table.as_csv(made, {}).splitlines()[-1].endswith(",out of memory")

    def test_the_grid_s_own_words(self, monkeypatch):
        written = []
        monkeypatch.setattr(grid._Sheet, "text", lambda self, place, text, size, colour: written.append(text))
        with language.speaking("fr"):
            grid.draw_grid(compared(self.CURVES), "", lambda _: None, "light")
        assert {"8 appels", "convergé", "8 appels, erreur 0.1"} <= set(written)
        assert any(text.startswith("pas d\N{RIGHT SINGLE QUOTATION MARK}aperçu") for text in written)
        assert not any("calls" in text or "error" in text for text in written)

    def test_a_font_has_every_character(self):
        from PIL import Image, ImageDraw

        for text in ("abc", "écart \N{GREEK SMALL LETTER SIGMA}"):
            sizes = {ImageDraw.Draw(Image.new("L", (9, 9))).textlength(char, texts.font_of(text, 15)) for char in text}
            assert min(sizes) > 0
        assert "DejaVu" in texts.font_of("écart \N{GREEK SMALL LETTER SIGMA}", 15).getname()[0]

    def test_wide_characters_count_twice(self):
        assert language.columns("收敛: 8") == 7
        assert all(language.columns(line) <= 20 for line in language.wrapped("收敛图像自身误差" * 6, 20))
        assert language.wrapped("one two three", 7) == ["one two", "three"]
