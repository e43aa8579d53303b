"""Text as it comes in: bytes as text, and texts that hold what no text can."""

from __future__ import annotations

import re
from contextlib import suppress

from emosteer.errors import InputError

BYTE_ORDER_MARK = "\ufeff"

_SURROGATE = re.compile("[\ud800-\udfff]")

__all__ = ["BYTE_ORDER_MARK", "checked", "decoded", "recovered"]


def decoded(data: bytes) -> str:
    """Decode a text in UTF-8. The byte-order mark that it may begin with is left out.

    Raises:
        ValueError: The bytes are no such text; the message names the line.
    """
    wrong = data.find(b"\0")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong >= 0:
        line = data[:wrong].count(b"\n") + 1
        raise ValueError(f"line {line}: this is not text in UTF-8")
    return text


def recovered(text: str) -> str:
    """Return a text from the command line with the bytes decoded that a locale of ASCII left in it."""
    with suppress(UnicodeError):
        return text.encode(errors="surrogateescape").decode(errors="surrogateescape")
    return text


def checked(text: str, name: str) -> str:
    """Return a text without the byte-order mark that a file may have left at its beginning.

    Args:
        text: Any string.
        name: Name of the text for the error, which it begins.

    Raises:
        InputError: The string is not text.
    """
    if found := None if text.isascii() else _SURROGATE.search(text):
        raise InputError(
            f"{name} is not text: character {found.start() + 1} is {found[0]!a}, half of a character or a "
            "byte of another encoding.",
            "Give it in UTF-8.",
        )
    return text.removeprefix(BYTE_ORDER_MARK)
