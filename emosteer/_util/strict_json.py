"""JSON read strictly and written canonically: what files that people exchange need, and the json module leaves open."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64  # deeper than any file of ours, and far from where the interpreter stops following
MAX_TOKENS = 200_000  # brackets and commas: an object costs Python memory, however few bytes it has
MAX_WIDE = 2 * 2**20  # bytes of text beyond ASCII, of which each character may take four in memory

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
            to be one, half a character, nesting deeper than 64, more than 200,000 brackets and commas, or over 2 MiB
            of text beyond ASCII.
    """
    marks: list[Any] = ["{", "[", ",", "\\u"] if isinstance(text, str) else [b"{", b"[", b",", b"\\u"]
    *structure, escapes = (text.count(mark) for mark in marks)
    if sum(structure) > MAX_TOKENS:
        raise ValueError("it lists more than any set of vectors has")
    if len(text.rstrip()) > MAX_WIDE and (escapes or not text.isascii()):
        raise ValueError("it is longer than text beyond ASCII may be")
    try:
        value = json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_inside(value)
    return value


def _check_inside(value: Any) -> None:
    """Level by level, so that no depth is too deep for the check itself."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inside: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inside += item.keys()
                inside += item.values()
            elif isinstance(item, list):
                inside += item
            elif isinstance(item, str) and not item.isascii() and not _whole_characters(item):
                raise ValueError("it holds half a character")
        if not inside:
            return
        level = inside
    raise ValueError("it is nested too deeply")


def _whole_characters(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:70]!r} stands twice in one object")
    return result


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]} is too large")
    return value
