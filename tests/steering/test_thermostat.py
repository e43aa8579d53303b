"""Holding a level: the law of the control, and answers against an oracle that reads and steers by hand."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

import emosteer
from emosteer.errors import IncompatibleModelError, ToneError
from emosteer.schedules import ramp
from emosteer.steering import Thermostat
from emosteer.steering.thermostat import Control
from emosteer.vectors.types import Readout
from tests.conftest import in_threads, tiny_tokenizer
from tests.oracle import added, along, built, generate, hooks_on, logits_of, made_for, padded, some_ids

SHIPPED = Path("vectors") / "smollm2-135m-instruct-en"
HELD = Thermostat({"joy": 1.5, "fear": -0.5})


class Reading(Control):
    """A control for which token i reads i tenths of the first emotion, and the opposite of the others."""

    def __init__(self, thermostat, *, lead=()):
        self._levels = torch.tensor(list(thermostat.levels.values()))
        self._limit, self._lead = thermostat.limit, list(lead)
        self._state, self.read = threading.local(), []

    def _read(self, ids):
        self.read.append(ids.tolist())
        signs = torch.tensor([1.0, *[-1.0] * (len(self._levels) - 1)])
        return ids[:, -1:] / 10 * signs


def law(levels, scores, limit=2.0, *, skip=1):
    """Strength at each token: a tenth of the level, and a twelfth of what is missing so far; the first says nothing."""
    levels, scores = np.array(levels), np.array(scores)
    missing = levels - scores
    missing[:skip] = 0
    return np.clip(levels / 10 + missing.cumsum(0) / 12, -limit, limit)


ANSWER = [20, 9, 15, -30, 40, 0]
SCORES = [[i / 10, -i / 10] for i in ANSWER]


@pytest.mark.parametrize("lead", [(), (7, 8)])
def test_strengths_are_what_is_missing_added_up(lead):
    control = Reading(HELD, lead=lead)
    prompt = control.gain(torch.tensor([[1, 2, 3]]), 3)
    np.testing.assert_allclose(prompt, [[[0.15, -0.05]] * 3], atol=1e-6)
    found = [control.gain(torch.tensor([[token]]), -t)[0, 0] for t, token in enumerate(ANSWER)]
    expected = law([1.5, -0.5], SCORES, skip=0 if lead else 1)
    np.testing.assert_allclose(torch.stack(found), expected, atol=1e-6)
    assert control.read == [[list(lead)]] * bool(lead) + [[[token]] for token in ANSWER]  # the answer and no prompt


def test_passes_without_a_cache_give_every_token_what_it_had():
    control, ids = Reading(HELD), [1, 2, 3]
    control.gain(torch.tensor([ids]), 3)
    for t, token in enumerate(ANSWER):
        ids.append(token)
        found = control.gain(torch.tensor([ids]), 3)[0]
        np.testing.assert_allclose(found[3:], law([1.5, -0.5], SCORES)[: t + 1], atol=1e-6)
        np.testing.assert_allclose(found[:3], [[0.15, -0.05]] * 3)
    assert control.read == [[[token]] for token in ANSWER]  # each once


def test_each_row_is_held_by_itself():
    control = Reading(HELD)
    rows = torch.tensor([ANSWER, ANSWER[::-1]])
    control.gain(torch.zeros(2, 4, dtype=torch.long), 4)
    found = torch.stack([control.gain(rows[:, t : t + 1], -t)[:, 0] for t in range(6)], 1)
    np.testing.assert_allclose(found[0], law([1.5, -0.5], SCORES), atol=1e-6)
    np.testing.assert_allclose(found[1], law([1.5, -0.5], SCORES[::-1]), atol=1e-6)


@pytest.mark.parametrize("limit", [0.5, 1])
def test_strengths_stay_within_the_limit(limit):
    control = Reading(Thermostat({"joy": 1.5, "fear": -0.5}, limit=limit))
    assert float(control.gain(torch.zeros(1, 4, dtype=torch.long), 4).abs().max()) <= limit
    for t, score in enumerate([-90] * 4 + [90] * 8):
        assert float(control.gain(torch.tensor([[score]]), -t).abs().max()) <= limit


def test_a_new_prompt_starts_afresh():
    control = Reading(HELD)
    for _ in range(2):
        control.gain(torch.tensor([[1, 2, 3]]), 3)
        found = [control.gain(torch.tensor([[token]]), -t)[0, 0] for t, token in enumerate(ANSWER)]
        np.testing.assert_allclose(torch.stack(found), law([1.5, -0.5], SCORES), atol=1e-6)


# On a model.


def leading(tokenizer):
    """The same tokenizer with a first token before every text."""
    single = [("<s>", 1)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=single)
    return tokenizer


@pytest.fixture(scope="module", params=[False, True], ids=["no first token", "a first token"])
def steered(request):
    tokenizer = leading(tiny_tokenizer()) if request.param else tiny_tokenizer()
    assert tokenizer("")["input_ids"] == [1] * request.param
    return emosteer.SteeredModel(built("llama"), tokenizer, made_for("llama"))


def expected(steered, prompt, thermostat, *, scope="all", new=6):
    """A greedy answer, each token from uncached passes: the plain model reads the answer, the steered one goes on."""
    model, readout, answer, steps = steered.model, steered.readout, [], []
    lead = steered.tokenizer("")["input_ids"]
    columns = [readout.emotions.index(name) for name in thermostat.levels]
    levels = list(thermostat.levels.values())

    def scores():
        total, handles = readout.bias.double().clone(), []
        parts = []
        for layer, weights in readout.weights.items():
            handles.append(
                model.model.layers[layer].register_forward_hook(
                    lambda _m, _a, out, w=weights: parts.append(out[0].double() @ w.double())
                )
            )
        logits_of(model, torch.tensor([lead + answer]), use_cache=False)
        for handle in handles:
            handle.remove()
        return (total + sum(parts))[len(lead) :, columns].numpy()

    for _ in range(new):
        strengths = law(levels, scores(), thermostat.limit, skip=0 if lead else 1) if answer else None

        def places(p, strengths=strengths):
            if (scope == "generated" and p < 0) or (scope == "prompt" and p >= 0):
                return {}
            row = np.clip(np.array(levels) / 10, -thermostat.limit, thermostat.limit) if p < 0 else strengths[p]
            return dict(zip(thermostat.levels, row.tolist(), strict=True))

        ids = torch.cat([prompt, torch.tensor([answer], dtype=torch.long)], 1)
        with added(model.model.layers, along(steered.vectors, places, prompt.shape[1])):
            logits = logits_of(model, ids, use_cache=False)[0, -1]
        logits[2] = -float("inf")
        steps.append(logits)
        answer.append(int(logits.argmax()))
    return answer, torch.stack(steps)


def check(output, row, oracle):
    answer, logits = oracle
    assert output.sequences[row, -len(answer) :].tolist() == answer
    found = torch.stack([step[row] for step in output.logits])
    found[:, 2] = -float("inf")
    torch.testing.assert_close(found, logits, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "decoding", [{}, {"use_cache": False}, {"prefill_chunk_size": 3}], ids=["cached", "uncached", "chunks"]
)
def test_answers_equal_those_that_are_read_and_steered_by_hand(steered, decoding):
    prompts = [some_ids(7), some_ids(3, seed=5)]
    with steered.steer(HELD):
        output = generate(steered.model, *padded(prompts), **decoding)
    for row, prompt in enumerate(prompts):
        check(output, row, expected(steered, prompt, HELD))


@pytest.mark.parametrize("scope", ["prompt", "generated"])
def test_a_scope_holds_for_a_thermostat_too(steered, scope):
    with steered.steer(HELD, scope=scope):
        output = generate(steered.model, some_ids(7))
    check(output, 0, expected(steered, some_ids(7), HELD, scope=scope))


def test_a_second_answer_in_the_block_starts_afresh(steered):
    with steered.steer(HELD):
        outputs = [generate(steered.model, some_ids(length)) for length in (7, 4)]
    for output, length in zip(outputs, (7, 4), strict=True):
        check(output, 0, expected(steered, some_ids(length), HELD))


def test_levels_that_differ_give_different_answers(steered):
    options = {"input_ids": some_ids(7), "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    found = [steered.generate(emotion=Thermostat({"joy": level}), **options) for level in (-4.0, 4.0)]
    assert found[0].tolist() != found[1].tolist()


def test_threads_that_hold_levels_at_once_each_hold_their_own(steered):
    levels = [HELD, Thermostat({"calm": 2.0})]
    alone = []
    for one in levels:
        with steered.steer(one):
            alone.append(generate(steered.model, some_ids(7)))

    def work(i):
        def run():
            for _ in range(3):
                with steered.steer(levels[i]):
                    found = generate(steered.model, some_ids(7))
                assert torch.equal(found.sequences, alone[i].sequences)
                assert all(torch.equal(a, b) for a, b in zip(found.logits, alone[i].logits, strict=True))

        return run

    in_threads(work(0), work(1))


def test_a_stream_is_held_like_an_answer(steered):
    options = {"emotion": HELD, "max_new_tokens": 6, "do_sample": False}
    assert "".join(steered.chat("hi", stream=True, **options)) == steered.chat("hi", **options)


def test_a_monitor_around_it_hears_the_answer_only_once(steered):
    with steered.monitor() as live, steered.steer(HELD):
        generate(steered.model, some_ids(7))
    assert live.scores.shape[1] == 12


def test_a_tone_outside_is_not_in_what_the_thermostat_reads(steered, monkeypatch):
    """Its own reading is of the plain model: the same answer gets the same strengths, whatever is added around it."""
    gains, gain = [], Control.gain
    monkeypatch.setattr(Control, "gain", lambda *given: gains.append(gain(*given)) or gains[-1])
    ids = some_ids(9)
    for outer in ({}, {"fear": 2.0}):
        with steered.steer(outer), steered.steer(HELD), torch.no_grad():
            cached = steered.model(ids[:, :4], use_cache=True).past_key_values
            steered.model(ids[:, 4:], past_key_values=cached)
    assert [tuple(one.shape) for one in gains] == [(1, 4, 2), (1, 5, 2)] * 2
    assert torch.equal(gains[1], gains[3])
    assert len(gains[1].unique(dim=1)[0]) > 1  # which change along the answer


def test_the_model_is_as_it_was_afterwards(steered):
    hooks, plain = hooks_on(steered.model), logits_of(steered.model, some_ids(7))
    with steered.steer(HELD):
        generate(steered.model, some_ids(7))
    assert hooks_on(steered.model) == hooks
    assert torch.equal(logits_of(steered.model, some_ids(7)), plain)


# What is refused.


@contextmanager
def refused(says):
    with pytest.raises(ToneError, match=says):
        yield


def test_a_plain_steering_cannot_read(steered):
    with refused("reads what is written"):
        emosteer.steer(steered.model, steered.vectors, HELD)


@pytest.mark.parametrize(
    "options",
    [{"num_beams": 3}, {"prompt_lookup_num_tokens": 3}, {"assistant_model": "the model"}],
    ids=lambda options: next(iter(options)),
)
def test_what_goes_back_and_forth_is_refused_before_it_runs(steered, options):
    if "assistant_model" in options:
        options = {"assistant_model": steered.model}
    with refused(f"{next(iter(options))} goes back and forth"), steered.steer(HELD):
        generate(steered.model, some_ids(7), **options)
    config = replace_config(steered.model, num_beams=3)
    with refused("num_beams"), steered.steer(HELD):
        steered.model.generate(some_ids(7), generation_config=config)


def replace_config(model, **changes):
    config = type(model.generation_config).from_dict(model.generation_config.to_dict())
    config.update(**changes)
    return config


def test_embeddings_cannot_be_read(steered):
    embeddings = steered.model.get_input_embeddings()(some_ids(7)).detach()
    with refused("follows the token ids"):
        steered.generate(emotion=HELD, inputs_embeds=embeddings, max_new_tokens=3)


@pytest.mark.parametrize("options", [{"schedule": ramp(4)}, {"operation": "ablate"}, {"operation": "project"}])
def test_what_would_work_against_it_is_refused(steered, options):
    with refused("sets the strengths along the answer itself"):
        steered.steer(HELD, **options)


def test_a_model_without_a_cache_is_refused():
    model = built("mamba")
    readout = Readout(("joy",), (), {0: torch.ones(32, 1)}, torch.zeros(1), torch.ones(1), torch.ones(1))
    vectors = replace(emosteer.EmotionVectors.random(model, ["joy"], seed=1), readout=readout)
    steered = emosteer.SteeredModel(model, tiny_tokenizer(), vectors)
    with pytest.raises(IncompatibleModelError, match="keeps no key-value cache"), steered.steer({"joy": 0.0}):
        steered.generate(emotion=Thermostat({"joy": 1.0}), input_ids=some_ids(4), max_new_tokens=3, pad_token_id=0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Thermostat({}), "no level to hold"),
        (lambda: Thermostat("joy"), "no level to hold"),
        (lambda: Thermostat({"joy": float("nan")}), "level of 'joy' is nan"),
        (lambda: Thermostat({"joy": "1"}), "level of 'joy' is '1'"),
        (lambda: Thermostat({"joy": True}), "level of 'joy' is True"),
        (lambda: Thermostat({"joy": 1.0}, limit=0), "limit of a thermostat is 0"),
        (lambda: Thermostat({"joy": 1.0}, limit=11), "limit of a thermostat is 11"),
        (lambda: Thermostat({"joy": 1.0}, limit=float("nan")), "limit of a thermostat is nan"),
        (lambda: Thermostat({"joy": 1.0}, limit="3"), "limit of a thermostat is '3'"),
    ],
)
def test_what_is_no_thermostat_is_refused(make, says):
    with refused(says):
        make()


def test_an_emotion_that_is_not_there_is_named(steered):
    with refused("no emotion 'joi'"):
        steered.steer(Thermostat({"joi": 1.0}))


def test_rows_cannot_be_held_at_levels_of_their_own(steered):
    with refused("not the tone of a row"):
        steered.steer([HELD, None])


# The real model.


@pytest.mark.slow
@pytest.mark.embedded
def test_a_high_level_reads_higher_than_none_on_the_embedded_model(real):
    found = {}
    for level in (0.0, 4.0):
        answer = real.chat(
            "Tell me about your day.", emotion=Thermostat({"joy": level}), max_new_tokens=32, do_sample=False
        )
        found[level] = real.read(answer).scores["joy"]
    assert found[4.0] > found[0.0] + 1, found
