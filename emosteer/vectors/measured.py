"""What a vector file holds of measurements: the shape of `measured`, made from reports and read from anybody's file.

A report has thousands of numbers and stands beside the file as `steering.json` or `alignment.json`; what the card says
of it is held by the file itself. There it may have been written by a stranger or by a later emosteer: what is not of
the shape below is taken as not being there.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

DECIMALS = 4
CONFIDENCE = 95
"""Per cent of the intervals in a report."""

MOST = 1_000
"""Entries of a list in `measured` that are read, as many as a file may have emotions."""

LARGEST = 1e9
"""Of a number; none that is measured comes near it."""

__all__ = [
    "DECIMALS",
    "SUMMARIES",
    "AlignmentSummary",
    "Ceiling",
    "Geometry",
    "Measurement",
    "PerEmotion",
    "SteeringSummary",
    "ToneResult",
    "WordRatings",
    "known",
    "rounded",
    "to_json",
]


@dataclass(frozen=True)
class Measurement:
    """A number with what is needed to believe it; low and high are the ends of its interval.

    Args:
        value: As measured.
        low: Lower end of the interval.
        high: Upper end.
        p: By permutation, one-sided.
        n: Number of categories or words.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class PerEmotion:
    """What answers in one emotion came to.

    Args:
        n: Number of answers.
        cost: Nats a token above plain answers.
        hit_rate: Judge → share of answers in which it finds the emotion.
        probability: Judge → mean probability that it gives the emotion.
    """

    n: int
    cost: float | None = None
    hit_rate: Mapping[str, float] = field(default_factory=dict)
    probability: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ToneResult:
    """One way of being asked for an emotion: means over the basic emotions.

    Args:
        way: Of steering; empty where nothing is steered.
        n: Number of answers.
        control: None for the tone itself.
        cost: Nats a token above plain answers.
        hit_rate: Judge → share of answers in which it finds the emotion.
        probability: Judge → mean probability that it gives the emotion.
        emotions: Each on its own, not for controls.
    """

    way: str
    n: int
    control: str | None = None
    cost: Measurement | None = None
    hit_rate: Mapping[str, Measurement] = field(default_factory=dict)
    probability: Mapping[str, Measurement] = field(default_factory=dict)
    emotions: Mapping[str, PerEmotion] = field(default_factory=dict)


@dataclass(frozen=True)
class SteeringSummary:
    """What `emosteer eval steering` found.

    Args:
        judges: Who heard the emotions.
        strength: Of everything here, in doses.
        basic: Emotions that the means are over.
        n_prompts: Prompts for each of them.
        seeds: Answers to each prompt.
        n_answers: All that were given.
        max_new_tokens: Longest answer.
        temperature: Of sampling.
        seed: Of sampling and controls.
        confidence_percent: Of the intervals.
        ways: Of steering, the plain additive one first.
        controls: What the ways are held against.
    """

    judges: tuple[str, ...]
    strength: float
    basic: tuple[str, ...]
    n_prompts: int
    seeds: int
    n_answers: int
    max_new_tokens: int
    temperature: float
    seed: int
    confidence_percent: int
    ways: tuple[ToneResult, ...]
    controls: tuple[ToneResult, ...] = ()

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> SteeringSummary:
        """From a report as JSON has it; whatever is not of its form raises KeyError, TypeError and the like."""
        about, cells = report["about"], report["cells"]
        strength = about["strengths"][-1]
        top = [cell for cell in cells if cell["strength"] == strength and cell["control"] is None]
        ways = []
        for way in report["ways"]:
            of_way = {cell["emotion"]: cell for cell in top if cell["way"] == way["way"]}
            emotions = {name: _heard(of_way[name]) for name in report["emotions"] if name in of_way}
            ways.append(_tone(of_way[None], emotions))
        controls = [_tone(cell, {}) for cell in cells if cell["emotion"] is None and cell["control"]]
        return cls(
            **{name: about[name] for name in ("n_prompts", "seeds", "n_answers", "max_new_tokens", "seed")},
            judges=tuple(about["judges"]),
            basic=tuple(about["basic"]),
            strength=strength,
            temperature=about["temperature"],
            confidence_percent=CONFIDENCE,
            ways=tuple(ways),
            controls=tuple(controls),
        )


