"""Calibration: the curves against worlds whose costs are known, what is asked and decided, and the record of it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import emosteer
from emosteer._util.stats import resamples
from emosteer.calibration import Calibration, bench, calibrator
from emosteer.calibration.bench import ScoredAnswer
from emosteer.calibration.curves import Samples, fit_costs, tone_rises, tones_at_cost
from emosteer.errors import EmosteerWarning, FormatError, IncompatibleModelError, InputError, ToneError
from emosteer.eval.prompts import as_prompt, load_bench, load_prompts
from emosteer.eval.sampling import Answer, Cell
from emosteer.models.activations import Passage
from emosteer.reading.emotion_reading import read
from emosteer.vectors.types import Dose
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer

PROMPTS = ("What is new?", "Hm?", "Well, how?", "And then?", "So?", "What of it?")
NOISE, NOISE_OF_TONE = 0.45, 2.0  # of an answer of the embedded model


def samples(group, dose, cost, tone=None, cluster=None):
    n = len(group)
    cluster = np.arange(n) if cluster is None else np.asarray(cluster)
    tone = np.zeros(n) if tone is None else np.asarray(tone)
    return Samples(np.asarray(group), cluster, np.asarray(dose), np.asarray(cost), tone)


def world(factors, exponent, *, n=12, levels=(0.15, 0.2, 0.25, 0.3), seed=0, noise=NOISE):
    draw = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(factors)), n * len(levels))
    dose = np.tile(np.repeat(levels, n), len(factors))
    return samples(group, dose, np.asarray(factors)[group] * dose**exponent + draw.normal(0, noise, len(group)))


# The curves.


def test_costs_without_noise_are_found_exactly():
    fit = fit_costs(world([5.0, 8.0, 11.0], 1.7, noise=0))
    assert fit.exponent == pytest.approx(1.7, abs=1e-3)
    assert fit.factors == pytest.approx([5, 8, 11], rel=0.01)
    assert fit.dose(1, 0.5) == pytest.approx((0.5 / 8) ** (1 / 1.7), rel=1e-3)


def test_noisy_costs_are_found_within_their_standard_errors():
    factors = np.random.default_rng(1).uniform(5, 12, 34)
    off, exponents = [], []
    for seed in range(20):
        fit = fit_costs(world(factors, 2.0, seed=seed))
        exponents.append(fit.exponent)
        doses = np.sqrt(0.5 / factors)  # where the true cost is 0.5
        off.append((fit.factors * doses**fit.exponent - 0.5) / (fit.errors * doses**fit.exponent))
    assert np.mean(exponents) == pytest.approx(2.0, abs=0.1)
    assert np.std(exponents) < 0.2
    assert 0.8 < np.std(off) < 1.3


def test_factors_are_drawn_together_where_only_noise_tells_them_apart():
    alike = world([8.0] * 30, 2.0)
    raw = [alike.cost[alike.group == g].sum() / (alike.dose[alike.group == g] ** 2).sum() for g in range(30)]
    assert np.std(fit_costs(alike).factors) < 0.3 * np.std(raw)
    apart = world(np.linspace(4, 20, 30), 2.0)
    assert np.corrcoef(fit_costs(apart).factors, np.linspace(4, 20, 30))[0, 1] > 0.95


def test_answers_to_one_prompt_that_err_together_are_fewer_than_they_seem():
    draw = np.random.default_rng(0)
    shared = draw.normal(0, 0.5, 10)
    cluster = np.repeat(np.arange(10), 20)
    cost = 0.5 + shared[cluster] + draw.normal(0, 0.01, 200)
    together = samples([0] * 200, [0.2, 0.3] * 100, cost, cluster=cluster)
    alone = samples([0] * 200, [0.2, 0.3] * 100, cost)
    assert fit_costs(together).errors[0] > 3 * fit_costs(alone).errors[0]


def test_what_costs_nothing_has_no_dose_that_costs_the_budget():
    fit = fit_costs(samples([0, 0, 1, 1], [0.2, 0.3] * 2, [-0.1, -0.2, 0.1, 0.3]))
    assert fit.factors[0] == 0
    assert fit.dose(0, 0.5) == float("inf")
    assert fit.dose(1, 0.5) < 1


def tones(curves, n=12, noise=NOISE_OF_TONE, seed=0):
    draw = np.random.default_rng(seed)
    levels = (0.15, 0.2, 0.25, 0.3)
    group = np.repeat(np.arange(len(curves)), n * len(levels))
    dose = np.tile(np.repeat(levels, n), len(curves))
    true = np.array([curves[g](d) for g, d in zip(group, dose, strict=True)])
    return samples(group, dose, 8 * dose**2, true + draw.normal(0, noise, len(group)))


def rising(dose):
    return 16 * dose


def flat(_dose):
    return 3.0


def test_a_tone_that_has_stopped_rising_is_told_from_those_that_rise():
    found = tone_rises(tones([rising] * 6 + [flat] * 2, n=400), [0.3] * 8)
    assert found == [True] * 6 + [False] * 2


def test_noise_alone_seldom_stops_a_tone_that_rises():
    stopped = sum(tone_rises(tones([rising] * 34, seed=seed), [0.25] * 34).count(False) for seed in range(10))
    assert stopped <= 10  # of 340


def test_a_tone_that_cannot_be_read_may_rise():
    unread = tones([flat, flat])
    unread.tone[unread.group == 0] = np.nan
    assert tone_rises(replace(unread, tone=unread.tone), [0.3, 0.3])[0]


def test_tones_of_windows_are_compared_at_the_same_cost():
    dose = np.tile([0.15, 0.3], 40)
    group = np.repeat([0, 1], 40)
    cost = np.array([8.0, 4.0])[group] * dose**2
    found = tones_at_cost(
        samples(group, dose, cost, np.array([16.0, 15.0])[group] * dose, np.tile(np.arange(40), 2)),
        0.5,
        1.0,
        resamples(40),
    )
    assert found[:, 0] == pytest.approx([16 * (0.5 / 8) ** 0.5, 15 * (0.5 / 4) ** 0.5], rel=1e-3)
    assert found.shape == (2, 1001)


# What is decided, in a world that is made up.

EMOTIONS = [f"tone{i}" for i in range(28)]
FACTORS = dict(zip(EMOTIONS, np.random.default_rng(3).uniform(5, 14, len(EMOTIONS)), strict=True))


class World:
    """In the place of a model: costs and tones follow known laws, with the noise of a real one."""

    exponent = 1.8
    noise = 1.0
    n_answers = 0

    def __init__(self, _steered, prompts, seed, _cache, _progress):
        self.prompts, self.asked, self.draw = prompts, [], np.random.default_rng(seed)
        World.last = self

    def factor(self, name):
        return FACTORS[name]

    def tone(self, _name, dose, _layers):
        return 16 * dose

    def ask(self, layers, levels, prompts):
        self.asked.append((layers, dict(levels), tuple(prompts)))
        found = []
        for name, doses in levels.items():
            for i, dose in enumerate(doses):
                for prompt in prompts[i :: len(doses)]:
                    cost = self.factor(name) * dose**self.exponent + self.draw.normal(0, self.noise * NOISE)
                    tone = self.tone(name, dose, layers) + self.draw.normal(0, self.noise * NOISE_OF_TONE)
                    found.append(ScoredAnswer(Cell(name, dose, "additive"), prompt, "", cost, tone))
        return found


@pytest.fixture
def deep():
    model, tokenizer = tiny_model(tiny_config(num_hidden_layers=12)), tiny_tokenizer()
    return emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, EMOTIONS, seed=1))


QUICK = {  # at which all cost .4, or nearly: the divergence does not tell all of the cost
    name: (0.4 / factor) ** (1 / World.exponent) * off
    for (name, factor), off in zip(FACTORS.items(), np.random.default_rng(5).uniform(0.85, 1.15, 28), strict=True)
}


def quick_in(_steered, *, emotions, layers, **_how):
    return {name: Dose(QUICK[name], layers, (1 / len(layers),) * len(layers), divergence=0.4) for name in emotions}


def calibrated_in(monkeypatch, world, steered, **options):
    monkeypatch.setattr(calibrator, "Bench", world)
    monkeypatch.setattr(calibrator, "quick_doses", quick_in)
    return emosteer.calibrate(steered, **options)


def test_strength_one_costs_what_the_record_says_and_the_record_says_the_budget(monkeypatch, deep):
    found = calibrated_in(monkeypatch, World, deep)
    assert found.exponent == pytest.approx(World.exponent, abs=0.25)
    true = {name: FACTORS[name] * one.dose**World.exponent for name, one in found.emotions.items()}
    near = [abs(true[name] - one.cost) <= 0.15 for name, one in found.emotions.items()]
    at_budget = [one for one in found.emotions.values() if one.stopped == "budget"]
    assert sum(near) >= 26
    assert len(at_budget) >= 26
    assert all(one.cost == pytest.approx(0.5, abs=0.002) for one in at_budget)
    assert np.mean([one.standard_error for one in found.emotions.values()]) < 0.08
    assert found.layers == (4, 5, 6, 7)
    assert found.weights == (0.25,) * 4


def test_rounds_are_where_the_answers_point_to_and_on_other_prompts(monkeypatch, deep):
    calibrated_in(monkeypatch, World, deep, emotions=["tone1", "tone2"])
    *probes, first, second = World.last.asked
    assert [layers for layers, _, _ in probes] == [(4, 5, 6, 7), (2, 3, 4, 5), (6, 7, 8, 9)]
    around = {name: pytest.approx((0.75 * QUICK[name], 1.5 * QUICK[name]), rel=1e-3) for name in ("tone1", "tone2")}
    assert all(levels == around for _, levels, _ in probes)
    assert not set(first[2]) & set(second[2])
    assert set(first[2]) | set(second[2]) == set(World.last.prompts) <= set(load_bench("development"))
    assert [len(doses) for doses in first[1].values()] == [3, 3]
    assert second[1]["tone1"] != second[1]["tone2"]
    for name, (lower, upper) in second[1].items():
        assert lower == pytest.approx(0.85 / 1.15 * upper, rel=0.01)
        assert upper / 1.15 == pytest.approx((0.5 / FACTORS[name]) ** (1 / World.exponent), rel=0.35)
    asked = sum(len(prompts) for _, levels, prompts in World.last.asked for _ in levels)
    assert asked == 2 * (3 * 4 + 18 + 24)  # of 34 emotions, with 168 plain answers: 2,004


class Vague(World):
    """One in which answers tell nothing of the differences between emotions."""

    noise = 6.0


def test_where_answers_do_not_tell_emotions_apart_their_divergence_does(monkeypatch, deep):
    few = EMOTIONS[:6]
    for seed in range(3):
        found = calibrated_in(monkeypatch, Vague, deep, emotions=few, seed=seed)
        doses = np.log([found.emotions[name].dose for name in few])
        asked = np.log([QUICK[name] for name in few])
        assert len(set(doses)) == 6
        assert np.corrcoef(doses, asked)[0, 1] > 0.6


def test_where_answers_tell_emotions_apart_they_are_believed(monkeypatch, deep):
    class Clear(World):
        noise = 0.02

    found = calibrated_in(monkeypatch, Clear, deep)
    true = [(0.5 / FACTORS[name]) ** (1 / World.exponent) for name in EMOTIONS]
    assert [found.emotions[name].dose for name in EMOTIONS] == pytest.approx(true, rel=0.03)
    assert [one.factor for one in found.emotions.values()] == pytest.approx(list(FACTORS.values()), rel=0.1)


def test_quick_doses_that_the_vectors_have_are_not_measured_again(monkeypatch, deep):
    class Elsewhere(World):
        def tone(self, _name, dose, layers):
            return (20 if layers == (6, 7, 8, 9) else 16) * dose

    asked = []
    monkeypatch.setattr(calibrator, "Bench", Elsewhere)
    monkeypatch.setattr(calibrator, "quick_doses", lambda *a, **how: asked.append(how["layers"]) or quick_in(*a, **how))
    dosed = replace(deep.vectors, doses=quick_in(None, emotions=EMOTIONS, layers=(4, 5, 6, 7)))
    for vectors, measured in ((deep.vectors, [(4, 5, 6, 7), (6, 7, 8, 9)]), (dosed, [(6, 7, 8, 9)])):
        found = emosteer.calibrate(emosteer.SteeredModel(deep.model, deep.tokenizer, vectors))
        assert found.layers == (6, 7, 8, 9)
        assert asked == measured
        asked.clear()


def test_the_budget_is_a_choice(monkeypatch, deep):
    class Quiet(World):
        noise = 0.05

    doses = [calibrated_in(monkeypatch, Quiet, deep, budget=b).emotions["tone1"].dose for b in (0.25, 0.5)]
    assert doses[1] / doses[0] == pytest.approx(2 ** (1 / World.exponent), rel=0.05)


def test_where_more_adds_no_tone_the_dose_stays_lower(monkeypatch, deep):
    class Saturating(World):
        noise = 0.2

        def tone(self, name, dose, layers):
            return 16 * min(dose, 0.05) if name == "tone3" else super().tone(name, dose, layers)

    found = calibrated_in(monkeypatch, Saturating, deep)
    assert [name for name, one in found.emotions.items() if one.stopped == "saturated"] == ["tone3"]
    one = found.emotions["tone3"]
    assert one.dose in {point.dose for point in one.points}
    assert one.dose / QUICK["tone3"] not in (pytest.approx(0.75, rel=1e-3), pytest.approx(1.5, rel=1e-3))
    assert one.cost == pytest.approx(one.factor * one.dose**found.exponent, rel=1e-3)
    assert one.cost < 0.4


def test_what_costs_too_little_stops_at_the_highest_dose(monkeypatch, deep):
    class Cheap(World):
        noise = 0.2

        def factor(self, name):
            return 0.1 if name == "tone5" else super().factor(name)

    found = calibrated_in(monkeypatch, Cheap, deep)
    one = found.emotions["tone5"]
    assert [name for name, other in found.emotions.items() if other.stopped == "limit"] == ["tone5"]
    assert one.dose == one.points[-1].dose < 0.8 * calibrator.LIMIT  # not further from the others than they reach
    assert one.cost < 0.4


@pytest.mark.parametrize(("bonus", "chosen"), [(4.0, (6, 7, 8, 9)), (0.3, (4, 5, 6, 7)), (-4.0, (4, 5, 6, 7))])
def test_other_layers_are_chosen_only_for_clearly_more_tone(monkeypatch, deep, bonus, chosen):
    class Deeper(World):
        def tone(self, _name, dose, layers):
            return (16 + bonus if layers == (6, 7, 8, 9) else 16) * dose

    found = calibrated_in(monkeypatch, Deeper, deep)
    assert found.layers == chosen
    assert found.windows[0].gain == 0
    assert [window.layers for window in found.windows] == [(4, 5, 6, 7), (2, 3, 4, 5), (6, 7, 8, 9)]


def test_of_layers_that_are_alike_the_middle_stays_within_a_standard_error(monkeypatch, deep):
    seen = [calibrated_in(monkeypatch, World, deep, seed=seed) for seed in range(6)]
    within = [one for one in seen if all(window.gain <= window.standard_error for window in one.windows)]
    assert any(window.gain > 0 for one in within for window in one.windows)
    assert all(one.layers == (4, 5, 6, 7) for one in within)


def test_hit_rates_are_of_the_chosen_dose_and_decide_nothing(monkeypatch, deep):
    class Judge:
        name, labels = "some", ("tone1", "tone2", "neutral")
        wins = True

        def probabilities(self, texts, emotions=None):
            assert tuple(emotions) == ("tone1", "tone2")  # for an emotion that is not basic, all but neutral
            share = 0.9 if self.wins else 0.1
            return {"tone1": np.full(len(texts), share), "tone2": np.full(len(texts), 1 - share)}

    class Loser(Judge):
        wins = False

    found = [calibrated_in(monkeypatch, World, deep, judge=judge) for judge in (None, Judge(), Loser())]
    assert [one.emotions["tone1"].hit_rate for one in found] == [None, 1.0, 0.0]
    assert [one.emotions["tone2"].hit_rate for one in found] == [None, 0.0, 1.0]
    assert found[1].emotions["tone3"].hit_rate is None  # the judge does not know it
    assert len({one.emotions["tone1"].dose for one in found}) == 1


@pytest.mark.parametrize(
    ("spoken", "asked", "language"),
    [([], None, "en"), (["zh"], None, "zh"), (["ja", "zh"], "zh", "zh"), ([], "de", "de")],
)
def test_prompts_are_in_the_language_of_the_vectors_or_the_one_asked_for(monkeypatch, deep, spoken, asked, language):
    vectors = replace(deep.vectors, extraction={"languages": spoken})
    speaker = emosteer.SteeredModel(deep.model, deep.tokenizer, vectors)
    found = calibrated_in(monkeypatch, World, speaker, language=asked, emotions=["tone1"])
    texts = load_prompts("development", language)
    prompts = load_bench("development", language) if language in ("en", "zh") else [as_prompt(text) for text in texts]
    assert World.last.prompts == tuple(prompts[i * 60 // 42] for i in range(42))
    assert found.about["language"] == language
    assert found.about["prompts_digest"] == measured_digest(World.last.prompts)


def test_a_judge_of_another_language_finds_nothing_and_is_warned_of(monkeypatch, deep):
    class Judge:
        name, labels, languages = "english", ("tone1", "neutral"), ("en",)

        def probabilities(self, texts, emotions=None):
            return {"tone1": np.ones(len(texts))}

    with pytest.warns(EmosteerWarning, match=r"in 'zh'.*do not judge: english \(en\)"):
        found = calibrated_in(monkeypatch, World, deep, language="zh", judge=Judge(), emotions=["tone1"])
    assert found.about["judge"] is None
    assert found.emotions["tone1"].hit_rate is None
    Judge.languages = ("zh-TW",)
    found = calibrated_in(monkeypatch, World, deep, language="zh", judge=Judge(), emotions=["tone1"])
    assert (found.about["judge"], found.emotions["tone1"].hit_rate) == ("english", 1.0)


def test_the_record_tells_how_answers_were_decoded(monkeypatch, deep):
    deep.model.generation_config.update(top_p=0.5, temperature=0.2)
    told = calibrated_in(monkeypatch, World, deep, emotions=["tone1"]).about["decoding"]
    assert (told["do_sample"], told["top_p"], told["temperature"], told["max_new_tokens"]) == (True, 0.5, 0.8, 32)


@pytest.mark.parametrize(("prompt", "gap"), [("How are you?", " "), ("今天怎么样", ""), ("今日はどうですか。", "")])
def test_an_answer_is_read_behind_its_prompt_as_its_language_writes(prompt, gap):
    passage = bench._passage(Answer(Cell("joy", 1.0), prompt, 0, (1,), " so so \n", True, 1.0))
    assert passage.text == f"{prompt}{gap}so so"
    assert passage.text[passage.start : passage.end] == "so so"


# What is measured, on a tiny model.


@pytest.fixture(scope="module")
def steered():
    """Its vectors have quick doses: what is small and random is hardly moved by any."""
    model = tiny_model()
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    quick = {name: Dose(0.05 + 0.01 * i, (1,), (1.0,), divergence=0.4) for i, name in enumerate(vectors.emotions)}
    return emosteer.SteeredModel(model, tiny_tokenizer(), replace(vectors, doses=quick))


def measured(steered, **options):
    return emosteer.calibrate(steered, prompts=PROMPTS, progress=False, **options)


@pytest.fixture(scope="module")
def record(steered, tmp_path_factory):
    cache = tmp_path_factory.mktemp("answers")
    return measured(steered, cache=cache), cache


def test_points_are_what_the_answers_cost_and_carry(steered, record):
    found, cache = record
    answers = [one for file in cache.iterdir() for one in json.loads(file.read_text())["answers"]]
    assert found.about["n_answers"] == len(answers)
    plain = [one for one in answers if one["cell"]["control"] == "unsteered"]
    point = found.emotions["joy"].points[-1]
    asked = {"emotion": "joy", "strength": point.dose, "way": "additive", "control": None}
    toned = [one for one in answers if one["cell"] == asked and one["nats"] is not None]

    def score(answer):
        said = answer["text"].strip()
        text = f"{answer['prompt']['text']} {said}"
        passage = Passage(text, len(text) - len(said), len(text))
        return read(steered.readout, steered.model, steered.tokenizer, passage).scores["joy"]

    def above_plain(answer, value):
        return value(answer) - np.mean([value(one) for one in plain if one["prompt"] == answer["prompt"]])

    costs = [above_plain(one, lambda answer: answer["nats"]) for one in toned]
    assert point.n == len(toned)
    assert point.cost == pytest.approx(np.mean(costs), rel=1e-3, abs=1e-6)
    assert point.standard_error == pytest.approx(np.std(costs, ddof=1) / len(costs) ** 0.5, rel=1e-3)
    assert point.tone == pytest.approx(np.mean([above_plain(one, score) for one in toned]), abs=2e-3)


def test_levels_are_asked_on_prompts_of_their_own(record):
    found, cache = record
    answers = [one for file in cache.iterdir() for one in json.loads(file.read_text())["answers"]]
    prompts = [
        {a["prompt"]["id"] for a in answers if (a["cell"]["emotion"], a["cell"]["strength"]) == ("joy", point.dose)}
        for point in found.emotions["joy"].points[-2:]
    ]
    assert len(prompts[0]) == len(prompts[1]) == 2
    assert not prompts[0] & prompts[1]


def test_a_strength_that_is_asked_for_is_a_dose(steered, monkeypatch):
    seen = []
    generate = emosteer.SteeredModel.generate

    def spy(self, *, emotion=None, **inputs):
        seen.append((self.vectors.dose("joy"), emotion))
        return generate(self, emotion=emotion, **inputs)

    monkeypatch.setattr(emosteer.SteeredModel, "generate", spy)
    dosed = replace(steered.vectors, doses={"joy": Dose(0.7, (0, 3), (0.2, 0.1), "prompt", 0.1)})
    measured(emosteer.SteeredModel(steered.model, steered.tokenizer, dosed), emotions=["joy"])
    assert seen[0][1] is None
    layers = list(dict.fromkeys(dose.layers for dose, emotion in seen if emotion))
    assert layers == [(1,), (0,), (2,)]
    assert all((dose.dose, dose.weights, dose.scope) == (1.0, (1.0,), "all") for dose, emotion in seen if emotion)


def test_an_interrupted_calibration_goes_on_where_it_was(steered, record, tmp_path, monkeypatch):
    calls = []
    generate = emosteer.SteeredModel.generate

    def limited(self, **inputs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return generate(self, **inputs)

    monkeypatch.setattr(emosteer.SteeredModel, "generate", limited)
    with pytest.raises(KeyboardInterrupt):
        measured(steered, cache=tmp_path)
    kept = len(list(tmp_path.iterdir()))
    again = measured(steered, cache=tmp_path)
    assert kept == 3
    assert len(calls) - 4 == len(list(tmp_path.iterdir())) - kept
    assert again == record[0]


def test_a_base_model_continues_openings(steered):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    base = emosteer.SteeredModel(steered.model, tokenizer, steered.vectors)
    openings = load_prompts("development", kind="openings")
    asked = [as_prompt(openings[i * 60 // 42]) for i in range(42)]
    found = emosteer.calibrate(base, emotions=["joy"], progress=False)
    assert found.about["prompts_digest"] == measured_digest(asked)


def measured_digest(prompts):
    import hashlib

    told = [[prompt.system, prompt.text] for prompt in prompts]
    return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"budget": 0}, InputError, "positive"),
        ({"budget": float("inf")}, InputError, "positive"),
        ({"emotions": ["jou"]}, ToneError, "Did you mean joy"),
        ({"emotions": []}, InputError, "an emotion"),
        ({"prompts": ["Hm?", "Hm?"]}, InputError, "two prompts"),
    ],
)
def test_what_cannot_be_calibrated_is_an_error(steered, options, error, says):
    with pytest.raises(error, match=says):
        emosteer.calibrate(steered, progress=False, **options)


# The record.


def test_the_record_gives_vectors_their_doses(steered, record):
    found, _ = record
    vectors = found.apply(steered.vectors)
    one, dose = found.emotions["fear"], vectors.dose("fear")
    assert dose == Dose(one.dose, found.layers, (1.0,), "all", 0.5, one.cost, one.hit_rate, one.stopped)
    assert steered.vectors.dose("fear").calibration == "quick"
    heard = replace(found, emotions={"fear": replace(one, hit_rate=0.75)})
    before = replace(steered.vectors, doses={"joy": Dose(0.7, (0,), (1.0,))})
    assert heard.apply(before).dose("fear").hit_rate == 0.75
    assert heard.apply(before).dose("joy") == before.dose("joy")
    assert set(found.apply(steered.vectors.select(["joy"])).doses) == {"joy"}


def test_the_record_survives_a_file(record, tmp_path):
    record[0].save(tmp_path / "new")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["calibration.json"]
    assert Calibration.load(tmp_path / "new") == record[0] == Calibration.load(tmp_path / "new" / "calibration.json")


def test_directions_that_were_rounded_otherwise_are_the_same(steered, record):
    vectors = steered.vectors
    torch.manual_seed(0)
    moved = {
        name: torch.nn.functional.normalize(rows + 0.014 * torch.randn_like(rows) / rows.shape[-1] ** 0.5, dim=-1)
        for name, rows in vectors.directions.items()
    }
    cosine = min(float((moved[name] * rows).sum(-1).min()) for name, rows in vectors.directions.items())
    assert 0.9998 < cosine < 1
    assert set(record[0].apply(replace(vectors, directions=moved)).doses) == {"joy", "fear", "calm"}


def test_vectors_that_were_not_measured_are_refused(steered, record):
    found, vectors = record[0], steered.vectors
    kept = [layer for layer in vectors.layers if layer not in found.layers]
    swapped = {**vectors.directions, "joy": vectors.directions["fear"]}
    others = {
        "other directions: that of joy": replace(vectors, directions=swapped),
        "other directions": emosteer.EmotionVectors.random_like(vectors, seed=2),
        "another model: fingerprint": emosteer.EmotionVectors.random(tiny_model(seed=1), ["joy"]),
        "another model: hidden_size 32 instead of 48": emosteer.EmotionVectors.random(
            tiny_model(tiny_config(hidden_size=48)), ["joy"]
        ),
        "other emotions": emosteer.EmotionVectors.random(steered.model, ["rage"]),
        "other layers": replace(
            vectors,
            layers=tuple(kept),
            directions={name: rows[kept] for name, rows in vectors.directions.items()},
            residual_norm=vectors.residual_norm[kept],
        ),
        "other directions: ": replace(vectors, residual_norm=2 * vectors.residual_norm),
    }
    for says, other in others.items():
        with pytest.raises(IncompatibleModelError, match=says):
            found.apply(other)


def changed(path, value):
    def change(data):
        *way, last = path
        for step in way:
            data = data[step]
        if value is None:
            del data[last]
        else:
            data[last] = value

    return change


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed(["schema"], 2), "schema 2"),
        (changed(["schema"], None), "schema is not a whole number"),
        (changed(["budget"], None), "'budget'"),
        (changed(["more"], 1), "'more'"),
        (changed(["budget"], "0.5"), "budget is not a number"),
        (changed(["exponent"], NAN), "exponent"),
        (changed(["exponent"], True), "exponent"),
        (changed(["scope"], "some"), "scope is 'some'"),
        (changed(["scope"], ["all"]), "scope"),
        (changed(["layers"], [4]), "layers"),
        (changed(["layers"], []), "layers"),
        (changed(["weights"], [0.5, 0.5]), "one weight a layer"),
        (changed(["emotions"], {}), "emotions"),
        (changed(["emotions"], {"Joy": {}}), "emotions"),
        (changed(["emotions", "joy"], []), "joy is not an object"),
        (changed(["emotions", "joy", "dose"], -1), "dose of joy"),
        (changed(["emotions", "joy", "stopped"], "bored"), "'bored'"),
        (changed(["emotions", "joy", "hit_rate"], 1.5), "hit rate of joy"),
        (changed(["emotions", "joy", "sample"], [0.0]), "sample of joy has 1"),
        (changed(["emotions", "joy", "points", 0, "n"], 0), "number of answers of joy"),
        (changed(["emotions", "joy", "points", 0, "cost"], "1"), "cost of joy"),
        (changed(["emotions", "joy", "points"], {}), "points of joy"),
        (changed(["windows", 0, "layers"], [9]), "layers of a window"),
        (changed(["base_model", "hidden_size"], 0), "hidden_size"),
        (changed(["base_model", "model_type"], 5), "model_type"),
        (changed(["about"], []), "about is not an object"),
    ],
)
def test_a_damaged_record_is_an_error_that_says_where(record, change, says):
    data = json.loads(json.dumps(record[0].to_dict()))
    assert Calibration.from_dict(copy.deepcopy(data)) == record[0]
    change(data)
    with pytest.raises(FormatError, match=says):
        Calibration.from_dict(data)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"schema": 1, "schema": 1}', None])
def test_what_is_no_record_is_one_clear_error(tmp_path, content):
    if content is not None:
        (tmp_path / "calibration.json").write_bytes(content)
    with pytest.raises(FormatError, match="calibration"):
        Calibration.load(tmp_path)


@pytest.mark.slow
@pytest.mark.embedded
def test_on_the_real_model(real):
    found = emosteer.calibrate(real, emotions=["joy", "calm"], prompts=load_prompts("development")[:6], progress=False)
    for one in found.emotions.values():
        assert 0.1 < one.dose < 0.6
        assert one.stopped == "budget"
        assert one.points[-1].tone > 1
        assert one.points[-1].cost > 0.2
