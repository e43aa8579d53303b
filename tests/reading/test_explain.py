"""Explanations against the scores of `generate` itself."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tokenizers import decoders

import emosteer
from emosteer import Keyframes, Thermostat
from emosteer.errors import InputError, ToneError
from emosteer.eval import nats_per_token
from emosteer.schedules import decay
from emosteer.vectors.types import Dose
from tests.conftest import tiny_model, tiny_tokenizer

MESSAGE = "How was your morning?"
JOY = {"joy": 1.5}
NEW = 12


@pytest.fixture(scope="module")
def steered():
    """A tiny model that depends on what it reads and, greedy, answers in printable ASCII: one byte, one token."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()  # so that text and tokens are one to one
    ascii_only = tokenizer("".join(map(chr, range(33, 127))), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
        others = [i for i in range(len(model.lm_head.weight)) if i not in ascii_only]
        model.lm_head.weight[others] = 0
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    doses = {name: Dose(0.5, (1, 2), (1.0, 0.5)) for name in vectors.emotions}
    return emosteer.SteeredModel(model, tokenizer, replace(vectors, doses=doses))


def generated(steered, prompt, **options):
    """An answer with the probabilities that `generate` chose its tokens by, `[tokens, vocabulary]`."""
    common = {"max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0, "return_dict_in_generate": True}
    output = steered.generate(**prompt, output_scores=True, **common, **options)
    ids = output.sequences[0, prompt["input_ids"].shape[1] :].tolist()
    answer = steered.tokenizer.decode(ids)
    assert steered.tokenizer(answer, add_special_tokens=False)["input_ids"] == ids  # the very tokens
    return answer, ids, torch.stack([scores[0] for scores in output.scores]).softmax(-1)


def of(probabilities, ids):
    return probabilities[range(len(ids)), ids].tolist()


@pytest.mark.parametrize(
    "tone",
    [
        {"emotion": JOY},
        {"emotion": Keyframes({0: {"joy": 2.0}, 6: {"fear": 2.0}})},
        {"emotion": JOY, "schedule": decay(3)},
        {"emotion": JOY, "scope": "generated"},
        {"emotion": JOY, "scope": "prompt"},
        {"emotion": JOY, "operation": "ablate"},
        {"emotion": JOY, "recipe": "natural"},
    ],
    ids=["added", "keyframes", "schedule", "generated", "prompt", "ablated", "recipe"],
)
def test_probabilities_are_those_that_generate_chooses_by(steered, tone):
    prompt = steered.prompt(MESSAGE)
    answer, ids, toned = generated(steered, prompt, do_sample=False, **tone)
    found = steered.explain(MESSAGE, answer, **{"recipe": None, **tone})
    torch.testing.assert_close(torch.tensor(found.toned), torch.tensor(of(toned, ids)), rtol=1e-4, atol=1e-6)
    assert [at[0][0] for at in found.toned_favourites] == list(found.tokens)  # greedy
    for at, favourites in enumerate(found.toned_favourites):
        best = sorted(toned[at].tolist(), reverse=True)[:3]
        assert [p for _, p in favourites] == pytest.approx([p for p in best if p > 0], rel=1e-4, abs=1e-6)
    assert max(abs(a - b) for a, b in zip(found.plain, found.toned, strict=True)) > 0.01
    assert "".join(found.tokens) == answer


def test_the_plain_side_is_the_plain_model_whatever_is_in_force(steered):
    answer, ids, plain = generated(steered, steered.prompt(MESSAGE), do_sample=False)
    with steered.steer({"fear": 2.0}):
        found = steered.explain(MESSAGE, answer, emotion=JOY, recipe=None)
    torch.testing.assert_close(torch.tensor(found.plain), torch.tensor(of(plain, ids)), rtol=1e-4, atol=1e-6)
    nats = -sum(map(math.log, found.plain)) / len(ids)
    assert nats == pytest.approx(nats_per_token(steered, MESSAGE, answer), rel=1e-4)
    assert found.toned != steered.explain(MESSAGE, answer, emotion=JOY, recipe=None).toned  # blocks add up, as for chat
    alone = steered.explain(MESSAGE, answer)
    assert alone.toned == alone.plain
    assert alone.toned_favourites == alone.plain_favourites


@pytest.mark.parametrize("recipe", [None, "natural"])
def test_temperature_is_that_of_sampling(steered, recipe):
    tone, warm = {"emotion": JOY, "recipe": recipe}, {"temperature": 0.3}
    options = {**tone, **warm, "do_sample": True, "top_k": 0, "seed": 3}
    answer, ids, toned = generated(steered, steered.prompt(MESSAGE), **options)
    found = steered.explain(MESSAGE, answer, **tone, **warm)
    torch.testing.assert_close(torch.tensor(found.toned), torch.tensor(of(toned, ids)), rtol=1e-4, atol=1e-6)


def test_what_a_recipe_rules_out_has_no_probability_and_is_no_favourite(steered):
    strict = emosteer.Recipe(dose=1.0, bonus=0.0, plausibility=1.0)
    found = steered.explain(MESSAGE, "Any words", emotion=JOY, recipe=strict)
    assert set(found.toned) <= {0.0, 1.0}
    assert 0.0 in found.toned
    assert all(len(at) == 1 and at[0][1] == 1.0 for at in found.toned_favourites)
    assert all(len(at) == 3 for at in found.plain_favourites)


def test_messages_have_the_tones_they_have_in_chat(steered):
    said = [{"role": "user", "content": "Hello", "emotion": {"fear": 2.0}}, {"role": "assistant", "content": "Hi"}]
    messages = [*said, {"role": "user", "content": MESSAGE}]
    options = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": None}
    answer = steered.chat(messages, emotion=JOY, recipe=None, **options)
    found = steered.explain(messages, answer, emotion=JOY, recipe=None)
    assert [at[0][0] for at in found.toned_favourites] == list(found.tokens)
    assert (
        found.plain == steered.explain([{k: v for k, v in m.items() if k != "emotion"} for m in messages], answer).plain
    )


def test_it_is_plain_data(steered):
    found = steered.explain(MESSAGE, "ab", emotion={"calm": 0.5}, recipe=None)
    data = found.to_dict()
    assert data["schema"] == 1
    assert data["tokens"] == ["a", "b"]
    assert data["plain"] == list(found.plain)
    assert data["toned_favourites"][0][0] == list(found.toned_favourites[0][0])


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"answer": ""}, InputError, "The answer is empty"),
        ({"answer": "a" * 250}, InputError, "the model's context ends at 256"),
        ({"message": " "}, InputError, "The message is empty"),
        ({"temperature": 0.0}, InputError, "temperature"),
        ({"temperature": math.nan}, InputError, "temperature"),
        ({"emotion": Thermostat({"joy": 1.0})}, ToneError, "thermostat"),
        ({"emotion": {"glee": 1.0}}, ToneError, "glee"),
    ],
)
def test_what_cannot_be_explained_is_told(steered, given, error, said):
    with pytest.raises(error, match=said):
        steered.explain(**{"message": MESSAGE, "answer": "Fine.", **given})


def test_an_answer_may_fill_the_context_to_the_last_token(steered):
    room = 256 - steered.prompt(MESSAGE)["input_ids"].shape[1]
    assert len(steered.explain(MESSAGE, "a" * room).tokens) == room
    with pytest.raises(InputError):
        steered.explain(MESSAGE, "a" * (room + 1))


@pytest.mark.embedded
def test_the_embedded_model_says_why(real):
    tone = {"emotion": {"joy": 1.0}, "recipe": "natural"}
    answer, ids, toned = generated(real, real.prompt(MESSAGE), do_sample=False, **tone)
    found = real.explain(MESSAGE, answer, **tone)
    torch.testing.assert_close(torch.tensor(found.toned), torch.tensor(of(toned, ids)), rtol=1e-2, atol=1e-3)
    nats = -sum(map(math.log, found.plain)) / len(ids)
    assert nats == pytest.approx(nats_per_token(real, MESSAGE, answer), rel=1e-3)
    assert sum(map(math.log, found.toned)) > sum(map(math.log, found.plain))
