"""What counts as a number that a caller may give."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, TypeGuard

from emosteer.errors import InputError, ToneError

__all__ = ["checked_seed", "is_finite_number", "is_whole_number", "layer_numbers"]


def is_whole_number(value: Any) -> bool:
    """Return whether a value is an integer of Python, numpy or torch, but not a bool."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return False
    try:
        return value.__index__() == value and str(getattr(value, "dtype", "")) not in ("bool", "torch.bool")
    except (TypeError, ValueError, RuntimeError):  # an array of several
        return False


def checked_seed(seed: Any, least: int = 0) -> int:
    """Return a seed as a Python integer.

    Args:
        seed: What a caller gave.
        least: Smallest seed; numpy knows no negative ones, torch takes them from −2⁶³.

    Raises:
        InputError: It is not a whole number from the smallest up to 2⁶⁴ − 1.
    """
    if not is_whole_number(seed) or not least <= int(seed) < 2**64:
        sign = "" if least else " that is not negative"
        raise InputError(f"The seed is {seed!r:.60}, expected a whole number{sign}.", "As seed=0.")
    return int(seed)


def layer_numbers(layers: Any) -> tuple[int, ...]:
    """Return layers that a caller names, one or several, as a tuple of Python integers.

    Raises:
        ToneError: They are not whole numbers.
    """
    if is_whole_number(layers):
        return (int(layers),)
    several = list(layers) if isinstance(layers, Iterable) and not isinstance(layers, (str, bytes)) else [layers]
    if not all(map(is_whole_number, several)):
        raise ToneError(f"{layers!r:.60} are no layers.", "Give whole numbers, 0 being the first: layers=[10, 11, 12].")
    return tuple(map(int, several))


def is_finite_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number, but neither a bool nor NaN nor infinite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False
