"""One prompt many times, the maps, and any text read: against the library, against numpy, against the report."""

from __future__ import annotations

import html
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from emosteer import ConceptSet
from emosteer._util.layout import LIMITS
from emosteer.demo.explore import LONGEST_PROMPT, LONGEST_TEXT, PEOPLE, Explore
from emosteer.demo.pairs import Concepts, Pair
from emosteer.demo.state import Sampling
from emosteer.demo.surveys import (
    STRENGTHS,
    agreement,
    every_tone,
    languages_of,
    measured_shapes,
    spread_like,
    strengths,
    where_read,
)
from emosteer.errors import EmosteerError, FormatError, InputError, ToneError
from tests.demo.test_see import nats
from tests.demo.visitor import EMOTIONS, HOSTILE, RATED, Held, speaking

SHIPPED = Path("vectors") / "smollm2-135m-instruct-en"
ASKED = "How are you?"
SAMPLING = Sampling(5, 0.7, 12)
DRAWN = {"seed": 5, "max_new_tokens": 12, "do_sample": True, "temperature": 0.7}


@pytest.fixture(scope="module")
def steered():
    return speaking()


@pytest.fixture
def told():
    """What has been told of the progress, which only grows and has words."""
    heard: list[float] = []
    said: set[str] = set()

    def hear(share: float, words: str) -> None:
        said.add(words.partition(" ")[0])
        heard.append(share)

    yield hear
    assert said == {"Answering", "Measuring"} or said == {"Answering", "Reading"} or said == {"Reading"}
    assert (np.diff(heard) > -1e-9).all()
    assert all(0 <= share <= 1 for share in heard)
    assert len(heard) > 2


def test_five_strengths(steered, told):
    found = strengths(steered, ASKED, "joy", SAMPLING, told)
    assert [strength for strength, *_ in found] == list(STRENGTHS) == [-1.0, 0.0, 0.5, 1.0, 1.5]
    tones = [{"joy": -1.0}, None, {"joy": 0.5}, {"joy": 1.0}, {"joy": 1.5}]
    assert [text for _, text, _, _ in found] == [
        text.strip() for text in steered.chat_each(ASKED, tones, recipe="asked_and_steered", **DRAWN)
    ]
    plain = nats(steered, ASKED, found[1][1])
    for _, text, score, cost in found:
        assert score == steered.read(text).scores["joy"]
        assert cost == pytest.approx(nats(steered, ASKED, text) - plain, abs=1e-3)
    assert found[1][3] == 0.0
    assert len({text for _, text, _, _ in found}) == 5


def test_answers_without_a_word_have_no_numbers(steered, monkeypatch):
    monkeypatch.setattr(type(steered), "chat_each", lambda *_, **__: ["a b c", " \n", "", "x", " y \ufffd"])
    found = strengths(steered, ASKED, "joy", SAMPLING, lambda *_: None)
    assert [text for _, text, _, _ in found] == ["a b c", "", "", "x", "y"]
    assert math.isfinite(found[0][2])
    assert all(math.isnan(score) for _, _, score, _ in found[1:])
    assert all(math.isnan(cost) for _, _, _, cost in found)  # the plain answer is empty: nothing to compare with


def test_every_tone_has_one_answer(steered, told):
    found = every_tone(steered, ASKED, SAMPLING, told)
    assert [name for name, *_ in found] == list(EMOTIONS)
    tones = [{name: 1.0} for name in EMOTIONS]
    oracle = [text.strip() for text in steered.chat_each(ASKED, tones, recipe="asked_and_steered", **DRAWN)]
    assert [text for _, text, _, _ in found] == oracle
    for _, text, valence, arousal in found:
        reading = steered.read(text)
        assert (valence, arousal) == (reading.valence, reading.arousal)


def test_where_emotions_are_read_is_a_mean_of_held_out_situations(steered, told):
    found = where_read(steered, "en", told)
    concepts = ConceptSet.load("en")
    assert list(found) == [name for name in EMOTIONS if name in concepts.emotions]
    for name in ("joy", "fear"):
        texts = concepts[name].texts["en"]
        readings = [steered.read(situation) for situation in texts.held_out_situations[:3]]
        assert found[name] == pytest.approx(np.mean([(one.valence, one.arousal) for one in readings], axis=0))
        assert len(texts.held_out_situations) >= 3


def test_emotions_of_the_users_own_have_no_situations(steered, monkeypatch):
    few = ConceptSet.load("en").subset(["joy", "fear"])
    monkeypatch.setattr(ConceptSet, "load", lambda _: few)
    assert list(where_read(steered, "en", lambda *_: None)) == ["joy", "fear"]


def test_vectors_that_nobody_rated_have_no_map():
    with pytest.raises(InputError, match="nobody has rated"):
        where_read(speaking(info={}), "en", lambda *_: None)


