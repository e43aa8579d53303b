"""Text that grows token by token."""

from __future__ import annotations

import pytest

from emosteer.serving.text import GrowingText


def grown(tokenizer, text, stops=()):
    """The pieces told of a text whose bytes are tokens, and whether a stop has come."""
    growing = GrowingText(tokenizer, [], stops)
    pieces = []
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        pieces.append(growing.add(token))
        if growing.stopped:
            break
    return [*pieces, growing.end()], growing.stopped


@pytest.fixture(scope="module")
def tokenizer(steered):
    return steered.tokenizer


def test_pieces_are_whole_characters(tokenizer):
    pieces, stopped = grown(tokenizer, "Grüße 😀!")
    assert "".join(pieces) == "Grüße 😀!"
    assert "😀" in pieces
    assert not any("\ufffd" in piece for piece in pieces)
    assert not stopped


@pytest.mark.parametrize(
    ("stops", "told"),
    [
        (["END"], "one EN two "),
        (["nothing"], "one EN two END three"),
        (["three", "two"], "one EN "),
        (["e"], "on"),
        (["😀"], "one EN two END three"),
        (["one"], ""),
    ],
)
def test_a_stop_is_where_the_text_ends(tokenizer, stops, told):
    pieces, stopped = grown(tokenizer, "one EN two END three", stops)
    assert "".join(pieces) == told
    assert stopped == (told != "one EN two END three")


def test_the_beginning_of_a_stop_is_held_back_and_told_at_the_end(tokenizer):
    growing = GrowingText(tokenizer, [], ["END"])
    ids = tokenizer("a EN", add_special_tokens=False)["input_ids"]
    assert "".join(map(growing.add, ids)) == "a "
    assert growing.end() == "EN"
