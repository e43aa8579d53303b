"""Strict reading and canonical writing of JSON, for files that people exchange."""

from __future__ import annotations

import json
from typing import Any

from emosteer._util.text import decoded

MAX_DEPTH = 64  # deeper than any of our files, and well below the recursion limit
MAX_TOKENS = 200_000  # brackets and commas; each object costs memory, however few bytes it takes
MAX_WIDE = 2 * 2**20  # bytes of a text with non-ASCII characters, each of which may take four bytes in memory

_TOO_WIDE = "it is longer than text beyond ASCII may be"

__all__ = ["canonical", "loads", "pretty"]


def canonical(value: object) -> str:
    """Return the canonical JSON of a value: sorted keys, no spaces, ASCII only, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def pretty(value: object) -> str:
    """Return readable JSON: sorted keys, indented by two spaces, not escaped to ASCII, ending with a newline."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def loads(text: str | bytes) -> Any:
    """Parse JSON, and refuse what the json module accepts beyond the standard or beyond the limits above.

    A byte-order mark at the beginning of the bytes is left out.

    Args:
        text: A JSON document, as text or as bytes in UTF-8.

    Raises:
        ValueError: The document is not JSON or not UTF-8; contains a duplicate key, NaN, an infinity, a number too
            large or an unpaired surrogate; is nested deeper than 64; has more than 200,000 brackets and commas; or
            has non-ASCII characters and more than 2 MiB.
    """
    if len(text.rstrip()) > MAX_WIDE and not text.isascii():  # before it is decoded
        raise ValueError(_TOO_WIDE)
    if isinstance(text, bytes):
        text = decoded(text)
    if sum(map(text.count, "{[,")) > MAX_TOKENS:
        raise ValueError("it lists more than any set of vectors has")
    if len(text.rstrip()) > MAX_WIDE and "\\u" in text:
        raise ValueError(_TOO_WIDE)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_inside(value)
    return value


def _check_inside(value: Any) -> None:
    """Check depth and strings level by level, so that the check itself cannot recurse too deeply."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inside: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inside += item.keys()
                inside += item.values()
            elif isinstance(item, list):
                inside += item
            elif (
                isinstance(item, str)
                and not item.isascii()
                and any("\ud800" <= character <= "\udfff" for character in item)
            ):
                raise ValueError("it contains an unpaired surrogate")
        if not inside:
            return
        level = inside
    raise ValueError("it is nested too deeply")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {duplicate[:70]!r} stands twice in one object")
    return result


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]} is too large")
    return value
