"""Statistics of alignment: representational similarity, components, held-out axes, Procrustes, and their controls.

Every function returns a `Measure`: the value, its 95 % bootstrap interval, its permutation p and n. Points are emotion
categories (`[n, d]` in a model, `[n, 2]` in human valence and arousal) or words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emosteer._util.stats import DRAWS, Estimate, interval, partial_correlation, pearson, permutation_p

Points = NDArray[np.float64]
Rows = NDArray[np.intp]

PERMUTATIONS = 5_000
KINDS = ("valence", "arousal", "arousal_given_valence")
FOLDS = 7
"""Number of parts into which the categories are divided for cross-validation."""

__all__ = [
    "HeldOutMap",
    "Measure",
    "axis_agreement",
    "centred",
    "component_scores",
    "distances",
    "held_out_agreement",
    "held_out_axes",
    "held_out_map",
    "measure",
    "procrustes",
    "rotation_onto",
    "rsa",
    "standardised",
]


@dataclass(frozen=True)
class Measure:
    """A measured value with its uncertainty.

    Args:
        value: The value; None where it cannot be computed, as for ratings that are all equal.
        low: 2.5th percentile over bootstrap resamples.
        high: 97.5th percentile.
        p: One-sided permutation p, never 0; None where no permutations were made.
        n: Number of categories or words.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int = 0

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        if self.low is None or self.high is None:
            return f"{self.value:.2f}".replace("-", "−")
        return str(Estimate(self.value, self.low, self.high))


