"""Rows that come and go: each is as it would be alone."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM, GemmaConfig, GPT2Config, MambaConfig, MistralConfig

import emosteer
from emosteer.errors import EmosteerWarning, InputError
from emosteer.serving.batch import most_rows
from emosteer.serving.engine import BusyError, Engine
from emosteer.serving.rows import Row
from tests.serving.conftest import TONES, Heard, alone, job, until

TEXTS = ("Hello", "How was your morning today?", "x", "What else do you know about the sea and the sky?")


def test_rows_with_tones_of_their_own_equal_generate(steered):
    asked = [(TEXTS[i % 4], tone, 6 + 3 * i) for i, tone in enumerate(TONES)]
    with Engine(steered, rows=5) as engine:
        heard = [Heard(engine, job(steered, *one)) for one in asked]
        answers = [one.answer() for one in heard]
    twins = [alone(steered, *one) for one in asked]
    assert [text for text, _ in answers] == [twin.text for twin in twins]
    assert [end.tokens for _, end in answers] == [twin.completion_tokens for twin in twins]
    assert [end.reason for _, end in answers] == [twin.finish_reason for twin in twins]
    plain = [alone(steered, text, "", most).text for text, _, most in asked]
    assert sum(twin.text != other for twin, other in zip(twins, plain, strict=True)) >= 6


def test_recipes_hold_for_their_row_alone(steered):
    natural = emosteer.steering.recipes.RECIPES["natural"]
    with Engine(steered) as engine:
        heard = [
            Heard(engine, job(steered, TEXTS[1], "joy=1", 20, recipe=recipe, repetition_penalty=penalty))
            for recipe, penalty in ((None, None), (natural, None), (None, 1.5))
        ]
        texts = [one.answer()[0] for one in heard]
    ways = ({}, {"recipe": "natural"}, {"repetition_penalty": 1.5})
    assert texts == [alone(steered, TEXTS[1], "joy=1", 20, **how).text for how in ways]
    assert len(set(texts)) == 3


def test_a_seeded_row_draws_what_it_would_alone(steered):
    drawn = {"temperature": 0.8, "top_p": 0.9, "top_k": 40}
    with Engine(steered) as engine:
        heard = [Heard(engine, job(steered, TEXTS[i % 4], "joy=1", 15, seed=i // 2, **drawn)) for i in range(6)] + [
            Heard(engine, job(steered, TEXTS[1], "", 15))
        ]
        texts = [one.answer()[0] for one in heard]
    twins = [alone(steered, TEXTS[i % 4], "joy=1", 15, seed=i // 2, do_sample=True, **drawn).text for i in range(6)]
    assert texts == [*twins, alone(steered, TEXTS[1], "", 15).text]


def test_without_a_seed_every_draw_is_another(steered):
    with Engine(steered) as engine:
        heard = [Heard(engine, job(steered, "Hello", "", 20, temperature=1.5)) for _ in range(3)]
        assert len({one.answer()[0] for one in heard}) == 3


def test_a_request_joins_answers_under_way(steered):
    with Engine(steered) as engine:
        long = Heard(engine, job(steered, TEXTS[0], "joy=1", 90))
        first = long.event()
        short = Heard(engine, job(steered, TEXTS[3], "fear=2", 5))
        assert short.answer()[0] == alone(steered, TEXTS[3], "fear=2", 5).text
        assert engine.running == 1  # the long one is still being written
        rest, end = long.answer()
    assert end.tokens == 90
    assert first + rest == alone(steered, TEXTS[0], "joy=1", 90).text


def test_who_has_gone_leaves_and_the_others_go_on(steered):
    with Engine(steered, rows=2) as engine:
        gone, stays = (Heard(engine, job(steered, text, "joy=1", most)) for text, most in ((TEXTS[3], 900), ("x", 60)))
        waits = Heard(engine, job(steered, TEXTS[1], "calm=1", 5))
        gone.event()
        engine.cancel(gone.running)
        assert waits.answer()[0] == alone(steered, TEXTS[1], "calm=1", 5).text
        assert stays.answer()[0] == alone(steered, "x", "joy=1", 60).text
        until(lambda: engine.running == 0)
        assert gone.running.row.tokens < 900


def test_who_has_gone_before_a_row_was_free_is_never_begun(steered):
    with Engine(steered, rows=1) as engine:
        first, second = (Heard(engine, job(steered, "x", "", most)) for most in (40, 5))
        first.event()
        engine.cancel(second.running)
        assert engine.waiting == 0
        first.answer()
        assert second.running.row is None
        assert second.events.empty()


def test_the_queue_is_bounded(steered):
    with Engine(steered, rows=1, queue=2) as engine:
        held = [Heard(engine, job(steered, "x", "", 80))]
        held[0].event()
        held += [Heard(engine, job(steered, "x", "", 5)) for _ in range(2)]
        with pytest.raises(BusyError, match="2 requests are waiting"):
            Heard(engine, job(steered, "x"))
        assert len({one.answer() for one in held[1:]}) == 1
        assert Heard(engine, job(steered, "x")).answer()


def test_an_error_is_of_its_request_alone(steered, monkeypatch):
    real = Row.take

    def take(row, scores):
        if row.job.most == 7 and row.tokens == 3:
            raise RuntimeError("broken")
        return real(row, scores)

    with Engine(steered) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(Row, "take", take)
            beside = Heard(engine, job(steered, "Hello", "joy=1", 40))
            beside.event()
            broken = Heard(engine, job(steered, "x", "", 7))
            with pytest.raises(RuntimeError, match="broken"):
                broken.answer()
            assert beside.answer()[1].tokens == 40
        too_loud = job(steered, "x", "joy=10", recipe=emosteer.steering.recipes.RECIPES["natural"])
        with pytest.raises(emosteer.EmosteerError, match="takes up to"):
            Heard(engine, too_loud).answer()
        assert Heard(engine, job(steered, "x", "joy=1")).answer()[0] == alone(steered, "x", "joy=1").text


def test_a_call_runs_between_steps_in_the_engines_thread(steered):
    with Engine(steered) as engine:
        long = Heard(engine, job(steered, "x", "joy=1", 100))
        assert engine.call(lambda: threading.current_thread().name).result(30) == "emosteer-engine"
        reading = engine.call(lambda: steered.complete("x", max_new_tokens=5)).result(30)
        assert reading == alone(steered, "x", "", 5).text  # no tone of a row is in it
        with pytest.raises(InputError):
            engine.call(lambda: steered.complete("")).result(30)
        long.answer()


def test_the_model_is_itself_meanwhile_and_afterwards(steered):
    before = alone(steered, "x").text
    with Engine(steered) as engine:
        heard = Heard(engine, job(steered, "x", "joy=3", 200))
        heard.event()
        assert alone(steered, "x").text == before  # in another thread
        heard.answer()
    assert not any(module._forward_hooks for module in steered.model.modules())
    with pytest.raises(BusyError):
        engine.submit(job(steered, "x"), print)


def test_closing_tells_who_still_waits(steered):
    with Engine(steered, rows=1) as engine:
        heard = [Heard(engine, job(steered, "x", "", 500)) for _ in range(2)]
        heard[0].event()
    for one in heard:
        with pytest.raises(BusyError, match="stopped"):
            one.answer()


def test_rows_are_forgotten(steered):
    with Engine(steered) as engine:
        heard = Heard(engine, job(steered, TEXTS[3], "joy=1", 30))
        heard.answer()
        row = weakref.ref(heard.running.row)
        del heard
        Heard(engine, job(steered, "x", "", 2)).answer()
        until(lambda: engine.running == 0)
        assert engine._batch._mask is None
        assert not engine._batch._cache
        gc.collect()
        assert row() is None


def tiny(kind, **changes):
    sizes = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 3, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(kind(**{**sizes, **changes})).eval()


ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64}


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (lambda: tiny(GPT2Config, n_head=4), 8),
        (lambda: tiny(MistralConfig, **ATTENTION, sliding_window=4), 8),
        (lambda: tiny(GemmaConfig, **ATTENTION), 8),
        (lambda: tiny(MambaConfig, state_size=4), 1),
    ],
    ids=["learned positions", "sliding window", "gemma", "recurrent"],
)
def test_how_many_rows_go_on_together_is_tried_out(model, rows):
    with torch.no_grad():
        assert most_rows(model(), 8) == rows


def test_a_recurrent_model_answers_one_after_another(tokenizer):
    model = tiny(MambaConfig, state_size=4)
    vectors = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    with pytest.warns(EmosteerWarning, match="one after another"):
        engine = Engine(steered)
    asked = [("Hello", tone, 6) for tone in ("joy=2", "", "fear=1")]
    with engine:
        heard = [Heard(engine, job(steered, *one)) for one in asked]
        assert [one.answer()[0] for one in heard] == [alone(steered, *one).text for one in asked]
