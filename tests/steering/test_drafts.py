"""Drafts, against answers that are drawn and read one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import emosteer
from emosteer.errors import InputError
from emosteer.steering.recipes import Recipe
from tests.conftest import small_concepts, talkative

ONE = Recipe(dose=1.0, bonus=1.0, plausibility=0.01, coarse=True)
FOUR = replace(ONE, drafts=4)
OPTIONS = {"do_sample": True, "max_new_tokens": 12, "seed": 3, "pad_token_id": 0}


@pytest.fixture(scope="module")
def steered():
    model, tokenizer = talkative()
    model.generation_config.eos_token_id = None
    vectors = emosteer.extract(model, tokenizer, small_concepts(), progress=False)
    return emosteer.SteeredModel(model, tokenizer, vectors)


def heard(steered, text, tone):
    """The weighted scores of a tone's emotions above the mean of all, as `read` tells them."""
    scores = steered.read(text).scores
    mean = sum(scores.values()) / len(scores)
    return sum(strength * (scores[name] - mean) for name, strength in tone.items())


@pytest.mark.parametrize("tone", [{"joy": 1.0}, {"fear": -1.0}, {"calm": 1.5, "joy": 0.5}])
def test_the_draft_that_is_read_as_most_in_the_tone_is_returned(steered, tone):
    ids = steered.tokenizer("How was it?", return_tensors="pt", add_special_tokens=False)["input_ids"]
    drawn = steered.generate(ids, emotion=tone, recipe=ONE, num_return_sequences=4, **OPTIONS)
    texts = steered.tokenizer.batch_decode(drawn[:, ids.shape[1] :], skip_special_tokens=True)
    best = max(range(4), key=lambda i: heard(steered, texts[i], tone))
    assert len({heard(steered, text, tone) for text in texts}) == 4
    chosen = steered.generate(ids, emotion=tone, recipe=FOUR, **OPTIONS)
    assert torch.equal(chosen, drawn[best : best + 1])
    assert steered.complete("How was it?", emotion=tone, recipe=FOUR, **OPTIONS) == texts[best]


def test_each_row_of_a_batch_has_its_own_best_draft_and_one_without_a_tone_its_first(steered):
    ids = steered.tokenizer("How was it?", return_tensors="pt", add_special_tokens=False)["input_ids"].repeat(3, 1)
    tones = [{"joy": 1.0}, None, {"fear": 1.0}]
    drawn = steered.generate(ids, emotion=tones, recipe=ONE, num_return_sequences=4, **OPTIONS)
    texts = steered.tokenizer.batch_decode(drawn[:, ids.shape[1] :], skip_special_tokens=True)
    chosen = steered.generate(ids, emotion=tones, recipe=FOUR, **OPTIONS)
    for row, tone in enumerate(tones):
        own = range(4 * row, 4 * row + 4)
        best = max(own, key=lambda i: heard(steered, texts[i], tone)) if tone else own[0]
        assert torch.equal(chosen[row], drawn[best])
    assert torch.equal(chosen[1], drawn[4])


def test_without_a_tone_or_without_sampling_there_is_one_draft(steered):
    ids = steered.tokenizer("How was it?", return_tensors="pt", add_special_tokens=False)["input_ids"]
    plain = steered.generate(ids, recipe=FOUR, **OPTIONS)
    assert torch.equal(plain, steered.generate(ids, **OPTIONS))
    greedy = {**OPTIONS, "do_sample": False}
    toned = [steered.generate(ids, emotion={"joy": 1.0}, recipe=recipe, **greedy) for recipe in (ONE, FOUR)]
    assert torch.equal(*toned)


def test_drafts_work_beside_a_generation_config(steered):
    config = steered.model.generation_config.to_dict() | {"do_sample": True, "max_new_tokens": 12}
    config = type(steered.model.generation_config).from_dict(config | {"pad_token_id": 0})
    tone = {"joy": 1.0}
    given = steered.complete("How was it?", emotion=tone, recipe=FOUR, generation_config=config, seed=3)
    assert given == steered.complete("How was it?", emotion=tone, recipe=FOUR, **OPTIONS)
    assert config.num_return_sequences in (None, 1)


@pytest.mark.parametrize(
    "option", [{"num_beams": 2}, {"num_return_sequences": 2}, {"return_dict_in_generate": True}, {"streamer": object()}]
)
def test_what_stands_against_choosing_is_refused(steered, option):
    ids = steered.tokenizer("How was it?", return_tensors="pt", add_special_tokens=False)["input_ids"]
    with pytest.raises(InputError, match="4 drafts"):
        steered.generate(ids, emotion={"joy": 1.0}, recipe=FOUR, **OPTIONS, **option)


def test_drafts_cannot_be_streamed(steered):
    with pytest.raises(InputError, match="none can be streamed"):
        steered.complete("How was it?", emotion={"joy": 1.0}, recipe=FOUR, stream=True, **OPTIONS)


@pytest.mark.parametrize("drafts", [0, -1, 1.5, 65, "4", True])
def test_a_number_of_drafts_that_is_none_is_refused(drafts):
    with pytest.raises(InputError, match="drafts"):
        replace(ONE, drafts=drafts)