def measure(
    statistic: Callable[[Rows, Rows], float],
    n: int,
    *,
    unsigned: bool = False,
    permutations: int = PERMUTATIONS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Measure:
    """Compute a statistic of n paired points with its interval and p.

    Args:
        statistic: Takes the rows of one side and the rows of the other, `[n]` each. The value comes from every point
            beside its own partner, p from partners drawn at random, and the interval from the same rows, drawn with
            replacement, on both sides.
        n: Number of points.
        unsigned: Whether only the size counts, as for a component, whose sign is arbitrary. The value is then made
            positive and p counts either sign. Resamples keep their sign relative to the sample, so that an interval
            around 0 reaches across 0, which that of an absolute value never does.
        permutations: Number of permutations for p.
        draws: Number of bootstrap resamples; 0 leaves the interval out.
        seed: Seed of both.
    """
    generator = np.random.default_rng(seed)
    own = np.arange(n)
    value = statistic(own, own)
    if not np.isfinite(value):
        return Measure(None, n=n)
    sign = -1 if unsigned and value < 0 else 1
    permuted = (statistic(own, generator.permutation(n)) for _ in range(permutations))
    p = permutation_p(sign * value, map(abs, permuted) if unsigned else permuted)
    resampled = [sign * statistic(rows, rows) for rows in (generator.integers(0, n, n) for _ in range(draws))]
    return Measure(float(sign * value), *interval(resampled), p, n)


def centred(points: Points) -> Points:
    """Return the columns with mean 0."""
    shifted: Points = points - points.mean(0)
    return shifted


def standardised(points: Points) -> Points:
    """Return the columns with mean 0 and standard deviation 1; a constant column becomes 0."""
    deviation = points.std(0)
    return centred(points) / np.where(deviation > 0, deviation, 1)


def distances(points: Points) -> NDArray[np.float64]:
    """Return the Euclidean distances `[n, n]` between the rows of `[n, d]`."""
    points = centred(points)  # for numerical accuracy
    squares = (points**2).sum(1)
    between: NDArray[np.float64] = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(between, 0)
    return np.sqrt(np.maximum(between, 0))


def rsa(model: Points, human: Points, *, standardise: bool = True, **effort: int) -> Measure:
    """Compare two spaces by Spearman's correlation of their distances (Kriegeskorte et al. 2008).

    A resample of categories contains pairs of a category with itself, at distance 0 on both sides. They are dropped,
    since they would count as agreement.

    Args:
        model: `[n, d]`.
        human: `[n, 2]`, or any other space of the same categories.
        standardise: Whether to standardise the columns of the second space, so that valence and arousal weigh the
            same; not for a space of a model.
        **effort: `permutations`, `draws` and `seed` of `measure`.
    """
    ours, theirs = (_dense_ranks(distances(space)) for space in (model, standardised(human) if standardise else human))
    first, second = np.triu_indices(len(model), 1)

    def statistic(rows: Rows, partners: Rows) -> float:
        distinct = rows[first] != rows[second]
        return pearson(
            _mean_ranks(ours[rows[first], rows[second]][distinct]),
            _mean_ranks(theirs[partners[first], partners[second]][distinct]),
        )

    return measure(statistic, len(model), unsigned=False, **effort)


def component_scores(points: Points) -> tuple[Points, NDArray[np.float64]]:
    """Return the scores `[n, k]` on the principal components, and the share of variance of each, `[k]`."""
    left, singular, _ = np.linalg.svd(centred(points), full_matrices=False)
    variance = singular**2
    return left * singular, variance / max(variance.sum(), 1e-30)


def axis_agreement(ours: Points, human: Points, *, unsigned: bool = False, **effort: int) -> dict[str, Measure]:
    """Correlate two axes of a model with the human ratings.

    Args:
        ours: `[n, 2]`, the axis for valence and the axis for arousal.
        human: `[n, 2]`, valence and arousal.
        unsigned: Whether the axes have no sign, as principal components.
        **effort: `permutations`, `draws` and `seed` of `measure`.

    Returns:
        r of `valence` and of `arousal`, and the partial r of `arousal_given_valence`.
    """

    def agreement(kind: str) -> Measure:
        def statistic(rows: Rows, partners: Rows) -> float:
            return _agreement_along(kind, ours[rows], human[partners])

        return measure(statistic, len(human), unsigned=unsigned, **effort)

    return {kind: agreement(kind) for kind in KINDS}


def held_out_axes(model: Points, human: Points, *, seed: int = 0) -> Points:
    """Predict the ratings of each category by axes fitted on the other categories.

    Uses ridge regression with a penalty chosen by leave-one-out among the fitted categories. Penalties are in units of
    the mean variance of a principal component.

    Args:
        model: `[n, d]`.
        human: `[n, 2]`, or any other number of ratings; each has its own penalty.
        seed: Seed of the division into `FOLDS` parts.

    Returns:
        Ratings in the shape of `human`, each category predicted while it was held out.
    """
    from sklearn.linear_model import RidgeCV

    predicted = np.empty_like(human, dtype=float)
    scores, _ = component_scores(model)  # a rotation, which changes nothing but speed
    for held_out in _folds(len(model), seed):
        fitted = np.setdiff1d(np.arange(len(model)), held_out)
        scale = np.sqrt(scores[fitted].var(0).mean())
        regression = RidgeCV(np.logspace(-2, 4, 13), alpha_per_target=True).fit(scores[fitted] / scale, human[fitted])
        predicted[held_out] = regression.predict(scores[held_out] / scale)
    return predicted


def held_out_agreement(
    model: Points, human: Points, *, permutations: int = 1_000, draws: int = DRAWS, seed: int = 0
) -> dict[str, Measure]:
    """Measure `axis_agreement` of the ratings from `held_out_axes`, with a p that refits the axes.

    An axis that knows nothing predicts the mean of the other categories, which is low for a high category, so held-out
    predictions correlate negatively by chance. Refitting to permuted names gives the null the same bias.

    Args:
        model: `[n, d]`.
        human: `[n, 2]`, valence and arousal.
        permutations: Number of permutations of the category names; the axes are fitted anew for each.
        draws: Number of bootstrap resamples of the categories.
        seed: Seed of everything that is drawn.
    """
    n = len(human)
    generator = np.random.default_rng(seed)
    measures = axis_agreement(held_out_axes(model, human, seed=seed), human, permutations=0, draws=draws, seed=seed)
    permuted = human[np.stack([generator.permutation(n) for _ in range(permutations)], 1)]
    predicted = held_out_axes(model, permuted.reshape(n, -1), seed=seed).reshape(permuted.shape)

    def with_p(kind: str, observed: Measure) -> Measure:
        if observed.value is None:
            return observed
        null = (_agreement_along(kind, predicted[:, i], permuted[:, i]) for i in range(permutations))
        return replace(observed, p=permutation_p(observed.value, null))

    return {kind: with_p(kind, observed) for kind, observed in measures.items()}


@dataclass(frozen=True)
class HeldOutMap:
    """Points of one space mapped into another by maps fitted without them.

    Args:
        mapped: `[n, k]`, in principal components of the target.
        true: `[n, k]`, the points they should meet.
        nearer: `[n]`, how many other categories lie nearer to the mapped point than its own; 0 is identified.
    """

    mapped: Points
    true: Points
    nearer: Rows

    @property
    def explained(self) -> float:
        """Share of the variance of the true points that is explained (R²); below 0 is worse than their mean."""
        return _explained(self.mapped, self.true)


def held_out_map(source: Points, target: Points, *, components: int, seed: int = 0) -> HeldOutMap:
    """Map one space onto another by Procrustes, each category by a map fitted on other categories.

    The map is orthogonal with one scale (Schönemann 1966). Both sides are centred on the fitted categories, and the
    source is reduced to their principal components. The target is reduced to the components of all categories: in
    components of the others a held-out category lies near the middle, where maps of nothing go, and would be identified
    by chance.

    Args:
        source: `[n, d]`.
        target: `[n, e]`, the same categories.
        components: Largest number of dimensions kept on both sides.
        seed: Seed of the division into `FOLDS` parts.
    """
    n = len(source)
    k = min(components, source.shape[1], target.shape[1], n - -(-n // FOLDS) - 1)
    mapped, true, nearer = np.empty((n, k)), np.empty((n, k)), np.empty(n, dtype=np.intp)
    goal = component_scores(target)[0][:, :k]
    for held_out in _folds(n, seed):
        fitted = np.setdiff1d(np.arange(n), held_out)
        ours, theirs = _reduced(source, fitted, k), goal - goal[fitted].mean(0)
        mapped[held_out] = ours[held_out] @ rotation_onto(ours[fitted], theirs[fitted])
        true[held_out] = theirs[held_out]
        apart = ((mapped[held_out][:, None] - theirs[None]) ** 2).sum(-1)
        nearer[held_out] = (apart < apart[np.arange(len(held_out)), held_out][:, None]).sum(1)
    return HeldOutMap(mapped, true, nearer)


def rotation_onto(source: Points, target: Points) -> Points:
    """Return the scaled rotation or reflection `[k, k]` that takes one set of centred points nearest to another."""
    left, singular, right = np.linalg.svd(source.T @ target)
    rotation: Points = left @ right * (singular.sum() / max((source**2).sum(), 1e-30))
    return rotation


def procrustes(
    source: Points, target: Points, *, components: int, permutations: int = 1_000, draws: int = DRAWS, seed: int = 0
) -> Measure:
    """Measure the share of the variance of held-out categories that a Procrustes map explains.

    Args:
        source: `[n, d]`.
        target: `[n, e]`.
        components: Number of dimensions kept on both sides.
        permutations: Number of permutations of the pairing; the map is fitted anew for each.
        draws: Number of bootstrap resamples of the held-out categories.
        seed: Seed of everything that is drawn.
    """
    generator = np.random.default_rng(seed)
    source, target = (component_scores(side)[0] for side in (source, target))  # the same map, faster
    n, fit = len(source), held_out_map(source, target, components=components, seed=seed)
    permuted = (source[generator.permutation(n)] for _ in range(permutations))
    null = (held_out_map(points, target, components=components, seed=seed).explained for points in permuted)
    p = permutation_p(fit.explained, null)
    resampled = (generator.integers(0, n, n) for _ in range(draws))
    bounds = interval([_explained(fit.mapped[rows], fit.true[rows]) for rows in resampled])
    return Measure(fit.explained, *bounds, p, n)


def _agreement_along(kind: str, ours: Points, theirs: Points) -> float:
    """Correlate two sets of valence and arousal, `[n, 2]`, in the way that one of `KINDS` names."""
    if kind == "arousal_given_valence":
        return partial_correlation(ours[:, 1], theirs[:, 1], theirs[:, 0])
    axis = int(kind == "arousal")
    return pearson(ours[:, axis], theirs[:, axis])


def _dense_ranks(values: NDArray[np.float64]) -> Rows:
    """Rank values from 0 without gaps; values that differ by a billionth of the largest, a rounding error, are tied."""
    rounded = np.round(values / max(np.abs(values).max(), 1e-30), 9)
    ranks: Rows = np.unique(rounded, return_inverse=True)[1].reshape(values.shape)
    return ranks


def _mean_ranks(dense: Rows) -> NDArray[np.float64]:
    """Turn dense ranks into ranks with ties at their mean, by counting: sorting each resample is slow."""
    counts = np.bincount(dense)
    ranks: NDArray[np.float64] = (counts.cumsum() - (counts - 1) / 2)[dense]
    return ranks


def _explained(mapped: Points, true: Points) -> float:
    return float(1 - ((mapped - true) ** 2).sum() / max((true**2).sum(), 1e-30))


def _reduced(points: Points, fitted: Rows, k: int) -> Points:
    """Project all points onto the k leading principal components of the fitted ones, centred on them."""
    shifted = points - points[fitted].mean(0)
    _, _, components = np.linalg.svd(shifted[fitted], full_matrices=False)
    reduced: Points = shifted @ components[:k].T
    return reduced


def _folds(n: int, seed: int) -> list[Rows]:
    return np.array_split(np.random.default_rng(seed).permutation(n), min(FOLDS, n))
