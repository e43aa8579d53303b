"""Recipes against a decoding loop written by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import T5Config, T5ForConditionalGeneration

import emosteer
from emosteer.errors import EmosteerWarning, InputError, ToneError
from emosteer.schedules import ramp
from emosteer.steering import affect as affect_room
from emosteer.steering import tones
from emosteer.steering.affect import mix
from emosteer.steering.plan import plan
from emosteer.steering.recipes import RECIPES, Recipe, Vocabulary
from emosteer.vectors.types import EmotionInfo
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer

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
                extra[ids[0, start:]] = extra[ids[0, start:]].clamp(max=0)
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


@pytest.mark.parametrize("strength", [-1.0, {"joy": 0.5, "fear": -1.5}], ids=["one", "a mixture"])
def test_what_a_negative_strength_avoids_stays_avoided_once_it_was_said(steered, strength):
    tone = strength if isinstance(strength, dict) else {"joy": strength}
    processor = Vocabulary(steered.model, steered.vectors, [tone], Recipe(0.0, 2.0, 1e-30), 3)
    scores = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))
    prompt = torch.arange(10, 13).expand(2, -1)
    bonus = processor(prompt, scores) - scores
    said = torch.stack([bonus[0].argsort()[:5], bonus[0].argsort(descending=True)[:5]])  # the avoided, the favoured
    after = processor(torch.cat([prompt, said], 1), scores) - scores
    torch.testing.assert_close(after[0], bonus[0])
    assert bonus[0, said[0]].max() < -1
    assert after[1, said[1]].tolist() == [0.0] * 5
    rest = [token for token in range(400) if token not in said[1]]
    torch.testing.assert_close(after[1, rest], bonus[1, rest])


def test_a_model_with_an_encoder_forgets_what_its_answer_said_and_not_what_it_was_asked():
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 4, "num_heads": 4, "vocab_size": 400}
    model = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)).eval()
    vectors = emosteer.EmotionVectors.random(model, ["joy"], seed=1)
    steered = emosteer.SteeredModel(model, tiny_tokenizer(), vectors)
    ids = torch.arange(10, 40)[None]  # longer than the answer
    options = {"emotion": {"joy": 1.0}, "recipe": Recipe(0.0, 1e4, 1e-30), "do_sample": False, "eos_token_id": None}
    told = steered.generate(input_ids=ids, max_new_tokens=8, **options)[0, 1:].tolist()
    assert len(set(told)) == 8


def test_a_model_is_asked_for_an_emotions_vocabulary_once(tokenizer):
    model = tiny_model(seed=3)
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, ["joy", "fear"], seed=1))
    batch, fed = prompt(steered, "A bus."), []
    handle = model.register_forward_pre_hook(lambda _m, _a, kwargs: fed.append(kwargs), with_kwargs=True)
    counts = []
    for tone in ({"joy": 1.0}, {"joy": 0.5}, {"fear": 1.0}, {"joy": -1.0, "fear": 1.0}):
        fed.clear()
        steered.generate(**batch, emotion=tone, recipe="natural", **OPTIONS)
        counts.append(len(fed))
    handle.remove()
    assert counts == [9, 8, 9, 8]


class Crossings(TorchDispatchMode):
    """Operations that copy a tensor to another device or dtype, make one of Python numbers, or read one into Python."""

    names = ("_to_copy", "copy_", "lift_fresh", "lift_fresh_copy", "_local_scalar_dense", "_pin_memory")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        result = function(*args, **(kwargs or {}))
        tensors = [value for value in (*args, result) if isinstance(value, torch.Tensor)]
        if name in self.names or len({tensor.device for tensor in tensors}) > 1:
            self.seen.append(name)
        return result


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("tones", [[{"joy": 1.0}], [{"joy": 1.0}, {}] * 4], ids=["one tone", "a tone a row"])
def test_no_tensor_crosses_devices_at_a_token(tones, device):
    model = tiny_model(tiny_config(vocab_size=150_000, hidden_size=16, num_attention_heads=2))
    vectors = emosteer.EmotionVectors.random(model, ["joy"], seed=1)
    processor = Vocabulary(model, vectors, tones, RECIPES["natural"], 3)
    ids, scores = torch.zeros(8, 3, dtype=torch.long, device=device), torch.zeros(8, 150_000, device=device)
    with Crossings() as first:
        processor(ids, scores)
    with Crossings() as later:
        for _ in range(3):
            ids = torch.cat([ids, ids[:, -1:]], 1)
            assert processor(ids, scores).device.type == device
    assert later.seen == []
    assert len(first.seen) == (2 if device == "meta" else 0)  # the bonus and the limit, once


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_forbidden_tokens_stay_forbidden_in_every_row_and_nothing_becomes_no_number(steered, dtype):
    processor = Vocabulary(steered.model, steered.vectors, [{"joy": 1.0}, {}, {"fear": 1.0}], RECIPE, 1)
    scores = torch.randn(3, 400, generator=torch.Generator().manual_seed(0)).to(dtype)
    scores[:2, ::2] = -math.inf
    scores[2] = -math.inf  # a row without any token
    found = processor(torch.full((3, 1), 7), scores)
    assert not found.isnan().any()
    assert torch.equal(found[1], scores[1])
    assert torch.equal(found[2], scores[2])
    least = scores[0].max() + math.log(RECIPE.plausibility)
    assert (found[0, scores[0] < least] == -math.inf).all()
    assert (found[0] > -math.inf).any()


def test_generate_copies_no_more_tensors_at_a_token_with_a_recipe_than_without(tokenizer):
    """Each token more costs what the plain model's costs, in copies of whole rows of the vocabulary or of anything."""
    model = tiny_model(tiny_config(vocab_size=150_000, hidden_size=16, num_attention_heads=2))
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, ["joy", "fear"], seed=1))
    ids = torch.arange(10, 14).expand(8, -1)
    options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "eos_token_id": None, "pad_token_id": 0}

    def copies(tokens, **tone):
        with Crossings() as mode:
            steered.generate(input_ids=ids, max_new_tokens=tokens, **tone, **options)
        return len(mode.seen)

    copies(2, emotion={"joy": 1.0, "fear": 0.5}, recipe="natural")  # asks the model
    plain = copies(6) - copies(3)
    for emotion in ({"joy": 1.0}, [{"joy": 1.0}, None, {"fear": 0.5}, {"joy": -1.0}] * 2):
        natural = {"emotion": emotion, "recipe": "natural"}
        assert copies(6, **natural) - copies(3, **natural) == plain


