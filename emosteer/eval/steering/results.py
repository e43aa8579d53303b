"""What an evaluation of steering found: results of cells, kinds of prompts and ways of steering, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emosteer._util.stats import Estimate
from emosteer.eval.judges import Agreement
from emosteer.eval.sampling import Control
from emosteer.eval.steering.kept import TaskReport

SCHEMA = 1

Confusion = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Judge → emotion asked for → what is judged → share of answers."""

__all__ = ["CellResult", "Confusion", "KindResult", "SteeringReport", "WaySummary"]


@dataclass(frozen=True)
class CellResult:
    """Results of one cell.

    Args:
        way: Name of the way of steering; empty where nothing is steered.
        emotion: The emotion asked for and listened for; None for the mean over the basic emotions.
        strength: Strength in calibrated doses.
        control: None for the tone itself, else the control as in `Cell`.
        n: Number of answers.
        text: Score → estimate, as in `Scores`.
        judged: Judge → score → estimate, as in `Scores`; of a judge that does not know the emotion, `family` alone, or
            nothing.
        variety: Score → value, as in `Scores`.
    """

    way: str
    emotion: str | None
    strength: float
    control: Control | None
    n: int
    text: Mapping[str, Estimate]
    judged: Mapping[str, Mapping[str, Estimate]]
    variety: Mapping[str, float]


@dataclass(frozen=True)
class KindResult:
    """Results of one kind of prompts at the highest strength, means over the basic emotions.

    Args:
        way: Name of the way of steering.
        kind: Kind of the prompts, as in `Prompt`.
        n: Number of answers.
        text: Score → estimate, as in `Scores`.
        judged: Judge → score → estimate, as in `Scores`.
    """

    way: str
    kind: str
    n: int
    text: Mapping[str, Estimate]
    judged: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class WaySummary:
    """Summary of one way of steering at the highest strength, over the basic emotions.

    Args:
        way: Name of the way.
        strength: The highest strength.
        cost: Mean over the basic emotions, in nats per token.
        hit_rate: Judge → mean over the basic emotions.
        worst: Judge → the basic emotion with the lowest hit rate, and that rate.
        top_3: Judge → mean over the emotions of `GOEMOTIONS_MAP`, for a judge that knows more than the basic ones.
        dose_response: Judge → emotion → Spearman's correlation of strength and mean judged probability.
        rising: Judge → number of emotions whose correlation is at least .9.
        stored_cost: Emotion → cost stored in the file and cost as measured, for the additive way at strength 1.0.
        near_stored: Number of emotions whose two costs are within 0.15 nats.
    """

    way: str
    strength: float
    cost: Estimate | None
    hit_rate: Mapping[str, Estimate]
    worst: Mapping[str, tuple[str, float]]
    top_3: Mapping[str, Estimate]
    dose_response: Mapping[str, Mapping[str, float]]
    rising: Mapping[str, int]
    stored_cost: Mapping[str, tuple[float, float]]
    near_stored: int


@dataclass(frozen=True)
class SteeringReport:
    """Measured effects of the tones of a set of vectors.

    Args:
        about: Model, versions, language of the prompts, judges and the languages that they are known to know, those
            left out because they do not know this one, numbers of prompts and seeds, how answers were decoded, options
            of the ways.
        emotions: The emotions asked for.
        cells: Every cell, and for every way, strength and control the mean over the basic emotions.
        ways: A summary of each way.
        confusion: Way → judge → emotion asked for → basic emotion judged → share of answers, at the highest strength.
        agreement: Agreement of every two judges on the answers in basic emotions.
        not_heard: Judge → emotions that it does not know.
        kinds: Results of each way for each kind of prompts, where prompts have a kind.
        families: Way → judge → emotion asked for that is not basic → family of the most probable emotion → share.
        tasks: How many tasks are still solved, if that was measured.
    """

    about: Mapping[str, Any]
    emotions: tuple[str, ...]
    cells: tuple[CellResult, ...]
    ways: tuple[WaySummary, ...]
    confusion: Mapping[str, Confusion]
    agreement: tuple[Agreement, ...]
    not_heard: Mapping[str, tuple[str, ...]]
    kinds: tuple[KindResult, ...]
    families: Mapping[str, Confusion]
    tasks: TaskReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    def cell(self, way: str, emotion: str | None, strength: float, control: Control | None = None) -> CellResult | None:
        """Return the result of one cell, or None if it was not measured."""
        key = (way, emotion, strength, control)
        return next((cell for cell in self.cells if (cell.way, cell.emotion, cell.strength, cell.control) == key), None)
