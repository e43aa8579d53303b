"""Holding a level of emotion instead of pushing with a fixed strength."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emosteer._util.numbers import is_finite_number
from emosteer.errors import IncompatibleModelError, ToneError
from emosteer.layers import decoder, input_device
from emosteer.reading.trace import Trace
from emosteer.vectors.types import Readout

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

START = 0.1  # strength at the beginning, per standard deviation of the level
TOKENS = 12.0  # a deficit of one standard deviation over so many tokens raises the strength by 1

__all__ = ["Control", "Held", "Thermostat"]


@dataclass(frozen=True)
class Thermostat:
    """Levels to hold: what the plain model shall read in the answer, on average over its tokens.

    The answer is read as it grows, by the plain model and without the prompt, as `SteeredModel.read` reads it when it
    is finished. Where it falls short of the level the strength rises, where it goes beyond the strength falls: an
    integral controller. It costs a second forward pass a token.

    Args:
        levels: Emotion → level, in standard deviations of neutral text.
        limit: Strengths stay between −limit and limit, in doses.

    Raises:
        ToneError: There is no level, one is not a finite number, or the limit is not a number above 0.
    """

    levels: Mapping[str, float]
    limit: float = 2.0

    def __post_init__(self) -> None:
        if not isinstance(self.levels, Mapping) or not self.levels:
            raise ToneError(f"{self.levels!r} is no level to hold.", "Give one such as Thermostat({'joy': 1.5}).")
        for emotion, level in self.levels.items():
            if not is_finite_number(level):
                raise ToneError(f"The level of {emotion!r} is {level!r}, expected a finite number.")
        if not is_finite_number(self.limit) or not 0 < self.limit <= 10:
            raise ToneError(f"The limit of a thermostat is {self.limit!r}, expected a strength above 0, up to 10.")


@dataclass(frozen=True)
class Held:
    """Stands in a plan for the schedule of an emotion whose strength a control sets."""

    emotion: str

    def __call__(self, places: Tensor) -> Tensor:
        """1 at every place."""
        return places.new_ones(places.shape)


class Control:
    """A thermostat at work on a model: reads the answer token by token and says how strongly to steer.

    Args:
        thermostat: What to hold.
        readout: What to read it with.
        model: Whose answers.
        tokenizer: Its tokenizer.
    """

    def __init__(
        self,
        thermostat: Thermostat,
        readout: Readout,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        import torch

        self._readout, self._model = readout, model
        self._lead: list[int] = list(tokenizer("")["input_ids"])  # what stands before a text, such as a first token
        self._columns = [readout.emotions.index(emotion) for emotion in thermostat.levels]
        self._levels = torch.tensor(list(thermostat.levels.values()), dtype=torch.float32)
        self._limit = thermostat.limit
        self._state = threading.local()

    def gain(self, ids: Tensor, answer: int) -> Tensor:
        """Strength of each emotion at each token of a pass, `[rows, tokens, emotions]`, on the CPU.

        Args:
            ids: `[rows, tokens]`, of the pass.
            answer: Column of `ids` at which the answer begins, below 0 if it began in an earlier pass, and beyond the
                last if it is yet to begin.
        """
        import torch

        rows, tokens = ids.shape
        now = self._state
        if answer >= tokens or getattr(now, "rows", None) != rows:  # a prompt: a new answer
            now.rows, now.cache = rows, None
            now.deficit = torch.zeros(rows, len(self._levels))
            now.strengths = []
            if self._lead:
                self._read(torch.tensor([self._lead]).expand(rows, -1))
        start = (START * self._levels).clamp(-self._limit, self._limit)
        for column in range(max(0, answer + len(now.strengths)), tokens):
            score = self._read(ids[:, column : column + 1])
            if now.strengths or self._lead:  # the first of a sequence is an attention sink and says nothing
                now.deficit = now.deficit + self._levels - score
            now.strengths.append((start + now.deficit / TOKENS).clamp(-self._limit, self._limit))
        gain = start.repeat(rows, tokens, 1)
        for column in range(max(0, answer), tokens):
            gain[:, column] = now.strengths[column - answer]
        return gain

    def _read(self, ids: Tensor) -> Tensor:
        """Scores of the last of the next tokens of the answer, `[rows, emotions]`."""
        import torch

        with Trace(self._readout, self._model) as trace, torch.inference_mode():
            given = {"input_ids": ids.to(input_device(self._model)), "past_key_values": self._state.cache}
            output = decoder(self._model)(**given, use_cache=True)
        self._state.cache = getattr(output, "past_key_values", None)
        if self._state.cache is None:
            raise IncompatibleModelError(
                f"{type(self._model).__name__} keeps no key-value cache, which a thermostat reads with.",
                "Give a constant tone.",
            )
        return trace.scores[:, -1, self._columns]
