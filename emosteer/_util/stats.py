"""Intervals by the cluster bootstrap: prompts are drawn with replacement, and with a prompt all of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

DRAWS = 1_000

__all__ = ["DRAWS", "Estimate", "cluster_means", "estimate", "rank_correlation", "resamples"]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % percentile interval.

    Args:
        value: As measured.
        low: 2.5th percentile over the resamples.
        high: 97.5th percentile.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]".replace("-", "−")


def resamples(n_clusters: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each cluster stands in each resample.

    Returns:
        `[1 + draws, n_clusters]`; the first row is the sample itself, every cluster once.
    """
    import numpy as np

    drawn = np.random.default_rng(seed).multinomial(n_clusters, [1 / n_clusters] * n_clusters, size=draws)
    return np.concatenate([np.ones((1, n_clusters)), drawn])


def cluster_means(values: Any, clusters: Any, weights: np.ndarray) -> np.ndarray:
    """Mean of values in each resample.

    Args:
        values: `[n]`; those that are not numbers are left out.
        clusters: `[n]`, the cluster of each, from 0.
        weights: `[1 + draws, n_clusters]`, from `resamples`.

    Returns:
        `[1 + draws]`; not a number where a resample holds no value.
    """
    import numpy as np

    given, where = np.asarray(values, dtype=float), np.asarray(clusters)
    there = ~np.isnan(given)
    n = weights.shape[1]
    sums = np.bincount(where[there], given[there], minlength=n)
    counts = np.bincount(where[there], minlength=n)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = (weights @ sums) / (weights @ counts)
    return means


def estimate(resampled: np.ndarray) -> Estimate | None:
    """A figure and its interval, from the figure in each resample.

    Args:
        resampled: `[1 + draws]`, the sample itself first.

    Returns:
        None where the figure is not a finite number.
    """
    import numpy as np

    drawn = resampled[1:][np.isfinite(resampled[1:])]
    if not np.isfinite(resampled[0]) or not len(drawn):
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(resampled[0]), float(low), float(high))


def rank_correlation(one: Any, other: Any) -> float | None:
    """Spearman's correlation of two lists of the same length; ties share their mean rank.

    Returns:
        None where one of them is all the same.
    """
    import numpy as np

    ranks = []
    for values in (np.asarray(one, dtype=float), np.asarray(other, dtype=float)):
        ranks.append((values[:, None] > values).sum(1) + (values[:, None] == values).sum(1) / 2)
    if any(rank.std() == 0 for rank in ranks):
        return None
    return round(float(np.corrcoef(*ranks)[0, 1]), 9)  # so that .9 is .9, which five values with two swapped have
