"""Recipes against a decoding loop written by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import emosteer
from emosteer.errors import InputError, ToneError
from emosteer.schedules import ramp
from emosteer.steering.recipes import RECIPES, Recipe
from emosteer.vectors.types import EmotionInfo
from tests.conftest import tiny_model, tiny_tokenizer

RECIPE = Recipe(dose=1.5, bonus=2.0, plausibility=0.2)


@pytest.fixture
def steered(model, tokenizer, vectors):
    return emosteer.SteeredModel(model, tokenizer, vectors)


def prompt(steered, *texts):
    return steered.tokenizer(list(texts), padding=True, return_tensors="pt", add_special_tokens=False)


def favour(model, direction, norm):
    """The direction in the last layer through norm and head, less its opposite, standardised."""
    with torch.no_grad():
        up, down = (model.lm_head(model.model.norm(sign * norm * direction)) for sign in (1, -1))
    difference = up - down
    return (difference - difference.mean()) / difference.std()


def by_hand(steered, text, tone, recipe, n):
    """Greedy tokens without a cache: hooks that add, two limits and the bonus."""
    model, vectors = steered.model, steered.vectors
    ids = prompt(steered, text)["input_ids"]
    start, bonus = ids.shape[1], 0
    handles = []
    for name, strength in tone.items():
        direction = vectors.directions[name]
        bonus = bonus + recipe.bonus * strength * favour(model, direction[-1], vectors.residual_norm[-1])
        dose = vectors.dose(name)
        for layer, weight in zip(dose.layers, dose.weights, strict=True):
            delta = strength * recipe.dose * dose.dose * weight * vectors.residual_norm[layer] * direction[layer]

            def add(_module, _args, output, delta=delta):
                hidden = output[0] if isinstance(output, tuple) else output
                hidden = torch.cat([hidden[:, :1], hidden[:, 1:] + delta], 1)
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            handles.append(model.model.layers[layer].register_forward_hook(add))
    try:
        for _ in range(n):
            with torch.no_grad():
                scores = model(ids, use_cache=False).logits[0, -1]
            if tone:
                kept = scores >= scores.max() + math.log(recipe.plausibility)
                extra = bonus.clone()
                extra[ids[0, start:]] = 0
                scores = torch.where(kept, scores + extra, -math.inf)
            ids = torch.cat([ids, scores.argmax().view(1, 1)], 1)
    finally:
        for handle in handles:
            handle.remove()
    return ids[0, start:].tolist()


OPTIONS = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


@pytest.mark.parametrize("tone", [{"joy": 1.0}, {"joy": 0.7, "fear": -0.4}])
def test_a_recipe_decodes_as_by_hand(steered, tone):
    batch = prompt(steered, "How was the morning?")
    told = steered.generate(**batch, emotion=tone, recipe=RECIPE, **OPTIONS)[0, batch["input_ids"].shape[1] :]
    assert told.tolist() == by_hand(steered, "How was the morning?", tone, RECIPE, 8)


def test_each_part_of_a_recipe_changes_what_is_said(steered):
    batch = prompt(steered, "How was the morning?")
    sampled = {**OPTIONS, "do_sample": True, "max_new_tokens": 30}
    answers = set()
    for recipe in (Recipe(1.5, 2.0, 0.8), Recipe(0.0, 2.0, 0.8), Recipe(1.5, 0.0, 0.8), Recipe(1.5, 2.0, 1e-9)):
        torch.manual_seed(0)
        answers.add(tuple(steered.generate(**batch, emotion={"joy": 2.0}, recipe=recipe, **sampled)[0].tolist()))
    assert len(answers) == 4


def test_rows_have_tones_of_their_own_and_one_without_is_the_plain_model(steered):
    texts = ["How was the morning?", "A bus.", "Tell me of the shop."]
    tones = [{"joy": 1.0}, None, {"fear": 0.5}]
    batch = prompt(steered, *texts)
    told = steered.generate(**batch, emotion=tones, recipe=RECIPE, **OPTIONS)[:, batch["input_ids"].shape[1] :]
    for row, text, tone in zip(told.tolist(), texts, tones, strict=True):
        assert row == by_hand(steered, text, tone or {}, RECIPE, 8)


def test_a_token_is_favoured_once(steered):
    """With a bonus above everything else the best words come one after the other, none twice."""
    batch = prompt(steered, "A bus.")
    told = steered.generate(**batch, emotion={"joy": 1.0}, recipe=Recipe(0.0, 1e4, 1e-30), **OPTIONS)
    vectors = steered.vectors
    order = favour(steered.model, vectors.directions["joy"][-1], vectors.residual_norm[-1]).argsort(descending=True)
    assert told[0, batch["input_ids"].shape[1] :].tolist() == order[:8].tolist()


def test_nothing_beyond_the_limit_is_sampled(steered):
    """At a plausibility of 1 only the favourite is left, whatever the seed."""
    batch = prompt(steered, "A bus.")
    recipe = Recipe(1.0, 0.0, 1.0)
    torch.manual_seed(0)
    sampled = steered.generate(**batch, emotion={"joy": 1.0}, recipe=recipe, **{**OPTIONS, "do_sample": True})
    greedy = steered.generate(**batch, emotion={"joy": 1.0}, recipe=recipe, **OPTIONS)
    assert sampled.tolist() == greedy.tolist()


def test_returned_sequences_have_the_tone_of_their_row(steered):
    batch = prompt(steered, "A bus.", "A mill.")
    several = {**OPTIONS, "num_beams": 2, "num_return_sequences": 2}
    told = steered.generate(**batch, emotion=[{"joy": 1.0}, None], recipe=RECIPE, **several)
    plain = steered.generate(**batch, **several)
    assert told[2:].tolist() == plain[2:].tolist()
    assert told[:2].tolist() != plain[:2].tolist()


def test_strength_0_and_no_tone_leave_the_model_as_it_is(steered):
    batch = prompt(steered, "A bus.")
    plain = steered.generate(**batch, **OPTIONS).tolist()
    for tone in (None, {}, {"joy": 0.0}):
        assert steered.generate(**batch, emotion=tone, recipe="natural", **OPTIONS).tolist() == plain


def test_chat_and_its_stream_say_the_same_and_own_processors_are_kept(steered):
    seen = []

    def note(ids, scores):
        seen.append(ids.shape)
        return scores

    options = {"recipe": RECIPE, "seed": 3, "do_sample": True, "max_new_tokens": 12}
    whole = steered.chat("A bus?", emotion={"joy": 2.0}, logits_processor=[note], **options)
    assert seen
    assert "".join(steered.chat("A bus?", emotion={"joy": 2.0}, stream=True, **options)) == whole
    assert whole != steered.chat("A bus?", emotion={"joy": 2.0}, **{**options, "recipe": None})


def test_an_affect_can_be_cooked(tokenizer):
    model = tiny_model()
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm", "sadness"], seed=1)
    rated = {"joy": (0.8, 0.4), "fear": (-0.6, 0.5), "calm": (0.6, -0.6), "sadness": (-0.7, -0.3)}
    info = {name: EmotionInfo({}, *point) for name, point in rated.items()}
    steered = emosteer.SteeredModel(model, tiny_tokenizer(), replace(vectors, info=info))
    batch = prompt(steered, "A bus.")
    sad = steered.generate(**batch, emotion=emosteer.Affect(-0.8, -0.3), recipe=RECIPE, **OPTIONS)
    assert sad.tolist() != steered.generate(**batch, **OPTIONS).tolist()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"recipe": "stew"}, InputError, "no recipe 'stew'"),
        ({"recipe": RECIPE, "schedule": ramp(4)}, ToneError, "same along the answer"),
        ({"recipe": RECIPE, "operation": "norm_preserving"}, ToneError, "that is added"),
        ({"recipe": RECIPE, "emotion": emosteer.Keyframes({0: {"joy": 1.0}})}, ToneError, "same along the answer"),
        ({"recipe": RECIPE, "emotion": {"glee": 1.0}}, ToneError, "no emotion 'glee'"),
        ({"recipe": RECIPE, "emotion": {"joy": math.nan}}, ToneError, "finite"),
        ({"recipe": RECIPE, "emotion": "joy"}, ToneError, "not a tone"),
    ],
)
def test_what_cannot_be_cooked_is_an_error_that_says_so(steered, options, error, message):
    batch = prompt(steered, "A bus.")
    with pytest.raises(error, match=message):
        steered.generate(**batch, **{"emotion": {"joy": 1.0}, **options}, **OPTIONS)
    assert not steered.model.model.layers[0]._forward_hooks


@pytest.mark.parametrize("numbers", [(math.nan, 1.0, 0.1), (1.0, math.inf, 0.1), (1.0, 1.0, 0.0), (1.0, 1.0, 1.5)])
def test_numbers_that_make_no_recipe_are_refused(numbers):
    with pytest.raises(InputError):
        Recipe(*numbers)


def test_the_natural_recipe_is_there():
    assert RECIPES["natural"].plausibility > 0
