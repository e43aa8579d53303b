"""Statistics that several rooms share: the cluster bootstrap, permutation p values and correlations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 1_000

__all__ = [
    "DRAWS",
    "Estimate",
    "cluster_means",
    "estimate",
    "interval",
    "partial_correlation",
    "pearson",
    "permutation_p",
    "rank_correlation",
    "resamples",
]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile interval.

    Args:
        value: Value of the sample itself.
        low: 2.5th percentile over the resamples.
        high: 97.5th percentile.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]".replace("-", "−")


def resamples(n_clusters: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Count how often each cluster occurs in each bootstrap resample.

    A cluster is drawn with all of its members: a prompt with all answers to it, a stem with all of its words.

    Returns:
        `[1 + draws, n_clusters]`. The first row is the sample itself, every cluster once.
    """
    drawn = np.random.default_rng(seed).multinomial(n_clusters, [1 / n_clusters] * n_clusters, size=draws)
    return np.concatenate([np.ones((1, n_clusters)), drawn])


def cluster_means(values: Any, clusters: Any, weights: np.ndarray) -> np.ndarray:
    """Compute the mean of values in each resample.

    Args:
        values: `[n]`; NaN is left out.
        clusters: `[n]`, the cluster of each value, counted from 0.
        weights: `[1 + draws, n_clusters]`, from `resamples`.

    Returns:
        `[1 + draws]`, NaN where a resample holds no value.
    """
    values, clusters = np.asarray(values, dtype=float), np.asarray(clusters)
    known = ~np.isnan(values)
    n = weights.shape[1]
    sums = np.bincount(clusters[known], values[known], minlength=n)
    counts = np.bincount(clusters[known], minlength=n)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = (weights @ sums) / (weights @ counts)
    return means


def interval(resampled: Any) -> tuple[float | None, float | None]:
    """Return the 2.5th and 97.5th percentile of the finite values; None twice if there are none."""
    values = np.asarray(resampled, dtype=float)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None, None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def estimate(resampled: np.ndarray) -> Estimate | None:
    """Return a value and its interval.

    Args:
        resampled: `[1 + draws]`: the value of the sample itself, then that of each resample.

    Returns:
        None where the value is not finite.
    """
    low, high = interval(resampled[1:])
    if not np.isfinite(resampled[0]) or low is None or high is None:
        return None
    return Estimate(float(resampled[0]), low, high)


def permutation_p(value: float, null: Iterable[float]) -> float | None:
    """Compute the one-sided p of a value: (1 + permutations that reach it) / (1 + permutations), so never 0.

    Args:
        value: Value of the sample; a difference of 1e-12 counts as reached.
        null: Its values under random permutations.

    Returns:
        None if there are no permutations.
    """
    reached = [bool(permuted >= value - 1e-12) for permuted in null]
    return (1 + sum(reached)) / (1 + len(reached)) if reached else None


def partial_correlation(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Return Pearson's correlation of x and y with a third variable partialled out; NaN where nothing is left."""
    xy, xz, yz = pearson(x, y), pearson(x, given), pearson(y, given)
    rest = (1 - xz**2) * (1 - yz**2)
    return float((xy - xz * yz) / np.sqrt(rest)) if rest > 1e-12 else float("nan")


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation; NaN where one side is constant."""
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")


def rank_correlation(x: Any, y: Any) -> float | None:
    """Compute Spearman's correlation of two lists of the same length; ties share their mean rank.

    Returns:
        None where all values of one list are equal.
    """
    ranks = []
    for values in (np.asarray(x, dtype=float), np.asarray(y, dtype=float)):
        ranks.append((values[:, None] > values).sum(1) + (values[:, None] == values).sum(1) / 2)
    if any(rank.std() == 0 for rank in ranks):
        return None
    return round(float(np.corrcoef(*ranks)[0, 1]), 9)  # so that .9 is .9, which five values with two swapped have
