"""The text of an answer as it grows: whole characters, without thoughts, up to a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emosteer.models.thoughts import Reply, Thoughts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HALF = "\ufffd"
"""What tokenizers put for a character of which tokens are still to come."""

__all__ = ["GrowingText"]


class GrowingText:
    """The text of an answer, of which pieces are told as soon as they are certain.

    Args:
        tokenizer: Decodes the tokens.
        prompt: Token ids of the prompt, which may have opened thoughts.
        stops: Texts at which the answer ends; they are not told.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], stops: Sequence[str] = ()) -> None:
        marks = Thoughts.of(tokenizer)
        self._reply = Reply(marks, opened=marks is not None and marks.open_after(prompt))
        self._tokenizer, self._stops = tokenizer, stops
        self._ids: list[int] = []
        self._context = self._read = 0  # where decoding begins, and up to where its text is known
        self._held = ""  # text that may be the beginning of a stop
        self._begun = False
        self.stopped = False
        """Whether a stop string has come."""

    def add(self, token: int) -> str:
        """Add a token, and return the text that is now certain."""
        self._ids += self._reply.add(token)
        before = self._decoded(self._ids[self._context : self._read])
        after = self._decoded(self._ids[self._context :])
        if len(after) <= len(before) or after.endswith(HALF):
            return ""
        self._context, self._read = self._read, len(self._ids)
        return self._told(after[len(before) :])

    def end(self) -> str:
        """Return what is left when no token follows."""
        if self.stopped:
            return ""
        before = self._decoded(self._ids[self._context : self._read])
        rest = self._told(self._decoded(self._ids[self._context :])[len(before) :])
        held, self._held = self._held, ""
        return rest + ("" if self.stopped else held)

    def _told(self, text: str) -> str:
        if self._reply.thoughts and not self._begun:
            text = text.lstrip()
        self._begun = self._begun or bool(text)
        text = self._held + text
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        kept = max((_begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def _begun(text: str, stop: str) -> int:
    """Return how many characters at the end of a text begin a stop string."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
