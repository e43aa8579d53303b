"""Every argument of transformers' `generate`, at every door: it does what it does there, or is refused in one line."""

from __future__ import annotations

import copy
import inspect
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

import emosteer
from emosteer.errors import EmosteerError, InputError, ToneError
from emosteer.eval import evaluate_alignment, evaluate_steering
from emosteer.models.activations import collect
from emosteer.reading.fit import fit_readout
from tests.conftest import few, small_concepts, talkative, tiny_config, tiny_model

MESSAGE, TEXT = "How was your morning?", "Once upon a time"
SHORT = {"max_new_tokens": 6, "do_sample": False}
WHY = "generate has no such thing any more, or fetches code for it from a hub"


class _Raise(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores + torch.arange(scores.shape[1], device="cpu") % 3


class _Four(StoppingCriteria):
    def __init__(self):
        self.calls = 0

    def __call__(self, input_ids, scores, **_):
        self.calls += 1
        return torch.full((len(input_ids),), self.calls >= 4)


class _Collect(BaseStreamer):
    def put(self, value):
        assert value is not None

    def end(self):
        pass


def own(model, inputs=None, *_args, **kwargs):
    """A decoding loop of the caller's: the prompt and one token."""
    ids = kwargs.get("input_ids", inputs)
    return torch.cat([ids, torch.full((len(ids), 1), 77)], 1)


# Values that change something where they can. A callable is called for a fresh value.
VALUES = {
    "max_length": 90,
    "max_new_tokens": 5,
    "min_length": 70,
    "min_new_tokens": 5,
    "early_stopping": True,
    "max_time": 1e-9,
    "stop_strings": ["e", "a"],
    "do_sample": False,
    "num_beams": 2,
    "use_mtp": False,
    "use_cache": False,
    "cache_implementation": "static",
    "cache_config": {},
    "max_cache_len": 200,
    "temperature": 0.7,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.1,
    "top_h": 0.5,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.01,
    "eta_cutoff": 0.01,
    "repetition_penalty": 1.5,
    "encoder_repetition_penalty": 1.5,
    "length_penalty": 2.0,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[70], [80]],
    "renormalize_logits": True,
    "forced_bos_token_id": 70,
    "forced_eos_token_id": 2,
    "remove_invalid_values": True,
    "exponential_decay_length_penalty": (2, 1.5),
    "suppress_tokens": list(range(60, 120)),
    "begin_suppress_tokens": list(range(60, 120)),
    "sequence_bias": [[[70], 50.0]],
    "guidance_scale": 2.0,
    "watermarking_config": {"greenlist_ratio": 0.5, "bias": 5.0},
    "num_return_sequences": 1,
    "output_attentions": True,
    "output_hidden_states": True,
    "output_scores": True,
    "output_logits": True,
    "return_dict_in_generate": True,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": [2, 70, 71, 72],
    "encoder_no_repeat_ngram_size": 2,
    "decoder_start_token_id": 1,
    "is_assistant": False,
    "num_assistant_tokens": 3,
    "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.3,
    "prompt_lookup_num_tokens": 2,
    "max_matching_ngram_size": 2,
    "assistant_early_exit": 2,
    "assistant_lookbehind": 5,
    "target_lookbehind": 5,
    "assistant_ensemble_weight": None,
    "speculation_type": None,
    "compile_config": None,
    "disable_compile": True,
    "continuous_batching_config": None,
    "prefill_chunk_size": 16,
    "generation_config": lambda: GenerationConfig(max_new_tokens=4, repetition_penalty=1.5),
    "logits_processor": lambda: [_Raise()],
    "stopping_criteria": lambda: [_Four()],
    "prefix_allowed_tokens_fn": lambda: lambda _row, _ids: [70, 75, 80],
    "synced_gpus": False,
    "assistant_model": lambda: tiny_model(seed=1),
    "streamer": _Collect,
    "negative_prompt_ids": None,
    "negative_prompt_attention_mask": None,
    "custom_generate": lambda: own,
    # Of older or newer versions, and what is no decoding option:
    "low_memory": WHY,
    "penalty_alpha": WHY,
    "dola_layers": WHY,
    "diversity_penalty": WHY,
    "num_beam_groups": WHY,
    "constraints": WHY,
    "force_words_ids": WHY,
    "_from_model_config": WHY,
    "transformers_version": WHY,
    "inputs": "the prompt",
    "token_healing": "refused, see below",
}
NAMES = [name for name, value in VALUES.items() if not isinstance(value, str) or value in ("static", "constant")]
QUICK = ("generation_config", "return_dict_in_generate", "stop_strings", "num_beams", "streamer", "eos_token_id")


