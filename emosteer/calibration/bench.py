"""Answers in tones, with what they cost and what tone the readout finds in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError
from emosteer.eval.sampling import Answer, Cell, generate_cells
from emosteer.models.activations import Passage, collect, encode
from emosteer.vectors.types import Dose

if TYPE_CHECKING:
    import numpy as np

    from emosteer.model import SteeredModel

PLAIN = 4
"""Plain answers to each prompt, against which the answers in all emotions are held."""

SAMPLING: Mapping[str, Any] = {"max_new_tokens": 32, "temperature": 0.8}

__all__ = ["SAMPLING", "Bench", "Measured", "even_weights", "tones"]


@dataclass(frozen=True)
class Measured:
    """An answer with what it costs and what tone it has, both above plain answers to the same prompt.

    Args:
        cell: Its emotion, and as strength its dose.
        prompt: What was asked.
        text: What was said.
        cost: In nats a token.
        tone: In standard deviations of neutral text; not a number where there is nothing to read.
    """

    cell: Cell
    prompt: str
    text: str
    cost: float
    tone: float


class Bench:
    """Asks in tones, and holds the answers against plain ones to the same prompts, which it has asked before."""

    def __init__(
        self, steered: SteeredModel, prompts: Sequence[str], seed: int, cache: Path | None, progress: bool
    ) -> None:
        import numpy as np

        self._steered, self._options = steered, {"seed": seed, "cache": cache, "progress": progress, **SAMPLING}
        self._progress, self.n_answers = progress, 0
        plain = Cell(None, 0.0, control="unsteered")
        asked = [(prompt, number) for prompt in prompts for number in range(PLAIN)]
        answers = self._generate(steered.vectors.layers, {plain: asked})
        scores = tones(steered, answers, progress=progress)
        self._plain: dict[str, tuple[float, np.ndarray]] = {}
        for prompt in prompts:
            rows = [i for i, answer in enumerate(answers) if answer.prompt == prompt and answer.nats is not None]
            if rows:
                nats = np.mean([answers[i].nats for i in rows])
                self._plain[prompt] = float(nats), scores[rows].mean(0)
        if not self._plain:
            raise InputError("The model's plain answers are all empty.", "Give prompts that it answers.")

    def ask(
        self, layers: Sequence[int], levels: Mapping[str, Sequence[float]], prompts: Sequence[str]
    ) -> list[Measured]:
        """Answers in every emotion at its doses, without those that are empty.

        The doses take turns at the prompts: plain answers tell how hard each is, and more of them say more.

        Args:
            layers: Steered evenly.
            levels: Emotion → doses.
            prompts: What is asked.

        Raises:
            InputError: All of them are empty.
        """
        cells = {
            Cell(name, dose, "additive"): [(prompt, 0) for prompt in prompts[i :: len(doses)] or prompts]
            for name, doses in levels.items()
            for i, dose in enumerate(doses)
        }
        answers = self._generate(layers, cells)
        columns = self._steered.readout.emotions
        found = []
        for answer, scores in zip(answers, tones(self._steered, answers, progress=self._progress), strict=True):
            if answer.nats is None or answer.prompt not in self._plain or answer.cell.emotion is None:
                continue
            nats, plain = self._plain[answer.prompt]
            column = columns.index(answer.cell.emotion)
            tone = float(scores[column] - plain[column])
            found.append(Measured(answer.cell, answer.prompt, answer.text, answer.nats - nats, tone))
        if not found:
            raise InputError("The answers in all emotions are empty.", "Give prompts that the model answers.")
        return found

    def _generate(self, layers: Sequence[int], cells: Mapping[Cell, Sequence[tuple[str, int]]]) -> list[Answer]:
        vectors = self._steered.vectors
        one = Dose(1.0, tuple(layers), even_weights(layers))  # so that a strength is a dose
        speaker = type(self._steered)(
            self._steered.model, self._steered.tokenizer, replace(vectors, doses=dict.fromkeys(vectors.emotions, one))
        )
        answers = generate_cells(speaker, cells, ways={"additive": {}}, **self._options)
        self.n_answers += len(answers)
        return answers


def tones(steered: SteeredModel, answers: Sequence[Answer], *, progress: bool = True) -> np.ndarray:
    """What the readout finds in the finished words.

    Args:
        steered: The model, which reads plainly.
        answers: What was said.
        progress: Show a progress bar if standard error is a terminal.

    Returns:
        `[n_answers, n_columns]` of the readout, in standard deviations of neutral text; not a number where there is
        nothing to read.
    """
    import numpy as np
    import torch

    model, tokenizer, readout = steered.model, steered.tokenizer, steered.readout
    passages = {}
    for i, answer in enumerate(answers):
        with suppress(InputError):  # nothing in it to read
            passage = _said(answer)
            encode(tokenizer, passage, model, "The answer")
            passages[i] = passage
    found = np.full((len(answers), len(readout.bias)), np.nan)
    if passages:
        layers = tuple(readout.weights)
        read = list(passages.values())
        states = collect(model, tokenizer, read, layers=layers, batch_size=32, progress=progress).states
        weights = torch.stack([readout.weights[layer] for layer in layers])
        found[list(passages)] = (torch.einsum("nld,ldc->nc", states, weights) + readout.bias).numpy()
    return found


def even_weights(layers: Sequence[int]) -> tuple[float, ...]:
    """A dose shared evenly by layers, as the fallback dose is."""
    return (1 / len(layers),) * len(layers)


def _said(answer: Answer) -> Passage:
    """An answer behind its prompt, of which it is the part that counts: a single word has no other place to stand."""
    said = answer.text.strip()
    start = len(answer.prompt) + 1
    return Passage(f"{answer.prompt} {said}", start, start + len(said))
