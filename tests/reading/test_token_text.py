"""Pieces of text are text, and joined they are all of it."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from emosteer.reading.token_text import piece_after, pieces

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PARTY = [f"<0x{byte:02X}>" for byte in "🎉".encode()]


@pytest.fixture(scope="module")
def spaces_first():
    """As tokenizers made by SentencePiece: "▁" begins a word, and a text that is decoded loses its first space."""
    words = ["<s>", "▁", "▁Well", "▁done", "er", "."]
    vocabulary = {token: i for i, token in enumerate(["<unk>", *words, *BYTES])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["▁Well", "▁done", "er", "."], ["Well", " done", "er", "."]),
        (["▁", "▁Well", "▁", "▁", "▁done"], ["", " Well", " ", " ", " done"]),
        (["<s>", "▁Well"], ["<s>", " Well"]),
        (["▁Well", "▁", *PARTY, *PARTY, "."], ["Well", " ", "🎉", "", "", "", "🎉", "", "", "", "."]),
        ([*PARTY[:2], "▁done"], ["\ufffd", "\ufffd", " done"]),  # no character, and never one
        (["er", PARTY[1], *PARTY, "▁done"], ["er", *["\ufffd"] * 5, " done"]),  # as its decoder reads the five
        (PARTY[:3], ["\ufffd"] * 3),
        ([], []),
    ],
)
def test_spaces_and_bytes_that_are_tokens(spaces_first, tokens, expected):
    ids = spaces_first.convert_tokens_to_ids(tokens)
    assert pieces(spaces_first, ids) == tuple(expected)
    assert "".join(expected) == spaces_first.decode(ids)


def test_a_token_that_might_follow_keeps_its_space(spaces_first):
    well, done, er, *party = spaces_first.convert_tokens_to_ids(["▁Well", "▁done", "er", *PARTY])
    assert piece_after(spaces_first, [well], done) == " done"
    assert piece_after(spaces_first, [well], er) == "er"
    assert piece_after(spaces_first, [], done) == "done"
    assert piece_after(spaces_first, [well, *party], done) == " done"
    assert piece_after(spaces_first, [well, *party[:3]], party[3]) == "\ufffd"


@pytest.mark.embedded
def test_the_embedded_tokenizer(embedded):
    _, tokenizer = embedded

    def of(text):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        found = pieces(tokenizer, ids)
        assert "".join(found) == text
        assert len(found) == len(ids)
        return list(found)

    assert of("Hello world, it's fine.") == ["Hello", " world", ",", " it", "'s", " fine", "."]
    assert [piece for piece in of("Hi 🎉🎉 ok") if piece] == ["Hi", " 🎉", "🎉", " ok"]
    assert of("\ufffd a")[0] == "\ufffd"
    for text in (
        "日本語のテキスト",
        "👨‍👩‍👧 ok",
        "\ufffd\ufffd😀\ufffd",
        "a  b\n\n\tc",
        "<|im_start|>user\nhi<|im_end|>",
    ):
        assert "\ufffd" in text or "\ufffd" not in "".join(of(text))
