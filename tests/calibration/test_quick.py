"""The quick calibration: divergences against hooks written by hand, the doses found with them, and what says so."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

import emosteer
from emosteer import calibration, extraction
from emosteer.calibration import DIVERGENCE, divergence, quick, quick_doses
from emosteer.calibration.divergence import Reply, divergences, plain_replies
from emosteer.errors import EmosteerWarning, InputError
from emosteer.eval.prompts import as_prompt, load_bench, load_prompts
from emosteer.vectors.types import FALLBACK_DOSE, Dose
from tests.conftest import small_concepts, talkative, tiny_tokenizer

REPLIES = [Reply((1, 40, 50, 60), (70, 71, 72)), Reply((1, 90), (33, 34, 35, 36, 37))]


@pytest.fixture(scope="module")
def steered():
    model, tokenizer = talkative()
    return emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"]))


@contextmanager
def adding(steered, tone):
    """Hooks that add to every token but the first what the public fields of the vectors say."""

    def add(delta):
        def hook(_block, _args, output):
            shift = torch.zeros_like(output)
            shift[:, 1:] = delta
            return output + shift

        return hook

    handles = []
    for name, strength in tone.items():
        dose, vectors = steered.vectors.dose(name), steered.vectors
        for layer, weight in zip(dose.layers, dose.weights, strict=True):
            delta = strength * dose.dose * weight * vectors.residual_norm[layer] * vectors.directions[name][layer]
            handles.append(steered.model.model.layers[layer].register_forward_hook(add(delta)))
    yield
    for handle in handles:
        handle.remove()


def by_hand(steered, reply, tone):
    """KL(plain ‖ toned), the mean over the tokens of the answer."""
    ids = torch.tensor([[*reply.prompt, *reply.answer]])
    with torch.inference_mode():
        plain = steered.model(ids).logits[0].double().log_softmax(-1)
        with adding(steered, tone):
            toned = steered.model(ids).logits[0].double().log_softmax(-1)
    nats = (plain.exp() * (plain - toned)).sum(-1)
    return float(nats[len(reply.prompt) - 1 : -1].mean())


# Divergences.


@pytest.mark.parametrize("logits", [2**26, 1])
def test_divergences_are_those_of_hooks_written_by_hand(steered, monkeypatch, logits):
    monkeypatch.setattr(divergence, "LOGITS", logits)  # all tones at a time, or one
    tones = [{"joy": 1.0}, {"fear": 0.4, "calm": -1.0}, {}, {"calm": 2.0}]
    found = divergences(steered, REPLIES, tones)
    expected = [[by_hand(steered, reply, tone) for reply in REPLIES] for tone in tones]
    assert found == pytest.approx(np.array(expected), rel=1e-3, abs=1e-5)
    assert found[0].min() > 0.005
    assert found[2].max() < 1e-5


def test_a_tone_around_it_is_not_measured(steered):
    plain = divergences(steered, REPLIES, [{"joy": 1.0}])
    with steered.steer({"fear": 3.0}):
        assert divergences(steered, REPLIES, [{"joy": 1.0}]) == pytest.approx(plain)


def test_replies_are_what_the_plain_model_says(steered):
    (reply,) = plain_replies(steered, ["Hm?"], tokens=5)
    assert reply.prompt == tuple(steered.prompt("Hm?")["input_ids"][0].tolist())
    assert len(reply.answer) == 5
    assert plain_replies(steered, ["Hm?"], tokens=5) == [reply] != plain_replies(steered, ["Hm?"], tokens=5, seed=1)


def test_what_is_no_number_is_an_error(steered, monkeypatch):
    monkeypatch.setattr(divergence, "_logits", lambda *_: torch.full((1, 3, 400), torch.nan))
    with pytest.raises(InputError, match="not all numbers"):
        divergences(steered, REPLIES[:1], [{"joy": 1.0}])


# Doses.


def test_strength_one_has_the_divergence_that_was_asked_for(steered):
    for target in (0.05, 0.2):
        doses = quick_doses(steered, divergence=target, progress=False)
        assert list(doses) == ["joy", "fear", "calm"]
        dosed = emosteer.SteeredModel(steered.model, steered.tokenizer, replace(steered.vectors, doses=doses))
        others = plain_replies(steered, load_prompts("held_out")[:20], tokens=24)
        for name, dose in doses.items():
            found = np.mean([by_hand(dosed, reply, {name: 1.0}) for reply in others])
            assert found == pytest.approx(target, rel=0.25)
            assert dose.divergence == pytest.approx(target, rel=0.01)
            assert (dose.layers, dose.weights, dose.scope, dose.calibration) == ((1,), (1.0,), "all", "quick")


class World:
    """In the place of a model: emotions whose divergence is a known power of the dose, on replies of two kinds."""

    def __init__(self, factors, exponent):
        self.factors, self.exponent, self.read = factors, exponent, 0

    def __call__(self, _steered, replies, tones, _meter=None):
        self.read += len(tones) * len(replies)
        hard = np.array([reply.prompt[0] for reply in replies])
        ((names, doses),) = [zip(*(next(iter(tone.items())) for tone in tones), strict=True)]
        each = np.array([self.factors[name] for name in names]) * np.array(doses) ** self.exponent
        return each[:, None] * hard


@pytest.mark.parametrize("exponent", [1.6, 2.3])
@pytest.mark.parametrize("scale", [0.5, 8.0, 60.0])
def test_doses_are_found_wherever_they_are(steered, monkeypatch, scale, exponent):
    names = [f"tone{i}" for i in range(34)]
    factors = dict(zip(names, scale * np.random.default_rng(0).uniform(0.4, 2.5, 34), strict=True))
    world = World(factors, exponent)
    monkeypatch.setattr(quick, "divergences", world)
    hard = [0.5, *[1.3] * 3] * 4  # those that all emotions read are easier than the others
    monkeypatch.setattr(quick, "plain_replies", lambda *_args, **_how: [Reply((of,), (1,)) for of in hard])
    vectors = emosteer.EmotionVectors.random(steered.model, names)
    doses = quick_doses(emosteer.SteeredModel(steered.model, steered.tokenizer, vectors), progress=False)
    for name, dose in doses.items():
        true = factors[name] * dose.dose**exponent * np.mean(hard)
        assert true == pytest.approx(DIVERGENCE, rel=0.1) or (dose.dose == quick.LIMIT and true < DIVERGENCE)
        assert dose.divergence == pytest.approx(true, rel=0.1)
    assert world.read <= 16 + 4 * 16 + 2 * 34 * 4


def test_what_moves_nothing_gets_the_highest_dose(steered):
    still = replace(steered.vectors, residual_norm=0 * steered.vectors.residual_norm + 1e-9)
    found = quick_doses(emosteer.SteeredModel(steered.model, steered.tokenizer, still), progress=False)
    assert {(dose.dose, round(dose.divergence, 3)) for dose in found.values()} == {(quick.LIMIT, 0.0)}


@pytest.mark.parametrize(
    ("spoken", "template", "language", "kind"),
    [
        ([], True, "en", "bench"),
        (["zh"], True, "zh", "bench"),
        (["fr"], True, "fr", "questions"),
        (["eo", "de"], False, "de", "openings"),
    ],
)
def test_prompts_are_in_the_language_of_the_vectors(steered, monkeypatch, spoken, template, language, kind):
    seen = {}

    def replies(_speaker, prompts, **_how):
        seen["prompts"] = prompts
        raise InputError("Enough.")

    monkeypatch.setattr(quick, "plain_replies", replies)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template if template else None
    vectors = replace(steered.vectors, extraction={"languages": spoken})
    with pytest.raises(InputError, match="Enough"):
        quick_doses(emosteer.SteeredModel(steered.model, tokenizer, vectors), progress=False)
    assert len(seen["prompts"]) == 16
    if kind == "bench":
        expected = load_bench("development", language)
    else:
        expected = [as_prompt(text) for text in load_prompts("development", language, kind=kind)]
    assert set(seen["prompts"]) <= set(expected)


# Extraction.


def test_extraction_measures_the_doses(steered):
    concepts = small_concepts()
    about = steered.model, steered.tokenizer, concepts
    found = emosteer.extract(*about, progress=False)
    bare = extraction.extract(*about, progress=False)
    assert all(torch.equal(found.directions[name], bare.directions[name]) for name in bare.emotions)
    assert bare.doses == {}
    speaker = emosteer.SteeredModel(steered.model, steered.tokenizer, bare)
    assert found.doses == quick_doses(speaker, progress=False)
    assert {dose.calibration for dose in found.doses.values()} == {"quick"}
    assert found.doses == emosteer.extract(*about, progress=False).doses


def test_vectors_are_not_lost_where_their_doses_cannot_be_measured(steered, monkeypatch):
    about = steered.model, steered.tokenizer, small_concepts()

    def generate(*_args, **_how):
        raise NotImplementedError("This one only reads.\nAnd more.")

    monkeypatch.setattr(type(steered.model), "generate", generate)
    with pytest.warns(EmosteerWarning, match=r"is the fallback\. This one only reads\.$"):
        found = emosteer.extract(*about, progress=False)
    assert found.doses == {}
    assert found.dose("joy").dose == FALLBACK_DOSE
    with pytest.warns(EmosteerWarning, match="could not be measured"):
        assert calibration.with_quick_doses(*about[:2], found, progress=False) is found


# What says which calibration a dose has.


def test_how_a_dose_was_found():
    assert Dose(0.2, (1,), (1.0,)).calibration == "given"
    assert Dose(0.2, (1,), (1.0,), divergence=0.4).calibration == "quick"
    assert Dose(0.2, (1,), (1.0,), budget=0.5, cost=0.48, stopped="budget").calibration == "answers"


def test_the_fallback_is_warned_of_once_for_a_set_of_vectors(steered):
    vectors = replace(steered.vectors, extraction={}, doses={"joy": Dose(0.2, (1,), (1.0,))})
    ids = {"inputs": [[1, 2]], "max_new_tokens": 1}

    def told(made, tone, **how):
        import warnings

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made.generate(**ids, emotion=tone, **how)
        return [str(one.message) for one in caught if "Not calibrated" in str(one.message)]

    made = emosteer.SteeredModel(steered.model, steered.tokenizer, vectors)
    assert told(made, {"joy": 1.0, "fear": 0.0}) == []
    assert told(made, {"fear": 1.0}, operation="ablate") == []
    (says,) = told(made, {"calm": 0.1, "joy": 1.0, "fear": 1.0})
    assert says.startswith("Not calibrated: fear, calm. Strength 1.0 is the fallback dose")
    assert told(made, {"calm": 1.0}) == []
    again = emosteer.SteeredModel(steered.model, steered.tokenizer, replace(vectors))
    assert len(told(again, [{"joy": 1.0}], recipe="natural")) == 0
    assert len(told(again, [{"calm": 1.0}], recipe="natural")) == 1


@pytest.mark.slow
@pytest.mark.embedded
def test_on_the_real_model_strength_one_is_the_target_on_other_prompts(real):
    names = real.vectors.emotions[::5]
    doses = quick_doses(real, emotions=names, progress=False)
    dosed = emosteer.SteeredModel(real.model, real.tokenizer, replace(real.vectors, doses=doses))
    others = plain_replies(dosed, load_prompts("held_out")[::4], tokens=32)
    found = divergences(dosed, others, [{name: 1.0} for name in names]).mean(1)
    assert np.mean(np.abs(found / DIVERGENCE - 1) < 0.25) >= 30 / 34
