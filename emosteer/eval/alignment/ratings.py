"""Word ratings from states: ridge regression that never sees the words it is asked about.

Words that share a stem stay on one side of every split. The penalty of each regression is chosen by leave-one-out among
the words that it is fitted on, and where one layer is to be chosen that is done in the same way, so every figure is of
words that had no part in any choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emosteer.errors import MissingExtraError
from emosteer.eval.alignment.statistics import DRAWS, Measure

Matrix = NDArray[np.float64]

AXES = ("valence", "arousal")
PENALTIES = np.logspace(0, 7, 15)
FOLDS = 5
PERMUTATIONS = 1_000
STEMMERS = {"ar": "arabic", "de": "german", "en": "english", "es": "spanish", "fr": "french", "hi": "hindi"}

__all__ = [
    "AXES",
    "FOLDS",
    "Prediction",
    "Ridge",
    "advantage",
    "agreement",
    "folds",
    "held_out",
    "held_out_best",
    "stem_groups",
]


class Ridge:
    """Ridge regression on standardised features, its penalty chosen for each axis by leave-one-out.

    scikit-learn's RidgeCV computes the same (tests/test_alignment_ratings.py holds one against the other) in ten times
    the time, and a battery fits several hundred of these.

    Args:
        features: `[n_words, d]`.
        ratings: `[n_words, n_axes]`.
    """

    def __init__(self, features: NDArray[Any], ratings: Matrix) -> None:
        self._mean = np.asarray(features.mean(0), dtype=np.float64)
        spread = np.asarray(features.std(0), dtype=np.float64)
        self._spread = np.where(spread > 0, spread, 1)
        scaled = self._scaled(features)
        self._intercept = ratings.mean(0)
        n, d = scaled.shape
        if d <= n:
            squares, rotation = np.linalg.eigh(scaled.T @ scaled)
        else:
            squares, left = np.linalg.eigh(scaled @ scaled.T)
        kept = squares > max(squares.max(), 1e-30) * 1e-10
        squares = squares[kept]
        rotation = rotation[:, kept] if d <= n else scaled.T @ (left[:, kept] / np.sqrt(squares))
        rotated = scaled @ rotation  # its columns are orthogonal, of squared length `squares`
        targets = ratings - self._intercept
        along = rotated.T @ targets
        # A residual with one word left out is the residual divided by 1 − leverage; the mean counts 1 / n of it.
        self.weights = np.empty((d, ratings.shape[1]))
        self.penalties, errors = np.empty(ratings.shape[1]), np.full(ratings.shape[1], np.inf)
        leverages = rotated**2 @ (1 / (squares[:, None] + PENALTIES)) + 1 / n
        for penalty, leverage in zip(PENALTIES, leverages.T, strict=True):
            coefficients = along / (squares + penalty)[:, None]
            left_out = (targets - rotated @ coefficients) / np.maximum(1 - leverage, 1e-6)[:, None]
            error = (left_out**2).mean(0)
            for axis in np.flatnonzero(error < errors):
                errors[axis], self.penalties[axis] = error[axis], penalty
                self.weights[:, axis] = rotation @ coefficients[:, axis]
        self.score = float((1 - errors / np.maximum(targets.var(0), 1e-30)).mean())
        """Leave-one-out R², mean over axes: what choices are made by."""

    def predict(self, features: NDArray[Any]) -> Matrix:
        """Ratings `[n_words, n_axes]`."""
        predicted: Matrix = self._scaled(features) @ self.weights + self._intercept
        return predicted

    def _scaled(self, features: NDArray[Any]) -> Matrix:
        scaled: Matrix = (np.asarray(features, dtype=np.float64) - self._mean) / self._spread
        return scaled


@dataclass(frozen=True)
class Prediction:
    """How predicted ratings of held-out words go with human ones.

    Args:
        r: Axis → Pearson's correlation.
        r_squared: Axis → share of the variance of the ratings that is explained.
    """

    r: Mapping[str, Measure]
    r_squared: Mapping[str, float]


def stem_groups(words: Sequence[str], language: str) -> NDArray[np.intp]:
    """A number for each word, the same for words of one stem: `abandon` and `abandoned`, `bank (river)` and `banks`.

    Stems are Snowball's; in languages other than those of `STEMMERS`, words that are written the same in lower case.

    Raises:
        MissingExtraError: snowballstemmer is not installed.
    """
    try:
        from snowballstemmer import stemmer
    except ImportError as error:
        raise MissingExtraError(
            "Splitting words by their stem needs snowballstemmer.", "Install it with: pip install 'emosteer[eval]'"
        ) from error
    plain = [re.sub(r"\s*\(.*\)$", "", word).casefold() for word in words]
    primary = language.partition("-")[0]
    stems = stemmer(STEMMERS[primary]).stemWords(plain) if primary in STEMMERS else plain
    return np.unique(np.asarray(stems), return_inverse=True)[1]


def folds(groups: NDArray[np.intp], *, n: int = FOLDS, seed: int = 0) -> NDArray[np.intp]:
    """The fold of each word, `[n_words]`: whole groups, drawn at random."""
    kinds = int(groups.max()) + 1
    return (np.random.default_rng(seed).permutation(kinds) % n)[groups]


def held_out(views: Sequence[NDArray[Any]], ratings: Matrix, fold: NDArray[np.intp]) -> list[Matrix]:
    """Predict every word by regressions that were fitted without its fold, one for each view.

    Args:
        views: Features `[n_words, d]` of the same words, as of several layers or frames.
        ratings: `[n_words, n_axes]`.
        fold: `[n_words]`.

    Returns:
        For each view, `[n_words, n_axes]`.
    """
    return [_predicted(view, ratings, fold) for view in views]


def held_out_best(views: Sequence[NDArray[Any]], ratings: Matrix, fold: NDArray[np.intp]) -> tuple[Matrix, list[int]]:
    """Predict every word by the one view that does best, by leave-one-out, on the other folds.

    Returns:
        `[n_words, n_axes]`, and the number of the view that was chosen for each fold.
    """
    predicted, chosen = np.empty(ratings.shape), []
    for k in range(int(fold.max()) + 1):
        rest = fold != k
        fitted = [Ridge(view[rest], ratings[rest]) for view in views]
        best = max(range(len(views)), key=lambda i: fitted[i].score)
        chosen.append(best)
        predicted[~rest] = fitted[best].predict(views[best][~rest])
    return predicted, chosen


def agreement(
    predicted: Matrix, ratings: Matrix, groups: NDArray[np.intp], *, draws: int = DRAWS, seed: int = 0
) -> Prediction:
    """Pearson's r and R² of predicted ratings; intervals by bootstrap over stems, p by permutation of the ratings.

    Args:
        predicted: `[n_words, 2]`, valence and arousal.
        ratings: `[n_words, 2]`.
        groups: `[n_words]`, from `stem_groups`.
        draws: Bootstrap resamples.
        seed: Of all that is drawn.
    """
    weights = _group_weights(groups, draws, seed)
    generator = np.random.default_rng(seed)
    r, explained = {}, {}
    for axis, (ours, theirs) in zip(AXES, zip(predicted.T, ratings.T, strict=True), strict=True):
        value = _weighted_r(ours, theirs, np.ones((1, len(ours))))[0]
        if not np.isfinite(value):
            r[axis], explained[axis] = Measure(None, n=len(ours)), 0.0
            continue
        low, high = np.nanpercentile(_weighted_r(ours, theirs, weights), [2.5, 97.5])
        centred, wanted = ours - ours.mean(), theirs - theirs.mean()
        null = [centred @ generator.permutation(wanted) for _ in range(PERMUTATIONS)]
        p = (1 + sum(bool(one >= centred @ wanted) for one in null)) / (1 + PERMUTATIONS)
        r[axis] = Measure(float(value), float(low), float(high), p, len(ours))
        explained[axis] = float(1 - ((theirs - ours) ** 2).sum() / (wanted**2).sum())
    return Prediction(r, explained)


def advantage(
    ours: Matrix, others: Matrix, ratings: Matrix, groups: NDArray[np.intp], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Measure]:
    """By how much one prediction's r is above another's, with the paired interval over the same resamples of stems.

    Args:
        ours: `[n_words, 2]`.
        others: `[n_words, 2]`, or `[n_controls, n_words, 2]`, whose mean r is taken.
        ratings: `[n_words, 2]`.
        groups: `[n_words]`.
        draws: Bootstrap resamples.
        seed: Of the resamples.
    """
    weights = np.concatenate([np.ones((1, len(ours))), _group_weights(groups, draws, seed)])
    controls = others[None] if others.ndim == 2 else others
    found = {}
    for i, axis in enumerate(AXES):
        against = np.mean([_weighted_r(one[:, i], ratings[:, i], weights) for one in controls], 0)
        gap = _weighted_r(ours[:, i], ratings[:, i], weights) - against
        low, high = np.nanpercentile(gap[1:], [2.5, 97.5])
        found[axis] = Measure(float(gap[0]), float(low), float(high), None, len(ours))
    return found


def _predicted(view: NDArray[Any], ratings: Matrix, fold: NDArray[np.intp]) -> Matrix:
    predicted = np.empty(ratings.shape)
    for k in range(int(fold.max()) + 1):
        rest = fold != k
        predicted[~rest] = Ridge(view[rest], ratings[rest]).predict(view[~rest])
    return predicted


def _group_weights(groups: NDArray[np.intp], draws: int, seed: int) -> Matrix:
    """How often each word stands in each resample `[draws, n_words]`: groups are drawn, with all of their words."""
    kinds = int(groups.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(kinds, np.full(kinds, 1 / kinds), size=draws)
    return drawn[:, groups].astype(np.float64)


def _weighted_r(x: NDArray[np.float64], y: NDArray[np.float64], weights: Matrix) -> NDArray[np.float64]:
    """Pearson's correlation under each row of weights, `[draws]`."""
    x, y = x - x.mean(), y - y.mean()  # for the numbers' sake; r does not change
    total = weights.sum(1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    covariance = weights @ (x * y) / total - mean_x * mean_y
    spread = (weights @ x**2 / total - mean_x**2) * (weights @ y**2 / total - mean_y**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = covariance / np.sqrt(np.where(spread > 1e-18, spread, np.nan))
    return found