@pytest.fixture(scope="module")
def steered():
    model, tokenizer = talkative()
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    return emosteer.SteeredModel(model, tokenizer, vectors)


def value_of(name):
    value = VALUES[name]
    return value() if callable(value) else copy.deepcopy(value)


def outcome(call):
    """What a call gives: text, or the kind of error that the model's own generate raises too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except EmosteerError as error:
            return None if "\n" in str(error) else error  # None is no outcome
        except Exception as error:
            return type(error)


def test_the_walk_is_over_all_arguments():
    parameters = set(inspect.signature(tiny_model().generate).parameters) - {"kwargs"}
    assert set(GenerationConfig().to_dict()) | parameters <= set(VALUES)


def own_text(steered, inputs, options):
    """What the model's own generate says, decoded by hand."""
    options = {**SHORT, **options}
    if "generation_config" in options or "max_length" in options:
        options.pop("max_new_tokens")
    if "stop_strings" in options:
        options["tokenizer"] = steered.tokenizer
    output = steered.model.generate(**inputs, **{"pad_token_id": 0, **options})
    ids = output if isinstance(output, torch.Tensor) else output.sequences
    row = ids[0, inputs["input_ids"].shape[1] :].tolist()
    ends = options.get("eos_token_id", [2])
    row = row[: next((i for i, token in enumerate(row, 1) if token in ends), None)]
    return steered.tokenizer.decode(row, skip_special_tokens=True)


@pytest.mark.parametrize("name", few(NAMES, *QUICK))
def test_an_argument_does_what_it_does_in_generate_or_is_refused_in_one_line(steered, name):
    given = {name: value_of(name)}
    limit = {} if name in ("generation_config", "max_length") else SHORT
    inputs = steered.prompt(MESSAGE)
    expected = outcome(lambda: own_text(steered, inputs, {name: value_of(name)}))
    options = {**limit, **given}
    assert outcome(lambda: steered.chat(MESSAGE, **options)) == expected
    options[name] = value_of(name)
    assert outcome(lambda: steered.chat_each(MESSAGE, [None], recipe=None, **options)) in ([expected], expected)
    options[name] = value_of(name)
    text = steered.tokenizer(TEXT, return_tensors="pt")
    of_text = outcome(lambda: own_text(steered, text, {name: value_of(name)}))
    assert outcome(lambda: steered.complete(TEXT, **options)) == of_text
    options[name] = value_of(name)
    streamed = outcome(lambda: "".join(steered.chat(MESSAGE, stream=True, **options)))
    assert streamed == expected or (isinstance(streamed, InputError) and name in ("num_beams", "streamer"))
    options[name] = value_of(name)
    seeded = outcome(lambda: steered.chat(MESSAGE, seed=3, **options))
    assert seeded == expected
    options[name] = value_of(name)
    toned = outcome(lambda: steered.chat(MESSAGE, emotion={"joy": 1.0}, recipe="natural", **options))
    assert isinstance(toned, (str, InputError)) or toned == expected


OPTIONAL = ["generation_config", "logits_processor", "stopping_criteria", "streamer", "max_new_tokens", "max_length"]
OPTIONAL += ["assistant_model", "prefix_allowed_tokens_fn", "eos_token_id", "pad_token_id", "attention_mask", "inputs"]


@pytest.mark.parametrize("name", OPTIONAL)
def test_none_is_as_if_it_were_not_given(steered, name):
    rest = {"do_sample": False, "max_length": 70} if name == "max_new_tokens" else SHORT
    expected = steered.chat(MESSAGE, **rest)
    none = {name: None}
    assert steered.chat(MESSAGE, **rest, **none) == expected
    assert steered.chat(MESSAGE, seed=1, **rest, **none) == expected
    assert "".join(steered.chat(MESSAGE, stream=True, seed=1, **rest, **none)) == expected
    toned = steered.chat(MESSAGE, emotion={"joy": 1.0}, recipe="natural", **rest)
    assert steered.chat(MESSAGE, emotion={"joy": 1.0}, recipe="natural", seed=1, **rest, **none) == toned
    assert steered.chat_each(MESSAGE, [None], recipe=None, seed=1, **rest, **none) == [expected]


