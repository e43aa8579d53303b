"""Bytes as text, and strings that are not text."""

from __future__ import annotations

import json

import pytest

from emosteer._util import strict_json
from emosteer._util.text import checked, decoded, recovered
from emosteer.errors import InputError


@pytest.mark.parametrize("text", ["", "plain", "schön — 気分 🙂", "two\nlines\r\n", "\ufeff in the middle \ufeff"])
def test_a_text_comes_back_with_and_without_a_mark(text):
    kept = text.removeprefix("\ufeff")
    assert decoded(text.encode()) == kept
    assert decoded(b"\xef\xbb\xbf" + kept.encode()) == kept


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\xff", 1),
        (b"fine\nfine\n\x80", 3),
        (b"zero\n\0", 2),
        ("schön".encode("latin-1"), 1),
        ("wide".encode("utf-16"), 1),
        (b"\xed\xa0\x80", 1),  # a surrogate on its own
    ],
)
def test_bytes_that_are_no_text_are_named_by_line(data, line):
    with pytest.raises(ValueError, match=f"^line {line}: this is not text in UTF-8$"):
        decoded(data)


@pytest.mark.parametrize(("text", "at"), [("\ud800", 1), ("so \udcff", 4), ("\ud83d\ude42", 1), ("気\udfff", 2)])
def test_a_surrogate_is_named_in_characters_that_anything_can_print(text, at):
    with pytest.raises(InputError) as caught:
        checked(text, "The text")
    message = str(caught.value)
    assert message.isascii()
    assert message.startswith(f"The text is not text: character {at} is '\\ud")


@pytest.mark.parametrize("text", ["", "plain", "schön 🙂", "\ufffd", "a\ufeff"])
def test_text_is_left_as_it_is_but_for_a_mark_at_its_beginning(text):
    assert checked(text, "x") == checked("\ufeff" + text, "x") == text


def test_bytes_that_a_locale_of_ascii_left_in_a_text_are_decoded():
    assert recovered("schön".encode().decode("ascii", "surrogateescape")) == "schön"
    assert recovered("🙂 \udcff") == "🙂 \udcff"
    assert recovered("\ud800") == "\ud800"


def test_json_may_begin_with_a_mark_as_bytes_only():
    value = {"a": ["ä", 1]}
    assert strict_json.loads(b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode()) == value
    with pytest.raises(ValueError, match=r"\w"):
        strict_json.loads("\ufeff{}")
