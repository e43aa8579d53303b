"""A point of valence and arousal as a tone: which emotions it is mixed from, and how much of it is added."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import emosteer
from emosteer.errors import EmosteerWarning, ToneError
from emosteer.steering import Affect, Keyframes
from emosteer.steering.affect import mix
from emosteer.steering.plan import plan
from emosteer.vectors.types import Dose, EmotionInfo
from tests.conftest import tiny_model

SHIPPED = Path("vectors") / "smollm2-135m-instruct-en"
RATINGS = {
    "joy": (0.8, 0.5),
    "calm": (0.6, -0.5),
    "fear": (-0.7, 0.6),
    "gloom": (-0.6, -0.4),
    "awe": (0.3, 0.7),
}
POINTS = [(1.0, 0.0), (0.0, 1.0), (0.6, -0.8), (-1.0, -1.0), (-0.3, 0.9)]


@pytest.fixture(scope="module")
def rated():
    """Five rated emotions, two of them with doses of their own, and one without ratings."""
    vectors = emosteer.EmotionVectors.random(tiny_model(), [*RATINGS, "relief"], seed=1)
    info = {name: EmotionInfo({}, *rating, "people") for name, rating in RATINGS.items()}
    doses = {"joy": Dose(0.5, (1, 2), (1.0, -0.5)), "fear": Dose(0.375, (0, 1, 3), (0.5, 1.0, 0.25))}
    return replace(vectors, info=info, doses=doses)


@pytest.fixture(scope="module")
def shipped():
    return emosteer.EmotionVectors.from_pretrained(SHIPPED)


def added(vectors, tone) -> torch.Tensor:
    """All that a tone adds, at all layers, in one long vector."""
    deltas = plan(vectors, tone).deltas
    return torch.cat([deltas.get(layer, torch.zeros(vectors.hidden_size)) for layer in vectors.layers])


def one_dose(vectors) -> float:
    """How much strength 1.0 of a rated emotion adds, on average."""
    rated = [name for name in vectors.emotions if vectors.info[name].valence is not None]
    return float(np.mean([added(vectors, {name: 1.0}).norm() for name in rated]))


def by_hand(vectors, valence, arousal) -> np.ndarray:
    """Direction of the strengths: ridge weights of the standardised ratings."""
    ratings = np.array([(i.valence, i.arousal) for i in vectors.info.values() if i.valence is not None])
    z = (ratings - ratings.mean(0)) / ratings.std(0)
    weights = z @ np.linalg.inv(z.T @ z / len(z) + 0.1 * np.eye(2)) @ [valence, 2 * arousal]
    return weights / np.linalg.norm(weights)


@pytest.mark.parametrize("point", POINTS)
def test_strengths_are_what_the_ratings_say(rated, point):
    mixed = mix(rated, Affect(*point))
    assert list(mixed) == list(RATINGS)  # and none of what has no ratings
    strengths = np.array(list(mixed.values()))
    np.testing.assert_allclose(strengths / np.linalg.norm(strengths), by_hand(rated, *point), atol=1e-6)


@pytest.mark.parametrize("point", POINTS)
def test_a_point_adds_as_much_as_1_3_doses_times_its_distance_up_to_1(rated, point):
    radius = min(1.0, float(np.hypot(*point)))
    assert float(added(rated, Affect(*point)).norm()) == pytest.approx(1.3 * radius * one_dose(rated), rel=1e-5)
    halved = Affect(point[0] / 4, point[1] / 4)
    expected = 1.3 * np.hypot(*point) / 4 * one_dose(rated)
    assert float(added(rated, halved).norm()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [0.75, 0.5, 0.1])
def test_strengths_grow_with_the_distance_and_turn_round_with_the_point(rated, share):
    whole, part, opposite = (mix(rated, Affect(0.6 * k, -0.8 * k)) for k in (1.0, share, -share))
    for name in RATINGS:
        assert part[name] == pytest.approx(share * whole[name], rel=1e-6)
        assert opposite[name] == pytest.approx(-part[name], rel=1e-6)


def test_what_is_asked_for_more_is_mixed_in_more(rated):
    def human(affect, axis):  # on which side of the emotions' mean the mixture lies
        mixed = mix(rated, affect)
        values = np.array([RATINGS[name][axis] for name in mixed])
        return float((values - values.mean()) @ np.array(list(mixed.values())))

    for axis in (0, 1):
        up = Affect(*(float(i == axis) for i in (0, 1)))
        assert human(up, axis) > abs(human(up, 1 - axis))


def test_beyond_1_the_nearest_is_taken_with_a_warning_at_the_line_that_asked(rated):
    with pytest.warns(EmosteerWarning, match="valence is -1.5, beyond ±1: -1 is taken") as caught:
        clipped = Affect(-1.5, 0.5)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    assert clipped == Affect(-1.0, 0.5)
    assert mix(rated, clipped) == mix(rated, Affect(-1.0, 0.5))
    with pytest.warns(EmosteerWarning, match="arousal is 7"):
        assert Affect(0.5, 7) == Affect(0.5, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Affect(-1, 1.0)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), "0.5", None, True, 1j], ids=repr)
@pytest.mark.parametrize("name", ["valence", "arousal"])
def test_what_is_not_a_finite_number_is_refused_by_name(name, number):
    with pytest.raises(ToneError, match=f"The {name} is"):
        Affect(**{"valence": 0.0, "arousal": 0.0, name: number})


def test_numbers_of_numpy_are_numbers():
    assert Affect(np.float32(0.5), np.int64(-1)) == Affect(0.5, -1)


def test_neutral_is_no_tone_to_the_bit(rated):
    model, ids = tiny_model(), torch.arange(10, 19)[None]
    with torch.no_grad():
        plain = model(ids).logits
        with emosteer.steer(model, rated, Affect(0.0, -0.0)) as steering:
            assert not steering.plan.sites
            assert torch.equal(model(ids).logits, plain)
        with emosteer.steer(model, rated, Affect(0.0, 0.5)):
            assert not torch.equal(model(ids).logits, plain)


def test_a_point_is_the_tone_of_its_mixture(rated):
    model, ids = tiny_model(), torch.arange(10, 19)[None]
    affect = Affect(-0.5, 0.7)
    with torch.no_grad(), emosteer.steer(model, rated, affect):
        found = model(ids).logits
    with torch.no_grad(), emosteer.steer(model, rated, mix(rated, affect)):
        assert torch.equal(model(ids).logits, found)


def test_rows_have_points_beside_named_emotions(rated):
    tones = [Affect(0.5, 0.5), {"joy": 1.0}, None, Affect(0.0, 0.0), Affect(-0.5, -0.5)]
    deltas = plan(rated, tones).deltas
    for row, tone in enumerate(tones):
        alone = added(rated, tone)
        together = torch.cat([deltas[layer][row] for layer in rated.layers])
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-6)


def test_keyframes_lead_from_point_to_point(rated):
    sad, glad = Affect(-0.8, -0.3), Affect(0.7, 0.5)
    strengths = Keyframes({0: sad, 10: None, 20: glad, 30: {"joy": 1.0, "relief": 0.5}}).strengths(rated)
    assert set(strengths) == {*RATINGS, "relief"}
    for name in RATINGS:
        frames = {0: mix(rated, sad)[name], 10: 0.0, 20: mix(rated, glad)[name], 30: float(name == "joy")}
        assert strengths[name] == pytest.approx(frames)
    assert strengths["relief"] == {0: 0.0, 10: 0.0, 20: 0.0, 30: 0.5}


@pytest.mark.parametrize("kept", [0, 3])
def test_too_few_rated_emotions_are_refused(rated, kept):
    few = rated.select([*list(RATINGS)[:kept], "relief"])
    with pytest.raises(ToneError, match=f"{kept} emotions .* needs 4"):
        plan(few, Affect(0.5, 0.5))


def test_an_emotion_with_half_a_rating_is_not_rated(rated):
    info = {**rated.info, "joy": EmotionInfo({}, 0.8, None), "calm": EmotionInfo({}, None, -0.5)}
    with pytest.raises(ToneError, match="3 emotions"):
        plan(replace(rated, info=info), Affect(0.5, 0.5))


@pytest.mark.parametrize("line", [lambda v: v, lambda v: -2 * v + 0.1, lambda v: 0.25], ids=["same", "inverse", "flat"])
def test_ratings_on_one_line_are_refused(rated, line):
    info = {name: EmotionInfo({}, v, line(v) / 2) for name, (v, _) in RATINGS.items()}
    with pytest.raises(ToneError, match="one line"):
        plan(replace(rated, info=info), Affect(0.5, 0.5))


# The vectors in this repository.

QUADRANTS = {
    (1, 1): (("joy", "excitement", "love"), ("boredom", "loneliness", "sadness", "despair")),
    (-1, -1): (("boredom", "loneliness", "sadness", "despair"), ("joy", "excitement", "love")),
    (1, -1): (("calm",), ("anger", "hatred", "jealousy")),
    (-1, 1): (("anger", "hatred", "jealousy"), ("calm",)),
}


@pytest.mark.parametrize("point", QUADRANTS)
def test_each_quadrant_of_the_shipped_vectors_has_its_emotions(shipped, point):
    mixed = mix(shipped, Affect(*point))
    more, less = QUADRANTS[point]
    assert all(mixed[name] > 0 for name in more), mixed
    assert all(mixed[name] < 0 for name in less), mixed
    assert "relief" not in mixed  # which nobody rated


def test_every_point_of_the_shipped_vectors_is_a_tone_without_a_warning(shipped):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for valence in (-1, -0.5, 0, 0.5, 1):
            for arousal in (-1, -0.5, 0, 0.5, 1):
                tone = added(shipped, Affect(valence, arousal))
                expected = min(1.0, float(np.hypot(valence, arousal))) * 1.3 * one_dose(shipped)
                assert float(tone.norm()) == pytest.approx(expected, rel=1e-4)


def test_valence_and_arousal_of_the_shipped_vectors_are_two_things(shipped):
    pleasant, stirred = (added(shipped, Affect(*point)) for point in ((1, 0), (0, 1)))
    assert abs(float(torch.cosine_similarity(pleasant, stirred, dim=0))) < 0.5
