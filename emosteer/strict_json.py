"""JSON read strictly and written canonically: what files that people exchange need, and the json module leaves open."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["canonical", "loads", "pretty"]


def canonical(value: object) -> str:
    """One byte sequence for one value: sorted keys, no spaces, ASCII only, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def pretty(value: object) -> str:
    """The same for people: sorted keys, two spaces, characters as they are, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def loads(text: str | bytes) -> Any:
    """Parse JSON, refusing what the json module lets pass.

    Args:
        text: A JSON document; bytes are taken as UTF-8.

    Raises:
        ValueError: Not JSON, not UTF-8, a key that stands twice in one object, NaN or an infinity, a number too long
            to be one, or nesting deeper than the interpreter follows.
    """
    try:
        return json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return result


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]} is too large")
    return value
