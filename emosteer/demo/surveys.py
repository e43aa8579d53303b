"""Surveys of a model: one prompt at several strengths or in every tone, and the map of its emotions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import StatisticsError, correlation
from typing import TYPE_CHECKING, Any

from emosteer import ConceptSet
from emosteer._util import strict_json
from emosteer._util.layout import LIMITS
from emosteer.demo.state import Sampling
from emosteer.errors import ConceptError, FormatError, InputError
from emosteer.eval.fluency import nats_per_token
from emosteer.vectors import storage

if TYPE_CHECKING:
    from emosteer import SteeredModel

Points = Mapping[str, tuple[float, float]]
Report = Callable[[float, str], None]
"""Function of the completed share, from 0 to 1, and what is being done."""

STRENGTHS = (-1.0, 0.0, 0.5, 1.0, 1.5)
REPORT = "alignment.json"
SITUATIONS = 3
"""Number of situations of each emotion that are read for the map."""

__all__ = [
    "STRENGTHS",
    "Points",
    "agreement",
    "every_tone",
    "languages_of",
    "measured_shapes",
    "spread_like",
    "strengths",
    "where_read",
]


def strengths(
    steered: SteeredModel, prompt: str, emotion: str, sampling: Sampling, report: Report
) -> list[tuple[float, str, float, float]]:
    """Answer a prompt at five strengths. Return for each the strength, the answer, the emotion's score, and the cost.

    Raises:
        EmosteerError: The prompt or the emotion cannot be used.
    """
    tones = [{emotion: strength} if strength else None for strength in STRENGTHS]
    texts = _answers(steered, prompt, tones, sampling, report)
    surprise = []
    for i, text in enumerate(texts):
        report(0.8 + 0.2 * i / len(texts), "Measuring")
        surprise.append(nats_per_token(steered, prompt, text) if text else math.nan)
    plain = surprise[STRENGTHS.index(0.0)]
    scores = [_read(steered, text, emotion) for text in texts]
    return [
        (strength, text, score, nats - plain)
        for strength, text, score, nats in zip(STRENGTHS, texts, scores, surprise, strict=True)
    ]


def every_tone(
    steered: SteeredModel, prompt: str, sampling: Sampling, report: Report
) -> list[tuple[str, str, float | None, float | None]]:
    """Answer a prompt in every tone. Return for each the emotion, the answer, and its valence and arousal.

    Raises:
        EmosteerError: The prompt cannot be used.
    """
    emotions = steered.vectors.emotions
    texts = _answers(steered, prompt, [{name: 1.0} for name in emotions], sampling, report)
    rows: list[tuple[str, str, float | None, float | None]] = []
    for i, (name, text) in enumerate(zip(emotions, texts, strict=True)):
        report(0.8 + 0.2 * i / len(emotions), "Reading")
        rows.append((name, text, _read(steered, text, "valence"), _read(steered, text, "arousal")))
    return rows


def where_read(steered: SteeredModel, language: str, report: Report) -> dict[str, tuple[float, float]]:
    """Read valence and arousal in the held-out situations of each emotion, and return the means.

    The situations do not name the emotion, and neither the directions nor the readout were fitted on them.

    Args:
        steered: The model.
        language: Language of the situations.
        report: Function that progress is reported to.

    Raises:
        InputError: The vectors have no human ratings, so that valence and arousal cannot be read.
    """
    concepts = ConceptSet.load(language)
    names = [name for name in steered.vectors.emotions if name in concepts.emotions]
    means = {}
    for i, name in enumerate(names):
        report(i / len(names), f"Reading situations of {name}")
        readings = [
            steered.read(situation) for situation in concepts[name].texts[language].held_out_situations[:SITUATIONS]
        ]
        points = [(r.valence, r.arousal) for r in readings if r.valence is not None and r.arousal is not None]
        if not points:
            raise InputError("Valence and arousal cannot be read: nobody has rated the emotions of these vectors.")
        means[name] = (sum(v for v, _ in points) / len(points), sum(a for _, a in points) / len(points))
    return means


def agreement(first: Points, second: Points) -> tuple[float, float, int]:
    """Correlate valence and arousal between two maps. Return both correlations and the number of emotions."""
    both = [name for name in first if name in second]
    axes = ([side[name][axis] for name in both] for axis in (0, 1) for side in (first, second))
    valences, others, arousals, rest = axes
    try:
        return correlation(valences, others), correlation(arousals, rest), len(both)
    except StatisticsError:  # too few, or all the same
        return math.nan, math.nan, len(both)


def spread_like(points: Points, model: Points) -> float:
    """Return the ratio of the mean distances from neutral in two maps."""
    far, near = (sum(math.hypot(*point) for point in side.values()) / max(len(side), 1) for side in (points, model))
    return far / near if near else 1.0


def languages_of(steered: SteeredModel) -> list[str]:
    """Return the languages that the vectors were made from and that have a built-in concept set."""
    languages = []
    for language in steered.vectors.extraction.get("languages") or ["en"]:
        try:
            ConceptSet.load(language)
        except ConceptError:  # a language of the user's own
            continue
        languages.append(str(language))
    return languages or ["en"]


def measured_shapes(source: str) -> list[dict[str, Any]]:
    """Read the report of `emosteer eval alignment` beside the vectors, if there is one: the map in each language.

    Each measure, and its control, is a value with the ends of its confidence interval, NaN where there is none.

    Args:
        source: Folder or repository of the vectors.

    Raises:
        FormatError: The report is damaged.
        HubError: The Hub cannot be reached, or refuses access.
    """
    file = storage.located(source, also=(REPORT,)) / REPORT
    if not file.is_file():
        return []
    if (size := file.stat().st_size) > LIMITS[REPORT]:
        raise FormatError(f"{file.name} has {size:,} bytes, no such file has more than {LIMITS[REPORT]:,}.")
    try:
        shapes = strict_json.loads(file.read_bytes())["geometry"]
        return [
            {
                "language": str(shape["language"]),
                "ratings": str(shape["ratings"]),
                "human": dict(zip(map(str, shape["emotions"]), map(_point, shape["human"]), strict=True)),
                "model": dict(zip(map(str, shape["emotions"]), map(_point, shape["points"]), strict=True)),
                "measures": _figures(shape["measures"]),
                "control": _figures(shape["control"]),
            }
            for shape in shapes
        ]
    except (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError) as error:
        raise FormatError(f"{file.name} is not what emosteer eval alignment writes.") from error


def _answers(
    steered: SteeredModel, prompt: str, tones: Sequence[dict[str, float] | None], sampling: Sampling, report: Report
) -> list[str]:
    """Answer in each tone, as one batch."""
    steps = 0

    def count(ids: Any, _scores: Any) -> Any:
        nonlocal steps
        steps += 1
        report(0.8 * steps / sampling.tokens, f"Answering in {len(tones)} tones")
        return ids.new_zeros(len(ids), dtype=bool)

    texts = steered.chat_each(prompt, tones, stopping_criteria=[count], **sampling.options())
    return [text.rstrip("\ufffd").strip() for text in texts]


def _read(steered: SteeredModel, text: str, what: str) -> float:
    try:
        reading = steered.read(text)
    except InputError:  # not a word, or only one
        return math.nan
    value = getattr(reading, what) if what in {"valence", "arousal"} else reading.scores[what]
    return math.nan if value is None else value


def _point(pair: Any) -> tuple[float, float]:
    x, y = pair
    return float(x), float(y)


def _figures(measures: Any) -> dict[str, tuple[float, ...]]:
    return {str(name): tuple(map(_number, map(row.get, ("value", "low", "high")))) for name, row in measures.items()}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
