"""What is read in both voices: the numbers, against the model itself; that no text becomes markup."""

from __future__ import annotations

import html
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emosteer.demo import see
from emosteer.demo.figures.circumplex import trace
from emosteer.demo.readings import Seen, path, seen
from emosteer.demo.state import VOICES, Conversation, Sampling, Scene, Turn, Visit
from emosteer.demo.tone import Mix, Point
from emosteer.reading.emotion_reading import EmotionReading
from tests.demo.visitor import HOSTILE, RATED, Held, laid_out, speaking

NAN = math.nan
JOY = Mix((("joy", 1.0),))
SAID = Turn("How are you?", JOY, Sampling(0, 0.5, 20), {"plain": "I am well.", "toned": "I am so glad!"})


@pytest.fixture(scope="module")
def steered():
    return speaking()


def reading(valence, arousal) -> EmotionReading:
    return EmotionReading(
        tokens=("x",) * len(valence),
        token_scores={},
        scores={},
        uncertainty={},
        token_axes={"valence": tuple(valence), "arousal": tuple(arousal)},
    )


@pytest.mark.parametrize("known", [1, 3, 8, 9, 30])
def test_a_path_is_a_moving_mean(known):
    axes = np.random.default_rng(known).normal(size=(2, known))
    wide = min(8, known)
    oracle = [np.convolve(axis, np.ones(wide) / wide, mode="valid") for axis in axes]
    spoken = [(NAN, *axis) for axis in axes.tolist()]  # the first token of a text has no score
    np.testing.assert_allclose(np.transpose(path(reading(*spoken))), oracle, atol=1e-12)


def test_a_path_of_nothing_is_none():
    assert path(reading([], [])) == []
    assert path(reading([NAN], [NAN])) == []
    assert path(replace(reading([], []), token_axes={})) == []  # nobody has rated these emotions


def nats(steered, messages, answer: str) -> float:
    """Mean surprise of an answer, token by token, by hand."""
    prompt = steered.prompt(messages)["input_ids"][0].tolist()
    tokens = steered.tokenizer(answer, add_special_tokens=False)["input_ids"]
    total = 0.0
    with torch.no_grad():
        for i, token in enumerate(tokens):
            logits = steered.model(torch.tensor([[*prompt, *tokens[:i]]])).logits[0, -1]
            total -= float(logits.log_softmax(-1)[token])
    return total / len(tokens)


def test_what_is_seen_is_what_the_plain_model_says(steered):
    before = Turn("Hello.", JOY, Sampling(), {"plain": "Good day.", "toned": "Hi, hi!"})
    said = Conversation((before, SAID))
    now = seen(steered, said)
    assert now.turn == SAID
    for voice, hello in before.answers.items():
        asked = [
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": hello},
            {"role": "user", "content": "How are you?"},
        ]
        assert now.costs[voice] == pytest.approx(nats(steered, asked, SAID.answers[voice]), rel=1e-4)
        oracle = steered.read(SAID.answers[voice])
        assert now.readings[voice].scores == oracle.scores
        assert (now.readings[voice].valence, now.readings[voice].arousal) == (oracle.valence, oracle.arousal)
    assert now.cost == now.costs["toned"] - now.costs["plain"]
    toned = steered.explain(asked, "I am so glad!", emotion={"joy": 1.0}, recipe="asked_and_steered", temperature=0.5)
    assert now.why == toned
    assert toned != steered.explain(
        asked, "I am so glad!", emotion={"joy": 1.0}, recipe="asked_and_steered", temperature=1.0
    )


def test_why_of_the_likeliest_tokens(steered):
    """At temperature 0, by which nothing can be divided."""
    greedy = replace(SAID, sampling=Sampling(temperature=0.0), setting=replace(JOY, natural=False))
    oracle = steered.explain("How are you?", "I am so glad!", emotion={"joy": 1.0}, recipe=None)
    assert seen(steered, Conversation((greedy,))).why == oracle