@pytest.mark.parametrize(
    ("own_config", "options", "expected"),
    [
        ({}, {}, "default"),
        ({}, {"max_new_tokens": 7}, 7),
        ({}, {"max_length": "prompt + 9"}, 9),
        ({}, {"generation_config": GenerationConfig(max_new_tokens=11)}, 11),
        ({}, {"generation_config": GenerationConfig(max_length=60)}, "60 - prompt"),
        ({}, {"generation_config": GenerationConfig(max_new_tokens=11), "max_new_tokens": 3}, 3),
        ({"max_new_tokens": 13}, {}, 13),
        ({"max_length": 60}, {}, "60 - prompt"),
        ({"max_new_tokens": 13}, {"max_length": "prompt + 9"}, 9),
        ({"max_length": 60}, {"max_new_tokens": 5}, 5),
        ({"max_new_tokens": 5000}, {}, "room"),
        ({"max_length": 5000}, {}, "room"),
        ({}, {"generation_config": GenerationConfig(top_k=5)}, "default"),
    ],
)
@pytest.mark.parametrize("door", ["chat", "stream", "chat_each", "complete"])
def test_a_length_that_somebody_set_holds_at_every_door(tokenizer, own_config, options, expected, door, monkeypatch):
    monkeypatch.setattr("emosteer.models.generation.MAX_NEW_TOKENS", 16)
    model = tiny_model(tiny_model().config)
    model.config.max_position_embeddings = 70
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0, suppress_tokens=[2], **own_config)
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, ["joy"]))
    if options.get("generation_config"):
        options["generation_config"].suppress_tokens = [2]
    text = "a bus"
    inputs = tokenizer(text, return_tensors="pt") if door == "complete" else steered.prompt(text)
    length = inputs["input_ids"].shape[1]
    options = {name: length + 9 if value == "prompt + 9" else value for name, value in options.items()}
    wanted = {"default": 16, "60 - prompt": 60 - length, "room": 70 - length}.get(expected, expected)
    if door == "stream":
        stream = steered.chat(text, stream=True, **options)
        list(stream)
        answer = stream.answer
    elif door == "chat_each":
        (answer,) = steered.chat_each(text, [None], recipe=None, details=True, **options)
    else:
        answer = getattr(steered, door)(text, details=True, **options)
    assert (answer.completion_tokens, answer.finish_reason) == (wanted, "length")
    assert answer.prompt_tokens == length


def test_a_generation_config_is_left_as_it_was(steered):
    config = GenerationConfig(max_length=100)
    before = config.to_dict()
    steered.chat(MESSAGE, generation_config=config)
    assert config.to_dict() == before


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": -3},
        {"max_new_tokens": 2.5},
        {"max_new_tokens": "many"},
        {"max_new_tokens": True},
        {"max_length": 3},
        {"generation_config": GenerationConfig(max_length=3)},
        {"num_return_sequences": 2, "num_beams": 2},
        {"generation_config": GenerationConfig(num_return_sequences=2, do_sample=True)},
        {"input_ids": torch.tensor([[7]])},
        {"inputs": [[7]]},
        {"attention_mask": torch.tensor([[1]])},
        {"seed": 1.5},
        {"seed": "1"},
        {"seed": True},
        {"seed": 2**64},
        {"token_healing": True},
        {"tools": []},
        {"add_generation_prompt": True},
        {"stream": True, "num_beams": 2},
        {"stream": True, "generation_config": GenerationConfig(num_beams=2)},
        {"stream": True, "streamer": _Collect()},
        {"stream": True, "details": True},
        {"chat_template_kwargs": {"tokenize": False}},
        {"chat_template_kwargs": "enable_thinking"},
        {"layers": 2.5},
        {"layers": "2"},
    ],
)
def test_what_cannot_be_for_one_answer_is_refused_in_one_line_at_the_call(steered, options):
    with pytest.raises(EmosteerError) as caught:
        steered.chat(MESSAGE, emotion={"joy": 1.0}, recipe=None, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), torch.tensor(3), -3])
def test_any_whole_number_is_a_seed(steered, seed):
    sampled = {"do_sample": True, "top_k": 0, "max_new_tokens": 8}
    as_int = int(seed)
    assert steered.chat(MESSAGE, seed=seed, **sampled) == steered.chat(MESSAGE, seed=as_int, **sampled)


