"""Text as it comes in: bytes as text, and texts that hold what no text can."""

from __future__ import annotations

import codecs
import re

from emosteer.errors import InputError

BYTE_ORDER_MARK = "\ufeff"

_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKED = {  # the longer marks first: that of UTF-32 begins as that of UTF-16 does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

__all__ = ["BYTE_ORDER_MARK", "checked", "decoded"]


def decoded(data: bytes) -> str:
    """Decode a text: UTF-8, or UTF-16 or UTF-32 if it begins with the byte-order mark of one. The mark is left out.

    Raises:
        ValueError: The bytes are not such a text; the message completes "this is".
    """
    encoding = next((name for mark, name in _MARKED.items() if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"not text in {encoding.removesuffix('-sig').upper()} (line {line}: byte 0x{data[error.start]:02x})"
        ) from None


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
