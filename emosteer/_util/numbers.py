"""What counts as a number that a caller may give."""

from __future__ import annotations

import math
from numbers import Real
from typing import TypeGuard

__all__ = ["is_finite_number"]


def is_finite_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number, but neither a bool nor NaN nor infinite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False