def test_the_scores_that_a_recipe_is_given_stay_as_they_were(steered):
    processor = Vocabulary(steered.model, steered.vectors, [{"joy": 1.0}], RECIPE, 1)
    scores = torch.randn(3, 400)
    given = scores.clone()
    processor(torch.full((3, 4), 7), scores)
    assert torch.equal(scores, given)


@pytest.fixture
def defaults():
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.parametrize("set_default", [(torch.set_default_dtype, torch.float64), (torch.set_default_device, "meta")])
@pytest.mark.usefixtures("defaults")
def test_global_defaults_of_torch_change_nothing(set_default):
    model = tiny_model()
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm", "sadness"], seed=1)
    rated = {"joy": (0.8, 0.4), "fear": (-0.6, 0.5), "calm": (0.6, -0.6), "sadness": (-0.7, -0.3)}
    vectors = replace(vectors, info={name: EmotionInfo({}, *point) for name, point in rated.items()})
    affect, prompt = emosteer.Affect(0.3, -0.4), torch.full((2, 4), 7)
    scores = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))

    def made():
        fresh = copy.deepcopy(model), replace(vectors)  # of which nothing is kept
        for operation in ("add", "project", "ablate"):
            yield from (site.vectors for site in plan(fresh[1], affect, operation=operation).sites.values())
        yield Vocabulary(*fresh, [mix(fresh[1], affect), {"joy": 1.0}], RECIPE, 1)(prompt, scores)
        yield emosteer.EmotionLogitsProcessor(*fresh, affect, method="bias")(prompt, scores)

    expected = list(made())
    set_default[0](set_default[1])
    assert all(torch.equal(*pair) for pair in zip(made(), expected, strict=True))


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


