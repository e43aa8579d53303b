"""Token ids → the pieces of text they stand for, which joined are the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STAND_IN = "\ufffd"
"""What decoders write for bytes that are no character."""

AHEAD = 3
"""Tokens after the first that a character can need: in UTF-8 it has up to four bytes, each perhaps a token."""

__all__ = ["piece_after", "pieces"]


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token where it stands; joined they are the text that the tokenizer decodes.

    Tokens that are text only together, as the bytes of an emoji, have their whole text at the first of them and "" at
    the others.

    Args:
        tokenizer: The tokenizer.
        ids: `[tokens]`.
    """
    found = [""] * len(ids)
    # A run's text is what it adds to that of the run before: alone, some tokenizers drop the space it begins with.
    before = first = 0
    for end in range(1, len(ids) + 1):
        text = _decoded(tokenizer, ids[before:end])
        clear = not text.endswith(STAND_IN)
        # Bytes that more tokens make a character of read otherwise then; bytes that are none stay what they are.
        longer = (_decoded(tokenizer, ids[before : end + more]) for more in range(1, AHEAD + 1))
        if clear or all(one.startswith(text) for one in longer):
            found[first] = text[len(_decoded(tokenizer, ids[before:first])) :]
            before, first = first if clear else before, end
    return tuple(found)


def piece_after(tokenizer: PreTrainedTokenizerBase, before: Sequence[int], token: int) -> str:
    """The text of a token that might follow others; of one that is no text of its own, a stand-in.

    Args:
        tokenizer: The tokenizer.
        before: Token ids, of which the last few count.
        token: The token.
    """
    known = list(before[-AHEAD - 1 :])
    said, text = _decoded(tokenizer, known), _decoded(tokenizer, [*known, token])
    return text[len(said) :] if text.startswith(said) and text != said else _decoded(tokenizer, [token])


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids)))
