"""Prediction of word ratings from states, by ridge regression that never sees the words it predicts.

Words that share a stem stay on one side of every split. The penalty of each regression, and the layer where one is
chosen, are selected by leave-one-out among the fitted words, so every reported number is of words that had no part in
any choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emosteer._util.stats import DRAWS, interval, permutation_p, resamples
from emosteer.errors import MissingExtraError
from emosteer.eval.alignment.statistics import Measure

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
    "RatingRegression",
    "advantage",
    "cross_predict",
    "cross_predict_best",
    "folds",
    "score_predictions",
    "stem_groups",
]


class RatingRegression:
    """Ridge regression on standardised features, with a penalty chosen for each axis by leave-one-out.

    It computes what scikit-learn's RidgeCV does (a test compares them) in a tenth of the time, and a battery fits
    several hundred of these.

    Args:
        features: `[n_words, d]`.
        ratings: `[n_words, n_axes]`.
    """

    def __init__(self, features: NDArray[Any], ratings: Matrix) -> None:
        self._mean = np.asarray(features.mean(0), dtype=np.float64)
        deviation = np.asarray(features.std(0), dtype=np.float64)
        self._scale = np.where(deviation > 0, deviation, 1)
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
        projected = rotated.T @ targets
        # The residual of a left-out word is its residual divided by 1 − leverage; the mean accounts for 1 / n of it.
        self.weights = np.empty((d, ratings.shape[1]))
        self.penalties, errors = np.empty(ratings.shape[1]), np.full(ratings.shape[1], np.inf)
        leverages = rotated**2 @ (1 / (squares[:, None] + PENALTIES)) + 1 / n
        for penalty, leverage in zip(PENALTIES, leverages.T, strict=True):
            coefficients = projected / (squares + penalty)[:, None]
            left_out = (targets - rotated @ coefficients) / np.maximum(1 - leverage, 1e-6)[:, None]
            error = (left_out**2).mean(0)
            for axis in np.flatnonzero(error < errors):
                errors[axis], self.penalties[axis] = error[axis], penalty
                self.weights[:, axis] = rotation @ coefficients[:, axis]
        self.score = float((1 - errors / np.maximum(targets.var(0), 1e-30)).mean())
        """Leave-one-out R², mean over axes, by which layers and views are chosen."""

    def predict(self, features: NDArray[Any]) -> Matrix:
        """Predict ratings `[n_words, n_axes]`."""
        predicted: Matrix = self._scaled(features) @ self.weights + self._intercept
        return predicted

    def _scaled(self, features: NDArray[Any]) -> Matrix:
        scaled: Matrix = (np.asarray(features, dtype=np.float64) - self._mean) / self._scale
        return scaled


@dataclass(frozen=True)
class Prediction:
    """Agreement of predicted ratings of held-out words with human ones.

    Args:
        r: Axis → Pearson's correlation.
        r_squared: Axis → share of the variance of the ratings that is explained.
    """

    r: Mapping[str, Measure]
    r_squared: Mapping[str, float]


def stem_groups(words: Sequence[str], language: str) -> NDArray[np.intp]:
    """Number words by stem: `abandon` and `abandoned` get one number, as do `bank (river)` and `banks`.

    Stems are Snowball's. Languages without an entry in `STEMMERS` group words that are equal in lower case.

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


def folds(groups: NDArray[np.intp], *, seed: int = 0) -> NDArray[np.intp]:
    """Assign each word to one of `FOLDS` folds, `[n_words]`; whole groups, drawn at random."""
    n_groups = int(groups.max()) + 1
    return (np.random.default_rng(seed).permutation(n_groups) % FOLDS)[groups]


def cross_predict(views: Sequence[NDArray[Any]], ratings: Matrix, fold: NDArray[np.intp]) -> list[Matrix]:
    """Predict every word by regressions fitted without its fold, one for each view.

    Args:
        views: Features `[n_words, d]` of the same words, as of several layers or frames.
        ratings: `[n_words, n_axes]`.
        fold: `[n_words]`.

    Returns:
        `[n_words, n_axes]` for each view.
    """
    return [cross_predict_best([view], ratings, fold)[0] for view in views]


