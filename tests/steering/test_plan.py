"""From strengths to deltas: the formula, the sums, and what is refused."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import emosteer
from emosteer.errors import EmosteerWarning, ToneError
from emosteer.steering.plan import plan
from emosteer.vectors.types import Dose

JOY = Dose(0.5, (1, 2), (1.0, -0.25))
FEAR = Dose(0.125, (2, 3), (0.5, 2.0))


@pytest.fixture
def dosed(vectors):
    """Joy and fear with a dose of their own, calm with the fallback; residual norms that are all different."""
    return replace(vectors, doses={"joy": JOY, "fear": FEAR}, residual_norm=torch.tensor([1.0, 3.0, 5.0, 7.0]))


def test_a_delta_is_strength_times_dose_times_weight_times_norm_times_direction(dosed):
    deltas = plan(dosed, {"joy": 0.8}).deltas
    assert set(deltas) == {1, 2}
    torch.testing.assert_close(deltas[1], 0.8 * 0.5 * 1.0 * 3.0 * dosed.directions["joy"][1])
    torch.testing.assert_close(deltas[2], 0.8 * 0.5 * -0.25 * 5.0 * dosed.directions["joy"][2])


def test_several_emotions_sum_where_their_layers_meet(dosed):
    deltas = plan(dosed, {"joy": 0.8, "fear": -0.5}).deltas
    joy = {1: 0.8 * 0.5 * 3.0, 2: 0.8 * 0.5 * -0.25 * 5.0}
    fear = {2: -0.5 * 0.125 * 0.5 * 5.0, 3: -0.5 * 0.125 * 2.0 * 7.0}
    assert list(deltas) == [1, 2, 3]
    for layer, delta in deltas.items():
        expected = joy.get(layer, 0.0) * dosed.directions["joy"][layer]
        expected = expected + fear.get(layer, 0.0) * dosed.directions["fear"][layer]
        torch.testing.assert_close(delta, expected)


def test_an_emotion_without_a_dose_gets_the_stated_fallback_over_the_middle_third(model):
    deep = emosteer.EmotionVectors(
        {"joy": torch.nn.functional.normalize(torch.randn(9, 32, generator=torch.Generator().manual_seed(0)), dim=-1)},
        torch.arange(1.0, 10.0),
        tuple(range(9)),
        replace(emosteer.EmotionVectors.random(model, ["joy"]).base_model, num_hidden_layers=9),
    )
    with pytest.warns(EmosteerWarning, match="Not calibrated: joy"):
        deltas = plan(deep, {"joy": 1.0}).deltas
    assert set(deltas) == {3, 4, 5}
    for layer, delta in deltas.items():
        torch.testing.assert_close(delta, 0.25 / 3 * (layer + 1.0) * deep.directions["joy"][layer])


def test_rows_are_found_by_layer_number_where_the_vectors_have_only_some_layers(dosed):
    some = replace(
        dosed,
        layers=(1, 3),
        directions={name: direction[[1, 3]] for name, direction in dosed.directions.items()},
        residual_norm=dosed.residual_norm[[1, 3]],
        doses={"fear": Dose(0.5, (3,), (1.0,))},
    )
    deltas = plan(some, {"fear": 1.0}).deltas
    assert set(deltas) == {3}
    torch.testing.assert_close(deltas[3], 0.5 * 7.0 * dosed.directions["fear"][3])


def test_deltas_are_float32_and_the_vectors_stay_as_they_were(dosed):
    before = {name: direction.clone() for name, direction in dosed.directions.items()}
    deltas = plan(dosed, {"joy": 1.0, "fear": 1.0}).deltas
    for delta in deltas.values():
        assert delta.dtype == torch.float32
        delta.add_(1.0)
    assert all(torch.equal(before[name], dosed.directions[name]) for name in before)


@pytest.mark.parametrize("tone", [None, {}, {"joy": 0}, {"joy": 0.0, "fear": -0.0}, [None], [{}, {"joy": 0.0}, None]])
def test_no_tone_is_an_empty_plan(dosed, tone):
    assert plan(dosed, tone).deltas == {}


# Chosen layers.


def test_chosen_layers_share_the_weights_of_the_dose_evenly(dosed):
    deltas = plan(dosed, {"fear": 2.0}, layers=[0, 1, 3]).deltas
    assert set(deltas) == {0, 1, 3}
    for layer, norm in ((0, 1.0), (1, 3.0), (3, 7.0)):
        torch.testing.assert_close(deltas[layer], 2.0 * 0.125 * (2.5 / 3) * norm * dosed.directions["fear"][layer])


@pytest.mark.parametrize(("layers", "message"), [([0, 4], "no layer 4"), ([-1], "no layer -1")])
def test_a_layer_that_the_vectors_do_not_have_is_named(dosed, layers, message):
    with pytest.raises(ToneError, match=message):
        plan(dosed, {"joy": 1.0}, layers=layers)


@pytest.mark.parametrize("layers", [[], [1, 1]])
def test_layers_that_are_empty_or_named_twice_are_refused(dosed, layers):
    with pytest.raises(ToneError, match="empty or name one twice"):
        plan(dosed, {"joy": 1.0}, layers=layers)


# Rows.


def test_every_row_has_its_own_tone_and_none_is_no_tone(dosed):
    tones = [{"joy": 1.0}, None, {"fear": 0.5, "joy": -1.0}, {}]
    rows = plan(dosed, tones)
    assert rows.rows == 4
    assert set(rows.deltas) == {1, 2, 3}
    for layer, delta in rows.deltas.items():
        assert delta.shape == (4, 32)
        for row, tone in enumerate(tones):
            alone = plan(dosed, tone).deltas.get(layer, torch.zeros(32))
            assert torch.equal(delta[row], alone)
    assert float(rows.deltas[1][1].abs().max()) == 0.0
    torch.testing.assert_close(rows.deltas[2][0], 0.5 * -0.25 * 5.0 * dosed.directions["joy"][2])


def test_an_empty_list_of_tones_is_refused(dosed):
    with pytest.raises(ToneError, match="list of tones is empty"):
        plan(dosed, [])


# What is refused.


def test_an_unknown_emotion_suggests_those_with_a_near_name(dosed):
    with pytest.raises(ToneError, match=r"no emotion 'feer'.*Did you mean fear\?"):
        plan(dosed, {"feer": 1.0})


def test_an_unknown_emotion_without_a_near_name_lists_what_there_is(dosed):
    with pytest.raises(ToneError, match="There are: joy, fear, calm"):
        plan(dosed, {"xylophone": 1.0})


@pytest.mark.parametrize("tone", [{"feer": 0.0}, [None, {"feer": 1.0}]])
def test_an_unknown_emotion_is_an_error_at_strength_0_and_in_a_row_too(dosed, tone):
    with pytest.raises(ToneError, match="no emotion 'feer'"):
        plan(dosed, tone)


@pytest.mark.parametrize(
    "strength",
    [
        *(float("nan"), float("inf"), float("-inf"), True, False, "0.8", None, 1j, [0.8]),
        pytest.param(10**400, id="too large for a float"),
        pytest.param(-(10**400), id="too small for a float"),
    ],
)
def test_a_strength_that_is_not_a_finite_number_is_refused_by_name(dosed, strength):
    with pytest.raises(ToneError, match="'fear'"):
        plan(dosed, {"joy": 1.0, "fear": strength})


@pytest.mark.parametrize("strength", [10.001, -11, 1e300])
def test_a_strength_beyond_10_is_refused(dosed, strength):
    with pytest.raises(ToneError, match="beyond ±10"):
        plan(dosed, {"joy": strength})


@pytest.mark.parametrize("strength", [3.001, -4, 10, -10.0])
def test_a_strength_beyond_3_warns_and_is_given(dosed, strength):
    with pytest.warns(EmosteerWarning, match="'joy'.*beyond ±3"):
        deltas = plan(dosed, {"joy": strength}).deltas
    torch.testing.assert_close(deltas[1], strength * 0.5 * 3.0 * dosed.directions["joy"][1])


@pytest.mark.parametrize("strength", [3, -3.0, 1e-30])
def test_a_strength_up_to_3_is_given_in_silence(dosed, strength):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(plan(dosed, {"joy": strength}).deltas) == {1, 2}


@pytest.mark.parametrize("tone", [{"joy": 4.0}, [{"joy": 4.0}]], ids=["one tone", "a tone a row"])
def test_the_warning_points_at_the_line_that_asked_for_the_tone(model, vectors, tone):
    with pytest.warns(EmosteerWarning) as caught:
        emosteer.steer(model, vectors.scale(1.0), tone)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]


@pytest.mark.parametrize("tone", ["joy", 0.8, ["joy"], [0.8], {"joy"}], ids=repr)
def test_a_tone_that_is_no_mapping_is_refused(dosed, tone):
    with pytest.raises(ToneError):
        plan(dosed, tone)