@dataclass(frozen=True)
class Geometry:
    """The shape of the emotions in one language against one set of human ratings.

    Args:
        language: In which they were read.
        ratings: Name of the set.
        layer: At which all of this was measured.
        n: Number of emotions that have ratings.
        measures: `rsa`, `pc1_valence`, `pc2_arousal_given_valence`.
        input_embeddings: The same of the control.
    """

    language: str
    ratings: str
    layer: int
    n: int
    measures: Mapping[str, Measurement]
    input_embeddings: Mapping[str, Measurement] = field(default_factory=dict)


@dataclass(frozen=True)
class WordRatings:
    """Ratings of held-out words predicted from the model: axis → r.

    Args:
        norms: Name of the ratings.
        language: Of the words.
        n: Number of words.
        full: From full states.
        directions: From the emotion directions alone.
        gain_over_random: By how much that is above as many random directions.
        input_embeddings: From input embeddings, the control.
    """

    norms: str
    language: str
    n: int
    full: Mapping[str, Measurement]
    directions: Mapping[str, Measurement] = field(default_factory=dict)
    gain_over_random: Mapping[str, Measurement] = field(default_factory=dict)
    input_embeddings: Mapping[str, Measurement] = field(default_factory=dict)


@dataclass(frozen=True)
class Ceiling:
    """How well two sets of human ratings of the emotions agree with each other, by RSA."""

    between: tuple[str, ...]
    rsa: Measurement


@dataclass(frozen=True)
class AlignmentSummary:
    """What `emosteer eval alignment` found.

    Args:
        languages: That were read.
        permutations: For every p.
        seed: Of all that is random.
        confidence_percent: Of the intervals.
        geometry: One for each language and set of ratings.
        words: One for each set of rated words.
        ceilings: Human ratings against human ratings.
    """

    languages: tuple[str, ...]
    permutations: int
    seed: int
    confidence_percent: int
    geometry: tuple[Geometry, ...] = ()
    words: tuple[WordRatings, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> AlignmentSummary:
        """From a report as JSON has it; whatever is not of its form raises KeyError, TypeError and the like."""
        about = report["about"]
        return cls(
            languages=tuple(about["languages"]),
            permutations=about["permutations"],
            seed=about["seed"],
            confidence_percent=CONFIDENCE,
            geometry=tuple(_shape(one) for one in report["geometry"]),
            words=tuple(_words(one) for one in report["words"]),
            ceilings=tuple(
                Ceiling(tuple(one["between"]), found)
                for one in report["ceilings"]
                if one["of"] == "categories" and (found := _figure(one["measures"].get("rsa")))
            ),
        )


SUMMARIES: Mapping[str, type[SteeringSummary] | type[AlignmentSummary]] = {
    "steering": SteeringSummary,
    "alignment": AlignmentSummary,
}
"""Key in `measured` → what stands there."""

CHIEF = ("rsa", "pc1_valence", "pc2_arousal_given_valence")
"""Measures of a geometry that the file holds."""


def to_json(summary: SteeringSummary | AlignmentSummary) -> dict[str, Any]:
    """As it goes into `measured`: numbers to four decimals, nothing that is not known."""
    found: dict[str, Any] = rounded(_without_none(asdict(summary)))
    return found


def rounded(value: Any) -> Any:
    """Plain data with every number to four decimals."""
    if isinstance(value, Mapping):
        return {name: rounded(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inside) for inside in value]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value  # + 0.0: never minus zero


Known = TypeVar("Known", bound=SteeringSummary | AlignmentSummary)


def known(kind: type[Known], data: object) -> Known | None:
    """What is understood of an entry of `measured`, or None.

    Args:
        kind: Of the entry.
        data: JSON of any shape.
    """
    try:
        found: Known = _taken(kind, data)
    except _NotSoError:
        return None
    return found


class _NotSoError(Exception):
    """Something is not of the shape that it would have to be of."""


def _taken(kind: Any, value: Any) -> Any:
    """JSON as what a type hint says; of lists and objects, the entries that are so."""
    if is_dataclass(kind):
        return _object(kind, value)
    inside, origin = get_args(kind), get_origin(kind)
    if origin is types.UnionType:
        return _taken_or_none(inside[0], value)
    if origin is tuple and isinstance(value, list):
        return tuple(taken for one in value[:MOST] if (taken := _taken_or_none(inside[0], one)) is not None)
    if origin is Mapping and isinstance(value, dict):
        found = {name: _taken_or_none(inside[1], one) for name, one in value.items()}
        return {name: taken for name, taken in found.items() if taken is not None}
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
    if (kind is str and isinstance(value, str)) or (kind is int and number and isinstance(value, int)):
        return value
    if kind is float and number:
        return float(value)
    raise _NotSoError


def _taken_or_none(kind: Any, value: Any) -> Any:
    try:
        return _taken(kind, value)
    except _NotSoError:
        return None


def _object(kind: Any, value: Any) -> Any:
    """A dataclass; a field that is not as it should be is as if it were not there, and so is one without the needed."""
    if not isinstance(value, dict):
        raise _NotSoError
    hints = _hints(kind)
    given = {one.name: _taken_or_none(hints[one.name], value.get(one.name)) for one in fields(kind)}
    given = {name: taken for name, taken in given.items() if taken is not None}
    needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
    if needed - given.keys():
        raise _NotSoError
    return kind(**given)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_none(inside) for name, inside in value.items() if inside is not None}
    return [_without_none(inside) for inside in value] if isinstance(value, list | tuple) else value


