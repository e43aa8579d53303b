"""Checks of the fields of a record that may come from elsewhere: each takes a value and what to call it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from emosteer.errors import FormatError

__all__ = ["bad", "choice", "listed", "mapping", "number", "numbers", "perhaps", "rising", "text", "whole"]


def bad(found: str) -> NoReturn:
    """Say what was found.

    Raises:
        FormatError: Always.
    """
    raise FormatError(f"This is not a calibration of emosteer: {found}.", "Measure one: emosteer calibrate VECTORS")


def mapping(value: Any, name: str, wanted: set[str] | None = None) -> dict[str, Any]:
    """An object, with just the wanted fields if they are named."""
    if not isinstance(value, dict):
        bad(f"{name} is not an object")
    if wanted is not None and (odd := sorted(wanted ^ set(value))):
        bad(f"{name} lacks or should not have {odd[0][:70]!r}")
    return value


def listed(value: Any, name: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        bad(f"{name} is not a list")
    return value


def text(value: Any, name: str) -> str:
    """A short printable text."""
    if not isinstance(value, str) or len(value) > 1_000 or not value.isprintable():
        bad(f"{name} is not a short printable text")
    return value


def choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """One of a few texts."""
    if value not in choices:
        bad(f"{name} is {str(value)[:40]!r}, expected one of {', '.join(choices)}")
    return str(value)


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        bad(f"{name} is not a whole number from {low} to {high}")
    return value


def number(value: Any, name: str, low: float, high: float) -> float:
    """A number from `low` to `high`; not NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        bad(f"{name} is not a number from {low:g} to {high:g}")
    return float(value)


def perhaps(value: Any, name: str, low: float, high: float) -> float | None:
    """As `number`, or None."""
    return None if value is None else number(value, name, low, high)


def numbers(value: Any, name: str, low: float, high: float) -> tuple[float, ...]:
    """A list of numbers from `low` to `high`."""
    return tuple(number(one, name, low, high) for one in listed(value, name))


def rising(value: Any, name: str, depth: int) -> tuple[int, ...]:
    """Layers of a model of so many, rising."""
    layers = tuple(whole(one, name, 0, depth - 1) for one in listed(value, name))
    if not layers or list(layers) != sorted(set(layers)):
        bad(f"{name} do not rise")
    return layers
