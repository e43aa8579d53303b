"""What the named API's functions make of what they are given, without a server; tests/demo/test_api.py has one."""

from __future__ import annotations

import gradio as gr
import pytest

from emosteer import Affect
from emosteer.demo.endpoints import LONGEST_TEXT, TURNS, endpoints
from emosteer.demo.tone import MOST
from tests.demo.visitor import EMOTIONS, RATED, Held, laid_out, speaking

ASKED = "How are you?"
SAMPLING = {"seed": 3, "do_sample": True, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def steered():
    return speaking()


@pytest.fixture(scope="module")
def api(steered):
    """Each function by its name."""

    def page():
        with gr.Blocks() as blocks:
            endpoints(Held(steered))
        return blocks

    return {event.api_name: event for event in laid_out(page).fns.values()}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_a_reply_is_the_toned_one_by_its_seed(api, steered):
    oracle = {
        seed: steered.chat(
            ASKED, emotion={"fear": 1.5}, recipe="asked_and_steered", temperature=0.8, **{**SAMPLING, "seed": seed}
        )
        for seed in (0, 3)
    }
    assert {seed: api["make_reply"].fn(ASKED, "fear", 1.5, seed, 8) for seed in oracle} == oracle
    assert oracle[0] != oracle[3]


def test_a_reply_ends_in_whole_characters_and_has_no_space_around_it(api, monkeypatch):
    monkeypatch.setattr("emosteer.demo.endpoints.reply", lambda *_: iter([("toned", " so"), ("toned", " it \ufffd")]))
    assert api["make_reply"].fn(ASKED) == "so it"


TONES = [
    ({"fear": 1.5}, {"fear": 1.5}),
    ({"valence": 0.5, "arousal": -1.0}, Affect(0.5, -1.0)),
    ({"arousal": -1.0}, Affect(0.0, -1.0)),
    ({"valence": 7}, Affect(1.0, 0.0)),
    (dict.fromkeys(EMOTIONS, 0.5), dict.fromkeys(EMOTIONS, 0.5)),  # as many as are taken
    ({}, None),
]


@pytest.mark.parametrize(("emotion", "tone"), TONES, ids=str)
def test_two_voices_are_as_the_library_answers(api, steered, emotion, tone):
    assert len(EMOTIONS) == MOST
    history = [user("Hello."), {"role": "assistant", "content": "Hi."}, user(ASKED)]
    *_, found = api["two_voices"].fn(history, emotion, 3, 0.5, 8)
    toned = {} if tone is None else {"emotion": tone, "recipe": "asked_and_steered"}
    drawn = {"temperature": 0.5, **SAMPLING}
    assert found == {"plain": steered.chat(history, **drawn), "toned": steered.chat(history, **toned, **drawn)}


def test_a_conversation_may_be_so_long(api):
    assert list(api["two_voices"].fn([user("a")] * TURNS, {}, 0, 0.8, 1))
    with pytest.raises(gr.Error, match=f"at most {TURNS} are taken"):
        list(api["two_voices"].fn([user("a")] * (TURNS + 1), {}, 0, 0.8, 1))


@pytest.mark.parametrize("content", [None, "", 7, "x" * 2001])
def test_each_message_is_bounded(api, content):
    with pytest.raises(gr.Error, match=r"no text|is empty|at most 2000"):
        list(api["two_voices"].fn([{"role": "user", "content": content}, user(ASKED)], {}))


def test_a_message_quotes_little(api):
    for messages, emotion in (([user(ASKED)], ["x" * 9999]), ([{"role": "x" * 9999}], {})):
        with pytest.raises(gr.Error) as error:
            list(api["two_voices"].fn(messages, emotion))
        assert len(error.value.message) < 300


def test_a_text_is_read_if_it_is_not_too_long(api, steered):
    assert api["read_emotion"].fn("I am well.") == steered.read("I am well.").to_dict()
    with pytest.raises(gr.Error, match=str(LONGEST_TEXT)):
        api["read_emotion"].fn("x" * (LONGEST_TEXT + 1))


def test_emotions_are_listed_with_their_places_and_wait_for_nobody(api):
    listed = api["list_emotions"].fn()
    assert {one["name"]: (one["valence"], one["arousal"]) for one in listed} == {**RATED, "awe": (None, None)}
    assert not api["list_emotions"].queue
