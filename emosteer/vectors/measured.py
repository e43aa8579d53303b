"""The measurements that a vector file holds: summaries made from reports, and read from anybody's file.

A report has thousands of numbers and lies beside the file as `steering.json` or `alignment.json`. The file itself holds
what the card shows. That may come from a stranger or a later emosteer: anything of another shape is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from emosteer._util.schema import lenient

READS = ("cost_asked", "topic", "tokens", "refusals", "disclaimers", "coarse", "coarse_change")
"""Scores of a report that tell how answers read."""

DECIMALS = 4
CONFIDENCE = 95
"""Per cent of the intervals in a report."""

__all__ = [
    "DECIMALS",
    "READS",
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
    """A measured number with its interval, p and n.

    Args:
        value: As measured.
        low: Lower end of the interval.
        high: Upper end.
        p: One-sided, by permutation.
        n: Number of categories or words.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class PerEmotion:
    """Results of the answers in one emotion.

    Args:
        n: Number of answers.
        cost: Nats a token above plain answers.
        hit_rate: Judge → share of answers in which it hears the emotion.
        probability: Judge → mean probability that it gives the emotion.
    """

    n: int
    cost: float | None = None
    hit_rate: Mapping[str, float] = field(default_factory=dict)
    probability: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ToneResult:
    """Results of one way of steering, or of a control: means over the basic emotions.

    Args:
        way: Name of the way of steering; empty where nothing is steered.
        n: Number of answers.
        control: Name of the control, or None for the tone itself.
        cost: Nats a token above plain answers.
        hit_rate: Judge → share of answers in which it hears the emotion.
        probability: Judge → mean probability that it gives the emotion.
        emotions: Emotion → its own results; empty for controls.
        reads: How the answers read, one of `READS` → value; None in reports from before it was told.
    """

    way: str
    n: int
    control: str | None = None
    cost: Measurement | None = None
    hit_rate: Mapping[str, Measurement] = field(default_factory=dict)
    probability: Mapping[str, Measurement] = field(default_factory=dict)
    emotions: Mapping[str, PerEmotion] = field(default_factory=dict)
    reads: Mapping[str, Measurement] | None = None


@dataclass(frozen=True)
class SteeringSummary:
    """Summary of `emosteer eval steering`.

    Args:
        judges: Names of the judges.
        strength: Of all results here, in doses.
        basic: Emotions that the means are taken over.
        n_prompts: Prompts for each of them.
        seeds: Answers to each prompt.
        n_answers: Number of all answers.
        max_new_tokens: Longest answer.
        temperature: Of sampling.
        seed: Of sampling and controls.
        confidence_percent: Of the intervals.
        ways: Of steering, the plain additive one first.
        controls: Results of the controls.
        language: Of the prompts; None in reports from before it was told, which were in English.
        judges_left_out: Names of the judges that do not know it; None if there are none.
        tasks_kept: Way → tasks that it solves, as a share of those that the plain model solves; None if not measured.
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
    language: str | None = None
    judges_left_out: tuple[str, ...] | None = None
    tasks_kept: Mapping[str, Measurement] | None = None

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> SteeringSummary:
        """Summarise a report as JSON has it; anything malformed raises KeyError, TypeError and the like."""
        about, cells = report["about"], report["cells"]
        strength = about["strengths"][-1]
        top = [cell for cell in cells if cell["strength"] == strength and cell["control"] is None]
        ways = []
        for way in report["ways"]:
            of_way = {cell["emotion"]: cell for cell in top if cell["way"] == way["way"]}
            emotions = {name: _per_emotion(of_way[name]) for name in report["emotions"] if name in of_way}
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
            language=about.get("language"),
            judges_left_out=tuple(about.get("judges_left_out", ())) or None,
            tasks_kept=_tasks_kept(report.get("tasks")),
        )


@dataclass(frozen=True)
class Geometry:
    """The geometry of the emotions in one language against one set of human ratings.

    Args:
        language: In which the emotions were read.
        ratings: Name of the set of ratings.
        layer: At which everything here was measured.
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
    """Ratings of held-out words predicted from the model; each field maps an axis to r.

    Args:
        norms: Name of the ratings.
        language: Of the words.
        n: Number of words.
        full: From full states.
        directions: From the emotion directions alone.
        gain_over_random: Their lead over as many random directions.
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
    """How well two sets of human ratings of the emotions agree, by RSA."""

    between: tuple[str, ...]
    rsa: Measurement


@dataclass(frozen=True)
class AlignmentSummary:
    """Summary of `emosteer eval alignment`.

    Args:
        languages: Languages that were read.
        permutations: Number behind every p.
        seed: Of everything random.
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
        """Summarise a report as JSON has it; anything malformed raises KeyError, TypeError and the like."""
        about = report["about"]
        return cls(
            languages=tuple(about["languages"]),
            permutations=about["permutations"],
            seed=about["seed"],
            confidence_percent=CONFIDENCE,
            geometry=tuple(_geometry(entry) for entry in report["geometry"]),
            words=tuple(_word_ratings(entry) for entry in report["words"]),
            ceilings=tuple(
                Ceiling(tuple(entry["between"]), rsa)
                for entry in report["ceilings"]
                if entry["of"] == "categories" and (rsa := _measurement(entry["measures"].get("rsa")))
            ),
        )


