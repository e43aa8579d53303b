"""Copies of a SteeredModel: made by copy, deepcopy or pickle, they say the same and end no stream of the other."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import emosteer
from emosteer.errors import InputError
from tests.conftest import tiny_model, tiny_tokenizer

JOY, LONG = {"joy": 1.5}, {"max_new_tokens": 20, "min_new_tokens": 20, "do_sample": False}


def by_pickle(steered):
    return pickle.loads(pickle.dumps(steered))


@pytest.fixture
def steered():
    model = tiny_model()
    return emosteer.SteeredModel(model, tiny_tokenizer(), emosteer.EmotionVectors.random(model, ["joy"], seed=1))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, by_pickle])
def test_a_copy_says_the_same(steered, way):
    said = steered.chat("Well?", emotion=JOY, recipe=None, **LONG)
    twin = way(steered)
    assert (twin.model is steered.model) == (way is copy.copy)
    assert twin.chat("Well?", emotion=JOY, recipe=None, **LONG) == said
    if way is by_pickle:
        assert twin.readout.emotions == ("joy",)  # fitted under a lock


@pytest.mark.parametrize("block", ["tone", "monitor"])
def test_a_model_in_a_tone_or_monitor_cannot_be_pickled(steered, block):
    with (
        steered.steer(JOY) if block == "tone" else steered.monitor(),
        pytest.raises(InputError, match=f"cannot be pickled while a {block} is open"),
    ):
        by_pickle(steered)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy])
def test_a_copy_has_streams_of_its_own(steered, way):
    said = steered.chat("Well?", emotion=JOY, recipe=None, **LONG)
    stream = steered.chat("Well?", emotion=JOY, recipe=None, stream=True, **LONG)
    first = next(stream)
    twin = way(steered)
    twin.close()
    assert first + "".join(stream) == said
    assert "".join(twin.chat("Well?", emotion=JOY, recipe=None, stream=True, **LONG)) == said


def test_a_copy_made_inside_a_tone_is_plain_once_the_block_has_ended(steered):
    ids = steered.prompt("Well?")["input_ids"]
    with torch.no_grad():
        plain = steered.model(ids).logits
        with steered.steer(JOY):
            toned, twin = steered.model(ids).logits, copy.deepcopy(steered)
            assert torch.equal(twin.model(ids).logits, toned)
        assert torch.equal(twin.model(ids).logits, plain)
    assert not torch.equal(toned, plain)


def test_a_model_copied_inside_a_monitor_takes_no_records_along(steered):
    with steered.monitor() as live:
        twin = copy.deepcopy(steered.model)
    twin(steered.prompt("Well?")["input_ids"])
    assert live.scores.shape[1] == 0