def test_agreement_is_a_correlation():
    rng = np.random.default_rng(0)
    first = {f"e{i}": tuple(rng.normal(size=2)) for i in range(12)}
    second = {f"e{i}": tuple(rng.normal(size=2)) for i in range(5, 20)}
    both = [name for name in first if name in second]
    one, other = (np.array([side[name] for name in both]) for side in (first, second))
    *found, n = agreement(first, second)
    assert n == len(both) == 7
    np.testing.assert_allclose(found, [np.corrcoef(one[:, axis], other[:, axis])[0, 1] for axis in (0, 1)])
    assert agreement(first, first)[:2] == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("points", [{}, {"a": (1, 2)}, {"a": (1, 2), "b": (1, 2)}])
def test_agreement_of_too_few_or_of_all_the_same_is_not_known(points):
    *found, n = agreement(points, points)
    assert all(map(math.isnan, found))
    assert n == len(points)


def test_spread_is_a_ratio_of_mean_distances():
    assert spread_like({"a": (3, 4), "b": (0, 1)}, {"a": (0.6, 0.8), "c": (0, 0), "d": (0, 0.5)}) == pytest.approx(6.0)
    assert spread_like({"a": (3, 4)}, {"a": (0, 0)}) == 1.0
    assert spread_like({"a": (3, 4)}, {}) == 1.0


@pytest.mark.parametrize(
    ("extraction", "languages"),
    [
        ({}, ["en"]),
        ({"languages": ["de", "zh"]}, ["de", "zh"]),
        ({"languages": ["xx"]}, ["en"]),
        ({"languages": []}, ["en"]),
    ],
)
def test_languages_are_those_whose_texts_are_here(extraction, languages):
    assert languages_of(speaking(extraction=extraction)) == languages


# What was measured.


def test_the_shipped_report_is_read_as_it_is():
    report = json.loads((SHIPPED / "alignment.json").read_text(encoding="utf-8"))["geometry"]
    shapes = measured_shapes(str(SHIPPED))
    assert len(shapes) == len(report) > 1
    for shape, one in zip(shapes, report, strict=True):
        assert (shape["language"], shape["ratings"]) == (one["language"], one["ratings"])
        for side, points in (("human", one["human"]), ("model", one["points"])):
            assert list(shape[side]) == one["emotions"]
            np.testing.assert_array_equal(list(shape[side].values()), points)
        for side in ("measures", "control"):
            assert shape[side] == {name: (it["value"], it["low"], it["high"]) for name, it in one[side].items()}


def shape(**changes):
    figure = {"value": 0.7, "low": 0.5, "high": 0.8}
    usual = {
        "language": "en",
        "ratings": HOSTILE,
        "emotions": ["joy", "fear"],
        "human": [[0.5, 0.5], [-0.5, 0.5]],
        "points": [[0.4, 0.4], [-0.4, 0.6]],
        "measures": {"rsa": figure, "axis_valence": {"value": None}, "axis_arousal": {"value": -0.25}},
        "control": {"rsa": {"value": 0.1}, "axis_valence": {"value": None}},
    }
    return {**usual, **changes}


