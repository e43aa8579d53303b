"""One message answered in several tones at once, and the seeds of batches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import emosteer
from emosteer import Keyframes, Thermostat
from emosteer.errors import InputError, ToneError
from emosteer.vectors.types import Dose
from tests.conftest import talkative

MESSAGE = "How was your morning?"
TONES = [{"joy": 1.5}, None, Keyframes({0: {"fear": 2.0}, 6: {"calm": 2.0}}), {"fear": 1.0, "calm": -0.5}]
GREEDY = {"do_sample": False, "max_new_tokens": 12}
SAMPLING = {"do_sample": True, "top_k": 0, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def steered():
    """A tiny model that depends on what it reads."""
    model, tokenizer = talkative()
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    doses = {name: Dose(0.5, (1, 2), (1.0, 0.5)) for name in vectors.emotions}
    return emosteer.SteeredModel(model, tokenizer, replace(vectors, doses=doses))


@pytest.mark.parametrize("options", [{}, {"scope": "generated"}, {"num_beams": 2}])
def test_each_answer_is_what_chat_says_in_its_tone(steered, options):
    alone = [steered.chat(MESSAGE, emotion=tone, recipe=None, **GREEDY, **options) for tone in TONES]
    assert len(set(alone)) == len(TONES)
    assert steered.chat_each(MESSAGE, TONES, recipe=None, **GREEDY, **options) == alone


def test_a_recipe_is_that_of_chat(steered):
    tones = [{"joy": 1.0}, None, {"fear": 1.0}]
    alone = [steered.chat(MESSAGE, emotion=tone, recipe="natural", **GREEDY) for tone in tones]
    assert steered.chat_each(MESSAGE, tones, recipe="natural", **GREEDY) == alone


@pytest.mark.parametrize("many", [False, True])
def test_each_answer_ends_where_it_ends(steered, many):
    """At a token that is text to the tokenizer, so that what follows is not left out as a special token."""
    prompt = steered.prompt(MESSAGE)
    ids = steered.generate(**prompt, emotion=TONES[0], **GREEDY, pad_token_id=0)[0, prompt["input_ids"].shape[1] :]
    end = int(ids[3])
    ends = {"eos_token_id": [end, 2] if many else end, "pad_token_id": end}
    alone = [steered.chat(MESSAGE, emotion=tone, recipe=None, **GREEDY, **ends) for tone in TONES]
    assert len({len(answer) for answer in alone}) > 1
    assert steered.chat_each(MESSAGE, TONES, recipe=None, **GREEDY, **ends) == alone


def test_a_seed_repeats_the_answers_and_leaves_the_global_random_state(steered):
    torch.manual_seed(123)
    state = torch.get_rng_state()
    first = steered.chat_each(MESSAGE, TONES, recipe=None, seed=4, **SAMPLING)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert steered.chat_each(MESSAGE, TONES, recipe=None, seed=4, **SAMPLING) == first
    assert steered.chat_each(MESSAGE, TONES, recipe=None, seed=5, **SAMPLING) != first


def test_generate_with_a_seed_draws_what_the_global_seed_would(steered):
    prompt = steered.prompt(MESSAGE)
    options = {**SAMPLING, "emotion": TONES[0], "pad_token_id": 0}
    torch.manual_seed(4)
    expected = steered.generate(**prompt, **options)
    state = torch.get_rng_state()
    assert torch.equal(steered.generate(**prompt, **options, seed=4), expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(steered.generate(**prompt, **options, seed=5), expected)


def test_the_caller_sees_every_step_and_can_end_them_all(steered):
    seen = []

    def third(ids, _scores):
        seen.append(tuple(ids.shape))
        return torch.full((len(ids),), len(seen) == 3)

    steered.chat_each(MESSAGE, TONES, recipe=None, seed=1, **GREEDY, stopping_criteria=[third], eos_token_id=None)
    begin = steered.prompt(MESSAGE)["input_ids"].shape[1]
    assert seen == [(len(TONES), begin + step) for step in (1, 2, 3)]


@pytest.mark.parametrize(
    ("message", "tones", "error", "said"),
    [
        (MESSAGE, [], ToneError, "no list of tones"),
        (MESSAGE, {"joy": 1.0}, ToneError, "no list of tones"),
        (MESSAGE, "joy", ToneError, "no list of tones"),
        (MESSAGE, [{"glee": 1.0}], ToneError, "glee"),
        (MESSAGE, [Thermostat({"joy": 1.0})], ToneError, "not the tone of a row"),
        (" ", TONES, InputError, "The message is empty"),
        ([{"role": "user", "content": "Hi", "emotion": {"joy": 1.0}}], TONES, ToneError, "a tone of its own"),
    ],
)
def test_what_cannot_be_answered_is_told(steered, message, tones, error, said):
    with pytest.raises(error, match=said):
        steered.chat_each(message, tones, recipe=None, **GREEDY)
