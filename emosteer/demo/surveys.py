"""The same asked many times: at several strengths, in every tone, of every emotion."""

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
Told = Callable[[float, str], None]
"""Takes how much is done, from 0 to 1, and what is being done."""

STRENGTHS = (-1.0, 0.0, 0.5, 1.0, 1.5)
REPORT = "alignment.json"
SITUATIONS = 3
"""Of each emotion, that show where a model reads it."""

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
    steered: SteeredModel, prompt: str, emotion: str, sampling: Sampling, told: Told
) -> list[tuple[float, str, float, float]]:
    """One prompt at five strengths: each the strength, the answer, how much of the emotion is read in it, its cost.

    Raises:
        EmosteerError: The prompt or the emotion cannot be used.
    """
    tones = [{emotion: strength} if strength else None for strength in STRENGTHS]
    texts = _answers(steered, prompt, tones, sampling, told)
    surprise = []
    for i, text in enumerate(texts):
        told(0.8 + 0.2 * i / len(texts), "Measuring")
        surprise.append(nats_per_token(steered, prompt, text) if text else math.nan)
    plain = surprise[STRENGTHS.index(0.0)]
    scores = [_read(steered, text, emotion) for text in texts]
    return [
        (strength, text, score, nats - plain)
        for strength, text, score, nats in zip(STRENGTHS, texts, scores, surprise, strict=True)
    ]


def every_tone(
    steered: SteeredModel, prompt: str, sampling: Sampling, told: Told
) -> list[tuple[str, str, float | None, float | None]]:
    """One prompt in every tone: each the emotion, the answer, and the valence and arousal that are read in it.

    Raises:
        EmosteerError: The prompt cannot be used.
    """
    emotions = steered.vectors.emotions
    texts = _answers(steered, prompt, [{name: 1.0} for name in emotions], sampling, told)
    found: list[tuple[str, str, float | None, float | None]] = []
    for i, (name, text) in enumerate(zip(emotions, texts, strict=True)):
        told(0.8 + 0.2 * i / len(emotions), "Reading")
        found.append((name, text, _read(steered, text, "valence"), _read(steered, text, "arousal")))
    return found


def where_read(steered: SteeredModel, language: str, told: Told) -> dict[str, tuple[float, float]]:
    """Where the model reads each emotion: the mean over its held-out situations, which do not name it.

    Neither the directions nor the fit of valence and arousal has seen them.

    Args:
        steered: The model.
        language: Of the sentences.
        told: Hears how far it is.

    Raises:
        InputError: Valence and arousal cannot be read with these vectors.
    """
    concepts = ConceptSet.load(language)
    names = [name for name in steered.vectors.emotions if name in concepts.emotions]
    found = {}
    for i, name in enumerate(names):
        told(i / len(names), f"Reading situations of {name}")
        readings = [
            steered.read(situation) for situation in concepts[name].texts[language].held_out_situations[:SITUATIONS]
        ]
        points = [(one.valence, one.arousal) for one in readings if one.valence is not None and one.arousal is not None]
        if not points:
            raise InputError("Valence and arousal cannot be read: nobody has rated the emotions of these vectors.")
        found[name] = (sum(v for v, _ in points) / len(points), sum(a for _, a in points) / len(points))
    return found


def agreement(first: Points, second: Points) -> tuple[float, float, int]:
    """Correlations of valence and of arousal between two maps, and over how many emotions."""
    both = [name for name in first if name in second]
    axes = ([side[name][axis] for name in both] for axis in (0, 1) for side in (first, second))
    valences, others, arousals, rest = axes
    try:
        return correlation(valences, others), correlation(arousals, rest), len(both)
    except StatisticsError:  # too few, or all the same
        return math.nan, math.nan, len(both)


def spread_like(points: Points, model: Points) -> float:
    """How many times farther from neutral points lie than others do, on average."""
    far, near = (sum(math.hypot(*point) for point in side.values()) / max(len(side), 1) for side in (points, model))
    return far / near if near else 1.0


def languages_of(steered: SteeredModel) -> list[str]:
    """The languages that the vectors were made from, as far as their texts are built in."""
    found = []
    for language in steered.vectors.extraction.get("languages") or ["en"]:
        try:
            ConceptSet.load(language)
        except ConceptError:  # a language of the user's own
            continue
        found.append(str(language))
    return found or ["en"]


def measured_shapes(source: str) -> list[dict[str, Any]]:
    """What `emosteer eval alignment` has measured, if it stands beside the vectors: the shape in each language.

    Each measure, and its control, is a value with the ends of its interval, NaN where there is none.

    Args:
        source: Where the vectors are.

    Raises:
        FormatError: It is damaged.
        HubError: The Hub does not give it.
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
                "language": str(one["language"]),
                "ratings": str(one["ratings"]),
                "human": dict(zip(map(str, one["emotions"]), map(_point, one["human"]), strict=True)),
                "model": dict(zip(map(str, one["emotions"]), map(_point, one["points"]), strict=True)),
                "measures": _figures(one["measures"]),
                "control": _figures(one["control"]),
            }
            for one in shapes
        ]
    except (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError) as error:
        raise FormatError(f"{file.name} is not what emosteer eval alignment writes.") from error


def _answers(
    steered: SteeredModel, prompt: str, tones: Sequence[dict[str, float] | None], sampling: Sampling, told: Told
) -> list[str]:
    """An answer in each tone, as one batch, by the natural recipe."""
    steps = 0

    def count(ids: Any, _scores: Any) -> Any:
        nonlocal steps
        steps += 1
        told(0.8 * steps / sampling.tokens, f"Answering in {len(tones)} tones")
        return ids.new_zeros(len(ids), dtype=bool)

    texts = steered.chat_each(prompt, tones, recipe="natural", stopping_criteria=[count], **sampling.options())
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


def _figures(given: Any) -> dict[str, tuple[float, ...]]:
    return {str(name): tuple(map(_number, map(one.get, ("value", "low", "high")))) for name, one in given.items()}


def _number(given: Any) -> float:
    return math.nan if given is None else float(given)
