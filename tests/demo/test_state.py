"""What one visitor has: the conversation of each voice, and the tone, as the library takes it and in words."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import emosteer
from emosteer import Affect, Keyframes
from emosteer.demo.state import VOICES, Conversation, Sampling, Turn
from emosteer.demo.tone import Curve, Mix, Point, recipe_for, steered_where
from emosteer.errors import InputError, ToneError
from tests.demo.visitor import EMOTIONS, RATED, speaking


def turn(message: str, plain: str = "", toned: str = "") -> Turn:
    return Turn(message, answers={"plain": plain, "toned": toned})


SAID = Conversation((turn("a", "A", "α"), turn("b", "B"), turn("c", "", "δ"), turn("d")))


@pytest.fixture(scope="module")
def vectors():
    return speaking().vectors


def test_sampling_as_chat_takes_it():
    assert Sampling(3, 0.7, 20).options() == {"seed": 3, "max_new_tokens": 20, "do_sample": True, "temperature": 0.7}
    assert Sampling(3, 0.0, 20).options() == {"seed": 3, "max_new_tokens": 20, "do_sample": False}


@pytest.mark.parametrize(
    ("voice", "window", "asked"),
    [("plain", "aA bB c d", "aA bB d"), ("toned", "aα b cδ d", "aα cδ d")],  # the visitor's are ASCII lower case
)
def test_each_voice_has_its_own_conversation(voice, window, asked):
    def written(messages):
        assert all(
            one["role"] == ("user" if one["content"] in {"a", "b", "c", "d"} else "assistant") for one in messages
        )
        return "".join(one["content"] for one in messages)

    assert written(SAID.messages(voice)) == window.replace(" ", "")
    # What this voice never answered is not put to it again, so that the two who speak take turns.
    assert written(SAID.asking(voice)) == asked.replace(" ", "")
    roles = [one["role"] for one in SAID.asking(voice)]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


@pytest.mark.parametrize("voice", VOICES)
def test_a_message_belongs_to_the_turn_it_was_said_in(voice):
    message_of = {"a": 0, "A": 0, "α": 0, "b": 1, "B": 1, "c": 2, "δ": 2, "d": 3}
    for index, one in enumerate(SAID.messages(voice)):
        assert SAID.turn_at(voice, index) == message_of[one["content"]]


@pytest.mark.parametrize(
    ("voice", "index"),
    [("plain", 6), ("plain", -1), ("toned", "0"), ("toned", [0, 1]), ("plain", None), ("", 0), ("third", 0)],
)
def test_a_message_that_is_not_there_is_refused(voice, index):
    with pytest.raises(InputError, match="no such message"):
        SAID.turn_at(voice, index)


def test_turns_come_and_go():
    assert Conversation().last is None
    assert SAID.last == SAID.turns[3]
    assert SAID.before(1).messages("plain") == SAID.messages("plain")[:2]
    assert SAID.before(1).ending(turn("e")).turns == (SAID.turns[0], turn("e"))


def test_an_answer_grows_and_ends_in_whole_characters():
    grown = turn("a", "x").saying("plain", "y").saying("toned", "é\ufffd").saying("plain", "z\ufffd\ufffd")
    assert grown.answers == {"plain": "xyz\ufffd\ufffd", "toned": "é\ufffd"}
    assert grown.ended().answers == {"plain": "xyz", "toned": "é"}
    assert Turn("?", answers={"plain": "a\ufffdb\ufffd", "toned": ""}).ended().answers["plain"] == "a\ufffdb"


SETTINGS = {
    Point(0.5, -0.25): (Affect(0.5, -0.25), "default"),
    Point(0.0, 1.0, natural=False): (Affect(0.0, 1.0), None),
    Point(): (None, None),
    Mix((("joy", 0.5), ("fear", 0.0), ("calm", -1.25))): ({"joy": 0.5, "calm": -1.25}, "default"),
    Mix((("joy", 1.0),), natural=False): ({"joy": 1.0}, None),
    Mix((("joy", 0.0),)): (None, None),
    Mix(): (None, None),
    Curve("calm", "joy", 1.5, 40): (Keyframes({0: {"calm": 1.5}, 40: {"joy": 1.5}}), None),
    Curve(None, "joy", 1.0, 10): (Keyframes({0: None, 10: {"joy": 1.0}}), None),
    Curve("calm", None, 0.0, 10): (None, None),
    Curve(): (None, None),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=repr)
def test_a_setting_is_what_the_library_takes(setting):
    emotion, recipe = SETTINGS[setting]
    assert setting.emotion == emotion
    assert recipe_for(setting) == recipe
    assert eval(setting.code(), {"emosteer": emosteer}) == emotion
    assert (setting.words() == "no tone") == (emotion is None)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (Point(0.3, -0.4), "valence +0.30 (pleasant), arousal -0.40 (still), 50% dose"),
        (Point(-1.0, 1.0), "valence -1.00 (unpleasant), arousal +1.00 (stirred up), 100% dose"),
        (Point(0.0, -0.5), "valence +0.00 (pleasant), arousal -0.50 (still), 50% dose"),
        (Mix((("joy", 0.5), ("calm", -1.25))), "joy +0.5 and calm -1.2"),
        (Curve(None, "joy", 1.5, 40), "no tone → joy over 40 tokens, 1.5 doses"),
    ],
)
def test_a_setting_in_words(setting, words):
    assert setting.words() == words


def test_what_was_steered_is_what_the_vectors_say(vectors):
    other = replace(vectors.doses["fear"], dose=0.8, layers=(2, 3))
    vectors = replace(vectors, doses={**vectors.doses, "fear": other})
    said = steered_where(vectors, Mix((("joy", 1.0), ("fear", -0.5), ("calm", 0.0))))
    assert said.startswith("The directions of joy, fear are added")
    assert "after 3 of its 4 layers (1 to 3)" in said
    assert "0.50 to 0.80 of the usual length" in said
    assert "measured on this model." in said
    assert "asked for the tone" in said
    assert "0.50 to 0.80" in steered_where(vectors, Mix((("fear", 1.0), ("joy", 1.0))))
    one = steered_where(vectors, Mix((("fear", 1.0),), natural=False))
    assert one.startswith("The direction of fear is added")
    assert "after 2 of its 4 layers (2 to 3). A full dose is 0.80 of" in one
    assert "asked for the tone" not in one
    assert steered_where(vectors, Curve("joy", "joy")).startswith("The direction of joy is added")
    assert steered_where(vectors, Mix()) == "Nothing is added: this is the plain model."


def test_what_was_steered_without_calibration(vectors):
    bare = replace(vectors, doses={})
    dose = bare.dose("joy")
    said = steered_where(bare, Mix((("joy", 1.0),)))
    assert f"after {len(dose.layers)} of its 4 layers ({', '.join(map(str, dose.layers))})" in said.replace(
        " to ", ", "
    )
    assert f"{dose.dose:.2f} of the usual length" in said
    assert "a fallback that has not been measured on this model" in said
    partly = replace(vectors, doses={"joy": vectors.doses["joy"]})
    assert "fallback" in steered_where(partly, Curve("joy", "calm"))


def test_layers_with_gaps_are_listed(vectors):
    gaps = replace(vectors.doses["joy"], layers=(0, 3))
    assert "(0, 3)" in steered_where(replace(vectors, doses={"joy": gaps}), Mix((("joy", 1.0),)))


def test_a_point_is_of_the_emotions_that_are_rated(vectors):
    assert f"A mix of the {len(RATED)} emotions that people have rated is added" in steered_where(vectors, Point(0.5))
    half = {**vectors.info, "awe": replace(vectors.info["awe"], valence=0.3)}  # no arousal, so no place
    assert f"of the {len(RATED)} emotions" in steered_where(replace(vectors, info=half), Point(0.5))
    assert "nobody has rated" in steered_where(replace(vectors, info={}), Point(0.5))
    with pytest.raises(ToneError):
        steered_where(vectors, Mix((("envy", 1.0),)))


def test_the_emotions_of_these_tests_are_those_of_the_vectors(vectors):
    assert vectors.emotions == EMOTIONS
    assert math.isclose(vectors.info["joy"].valence, RATED["joy"][0])
