"""Thoughts: what a reasoning model writes before its answer, and where they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TAIL = 48
"""Number of last tokens in which a mark is looked for: marks are text, and some are many tokens."""

_FAMILIES = (
    ("<think>", "</think>", ""),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>", ""),
    ("[THINK]", "[/THINK]", ""),
)

__all__ = ["Reply", "Thoughts"]


@dataclass(frozen=True)
class Thoughts:
    """How a model marks its thoughts.

    Args:
        tokenizer: The model's tokenizer.
        opening: Text with which thoughts begin.
        closing: Text after which the answer begins.
        end: Text between the two at which the thoughts themselves end, if not at the closing.
    """

    tokenizer: PreTrainedTokenizerBase
    opening: str
    closing: str
    end: str = ""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Thoughts | None:
        """Return the marks that a tokenizer's chat template speaks of, or None if its model does not think."""
        template = tokenizer.chat_template or ""
        text = "".join(template.values()) if isinstance(template, dict) else template
        return next((cls(tokenizer, *marks) for marks in _FAMILIES if marks[0] in text or marks[1] in text), None)

    @property
    def template_variables(self) -> dict[str, Any]:
        """Variables that ask the chat template for no thoughts, where it knows how."""
        return {"enable_thinking": False} if "enable_thinking" in str(self.tokenizer.chat_template) else {}

    def open_after(self, prompt: Sequence[int]) -> bool:
        """Return whether a prompt ends in the opening mark, so that the model goes on with its thoughts."""
        return self.text(prompt[-TAIL:]).rstrip().endswith(self.opening)

    def closed(self, prompt: Sequence[int]) -> list[int]:
        """Return a prompt after which the model answers without thinking first."""
        if self.open_after(prompt) or self.end:  # models with an end announce the answer, too
            return [*prompt, *self.tokenizer(self.closing, add_special_tokens=False)["input_ids"]]
        return list(prompt)

    def said(self, ids: Sequence[int]) -> str:
        """Return the text of thoughts, without their marks."""
        text = self.text(ids).partition(self.closing)[0].lstrip().removeprefix(self.opening)
        return (text.partition(self.end)[0] if self.end else text).strip()

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, special ones included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


class Reply:
    """A reply as it grows, parted into thoughts and answer.

    Args:
        marks: How the model marks its thoughts, or None if it has none.
        opened: Whether the prompt opened them.
    """

    def __init__(self, marks: Thoughts | None, *, opened: bool = False) -> None:
        self._marks = marks
        self._undecided = not opened
        self.answering = marks is None
        """Whether the thoughts have ended; True from the start without any."""
        self.thoughts: list[int] = []
        """Token ids of the thoughts, marks included."""

    def add(self, token: int) -> list[int]:
        """Add a token, and return those that are now known to be of the answer."""
        if self._marks is None or self.answering:
            return [token]
        self.thoughts.append(token)
        text = self._marks.text(self.thoughts[-TAIL:])
        if self._undecided and (begun := text.lstrip()):
            marks = (self._marks.opening, self._marks.closing)
            if not any(mark.startswith(begun[: len(mark)]) for mark in marks):
                self.answering = True
                held, self.thoughts = self.thoughts, []
                return held
            self._undecided = not begun.startswith(marks)
        self.answering = self._marks.closing in text
        return []
