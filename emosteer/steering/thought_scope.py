"""Tones that hold in the thoughts of a reasoning model only, or only in the answer after them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from emosteer.errors import ToneError
from emosteer.models.thoughts import TAIL, Reply, Thoughts
from emosteer.steering.thermostat import Thermostat
from emosteer.vectors.types import SCOPES

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

PARTS = ("thoughts", "answer")
"""The scopes that part a reply, beside those that a dose may have."""

__all__ = ["PARTS", "ThoughtScope"]


class ThoughtScope:
    """Follows the replies that a model writes, and tells at each token whether the tone holds.

    Args:
        marks: How the model marks its thoughts.
        part: `"thoughts"` or `"answer"`.
    """

    def __init__(self, marks: Thoughts, part: str) -> None:
        self._marks, self._in_answer = marks, part == "answer"
        self._state = threading.local()

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, part: str, tone: object) -> ThoughtScope:
        """Return the scope of a tone for a model.

        Raises:
            ToneError: The chat template speaks of no thoughts, or the tone is a thermostat.
        """
        if isinstance(tone, Thermostat):
            raise ToneError(f"A thermostat cannot hold in the {part} alone.", "Leave the scope out.")
        marks = Thoughts.of(tokenizer)
        if marks is None:
            raise ToneError(
                f"The scope {part!r} is for reasoning models, and this model's chat template speaks of no thoughts.",
                f"Choose one of: {', '.join(SCOPES)}.",
            )
        return cls(marks, part)

    def gain(self, ids: Tensor, answer: int) -> Tensor:
        """Return 1 for each token of a pass at which the tone holds, else 0: `[rows, tokens, 1]`, on the CPU.

        Args:
            ids: `[rows, tokens]`, the tokens of the pass.
            answer: Column of `ids` at which the reply begins: negative if in an earlier pass, beyond the last if in a
                later one.
        """
        import torch

        state, tokens = self._state, ids.tolist()
        if answer > 0 or getattr(state, "rows", None) != len(tokens):  # tokens of the prompt: a new reply
            again = getattr(state, "rows", None) == len(tokens) and getattr(state, "next", None) == -answer
            before = state.prompts if again else [[] for _ in tokens]
            state.rows, state.next = len(tokens), ids.shape[1] - answer
            state.prompts = [[*past, *row[: max(0, answer)]][-TAIL:] for past, row in zip(before, tokens, strict=True)]
            opened = [self._marks.open_after(prompt) for prompt in state.prompts]
            state.replies = [Reply(self._marks, opened=whether) for whether in opened]
            state.held = [[] for _ in tokens]
        gain = torch.zeros(*ids.shape, 1, dtype=torch.float32, device="cpu")
        for i, row in enumerate(tokens):
            held = state.held[i]  # at each token of the reply; a pass beside generate may bring one again
            for column in range(max(0, answer), len(row)):
                if column - answer >= len(held):
                    held.append(bool(state.replies[i].add(row[column])))
                gain[i, column] = float(held[column - answer] == self._in_answer)
        return gain