def _figure(found: Mapping[str, Any] | None) -> Measurement | None:
    """None where nothing was found; p is never rounded to zero, which it cannot be."""
    if found is None or found["value"] is None:
        return None
    p = found.get("p")
    return Measurement(
        found["value"], found["low"], found["high"], None if p is None else max(p, 10**-DECIMALS), found.get("n")
    )


def _figures(found: Mapping[str, Any], names: Any = None) -> dict[str, Measurement]:
    return {name: one for name in names or found if (one := _figure(found.get(name)))}


def _tone(cell: Mapping[str, Any], emotions: Mapping[str, PerEmotion]) -> ToneResult:
    judged = cell["judged"]
    return ToneResult(
        cell["way"],
        cell["n"],
        cell["control"],
        _figure(cell["text"].get("cost")),
        {judge: found for judge, one in judged.items() if (found := _figure(one.get("hit")))},
        {judge: found for judge, one in judged.items() if (found := _figure(one.get("probability")))},
        emotions,
    )


def _heard(cell: Mapping[str, Any]) -> PerEmotion:
    tone = _tone(cell, {})
    return PerEmotion(
        tone.n,
        tone.cost.value if tone.cost else None,
        {judge: found.value for judge, found in tone.hit_rate.items()},
        {judge: found.value for judge, found in tone.probability.items()},
    )


def _shape(one: Mapping[str, Any]) -> Geometry:
    measures, control = _figures(one["measures"], CHIEF), _figures(one["control"], CHIEF)
    return Geometry(one["language"], one["ratings"], one["layer"], len(one["emotions"]), measures, control)


def _words(one: Mapping[str, Any]) -> WordRatings:
    full = _figures(one["full"]["r"])
    return WordRatings(
        one["norms"],
        one["language"],
        max((figure.n or 0 for figure in full.values()), default=0),
        full,
        _figures(one["directions"]["r"]),
        _figures(one["advantage"]),
        _figures(one["controls"].get("input_embeddings", {}).get("r", {})),
    )