def test_an_affect_is_mixed_once_for_a_set_of_vectors(monkeypatch):
    model, mixed = tiny_model(), []
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm", "sadness"], seed=1)
    rated = {"joy": (0.8, 0.4), "fear": (-0.6, 0.5), "calm": (0.6, -0.6), "sadness": (-0.7, -0.3)}
    vectors = replace(vectors, info={name: EmotionInfo({}, *point) for name, point in rated.items()})
    steered = emosteer.SteeredModel(model, tiny_tokenizer(), vectors)
    monkeypatch.setattr(affect_room, "_mixed", lambda *args, mix=affect_room._mixed: mixed.append(args) or mix(*args))
    sad, glad = emosteer.Affect(-0.8, -0.3), emosteer.Affect(0.8, 0.3)
    steered.chat_each("A bus?", [sad, glad, sad, None], recipe="natural", max_new_tokens=2)
    assert len(mixed) == 2
    for options in ({"recipe": "natural"}, {"recipe": None}, {"emotion": emosteer.Keyframes({0: sad, 9: glad})}):
        steered.chat("A bus?", **{"emotion": sad, **options}, max_new_tokens=2)
    emosteer.EmotionLogitsProcessor(model, vectors, [sad, glad], method="bias")
    assert len(mixed) == 2
    vectors.directions["joy"].neg_()
    steered.chat("A bus?", emotion=sad, recipe=None, max_new_tokens=2)
    vectors.info["joy"] = EmotionInfo({}, 0.1, 0.2)
    steered.chat("A bus?", emotion=sad, recipe=None, max_new_tokens=2)
    assert len(mixed) == 4


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


def test_a_strength_that_the_recipe_lifts_past_a_limit_is_named_as_it_was_written(steered):
    batch = prompt(steered, "A bus.")
    with pytest.raises(ToneError, match=r"strength of 'joy' is 9.7 times 1.05 by the recipe, beyond ±10.* up to ±9.52"):
        steered.generate(**batch, emotion={"joy": 9.7}, recipe="natural", **OPTIONS)
    with pytest.raises(ToneError, match=r"strength of 'joy' is 11, beyond ±10"):
        steered.generate(**batch, emotion={"joy": 11}, recipe=Recipe(0.5, 1.0, 0.1), **OPTIONS)
    emosteer.steer(steered.model, steered.vectors, {"joy": 1.0})  # which tells of the fallback dose
    for strength in (2.9, 4.0):  # the first is not loud by itself
        for call in (
            lambda tone: steered.generate(**batch, emotion=[tone], recipe="natural", **OPTIONS),
            lambda tone: steered.chat("A bus?", emotion=tone, recipe="natural", max_new_tokens=2),
            lambda tone: steered.explain("A bus?", "No.", emotion=tone, recipe="natural"),
        ):
            with pytest.warns(EmosteerWarning) as told:
                call({"joy": strength})
            expected = f"The strength of 'joy' is {strength:g} times 1.05 by the recipe: beyond ±3 doses"
            assert [str(warning.message)[: len(expected)] for warning in told] == [expected]


def test_what_an_affect_takes_beyond_a_limit_is_not_told_as_a_strength_that_somebody_wrote(steered, monkeypatch):
    monkeypatch.setattr(tones, "mix", lambda _vectors, _affect: {"joy": 12.0})
    affect = emosteer.Affect(0.5, 0.5)
    for options in ({}, {"recipe": "natural"}, {"emotion": emosteer.Keyframes({0: affect})}):
        with pytest.raises(ToneError, match=r"^Affect\(valence=0.5, arousal=0.5\) takes 12 'joy'.*, beyond ±10"):
            steered.generate(**prompt(steered, "A bus."), **{"emotion": affect, **options}, **OPTIONS)


@pytest.mark.parametrize("numbers", [(math.nan, 1.0, 0.1), (1.0, math.inf, 0.1), (1.0, 1.0, 0.0), (1.0, 1.0, 1.5)])
def test_numbers_that_make_no_recipe_are_refused(numbers):
    with pytest.raises(InputError):
        Recipe(*numbers)


def test_the_natural_recipe_is_there():
    assert RECIPES["natural"].plausibility > 0
