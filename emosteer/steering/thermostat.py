"""A thermostat, which holds a level of emotion in the answer instead of steering with a fixed strength."""

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

START = 0.1  # initial strength per standard deviation of the level
TOKENS = 12.0  # a deficit of one standard deviation over this many tokens raises the strength by 1

__all__ = ["Control", "Held", "Thermostat"]


@dataclass(frozen=True)
class Thermostat:
    """Levels of emotion to hold in an answer, as the plain model reads it, averaged over tokens.

    An integral controller: the plain model reads the answer as it grows, without the prompt, as `SteeredModel.read`
    reads the finished text. The strength rises while the reading is below the level and falls while it is above. This
    costs a second forward pass per token.

    Args:
        levels: Emotion → level, in standard deviations of neutral text.
        limit: Strengths stay between −limit and limit, in calibrated doses.

    Raises:
        ToneError: There are no levels, a level is not a finite number, or the limit is not above 0 and up to 10.
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
    """A schedule of ones, which marks a column of a plan whose strength a control sets."""

    emotion: str

    def __call__(self, positions: Tensor) -> Tensor:
        """Return 1 for every position."""
        return positions.new_ones(positions.shape)


class Control:
    """A thermostat at work on a model: reads the answer token by token and sets the strengths.

    Args:
        thermostat: The levels to hold.
        readout: The readout to measure them with.
        model: The model that answers.
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
        self._lead: list[int] = list(tokenizer("")["input_ids"])  # special tokens before every text
        self._columns = [readout.emotions.index(emotion) for emotion in thermostat.levels]
        self._levels = torch.tensor(list(thermostat.levels.values()), dtype=torch.float32, device="cpu")
        self._limit = thermostat.limit
        self._state = threading.local()

    def gain(self, ids: Tensor, answer: int) -> Tensor:
        """Return the strength of each emotion at each token of a pass, `[rows, tokens, emotions]`, on the CPU.

        Args:
            ids: `[rows, tokens]`, the tokens of the pass.
            answer: Column of `ids` at which the answer begins: negative if in an earlier pass, beyond the last if in a
                later one.
        """
        import torch

        rows, tokens = ids.shape
        state = self._state
        if answer >= tokens or getattr(state, "rows", None) != rows:  # a prompt: a new answer
            state.rows, state.cache = rows, None
            state.deficit = self._levels.new_zeros(rows, len(self._levels))
            state.strengths = []
            if self._lead:
                self._read(torch.tensor([self._lead], dtype=torch.long, device="cpu").expand(rows, -1))
        start = (START * self._levels).clamp(-self._limit, self._limit)
        for column in range(max(0, answer + len(state.strengths)), tokens):
            scores = self._read(ids[:, column : column + 1])
            if state.strengths or self._lead:  # the first token of a sequence, the attention sink, has no score
                state.deficit = state.deficit + self._levels - scores
            state.strengths.append((start + state.deficit / TOKENS).clamp(-self._limit, self._limit))
        gain = start.repeat(rows, tokens, 1)
        for column in range(max(0, answer), tokens):
            gain[:, column] = state.strengths[column - answer]
        return gain

    def _read(self, ids: Tensor) -> Tensor:
        """Read the next tokens of the answer, and return the scores of the last of them, `[rows, emotions]`."""
        import torch

        with Trace(self._readout, self._model) as trace, torch.inference_mode():
            ids = ids.to(input_device(self._model))
            output = decoder(self._model)(input_ids=ids, past_key_values=self._state.cache, use_cache=True)
        self._state.cache = getattr(output, "past_key_values", None)
        if self._state.cache is None:
            raise IncompatibleModelError(
                f"{type(self._model).__name__} keeps no key-value cache, which a thermostat reads with.",
                "Give a constant tone.",
            )
        return trace.scores[:, -1, self._columns]
