"""The text of each token in a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STAND_IN = "\ufffd"
"""What decoders write for bytes that form no character."""

AHEAD = 3
"""Most tokens that a character can need after its first: UTF-8 has up to four bytes, each perhaps a token."""

__all__ = ["piece_after", "pieces"]


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, ...]:
    """Return the text of each token; joined they are the text that the tokenizer decodes.

    If tokens form a character only together, such as the bytes of an emoji, the first has its text and the others "".

    Args:
        tokenizer: The tokenizer.
        ids: `[tokens]`.
    """
    texts = [""] * len(ids)
    # The text of a run of tokens is what it adds to the run before. Decoded alone, some would lose their leading space.
    before = first = 0
    for end in range(1, len(ids) + 1):
        text = _decoded(tokenizer, ids[before:end])
        clear = not text.endswith(STAND_IN)
        # Bytes that later tokens complete decode differently with them; invalid bytes do not change.
        longer = (_decoded(tokenizer, ids[before : end + more]) for more in range(1, AHEAD + 1))
        if clear or all(continued.startswith(text) for continued in longer):
            texts[first] = text[len(_decoded(tokenizer, ids[before:first])) :]
            before, first = first if clear else before, end
    return tuple(texts)


def piece_after(tokenizer: PreTrainedTokenizerBase, before: Sequence[int], token: int) -> str:
    """Return the text that a token would have after others; a placeholder if it forms no character of its own.

    Args:
        tokenizer: The tokenizer.
        before: Preceding token ids, of which the last few matter.
        token: The token id.
    """
    known = list(before[-AHEAD - 1 :])
    start, text = _decoded(tokenizer, known), _decoded(tokenizer, [*known, token])
    return text[len(start) :] if text.startswith(start) and text != start else _decoded(tokenizer, [token])


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids)))
