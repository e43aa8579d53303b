"""What `evaluate_alignment` returns: plain dataclasses, every figure with its interval, p and n."""

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
    """The shape of the emotions in one language, against one set of human ratings of the categories.

    Args:
        language: In which the emotions were read.
        ratings: Name of the set of human ratings.
        layer: At which all of this was measured.
        emotions: The categories that have ratings.
        measures: `rsa` (all dimensions), `rsa_plane` (the two leading components), `pc1_valence` (|r|),
            `pc2_arousal` (|r|), `pc2_arousal_given_valence` (|partial r|), `axis_valence`, `axis_arousal`,
            `axis_arousal_given_valence` (ridge axes, every category predicted while held out), `circumplex` (R² of a
            Procrustes map of the two leading components onto valence and arousal, held-out categories), and
            `rsa_other_half` (the layer chosen on half of the categories, measured on the other half).
        control: The same of the input embeddings, which know words but not what they mean in a sentence.
        scree: Share of variance of each component.
        profile: Layer → `rsa`, `rsa_plane`, `pc1_valence`, `pc2_arousal_given_valence`.
        points: `[n, 2]`, the two leading components turned onto the human ratings (fitted on all, to be looked at).
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
    """How well two sets of human ratings agree with each other: what a model can be asked for at most.

    Args:
        between: Names of the two.
        measures: `rsa`, `valence`, `arousal`, `arousal_given_valence` for categories; `valence`, `arousal` for words.
        of: `"categories"` or `"words"`.
    """

    between: tuple[str, str]
    measures: Mapping[str, Measure]
    of: str


@dataclass(frozen=True)
class WordRatings:
    """Human ratings of words predicted from how the model reads them; every word while it was held out.

    Args:
        norms: Name of the norms.
        language: Of the words.
        license: What the norms usually carry.
        full: From full states: mean of the predictions of every frame and layer of the grid.
        directions: From the projections on the emotion directions of one layer alone, chosen on the other folds.
        directions_layers: That layer, for each fold.
        controls: `random_directions` (as many, mean r of ten draws, the interval of the first),
            `input_embeddings`, `length_and_frequency`, `spelling` (bag of letter n-grams), `shuffled` (full states,
            ratings dealt out anew).
        advantage: Axis → by how much r from emotion directions is above that from random ones, paired interval.
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
    """Regressions fitted to the ratings of one language, read on the words of another without refitting.

    Args:
        source: Norms that it was fitted on.
        target: Norms that it was tested on.
        languages: Of the two.
        prediction: r and R² on the words of the target.
        arousal_given_valence: Partial r of predicted and rated arousal, human valence taken out.
        arousal_beyond_valence: r with the target's arousal of an axis that was fitted on what of the source's arousal
            its valence does not explain: languages differ in how arousal goes with valence.
        coupling: r of human valence and arousal in source and target, which says how much they differ.
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
    """What two languages share of the shape of the emotions.

    Args:
        languages: The two.
        layers: At which each was read.
        procrustes: R² of held-out emotions under an orthogonal map from the first language to the second.
        identified: Share of held-out emotions whose mapped point lies nearest to its own; chance is 1 / n.
        rsa: Similarity of the two sets of distances.
        shared: Share of the second language's reliable variance that the first predicts for held-out emotions.
        specific: The rest of its reliable variance: what only the second language has.
        unreliable: Share of the variance that two halves of its own words do not agree on.
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
    """How a model's emotion space agrees with human ratings.

    Args:
        about: Model, languages, frames, layers, rules, seed, versions.
        geometry: One for each language and set of category ratings.
        ceilings: Human against human.
        words: One for each norms file.
        transfers: One for each ordered pair of norms in two languages.
        pairs: One for each ordered pair of languages.
        notes: What a reader must know, such as a language that the model does not speak.
    """

    about: Mapping[str, Any]
    geometry: tuple[Geometry, ...]
    ceilings: tuple[Ceiling, ...]
    words: tuple[WordRatings, ...]
    transfers: tuple[Transfer, ...]
    pairs: tuple[LanguagePair, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; single words and their predictions are left out (the report folder has them)."""
        told = asdict(self)
        for one in told["words"]:
            for name in ("words", "rated", "predicted"):
                del one[name]
        found: dict[str, Any] = _finite({"schema": SCHEMA, **told})
        return found


def rounded(points: Points) -> tuple[tuple[float, float], ...]:
    """`[n, 2]` as pairs with four decimals."""
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in points)


def plain(found: Measure) -> float:
    """The value alone; not a number where there is none."""
    return float("nan") if found.value is None else found.value


def _finite(value: Any) -> Any:
    """Plain data with None for what is no number, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {name: _finite(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
