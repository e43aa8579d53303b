"""Fields of a request that a stranger wrote, each checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emosteer._util.numbers import is_finite_number
from emosteer.errors import InputError

KINDS = {bool: "true or false", str: "a text", dict: "an object", list: "a list"}

__all__ = ["number", "value_of"]


def value_of(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    """Return a field of a type, or None if it is absent.

    Raises:
        InputError: It is of another type.
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{name} is {value!r:.60}, expected {KINDS[kind]}.")
    return value


def number(fields: Mapping[str, Any], name: str, least: float, most: float) -> Any:
    """Return a field within its bounds, or None if it is absent. Integer bounds require an integer.

    Raises:
        InputError: It is none, or out of bounds.
    """
    value = fields.get(name)
    if value is None:
        return None
    whole = isinstance(least, int)
    if not is_finite_number(value) or (whole and not isinstance(value, int)) or not least <= value <= most:
        expected = "a whole number" if whole else "a number"
        raise InputError(f"{name} is {value!r:.60}, expected {expected} from {least} to {most}.")
    return value