def cross_predict_best(
    views: Sequence[NDArray[Any]], ratings: Matrix, fold: NDArray[np.intp]
) -> tuple[Matrix, list[int]]:
    """Predict every word by the view with the best leave-one-out score on the other folds.

    Returns:
        `[n_words, n_axes]`, and the index of the view chosen for each fold.
    """
    predicted, chosen = np.empty(ratings.shape), []
    for k in range(int(fold.max()) + 1):
        rest = fold != k
        fitted = [RatingRegression(view[rest], ratings[rest]) for view in views]
        best = max(range(len(views)), key=lambda i: fitted[i].score)
        chosen.append(best)
        predicted[~rest] = fitted[best].predict(views[best][~rest])
    return predicted, chosen


def score_predictions(
    predicted: Matrix, ratings: Matrix, groups: NDArray[np.intp], *, draws: int = DRAWS, seed: int = 0
) -> Prediction:
    """Compute Pearson's r and R² of predicted ratings.

    Intervals come from a bootstrap over stems, p from permutations of the ratings.

    Args:
        predicted: `[n_words, 2]`, valence and arousal.
        ratings: `[n_words, 2]`.
        groups: `[n_words]`, from `stem_groups`.
        draws: Number of bootstrap resamples.
        seed: Seed of everything that is drawn.
    """
    weights = _group_weights(groups, draws, seed)
    generator = np.random.default_rng(seed)
    r, explained = {}, {}
    for i, axis in enumerate(AXES):
        ours, theirs = predicted[:, i], ratings[:, i]
        value, *resampled = _weighted_r(ours, theirs, weights)
        if not np.isfinite(value):
            r[axis], explained[axis] = Measure(None, n=len(ours)), 0.0
            continue
        centred, target = ours - ours.mean(), theirs - theirs.mean()
        p = permutation_p(centred @ target, (centred @ generator.permutation(target) for _ in range(PERMUTATIONS)))
        r[axis] = Measure(float(value), *interval(resampled), p, len(ours))
        explained[axis] = float(1 - ((theirs - ours) ** 2).sum() / (target**2).sum())
    return Prediction(r, explained)


def advantage(
    ours: Matrix, others: Matrix, ratings: Matrix, groups: NDArray[np.intp], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Measure]:
    """Compute how far the r of one prediction exceeds that of another, paired over the same resamples of stems.

    Args:
        ours: `[n_words, 2]`.
        others: `[n_words, 2]`, or `[n_controls, n_words, 2]`, whose mean r is taken.
        ratings: `[n_words, 2]`.
        groups: `[n_words]`.
        draws: Number of bootstrap resamples.
        seed: Seed of the resamples.
    """
    weights = _group_weights(groups, draws, seed)
    controls = others[None] if others.ndim == 2 else others
    gains = {}
    for i, axis in enumerate(AXES):
        control = np.mean([_weighted_r(each[:, i], ratings[:, i], weights) for each in controls], 0)
        value, *resampled = _weighted_r(ours[:, i], ratings[:, i], weights) - control
        gains[axis] = Measure(float(value), *interval(resampled), None, len(ours))
    return gains


def _group_weights(groups: NDArray[np.intp], draws: int, seed: int) -> Matrix:
    """Return the weight of each word in the sample and in each resample of groups, `[1 + draws, n_words]`."""
    weights: Matrix = resamples(int(groups.max()) + 1, draws=draws, seed=seed)[:, groups]
    return weights


def _weighted_r(x: NDArray[np.float64], y: NDArray[np.float64], weights: Matrix) -> NDArray[np.float64]:
    """Compute Pearson's correlation under each row of weights."""
    x, y = x - x.mean(), y - y.mean()  # for numerical accuracy; r does not change
    total = weights.sum(1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    covariance = weights @ (x * y) / total - mean_x * mean_y
    variances = (weights @ x**2 / total - mean_x**2) * (weights @ y**2 / total - mean_y**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: NDArray[np.float64] = covariance / np.sqrt(np.where(variances > 1e-18, variances, np.nan))
    return r
