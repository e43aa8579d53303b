"""Rows: what a request asks of the model, and each answer as it is written, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer.models.generation import end_tokens
from emosteer.serving.request import ToneRequest
from emosteer.serving.text import GrowingText
from emosteer.serving.tones import deltas_at
from emosteer.steering.plan import plan
from emosteer.steering.recipes import Recipe, with_recipe

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from emosteer.model import SteeredModel

__all__ = ["Job", "Row", "Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Args:
        temperature: Above 0, or None for the most likely token each time.
        top_p: As for `generate`, like those that follow; None is off.
        top_k: See there.
        min_p: See there.
        repetition_penalty: See there.
        seed: Of the row's own random numbers; None for other ones each time.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Job:
    """What is asked of the model.

    Args:
        prompt: Token ids.
        tone: The tone, checked.
        recipe: What is left of its recipe for the model to run with.
        most: Most tokens of the answer.
        sampling: How tokens are chosen.
        stops: Texts at which the answer ends.
    """

    prompt: Sequence[int]
    tone: ToneRequest
    recipe: Recipe | None
    most: int
    sampling: Sampling = Sampling()
    stops: Sequence[str] = ()


class Row:
    """An answer that is being written.

    Args:
        steered: The model that writes it.
        job: What is asked of it.

    Raises:
        EmosteerError: The tone cannot be given.
    """

    def __init__(self, steered: SteeredModel, job: Job) -> None:
        import torch

        model, tokenizer, vectors = steered.model, steered.tokenizer, steered.vectors
        asked, schedule = job.tone, job.tone.schedule
        tone, options = with_recipe(
            job.recipe, model, tokenizer, vectors, asked.tone, schedule, "add", len(job.prompt), {}
        )
        self.job = job
        self.plan = plan(vectors, tone, scope=asked.scope, schedule=schedule)
        self.tokens = 0
        """Number of tokens of the answer so far."""
        self.reason: str | None = None
        """Why the answer has ended, as OpenAI calls it, or None."""
        self._processors = _processors(job.sampling, options.get("logits_processor", ()))
        self._ends = end_tokens(model, {}) or _end_of(tokenizer)
        self._text = GrowingText(tokenizer, job.prompt, job.stops)
        self._ids = torch.tensor([[*job.prompt, *[0] * job.most]], device=steered.model.device)
        self._generator: torch.Generator | None = None

    @property
    def last(self) -> int:
        """The token written last."""
        return int(self._ids[0, len(self.job.prompt) + self.tokens - 1])

    def prompt_deltas(self) -> dict[int, Tensor]:
        """Return what the tone adds to the prompt: layer → `[tokens, d_model]`."""
        length = len(self.job.prompt)
        return deltas_at(self.plan, range(-length, 0), sink=True)

    def deltas(self) -> dict[int, Tensor]:
        """Return what the tone adds to the token written last: layer → `[1, d_model]`."""
        return deltas_at(self.plan, [self.tokens - 1], sink=False)

    def take(self, scores: Tensor) -> str:
        """Choose the next token by scores `[1, vocabulary]`, and return the text that is now certain."""
        end = len(self.job.prompt) + self.tokens
        ids = self._ids[:, :end]
        for processor in self._processors:
            scores = processor(ids, scores)
        token = int(scores.argmax(-1)) if self.job.sampling.temperature is None else self._drawn(scores)
        self._ids[0, end] = token
        self.tokens += 1
        piece = self._text.add(token)
        if token in self._ends or self._text.stopped:
            self.reason = "stop"
        elif self.tokens >= self.job.most:
            self.reason = "length"
        if self.reason:
            piece += self._text.end()
            if self._text.stopped:
                self.reason = "stop"
        return piece

    def _drawn(self, scores: Tensor) -> int:
        import torch

        if self._generator is None:
            self._generator = torch.Generator(scores.device)
            seed = self.job.sampling.seed
            if seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(seed)
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._generator))


def _processors(sampling: Sampling, of_recipe: Sequence[Any]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Return what changes the scores, in the order of `generate`."""
    from transformers import (
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    found: list[Any] = []
    if sampling.repetition_penalty not in (None, 1.0):
        found.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    found += of_recipe
    if sampling.temperature is not None:
        if sampling.temperature != 1.0:
            found.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            found.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p is not None and sampling.top_p < 1:
            found.append(TopPLogitsWarper(sampling.top_p))
        if sampling.min_p:
            found.append(MinPLogitsWarper(sampling.min_p))
    return found


def _end_of(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    return set() if tokenizer.eos_token_id is None else {int(tokenizer.eos_token_id)}
