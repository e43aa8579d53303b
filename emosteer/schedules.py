"""How strongly a tone is felt at each token of an answer.

A schedule is any function from the place of a token to a factor on the strength. Place 0 is the first token of the
answer, 1 the next; the prompt lies before it at …, −2, −1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

from emosteer.errors import ToneError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Schedule", "constant", "decay", "keyframes", "product", "ramp", "window"]

Schedule = Callable[["Tensor"], "Tensor"]
"""Places `[tokens]`, float32 → factors `[tokens]`."""


def constant(factor: float = 1.0) -> Schedule:
    """The same factor at every token.

    Raises:
        ToneError: The factor is not a finite number.
    """
    return keyframes({0: factor})


def ramp(tokens: float, *, start: float = 0.0, end: float = 1.0) -> Schedule:
    """From one factor to another over the first tokens of the answer; the prompt has the first.

    Args:
        tokens: How many tokens it takes.
        start: Factor at the first token of the answer, and of the prompt.
        end: Factor from there on.

    Raises:
        ToneError: It ends before it starts, or a number is not finite.
    """
    if not _finite(tokens, "A ramp") > 0:
        raise ToneError(f"A ramp over {tokens} tokens ends before it starts.", "Give it one token or more.")
    return keyframes({0: start, tokens: end})


def keyframes(factors: Mapping[float, float]) -> Schedule:
    """Factors at some places, linear in between, level before the first and after the last.

    Args:
        factors: Place → factor: `{0: 0.0, 40: 1.0, 80: 0.3}`.

    Raises:
        ToneError: There are none, or a number is not finite.
    """
    if not isinstance(factors, Mapping) or not factors:
        raise ToneError(f"{factors!r} names no keyframes.", "Give places and factors, such as {0: 0.0, 40: 1.0}.")
    for number in (*factors, *factors.values()):
        _finite(number, "A keyframe")
    return _Keyframes(tuple(sorted((float(place), float(factor)) for place, factor in factors.items())))


def decay(half_life: float) -> Schedule:
    """Full strength at first, half of it after so many tokens of the answer, a quarter after twice as many.

    Args:
        half_life: In tokens.

    Raises:
        ToneError: It is not a positive number.
    """
    if not _finite(half_life, "A half-life") > 0:
        raise ToneError(f"A half-life of {half_life} tokens is none.", "Give it a positive number of tokens.")
    return _Decay(float(half_life))


def window(start: float = 0, stop: float = math.inf) -> Schedule:
    """Full strength from one place up to another, nothing outside.

    Args:
        start: The first token that is steered; negative ones lie in the prompt.
        stop: The first that is not any more.

    Raises:
        ToneError: It ends before it starts, or one is not a number.
    """
    if not (isinstance(start, Real) and isinstance(stop, Real) and start < stop):
        raise ToneError(f"A window from token {start} to {stop} ends before it starts.", "Stop must lie after start.")
    return _Window(float(start), float(stop))


def product(*schedules: Schedule) -> Schedule:
    """The factors of several schedules, multiplied: a ramp that holds only in a window."""
    return _Product(schedules)


@dataclass(frozen=True)
class _Product:
    schedules: tuple[Schedule, ...]

    def __call__(self, places: Tensor) -> Tensor:
        factors = places.new_ones(places.shape)
        for schedule in self.schedules:
            factors = factors * schedule(places)
        return factors


@dataclass(frozen=True)
class _Keyframes:
    points: tuple[tuple[float, float], ...]

    def __call__(self, places: Tensor) -> Tensor:
        import torch

        factors = torch.full_like(places, self.points[0][1])
        for (left, low), (right, high) in zip(self.points, self.points[1:], strict=False):
            share = ((places - left) / (right - left)).clamp(0, 1)
            factors = torch.where(places >= left, low + share * (high - low), factors)
        return factors


@dataclass(frozen=True)
class _Decay:
    half_life: float

    def __call__(self, places: Tensor) -> Tensor:
        return (-places.clamp_min(0) / self.half_life).exp2()


@dataclass(frozen=True)
class _Window:
    start: float
    stop: float

    def __call__(self, places: Tensor) -> Tensor:
        return ((places >= self.start) & (places < self.stop)).to(places)


def _finite(number: object, what: str) -> float:
    if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
        raise ToneError(f"{what} has {number!r}, expected a finite number.")
    return float(number)
