"""Results of `evaluate_alignment`: plain dataclasses, every value with its interval, p and n."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from emosteer.eval.alignment.ratings import Prediction
from emosteer.eval.alignment.statistics import Measure, Points

SCHEMA = 1

__all__ = [
    "AlignmentReport",
    "Ceiling",
    "Geometry",
    "LanguagePair",
    "Transfer",
    "WordRatings",
    "plain",
    "rounded",
]


@dataclass(frozen=True)
class Geometry:
    """Geometry of the emotions in one language, compared with one set of human ratings of the categories.

    Args:
        language: Language in which the emotions were read.
        ratings: Name of the set of human ratings.
        layer: Layer of all measures.
        emotions: The categories that have ratings.
        measures: `rsa` (all dimensions), `rsa_plane` (the two leading components), `pc1_valence` (|r|),
            `pc2_arousal` (|r|), `pc2_arousal_given_valence` (|partial r|), `axis_valence`, `axis_arousal`,
            `axis_arousal_given_valence` (ridge axes, every category predicted while held out), `circumplex` (R² of a
            Procrustes map of the two leading components onto valence and arousal, held-out categories), and
            `rsa_other_half` (the layer chosen on half of the categories, measured on the other half).
        control: The same measures of the input embeddings, which know words but not what they mean in a sentence.
        scree: Share of variance of each component.
        profile: Layer → `rsa`, `rsa_plane`, `pc1_valence`, `pc2_arousal_given_valence`.
        points: `[n, 2]`, the two leading components turned onto the human ratings (fitted on all, to look at only).
        human: `[n, 2]`, valence and arousal.
        similarity: `[n, n]`, correlation of the emotions' points in the model.
    """

    language: str
    ratings: str
    layer: int
    emotions: tuple[str, ...]
    measures: Mapping[str, Measure]
    control: Mapping[str, Measure]
    scree: tuple[float, ...]
    profile: Mapping[int, Mapping[str, float]]
    points: tuple[tuple[float, float], ...]
    human: tuple[tuple[float, float], ...]
    similarity: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Ceiling:
    """Agreement of two sets of human ratings with each other: the most that can be expected of a model.

    Args:
        between: Names of the two sets.
        measures: `rsa`, `valence`, `arousal`, `arousal_given_valence` for categories; `valence`, `arousal` for words.
        of: `"categories"` or `"words"`.
    """

    between: tuple[str, str]
    measures: Mapping[str, Measure]
    of: str


@dataclass(frozen=True)
class WordRatings:
    """Human ratings of words predicted from the model's states, every word while it was held out.

    Args:
        norms: Name of the norms.
        language: Language of the words.
        license: Terms that the norms usually carry.
        full: Prediction from full states, the mean over every frame and layer of the grid.
        directions: Prediction from projections on the emotion directions of one layer, chosen on the other folds.
        directions_layers: That layer, for each fold.
        controls: `random_directions` (the same number; mean r of ten draws, interval of the first),
            `input_embeddings`, `length_and_frequency`, `spelling` (bag of letter n-grams), `shuffled` (full states,
            permuted ratings).
        advantage: Axis → how far r from emotion directions exceeds r from random ones, paired interval.
        profile: Layer → axis → r from full states at that layer.
        words: The words.
        rated: `[n_words, 2]`.
        predicted: `[n_words, 2]`, from full states.
    """

    norms: str
    language: str
    license: str | None
    full: Prediction
    directions: Prediction
    directions_layers: tuple[int, ...]
    controls: Mapping[str, Prediction]
    advantage: Mapping[str, Measure]
    profile: Mapping[int, Mapping[str, float]]
    words: tuple[str, ...] = field(repr=False)
    rated: tuple[tuple[float, float], ...] = field(repr=False)
    predicted: tuple[tuple[float, float], ...] = field(repr=False)


@dataclass(frozen=True)
class Transfer:
    """Regressions fitted to the ratings of one language, applied to the words of another without refitting.

    Args:
        source: Norms of the fit.
        target: Norms of the test.
        languages: Their languages.
        prediction: r and R² on the words of the target.
        arousal_given_valence: Partial r of predicted and rated arousal, human valence partialled out.
        arousal_beyond_valence: r of the target's arousal with an axis fitted to the part of the source's arousal that
            its valence does not explain. Languages differ in how arousal and valence correlate.
        coupling: r of human valence and arousal in source and target, which shows that difference.
        control: The same prediction from input embeddings.
    """

    source: str
    target: str
    languages: tuple[str, str]
    prediction: Prediction
    arousal_given_valence: Measure
    arousal_beyond_valence: Measure
    coupling: tuple[float, float]
    control: Prediction


@dataclass(frozen=True)
class LanguagePair:
    """What two languages share of the geometry of the emotions.

    Args:
        languages: The two languages.
        layers: Layer of each.
        procrustes: R² of held-out emotions under an orthogonal map from the first language to the second.
        identified: Share of held-out emotions whose mapped point lies nearest to their own; chance is 1 / n.
        rsa: Similarity of the two sets of distances.
        shared: Share of the second language's reliable variance that the first predicts for held-out emotions.
        specific: The rest of its reliable variance, which only the second language has.
        unreliable: Share of the variance on which two halves of its own words disagree.
        differences: Emotion → distance between mapped and true point, in units of the mean over emotions, largest
            first.
    """

    languages: tuple[str, str]
    layers: tuple[int, int]
    procrustes: Measure
    identified: Measure
    rsa: Measure
    shared: Measure
    specific: float
    unreliable: float
    differences: Mapping[str, float]


@dataclass(frozen=True)
class AlignmentReport:
    """Agreement of a model's emotion space with human ratings.

    Args:
        about: Model, languages, frames, layers, rules, seed, versions.
        geometry: One for each language and set of category ratings.
        ceilings: Human ratings against human ratings.
        words: One for each norms file.
        transfers: One for each ordered pair of norms in two languages.
        pairs: One for each ordered pair of languages.
        notes: Caveats, such as a language that the model does not speak.
    """

    about: Mapping[str, Any]
    geometry: tuple[Geometry, ...]
    ceilings: tuple[Ceiling, ...]
    words: tuple[WordRatings, ...]
    transfers: tuple[Transfer, ...]
    pairs: tuple[LanguagePair, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, without single words and their predictions, which the report folder holds."""
        data = asdict(self)
        for norms in data["words"]:
            for name in ("words", "rated", "predicted"):
                del norms[name]
        finite: dict[str, Any] = _finite({"schema": SCHEMA, **data})
        return finite


def rounded(points: Points) -> tuple[tuple[float, float], ...]:
    """Return `[n, 2]` as pairs with four decimals."""
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in points)


def plain(measure: Measure) -> float:
    """Return the value alone, NaN where there is none."""
    return float("nan") if measure.value is None else measure.value


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON cannot hold, by None."""
    if isinstance(value, Mapping):
        return {name: _finite(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
