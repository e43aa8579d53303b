"""Where the messages of a conversation stand among the tokens of its prompt."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError
from emosteer.models.messages import (
    MARK,
    Messages,
    is_continued,
    marked,
    parsed,
    rendered,
    text_of,
    tones_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]

__all__ = ["message_spans"]


def message_spans(
    tokenizer: PreTrainedTokenizerBase,
    conversation: Messages,
    ids: Sequence[int],
    variables: Mapping[str, Any] | None = None,
) -> list[Span]:
    """Return the token positions at which each message of a prompt starts and ends.

    Most chat templates write one message after another. There a message starts where the one before it ends, with the
    marks of its role, and the first one at its own words, after whatever the template says before them. Others move
    messages, such as a system message into a turn of the user. There a message is its words alone.

    Args:
        tokenizer: The tokenizer.
        conversation: The messages.
        ids: Token ids of the conversation, up to where the answer begins.
        variables: Variables of the chat template, as for `rendered`.

    Returns:
        A span for each message. It is empty for one without a tone of its own that has no words in the prompt.

    Raises:
        InputError: A message with a tone of its own has no words in the prompt, or they cannot be found.
    """
    messages = parsed(tokenizer, conversation)
    end: dict[str, Any] = {"continue_final_message" if is_continued(messages) else "add_generation_prompt": True}
    whole = str(rendered(tokenizer, messages, variables, tokenize=False, **end))
    words = [_words(tokenizer, messages, i, whole, variables, end) for i in range(len(messages))]
    places = _Places(tokenizer, whole, ids)
    before = str(rendered(tokenizer, messages, variables, tokenize=False))
    stop = len(before) if whole.startswith(before) and not is_continued(messages) else len(whole)
    if (ends := _ends(tokenizer, messages, whole, words, variables)) is not None:
        bounds = [(words[0] or (0, 0))[0], *ends]
        words = list(pairwise(bounds))
    spans = []
    for i, (tone, span, message) in enumerate(zip(tones_of(conversation), words, messages, strict=True), 1):
        if span is None and tone:
            raise InputError(
                f"The chat template does not show the words of a message ({text_of(message)[:40]!r}) as they are, so "
                "it cannot have a tone of its own.",
                "Give one tone for all, as emotion=.",
            )
        first, last = span or ((stop, stop) if i == len(messages) else (0, 0))
        spans.append((places.first_in(first), places.first_after(last)))
    return spans


def _words(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    i: int,
    whole: str,
    variables: Mapping[str, Any] | None,
    end: Mapping[str, Any],
) -> Span | None:
    """Return the characters at which the words of a message stand, or None: where another content changes the text."""
    words = text_of(messages[i])
    others = [*messages[:i], marked(messages[i]), *messages[i + 1 :]]
    try:
        other = str(rendered(tokenizer, others, variables, tokenize=False, **end))
    except InputError:
        return None
    pairs = zip(whole, other, strict=False)
    start = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(whole), len(other)))
    most = min(len(whole), len(other)) - start
    after = next((n for n in range(most) if whole[-1 - n] != other[-1 - n]), most)
    stop = len(whole) - after
    shown, instead = whole[start:stop].strip(), other[start : len(other) - after]
    # Where it stands twice, or changed, what differs is not the words alone.
    same = shown and (shown in words or shown.split() == words.split())
    return (start, stop) if same and instead.strip() == MARK else None


def _ends(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    whole: str,
    words: Sequence[Span | None],
    variables: Mapping[str, Any] | None,
) -> list[int] | None:
    """Return the character at which each message ends, or None if the template does not write one after another."""
    ends: list[int] = []
    for i, span in enumerate(words, 1):
        try:
            text = str(rendered(tokenizer, messages[:i], variables, tokenize=False))
        except InputError:
            return None
        if i == len(messages) and is_continued(messages):
            text = whole
        before = ends[-1] if ends else 0
        if not whole.startswith(text) or not (span is None or before <= span[0] <= span[1] <= len(text)):
            return None
        ends.append(len(text))
    return ends


class _Places:
    """The tokens of a text by its characters.

    Args:
        tokenizer: The tokenizer.
        text: The rendered conversation.
        ids: Its tokens. Where messages contain control tokens, which are plain text there, they are not those that the
            text alone would give.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int]) -> None:
        self._tokenizer, self._ids = tokenizer, list(ids)
        self._offsets: list[Span] | None = None
        if tokenizer.is_fast:
            encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            if list(encoding["input_ids"]) == self._ids:
                self._offsets = [(start, stop) for start, stop in encoding["offset_mapping"]]
        if self._offsets is None and self._text(len(self._ids)) != text:
            raise InputError(
                "The tokens of this conversation cannot be told apart by their messages.",
                "Give one tone for all, as emotion=.",
            )

    def _text(self, count: int) -> str:
        return str(self._tokenizer.decode(self._ids[:count], skip_special_tokens=False))

    def first_in(self, character: int) -> int:
        """Return the index of the token that holds a character, or the next one."""
        if self._offsets is not None:
            return bisect_right(self._offsets, character, key=lambda span: span[1])
        return bisect_right(range(1, len(self._ids) + 1), character, key=lambda count: len(self._text(count)))

    def first_after(self, character: int) -> int:
        """Return the index of the first token that begins at a character or later."""
        if self._offsets is not None:
            return bisect_left(self._offsets, character, key=lambda span: span[0])
        return bisect_left(range(len(self._ids)), character, key=lambda count: len(self._text(count)))
