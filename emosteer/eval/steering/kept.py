"""Whether the task survives: how many of the checkable tasks are still solved in a tone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emosteer._util.stats import Estimate, cluster_means, estimate, resamples
from emosteer.errors import InputError
from emosteer.eval.judges import BASIC
from emosteer.eval.language import language_of
from emosteer.eval.sampling import Cell, Ways, generate_cells
from emosteer.eval.tasks import is_right, load_tasks

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

__all__ = ["TaskReport", "TaskResult", "evaluate_tasks"]


@dataclass(frozen=True)
class TaskResult:
    """How many tasks are solved.

    Args:
        way: Name of the way of steering; empty for the plain model.
        emotion: The tone; None for the mean over all tones, or for the plain model.
        n: Number of answers.
        right: Share of right answers.
        kept: The same as a share of that of the plain model; None where that solves nothing.
        kinds: Kind of task → share of right answers.
    """

    way: str
    emotion: str | None
    n: int
    right: Estimate
    kept: Estimate | None
    kinds: Mapping[str, float]


@dataclass(frozen=True)
class TaskReport:
    """How many tasks are solved plainly and in tones.

    Args:
        about: Language, number of tasks, strength, longest answer.
        results: The plain model, then each way with the mean over its tones before them.
    """

    about: Mapping[str, Any]
    results: tuple[TaskResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def evaluate_tasks(
    steered: SteeredModel,
    *,
    ways: Ways,
    emotions: Sequence[str] | None = None,
    strength: float = 1.0,
    language: str | None = None,
    max_new_tokens: int = 96,
    cache: Path | None = None,
    progress: bool = True,
) -> TaskReport:
    """Measure how many tasks a model solves in a tone, compared with the plain model.

    Every task is answered once, by the most probable tokens.

    Args:
        steered: A chat model.
        ways: Name of a way of steering → options for `SteeredModel.generate`.
        emotions: Tones; by default the basic emotions that the vectors know, or all of them if they know none.
        strength: Of the tones, in calibrated doses.
        language: Language of the tasks; by default that of the prompts that these vectors are measured with.
        max_new_tokens: Length of the longest answer, in tokens.
        cache: Folder that keeps finished batches of answers.
        progress: Whether to show progress on standard error, as for `collect`.

    Raises:
        ToneError: An emotion or the strength cannot be used.
        InputError: There are no tasks in this language, or the model has no chat template.
    """
    if not steered.tokenizer.chat_template:
        raise InputError("A base model, without a chat template, cannot be given tasks.", "Use a chat model.")
    if emotions is None:
        emotions = [name for name in steered.vectors.emotions if name in BASIC] or steered.vectors.emotions
    language = language_of(steered.vectors, language)
    tasks = load_tasks(language)
    plain = Cell(None, 0.0, control="unsteered")
    asked = [(task.prompt, 0) for task in tasks]
    cells = dict.fromkeys([plain, *(Cell(name, strength, way) for way in ways for name in emotions)], asked)
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": 0.0, "scored": False, "cache": cache}
    answers = generate_cells(steered, cells, ways=ways, language=language, progress=progress, **options)
    by_cell: dict[Cell, list[bool]] = {}
    for answer, task in zip(answers, list(tasks) * len(cells), strict=True):
        by_cell.setdefault(answer.cell, []).append(is_right(task, answer.text))
    right = {cell: np.array(solved, dtype=float) for cell, solved in by_cell.items()}

    def result(way: str, emotion: str | None, together: Sequence[Cell]) -> TaskResult:
        solved = np.mean([right[cell] for cell in together], axis=0)
        weights = resamples(len(tasks))
        shares, of_plain = (cluster_means(scores, range(len(tasks)), weights) for scores in (solved, right[plain]))
        kinds = dict.fromkeys(task.prompt.kind for task in tasks)
        by_kind = {kind: float(solved[[task.prompt.kind == kind for task in tasks]].mean()) for kind in kinds}
        with np.errstate(invalid="ignore", divide="ignore"):
            kept = estimate(shares / of_plain) if of_plain[0] else None
        share = estimate(shares)
        assert share is not None  # every task has an answer
        return TaskResult(way, emotion, len(tasks) * len(together), share, kept, by_kind)

    results = [result("", None, [plain])]
    for way in ways:
        own = {name: Cell(name, strength, way) for name in emotions}
        results += [result(way, None, [*own.values()]), *(result(way, name, [cell]) for name, cell in own.items())]
    about = {"language": language, "n_tasks": len(tasks), "strength": strength, "max_new_tokens": max_new_tokens}
    return TaskReport(about, tuple(results))