SUMMARIES: Mapping[str, type[SteeringSummary] | type[AlignmentSummary]] = {
    "steering": SteeringSummary,
    "alignment": AlignmentSummary,
}
"""Key in `measured` → class of its summary."""

CHIEF = ("rsa", "pc1_valence", "pc2_arousal_given_valence")
"""Measures of a geometry that the file holds."""


def to_json(summary: SteeringSummary | AlignmentSummary) -> dict[str, Any]:
    """Return a summary as it goes into `measured`: numbers to four decimals, unknown values left out."""
    data: dict[str, Any] = rounded(_without_none(asdict(summary)))
    return data


def rounded(value: Any) -> Any:
    """Return plain data with every number rounded to four decimals."""
    if isinstance(value, Mapping):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value  # + 0.0: never minus zero


Known = TypeVar("Known", bound=SteeringSummary | AlignmentSummary)


def known(kind: type[Known], data: object) -> Known | None:
    """Return what is understood of an entry of `measured`, or None.

    Args:
        kind: Of the entry.
        data: JSON of any shape.
    """
    summary: Known | None = lenient(kind, data)
    return summary


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value


def _measurement(entry: Mapping[str, Any] | None) -> Measurement | None:
    """None where nothing was found; p is never rounded to zero, which it cannot be."""
    if entry is None or entry["value"] is None:
        return None
    p = entry.get("p")
    return Measurement(
        entry["value"], entry["low"], entry["high"], None if p is None else max(p, 10**-DECIMALS), entry.get("n")
    )


def _measurements(entries: Mapping[str, Any], names: Any = None) -> dict[str, Measurement]:
    return {name: value for name in names or entries if (value := _measurement(entries.get(name)))}


def _tone(cell: Mapping[str, Any], emotions: Mapping[str, PerEmotion]) -> ToneResult:
    judged = cell["judged"]
    return ToneResult(
        cell["way"],
        cell["n"],
        cell["control"],
        _measurement(cell["text"].get("cost")),
        _measurements({judge: scores.get("hit") for judge, scores in judged.items()}),
        _measurements({judge: scores.get("probability") for judge, scores in judged.items()}),
        emotions,
        _measurements(cell["text"], READS) if "refusals" in cell["text"] else None,
    )


def _tasks_kept(report: Mapping[str, Any] | None) -> dict[str, Measurement] | None:
    """Return the means over the tones of each way."""
    if report is None:
        return None
    means = {entry["way"]: entry["kept"] for entry in report["results"] if entry["way"] and entry["emotion"] is None}
    return _measurements(means)


def _per_emotion(cell: Mapping[str, Any]) -> PerEmotion:
    tone = _tone(cell, {})
    return PerEmotion(
        tone.n,
        tone.cost.value if tone.cost else None,
        {judge: rate.value for judge, rate in tone.hit_rate.items()},
        {judge: probability.value for judge, probability in tone.probability.items()},
    )


def _geometry(entry: Mapping[str, Any]) -> Geometry:
    measures, control = _measurements(entry["measures"], CHIEF), _measurements(entry["control"], CHIEF)
    return Geometry(entry["language"], entry["ratings"], entry["layer"], len(entry["emotions"]), measures, control)


def _word_ratings(entry: Mapping[str, Any]) -> WordRatings:
    full = _measurements(entry["full"]["r"])
    return WordRatings(
        entry["norms"],
        entry["language"],
        max((value.n or 0 for value in full.values()), default=0),
        full,
        _measurements(entry["directions"]["r"]),
        _measurements(entry["advantage"]),
        _measurements(entry["controls"].get("input_embeddings", {}).get("r", {})),
    )
