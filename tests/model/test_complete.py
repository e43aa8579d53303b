"""Texts that a base model continues, whose tokenizer has no chat template."""

from __future__ import annotations

from dataclasses import replace

import pytest

import emosteer
from emosteer.errors import InputError
from emosteer.vectors.types import Dose
from tests.conftest import talkative
from tests.oracle import added, deltas

TEXT, JOY = "Once upon a time", {"joy": 1.5}
OPTIONS = {"do_sample": False, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def steered():
    model, tokenizer = talkative()
    tokenizer.chat_template = None
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear"], seed=1)
    doses = {name: Dose(0.5, (1, 2), (1.0, 0.5)) for name in vectors.emotions}
    return emosteer.SteeredModel(model, tokenizer, replace(vectors, doses=doses))


@pytest.mark.parametrize("tone", [None, JOY], ids=["plain", "joy"])
def test_a_text_is_continued_as_by_the_hand_written_hook(steered, tone):
    inputs = steered.tokenizer(TEXT, return_tensors="pt")
    with added(steered.model.model.layers, deltas(steered.vectors, tone)):
        output = steered.model.generate(**inputs, use_cache=False, pad_token_id=0, **OPTIONS)
    expected = steered.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert steered.complete(TEXT, emotion=tone, **OPTIONS) == expected
    stream = steered.complete(TEXT, emotion=tone, stream=True, **OPTIONS)
    assert "".join(stream) == expected
    answer = steered.complete(TEXT, emotion=tone, details=True, **OPTIONS)
    assert (answer.text, answer.prompt_tokens) == (expected, inputs["input_ids"].shape[1])
    assert stream.answer == answer


def test_a_recipe_and_layers_hold(steered):
    plain = steered.complete(TEXT, emotion=JOY, **OPTIONS)
    assert steered.complete(TEXT, emotion=JOY, recipe="natural", **OPTIONS) != plain
    with steered.steer(JOY, layers=[3]):
        expected = steered.complete(TEXT, **OPTIONS)
    assert steered.complete(TEXT, emotion=JOY, layers=[3], **OPTIONS) == expected != plain


@pytest.mark.parametrize("text", ["", " \n", None, 3, ["Once"], "x" * 300])
def test_what_cannot_be_continued_is_one_line(steered, text):
    with pytest.raises(InputError) as caught:
        steered.complete(text, **OPTIONS)
    assert "\n" not in str(caught.value)


def test_chat_says_what_to_do_instead(steered):
    with pytest.raises(InputError, match=r"complete\(\)"):
        steered.chat(TEXT)
