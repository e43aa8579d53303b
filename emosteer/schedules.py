"""Schedules: how the strength of a tone changes along an answer.

A schedule is any function from token positions to factors on the strength. Position 0 is the first token of the
answer. Positions in the prompt are negative; its last token is at −1.
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
"""Function from positions `[tokens]`, float32, to factors `[tokens]`."""


def constant(factor: float = 1.0) -> Schedule:
    """Return a schedule with the same factor at every token.

    Raises:
        ToneError: The factor is not a finite number.
    """
    return keyframes({0: factor})


def ramp(tokens: float, *, start: float = 0.0, end: float = 1.0) -> Schedule:
    """Return a schedule that goes from one factor to another over the first tokens of the answer.

    Args:
        tokens: Length of the ramp, in tokens.
        start: Factor at the first token of the answer, and in the prompt.
        end: Factor after the ramp.

    Raises:
        ToneError: The length is not positive, or a number is not finite.
    """
    if not _finite(tokens, "A ramp") > 0:
        raise ToneError(f"A ramp over {tokens} tokens ends before it starts.", "Give it one token or more.")
    return keyframes({0: start, tokens: end})


def keyframes(factors: Mapping[float, float]) -> Schedule:
    """Return a schedule through given factors, linear in between, constant before the first and after the last.

    Args:
        factors: Position → factor, as `{0: 0.0, 40: 1.0, 80: 0.3}`.

    Raises:
        ToneError: The mapping is empty, or a number is not finite.
    """
    if not isinstance(factors, Mapping) or not factors:
        raise ToneError(f"{factors!r} names no keyframes.", "Give places and factors, such as {0: 0.0, 40: 1.0}.")
    for number in (*factors, *factors.values()):
        _finite(number, "A keyframe")
    return _Keyframes(tuple(sorted((float(place), float(factor)) for place, factor in factors.items())))


def decay(half_life: float) -> Schedule:
    """Return a schedule that starts at full strength and halves at regular intervals along the answer.

    Args:
        half_life: Tokens after which the factor has halved.

    Raises:
        ToneError: The half-life is not a positive number.
    """
    if not _finite(half_life, "A half-life") > 0:
        raise ToneError(f"A half-life of {half_life} tokens is none.", "Give it a positive number of tokens.")
    return _Decay(float(half_life))


def window(start: float = 0, stop: float = math.inf) -> Schedule:
    """Return a schedule with full strength between two positions, and none outside.

    Args:
        start: First position that is steered. Negative positions are in the prompt.
        stop: First position that is no longer steered.

    Raises:
        ToneError: The window is empty, or a position is not a number.
    """
    if not (isinstance(start, Real) and isinstance(stop, Real) and start < stop):
        raise ToneError(f"A window from token {start} to {stop} ends before it starts.", "Stop must lie after start.")
    return _Window(float(start), float(stop))


def product(*schedules: Schedule) -> Schedule:
    """Return the product of several schedules, such as a ramp inside a window."""
    return _Product(schedules)


@dataclass(frozen=True)
class _Product:
    schedules: tuple[Schedule, ...]

    def __call__(self, positions: Tensor) -> Tensor:
        factors = positions.new_ones(positions.shape)
        for schedule in self.schedules:
            factors = factors * schedule(positions)
        return factors


@dataclass(frozen=True)
class _Keyframes:
    points: tuple[tuple[float, float], ...]

    def __call__(self, positions: Tensor) -> Tensor:
        import torch

        factors = torch.full_like(positions, self.points[0][1])
        for (left, low), (right, high) in zip(self.points, self.points[1:], strict=False):
            share = ((positions - left) / (right - left)).clamp(0, 1)
            factors = torch.where(positions >= left, low + share * (high - low), factors)
        return factors


@dataclass(frozen=True)
class _Decay:
    half_life: float

    def __call__(self, positions: Tensor) -> Tensor:
        return (-positions.clamp_min(0) / self.half_life).exp2()


@dataclass(frozen=True)
class _Window:
    start: float
    stop: float

    def __call__(self, positions: Tensor) -> Tensor:
        return ((positions >= self.start) & (positions < self.stop)).to(positions)


def _finite(number: object, what: str) -> float:
    if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
        raise ToneError(f"{what} has {number!r}, expected a finite number.")
    return float(number)