@pytest.mark.parametrize("short", ["", "a"])
@pytest.mark.parametrize("voice", VOICES)
def test_what_is_too_short_is_left_out(steered, short, voice):
    turn = replace(SAID, answers={**SAID.answers, voice: short})
    now = seen(steered, Conversation((turn,)))
    (other,) = set(VOICES) - {voice}
    assert list(now.readings) == list(now.costs) == [other]
    assert now.cost is None
    assert (now.why is None) == (voice == "toned")


def shown(steered, said: Conversation, tint: str = "joy") -> list[str]:
    return see.pictures(seen(steered, said), said, Held(steered).first, steered, tint)


CASES = {
    "nothing": Conversation(),
    "both": Conversation((SAID,)),
    "one": Conversation((replace(SAID, answers={"plain": "I am well.", "toned": ""}),)),
    "other": Conversation((replace(SAID, answers={"plain": "", "toned": "I am well."}),)),
    "neither": Conversation((replace(SAID, answers={"plain": "", "toned": "a"}),)),
    "no tone": Conversation((replace(SAID, setting=Mix()),)),
    "a point": Conversation((replace(SAID, setting=Point(0.5, 0.5)),)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_output_is_filled_in_every_case(steered, case):
    pictures = shown(steered, CASES[case])
    assert len(pictures) == 6
    assert all(isinstance(one, str) for one in pictures)
    summary, _, plain, toned, why, code = pictures
    answers = case in {"both", "no tone", "a point"}
    assert ("<b>Fluency:</b>" in summary) == answers
    assert (code == "") == (case == "nothing")
    assert ("Too short" in plain) == (case in {"other", "neither"})
    assert ("Too short" in toned) == (case in {"one", "neither"})
    assert (why == "") == (case in {"nothing", "one", "neither"})


def test_every_output_is_of_what_was_said(steered):
    before = Turn("Hello.", JOY, Sampling(), {"plain": "Good day.", "toned": "Hi, hi!"})
    said = Conversation((before, SAID))
    _, way, plain, toned, why, code = shown(steered, said)
    assert way == trace({voice: path(steered.read(SAID.answers[voice])) for voice in VOICES}, RATED)
    assert ">Plain</h3>" in plain
    assert ">In tone</h3>" in toned
    assert why
    assert code.startswith(Held(steered).first.code())
    assert "Hi, hi!" in code
    assert "Good day." not in code  # that is what the other voice remembers


def test_the_strongest_are_named_beside_a_word():
    scores = {"a": (NAN, 1.0), "b": (NAN, 3.0), "c": (NAN, -5.0), "d": (NAN, 2.0), "e": (NAN, 0.5)}
    text = see.tinted(replace(reading([NAN, 0.1], [NAN, 0.2]), token_scores=scores), "arousal", "Text")
    assert "b +3.0, d +2.0, a +1.0" in text
    assert "nan" not in text


def test_what_is_no_emotion_tints_by_valence(steered):
    kept = seen(steered, Conversation((SAID,)))
    assert see.strips(kept, "no such emotion") == see.strips(kept, "valence") != see.strips(kept, "joy")


def test_vectors_that_nobody_rated_and_a_tone_that_failed():
    """A point cannot be mixed from them, so there is no answer; what is seen of it is told all the same."""
    bare = speaking(info={})
    failed = Conversation((Turn("Hello?", Point(0.5, 0.5)),))
    summary, *_ = shown(bare, failed, "valence")
    assert "nobody has rated" in summary
    spoken = Conversation((SAID,))
    assert "joy of each word" in html.unescape(shown(bare, spoken, "valence")[2])  # the first there is


@pytest.mark.parametrize("tint", ["joy", "valence", "no such emotion"])
def test_no_text_becomes_markup(steered, tint):
    harmless = Conversation((replace(SAID, message="x" * 9, answers=dict.fromkeys(VOICES, "y" * len(HOSTILE))),))
    hostile = Conversation((replace(SAID, message=HOSTILE, answers=dict.fromkeys(VOICES, HOSTILE)),))
    for before, now in zip(shown(steered, harmless, tint)[:-1], shown(steered, hostile, tint)[:-1], strict=True):
        assert elements(now) <= elements(before)
        assert "<img" not in now


def elements(text: str) -> set[str]:
    return set(re.findall(r"<\s*/?\s*([a-zA-Z]+)", text))


def test_words_and_names_are_escaped_in_lines_of_html():
    now = Seen({"plain": replace(reading([], []), scores={"<b>": 2.0})}, {"plain": 1.0, "toned": 1.5}, None)
    text = see.summary(now, "<where>", "<words>")
    assert "&lt;where&gt;" in text
    assert "&lt;words&gt;" in text
    assert "&lt;b&gt; +2.0" in text
    assert "<b>+0.50</b>" in text
    assert "a little more than" in text


@pytest.mark.parametrize(("cost", "feeling"), [(-0.2, "no more than"), (0.3, "a little more"), (0.6, "clearly more")])
def test_cost_in_words(cost, feeling):
    now = Seen({}, {"plain": 1.0, "toned": 1.0 + cost}, None)
    assert feeling in see.summary(now, "", "")


@pytest.mark.parametrize("costs", [{"plain": 1.0}, {"plain": NAN, "toned": 1.0}])
def test_a_cost_that_is_not_known_is_not_told(costs):
    assert "Fluency" not in see.summary(Seen({}, costs, None), "", "")


def test_the_strongest_are_named_and_axes_where_they_are_known():
    whole = replace(reading([], []), scores={"a": 0.1, "b": 3.0, "c": -5.0, "d": 2.0, "e": 1.0})
    assert see.described(whole) == "b +3.0, d +2.0, e +1.0"
    assert see.described(replace(whole, valence=0.5, arousal=-0.25)).startswith("valence +0.50, arousal -0.25; b +3.0")


def test_the_page_is_filled_once_for_each_turn(steered, monkeypatch):
    fields = see.See(*[SimpleNamespace(name=name) for name in ("tint", "kept", "drawn")], outputs=[0] * 6)
    fill, said, pair = fields.read(Held(steered)), Conversation((SAID,)), Held(steered).first
    nothing, skipped = Seen({}, {}, None), see.gr.skip()
    kept, *pictures, line = fill(pair, Visit(Scene(said)), nothing, "joy")
    assert pictures == shown(steered, said)
    assert html.escape(JOY.words()) in line
    assert 1 + len(pictures) + 1 == 8
    assert fill(pair, Visit(Scene(said, status="Reading what was said …")), kept, "joy") == (*[skipped] * 7, line)
    assert fill(pair, Visit(), nothing, "joy")[:7] == (skipped,) * 7
    asked = Visit()
    asked.ask(Conversation(), SAID)  # and yet to be answered
    assert fill(pair, asked, nothing, "joy") == (skipped,) * 8
    anew, *pictures, line = fill(pair, Visit(), kept, "joy")  # a new conversation
    assert anew == nothing
    assert pictures == shown(steered, Conversation())
    assert "Ask something." in line
    begun, real = Visit(Scene(said)), see.seen

    def slow(*given):
        begun.scene = Scene()  # the visitor begins anew meanwhile
        return real(*given)

    monkeypatch.setattr(see, "seen", slow)
    assert fill(pair, begun, nothing, "joy") == (skipped,) * 8


def test_other_vectors_clear_what_was_seen(steered):
    def page():
        with see.gr.Blocks():
            return see.see(Held(steered).places())

    views = laid_out(page)
    fresh = see.cleared({"envy": None, "awe": (0.1, 0.2)})
    assert len(fresh) == len(views.named)
    assert fresh[0]["choices"] == ["valence", "arousal", "envy", "awe"]
    assert fresh[1] == Seen({}, {}, None)


def test_a_tint_is_of_one_text(steered):
    kept = seen(steered, Conversation((SAID,)))
    by_joy, by_axis = see.strips(kept, "joy"), see.strips(kept, "arousal")
    assert by_joy != by_axis
    score = kept.readings["toned"].token_scores["joy"][3]
    assert f"{abs(score):.2f}" in by_joy[1]
    assert see.strips(Seen({}, {}, None), "joy") == [see.TOO_SHORT] * 2


def test_the_reading_is_of_the_plain_model(steered):
    with steered.steer({"joy": 2.0}):
        inside = seen(steered, Conversation((SAID,)))
    assert inside.costs == seen(steered, Conversation((SAID,))).costs