DAMAGED = {
    "no JSON": "{",
    "not UTF-8": b"\xff",
    "empty": "",
    "a list": "[]",
    "a number": "7",
    "null": "null",
    "no geometry": "{}",
    "geometry is null": '{"geometry": null}',
    "geometry is a number": '{"geometry": 7}',
    "geometry is text": '{"geometry": "abc"}',
    "NaN": json.dumps({"geometry": [shape(human=[[math.nan, 0.1], [0.1, 0.1]])]}),
    "deep": "[" * 100_000,
    "a key twice": '{"geometry": [], "geometry": []}',
    **{
        f"{key} = {value!r:.20}": json.dumps({"geometry": [shape(**{key: value})]})
        for key, value in [
            ("emotions", ["joy"]),
            ("emotions", 7),
            ("human", [[0.1, 0.2]]),
            ("human", [[0.1], [0.2]]),
            ("human", None),
            ("points", [["a", "b"], ["c", "d"]]),
            ("points", [[10**400, 0], [0, 0]]),
            ("measures", []),
            ("measures", {"rsa": 7}),
            ("measures", {"rsa": {"value": "high"}}),
            ("control", None),
        ]
    },
    "no language": json.dumps({"geometry": [{key: value for key, value in shape().items() if key != "language"}]}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_report_is_one_error(tmp_path, name):
    content = DAMAGED[name]
    (tmp_path / "alignment.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FormatError, match=r"alignment\.json is not what emosteer eval alignment writes"):
        measured_shapes(str(tmp_path))


def test_a_report_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "alignment.json").open("wb") as file:
        file.truncate(2**30)  # takes no room on the disk
    with pytest.raises(FormatError, match=f"{LIMITS['alignment.json']:,}"):
        measured_shapes(str(tmp_path))


def test_no_report_is_no_shape(tmp_path):
    assert measured_shapes(str(tmp_path)) == []
    assert measured_shapes(str(SHIPPED / "vectors.safetensors")) == []


# What the tab's events call.


@pytest.fixture
def tab(steered):
    return Explore(Held(steered))


def test_measures_stand_with_their_intervals_and_controls(tab, tmp_path):
    (tmp_path / "alignment.json").write_text(json.dumps({"geometry": [shape()]}))
    text = tab.measured(Pair("m", str(tmp_path)))
    assert ">0.70 [0.50, 0.80]; control 0.10<" in text
    assert ">–<" in text  # what came to nothing
    assert ">−0.25<" in text
    assert "<img" not in text
    assert html.escape("<img") in text


def test_the_map_of_the_shipped_vectors(tab):
    text = tab.measured(Pair())
    assert text.count("Glasgow Norms") == 1
    assert "0.72 [0.59, 0.80]; control 0.08" in text
    assert "Warriner et al. 2013 (34 emotions, texts in en)" in text
    assert not re.search("warriner|nrcvad|cvaw_zh", text)
    assert "correlation of people's ratings" in text


@pytest.mark.parametrize(
    "pair", [Pair("m", str(SHIPPED), digest="0" * 64), Pair("m", str(SHIPPED), concepts=Concepts("en"))]
)
def test_vectors_that_a_visitor_named_are_not_measured(tab, pair):
    assert "Nobody has measured these vectors" in tab.measured(pair)


@pytest.mark.parametrize("wrong", ["xx", "", None, 7, ["en"], {"en": 1}, "../../secrets", "de"])
def test_maps_of_languages_that_are_not_there_are_refused(tab, wrong):
    for language, other in ((wrong, PEOPLE), ("en", wrong)):
        with pytest.raises(InputError, match="There is no map"):
            tab.read_map(Pair(), language, other, lambda *_, **__: None)


def test_two_maps_side_by_side(tab, steered):
    text = tab.read_map(Pair(), "en", PEOPLE, lambda *_, **__: None)
    found = where_read(steered, "en", lambda *_: None)
    names = [name for name in RATED if name in found]
    ours, people = (np.array([side[name] for name in names]) for side in (found, RATED))
    r = [np.corrcoef(ours[:, axis], people[:, axis])[0, 1] for axis in (0, 1)]
    assert f"over {len(names)} emotions: valence {r[0]:.2f}, arousal {r[1]:.2f}." in text
    wide = np.linalg.norm(list(RATED.values()), axis=1).mean() / np.linalg.norm(list(found.values()), axis=1).mean()
    assert f"This model, in en (drawn {wide:.1f} times as wide)" in text


def test_five_strengths_and_every_tone_as_figures(tab):
    heard = []
    text = tab.strengths(Pair(), ASKED, "joy", 5, lambda share, desc: heard.append((share, desc)))
    assert text.count("<li") == 5
    assert heard
    assert tab.tones(Pair(), ASKED, 5, lambda *_, **__: None).count("<li") == len(EMOTIONS)


def test_figures_show_the_answers_of_the_seed(tab, steered):
    def silent(*_, **__):
        pass

    for seed in (0, 5):
        sampling = Sampling(seed, 0.8, 30)
        five = html.unescape(tab.strengths(Pair(), ASKED, "joy", seed, silent))
        assert [text for _, text, *_ in strengths(steered, ASKED, "joy", sampling, silent) if text not in five] == []
        every = html.unescape(tab.tones(Pair(), ASKED, seed, silent))
        assert [text for _, text, *_ in every_tone(steered, ASKED, sampling, silent) if text not in every] == []


@pytest.mark.parametrize("emotion", ["envy", "", None, 7, ["joy"], {"joy": 1}, HOSTILE * 99])
def test_an_emotion_that_is_not_there_is_refused(tab, emotion):
    with pytest.raises(InputError, match="is no emotion of these vectors") as error:
        tab.strengths(Pair(), ASKED, emotion, 0, None)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("prompt", ["", " ", None, ["a"], "x" * (LONGEST_PROMPT + 1)])
def test_a_prompt_is_bounded(tab, prompt):
    for ask in (lambda: tab.strengths(Pair(), prompt, "joy", 0, None), lambda: tab.tones(Pair(), prompt, 0, None)):
        with pytest.raises(InputError):
            ask()
    with pytest.raises(InputError, match="is no number"):
        tab.tones(Pair(), ASKED, "0", None)


def test_any_text_is_read(tab, steered):
    reading, whole, words, way = tab.read(Pair(), f"I am {HOSTILE}.", "joy")
    assert reading.scores == steered.read(f"I am {HOSTILE}.").scores
    assert all("<img" not in one for one in (whole, words, way))
    assert "valence" in whole
    assert whole.count("standard deviations above neutral text") == 1
    for wrong in ("", "x", None, "x" * (LONGEST_TEXT + 1)):
        with pytest.raises(EmosteerError):
            tab.read(Pair(), wrong, "joy")


def test_a_tone_that_the_library_refuses_is_its_error(steered):
    with pytest.raises(ToneError, match="no emotion 'envy'"):
        strengths(steered, ASKED, "envy", SAMPLING, lambda *_: None)
