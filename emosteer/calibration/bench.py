"""Answers in tones, with their cost and the tone that the readout finds in them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emosteer._util.progress import Meter
from emosteer.errors import InputError
from emosteer.eval.prompts import Prompt, as_prompt
from emosteer.eval.sampling import Answer, Cell, generate_cells
from emosteer.models.activations import Passage
from emosteer.reading.passages import read_passages
from emosteer.vectors.types import Dose

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

PLAIN = 4
"""Plain answers to each prompt, with which the answers in all emotions are compared."""

SAMPLING: Mapping[str, Any] = {"max_new_tokens": 32, "temperature": 0.8}

__all__ = ["SAMPLING", "Bench", "ScoredAnswer", "dealt", "even_weights", "tones"]


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer with its cost and tone, both relative to plain answers to the same prompt.

    Args:
        cell: Its emotion, and as strength its dose.
        prompt: The prompt.
        text: The answer.
        cost: Cost in nats per token.
        tone: Tone in standard deviations of neutral text; NaN where there is nothing to read.
    """

    cell: Cell
    prompt: str | Prompt
    text: str
    cost: float
    tone: float


class Bench:
    """Generator of answers in tones, which compares them with plain answers to the same prompts."""

    def __init__(
        self, steered: SteeredModel, prompts: Sequence[str | Prompt], seed: int, cache: Path | None, meter: Meter
    ) -> None:
        self._steered, self._options = steered, {"seed": seed, "cache": cache, "progress": meter, **SAMPLING}
        self._shown, self.n_answers = meter.shown, 0
        plain = Cell(None, 0.0, control="unsteered")
        asked = [(prompt, number) for prompt in prompts for number in range(PLAIN)]
        answers = self._generate(steered.vectors.layers, {plain: asked})
        scores = tones(steered, answers, progress=self._shown)
        self._plain: dict[str | Prompt, tuple[float, np.ndarray]] = {}
        for prompt in prompts:
            rows = [i for i, answer in enumerate(answers) if answer.prompt == prompt and answer.nats is not None]
            if rows:
                nats = np.mean([answers[i].nats for i in rows])
                self._plain[prompt] = float(nats), scores[rows].mean(0)
        if not self._plain:
            raise InputError("The model's plain answers are all empty.", "Give prompts that it answers.")

    def ask(
        self, layers: Sequence[int], levels: Mapping[str, Sequence[float]], prompts: Sequence[str | Prompt]
    ) -> list[ScoredAnswer]:
        """Return answers in every emotion at its doses, without those that are empty.

        Prompts are dealt out to the doses in turn: plain answers show how hard each prompt is, and more prompts tell
        more.

        Args:
            layers: Layers that are steered, with even weights.
            levels: Emotion → doses.
            prompts: Prompts.

        Raises:
            InputError: All answers are empty.
        """
        cells = {
            Cell(name, dose, "additive"): [(prompt, 0) for prompt in share]
            for name, doses in levels.items()
            for dose, share in zip(doses, dealt(prompts, len(doses)), strict=True)
        }
        answers = self._generate(layers, cells)
        columns = self._steered.readout.emotions
        measured = []
        for answer, scores in zip(answers, tones(self._steered, answers, progress=self._shown), strict=True):
            if answer.nats is None or answer.prompt not in self._plain or answer.cell.emotion is None:
                continue
            nats, plain = self._plain[answer.prompt]
            column = columns.index(answer.cell.emotion)
            tone = float(scores[column] - plain[column])
            measured.append(ScoredAnswer(answer.cell, answer.prompt, answer.text, answer.nats - nats, tone))
        if not measured:
            raise InputError("The answers in all emotions are empty.", "Give prompts that the model answers.")
        return measured

    def _generate(
        self, layers: Sequence[int], cells: Mapping[Cell, Sequence[tuple[str | Prompt, int]]]
    ) -> list[Answer]:
        vectors = self._steered.vectors
        unit = Dose(1.0, tuple(layers), even_weights(layers))  # so that a strength is a dose
        speaker = type(self._steered)(
            self._steered.model, self._steered.tokenizer, replace(vectors, doses=dict.fromkeys(vectors.emotions, unit))
        )
        answers = generate_cells(speaker, cells, ways={"additive": {}}, **self._options)
        self.n_answers += len(answers)
        return answers


def tones(steered: SteeredModel, answers: Sequence[Answer], *, progress: bool = True) -> np.ndarray:
    """Read the tone of finished answers.

    Args:
        steered: The model, which reads without steering.
        answers: The answers.
        progress: Whether to show progress on standard error, as for `collect`.

    Returns:
        `[n_answers, n_columns]` of the readout, in standard deviations of neutral text; NaN where there is nothing to
        read.
    """
    passages = [_passage(answer) for answer in answers]
    read = read_passages(steered.readout, steered.model, steered.tokenizer, passages, progress=progress)
    return read.double().numpy()


def dealt(prompts: Sequence[str | Prompt], n: int) -> list[Sequence[str | Prompt]]:
    """Deal prompts out to n doses in turn; a dose for which none is left gets all of them."""
    return [prompts[i::n] or prompts for i in range(n)]


def even_weights(layers: Sequence[int]) -> tuple[float, ...]:
    """Return weights that share a dose evenly among layers, as the fallback dose does."""
    return (1 / len(layers),) * len(layers)


def _passage(answer: Answer) -> Passage:
    """Put an answer behind its prompt and mark it: a single word could not be read at the start of a text."""
    asked, text = as_prompt(answer.prompt).text, answer.text.strip()
    gap = "" if unicodedata.east_asian_width(asked[-1]) in "WF" else " "  # wide letters stand without spaces
    start = len(asked + gap)
    return Passage(f"{asked}{gap}{text}", start, start + len(text))