@pytest.mark.parametrize("kind", ["position", "list", "lists", "numpy", "input_ids list"])
def test_a_prompt_may_be_given_by_position_and_as_a_list(steered, kind):
    ids = steered.prompt(MESSAGE)["input_ids"]
    expected = steered.model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **SHORT)
    options = {**SHORT, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
    forms = {"position": ids, "list": ids[0].tolist(), "lists": ids.tolist(), "numpy": ids.numpy()}
    if kind == "input_ids list":
        found = steered.generate(input_ids=ids.tolist(), **options)
    else:
        found = steered.generate(forms[kind], **options)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "prompt", ["text", ["a", "b"], [[1, 2], [3]], [], [[]], [1.5], {"input_ids": [1]}, 7, torch.tensor([1, 2]), [True]]
)
def test_what_is_no_prompt_is_refused_in_one_line(steered, prompt):
    if isinstance(prompt, torch.Tensor):  # one row, as a list would be
        assert len(steered.generate(prompt, pad_token_id=0, **SHORT)) == 1
        return
    with pytest.raises(InputError) as caught:
        steered.generate(prompt, **SHORT)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="two prompts"):
        steered.generate(prompt, input_ids=torch.tensor([[7, 8]]), **SHORT)


def test_layers_hold_in_every_call_as_in_steer(steered):
    tone, options = {"joy": 3.0}, {"max_new_tokens": 12, "do_sample": False}
    with steered.steer(tone, layers=[3]):
        expected = steered.chat(MESSAGE, **options)
    assert expected != steered.chat(MESSAGE, emotion=tone, recipe=None, **options)
    assert steered.chat(MESSAGE, emotion=tone, recipe=None, layers=[3], **options) == expected
    assert steered.chat(MESSAGE, emotion=tone, recipe=None, layers=3, **options) == expected
    assert "".join(steered.chat(MESSAGE, emotion=tone, recipe=None, layers=[3], stream=True, **options)) == expected
    assert steered.chat_each(MESSAGE, [tone], recipe=None, layers=[3], **options) == [expected]
    ids = steered.prompt(MESSAGE)
    output = steered.generate(**ids, emotion=tone, layers=[3], pad_token_id=0, **options)
    assert steered.tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True) == expected
    told = steered.explain(MESSAGE, expected, emotion=tone, recipe=None, layers=[3])
    with steered.steer(tone, layers=[3]):
        by_hand = steered.explain(MESSAGE, expected)
    assert told.toned == pytest.approx(by_hand.toned)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_new_tokens": 4}, "length"),
        ({"eos_token_id": list(range(400))}, "stop"),
        ({"stop_strings": list("abcdefghijklmnopqrstuvwxyz 0123456789,.!?")}, "stop"),
        ({"stopping_criteria": [lambda ids, _scores: torch.ones(len(ids), dtype=torch.bool)]}, "stop"),
        ({"max_time": 1e-9, "max_new_tokens": 100}, "time"),
    ],
)
def test_an_answer_says_why_it_ended(steered, options, reason):
    answer = steered.chat(MESSAGE, details=True, **{"do_sample": False, "max_new_tokens": 60, **options})
    assert answer.finish_reason == reason
    assert answer.text == steered.chat(MESSAGE, **{"do_sample": False, "max_new_tokens": 60, **options})
    assert SimpleNamespace(**vars(answer)).thoughts == ""


@pytest.mark.parametrize("seed", [1.5, "1", True, -1, 2**64])
def test_what_is_no_seed_is_refused_wherever_something_is_drawn(steered, seed):
    doors = [
        lambda: emosteer.EmotionVectors.random(steered.model, ["joy"], seed=seed),
        lambda: emosteer.EmotionVectors.random_like(steered.vectors, seed=seed),
        lambda: emosteer.calibrate(steered, seed=seed),
        lambda: evaluate_steering(steered, seed=seed),
        lambda: evaluate_alignment(steered, languages=["en"], seed=seed),
    ]
    for door in doors:
        with pytest.raises(InputError, match="seed"):
            door()


@pytest.mark.parametrize("layers", ["2", 2.5, [True], [1.5], None])
def test_what_are_no_layers_is_refused_wherever_layers_are_named(steered, layers):
    model, tokenizer, vectors = steered.model, steered.tokenizer, steered.vectors
    biased = tiny_model(tiny_config(mlp_bias=True))
    of_biased = emosteer.EmotionVectors.random(biased, "joy")
    doors = [
        lambda layers: emosteer.extract(model, tokenizer, small_concepts(), layers=layers).layers,
        lambda layers: collect(model, tokenizer, ["A bus?"], layers=layers).states.shape,
        lambda layers: fit_readout(model, tokenizer, vectors, layers=layers, progress=False).weights.keys(),
        lambda layers: emosteer.bake(biased, of_biased, {"joy": 1.0}, layers=layers),
        lambda layers: emosteer.steer(model, vectors, {"joy": 1.0}, layers=layers),
    ]
    for door in doors:
        if layers is None:  # several, or one alone
            door(np.array([1, 2]))
            door(2)
        else:
            with pytest.raises(ToneError, match="are no layers"):
                door(layers)
