"""Schedules against their closed forms, at places in the prompt, in the answer and between tokens."""

from __future__ import annotations

import math

import pytest
import torch

from emosteer.errors import ToneError
from emosteer.schedules import constant, decay, keyframes, ramp, window

PLACES = [-40.0, -2.0, -1.0, 0.0, 1.0, 2.0, 2.5, 3.0, 7.0, 8.0, 9.0, 500.0]

CLOSED_FORMS = {
    "constant": (constant(), lambda _: 1.0),
    "constant, with a factor": (constant(-0.4), lambda _: -0.4),
    "ramp up": (ramp(8), lambda p: min(max(p, 0), 8) / 8),
    "ramp down": (ramp(5, start=1.0, end=-0.5), lambda p: 1 - 1.5 * min(max(p, 0), 5) / 5),
    "ramp over less than a token": (ramp(0.5), lambda p: min(max(p, 0), 0.5) / 0.5),
    "decay": (decay(2), lambda p: 0.5 ** (max(p, 0) / 2)),
    "one keyframe": (keyframes({30: 0.7}), lambda _: 0.7),
    "keyframes out of order": (
        keyframes({8: 0.2, -2: 0.0, 2: 1.0}),
        lambda p: 0.0 if p < -2 else (p + 2) / 4 if p < 2 else 1 - 0.8 * (p - 2) / 6 if p < 8 else 0.2,
    ),
    "a step from one token to the next": (keyframes({2: 0.0, 3: 1.0}), lambda p: min(max(p - 2, 0), 1)),
    "window": (window(1, 8), lambda p: float(1 <= p < 8)),
    "window that never ends": (window(2), lambda p: float(p >= 2)),
    "window in the prompt": (window(-2, 0), lambda p: float(-2 <= p < 0)),
    "window from before everything": (window(-math.inf, 3), lambda p: float(p < 3)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_schedule_equals_its_closed_form(name):
    schedule, closed = CLOSED_FORMS[name]
    places = torch.tensor(PLACES)
    factors = schedule(places)
    assert factors.dtype == torch.float32
    assert factors.shape == places.shape
    torch.testing.assert_close(factors, torch.tensor([closed(p) for p in PLACES]), atol=1e-6, rtol=1e-6)
    assert torch.equal(places, torch.tensor(PLACES))  # which it only reads


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_token_gets_the_same_alone_as_among_others(name):
    schedule, _ = CLOSED_FORMS[name]
    alone = torch.cat([schedule(torch.tensor([place])) for place in PLACES])
    assert torch.equal(alone, schedule(torch.tensor(PLACES)))


def test_schedules_that_say_the_same_are_equal():
    assert ramp(8) == keyframes({0: 0.0, 8: 1.0})
    assert constant(0.5) == keyframes({0: 0.5})
    assert len({decay(3), decay(3.0), window(1), window(1, math.inf)}) == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ramp(0), "0 tokens ends before it starts"),
        (lambda: ramp(-3), "-3 tokens ends before it starts"),
        (lambda: ramp(math.nan), "nan"),
        (lambda: ramp(math.inf), "inf"),
        (lambda: ramp(3, end=math.nan), "nan"),
        (lambda: decay(0), "half-life of 0"),
        (lambda: decay(-1), "half-life of -1"),
        (lambda: decay(math.inf), "inf"),
        (lambda: decay(math.nan), "nan"),
        (lambda: decay("two"), "'two'"),
        (lambda: decay(True), "True"),
        (lambda: window(3, 3), "3 to 3 ends before it starts"),
        (lambda: window(3, -3), "3 to -3 ends before it starts"),
        (lambda: window(math.nan), "nan"),
        (lambda: constant(math.inf), "inf"),
        (lambda: constant("loud"), "'loud'"),
        (lambda: constant(None), "None"),
        (lambda: keyframes({}), "names no keyframes"),
        (lambda: keyframes([0.0, 1.0]), "names no keyframes"),
        (lambda: keyframes(None), "names no keyframes"),
        (lambda: keyframes({0: math.nan}), "nan"),
        (lambda: keyframes({math.inf: 1.0}), "inf"),
        (lambda: keyframes({"0": 1.0}), "'0'"),
        (lambda: keyframes({0: True}), "True"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_was_given(make, says):
    with pytest.raises(ToneError, match=says):
        make()


@pytest.mark.parametrize("make", [lambda: ramp("4"), lambda: window("0", "4"), lambda: window(None)])
def test_a_number_of_another_type_is_refused_too(make):
    with pytest.raises(ToneError):
        make()
