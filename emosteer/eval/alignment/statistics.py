"""Statistics of alignment: representational similarity, components, held-out axes, Procrustes, and their controls.

Every measure comes as a `Measure`: the value, its 95 % interval by bootstrap, its permutation p and n. Points are
emotion categories (`[n, d]` in a model, `[n, 2]` in human valence and arousal) or words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emosteer._util.stats import Estimate

Points = NDArray[np.float64]

PERMUTATIONS = 5_000
DRAWS = 1_000
KINDS = ("valence", "arousal", "arousal_given_valence")
FOLDS = 7
"""Into how many parts categories are divided where some are held out."""

__all__ = [
    "HeldOutMap",
    "Measure",
    "axis_agreement",
    "component_correlations",
    "distances",
    "held_out_agreement",
    "held_out_axes",
    "held_out_map",
    "measure",
    "partial_correlation",
    "pearson",
    "principal_components",
    "procrustes",
    "rsa",
    "standardised",
]


@dataclass(frozen=True)
class Measure:
    """A figure with what is needed to believe it.

    Args:
        value: As measured; None where it cannot be computed, as for ratings that are all the same.
        low: 2.5th percentile over bootstrap resamples.
        high: 97.5th percentile.
        p: Share of random permutations that reach the value (one-sided, never 0); None where none was made.
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
    statistic: Callable[[NDArray[np.intp], NDArray[np.intp]], float],
    n: int,
    *,
    unsigned: bool = False,
    permutations: int = PERMUTATIONS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Measure:
    """A statistic of n paired points with its interval and p.

    Args:
        statistic: Takes the rows of the one side and those of the other, `[n]` each, and returns the figure: once with
            each point beside its own partner, for p with partners drawn at random, for the interval with the same
            rows, drawn with replacement, on both sides.
        n: Number of points.
        unsigned: Only the size of the statistic counts, as of a component, whose sign is arbitrary: the sign is turned
            so that the value is positive, and p counts either sign. Resamples keep the sign of the sample, so that
            the interval of a figure near 0 reaches across 0, which that of an absolute value never does.
        permutations: How many; p is (1 + those that reach the value) / (1 + permutations).
        draws: Bootstrap resamples; 0 leaves the interval out.
        seed: Of both.
    """
    generator = np.random.default_rng(seed)
    own = np.arange(n)
    value = statistic(own, own)
    if not np.isfinite(value):
        return Measure(None, n=n)
    sign = -1 if unsigned and value < 0 else 1
    null = (statistic(own, generator.permutation(n)) for _ in range(permutations))
    reached = sum((abs(one) if unsigned else one) >= sign * value - 1e-12 for one in null)
    resampled = [sign * statistic(rows, rows) for rows in (generator.integers(0, n, n) for _ in range(draws))]
    found = [one for one in resampled if np.isfinite(one)]
    low, high = np.percentile(found, [2.5, 97.5]) if found else (None, None)
    return Measure(
        float(sign * value),
        None if low is None else float(low),
        None if high is None else float(high),
        (1 + reached) / (1 + permutations) if permutations else None,
        n,
    )


def standardised(points: Points) -> Points:
    """Columns with mean 0 and standard deviation 1; a column without spread becomes 0."""
    spread = points.std(0)
    centred: Points = points - points.mean(0)
    return centred / np.where(spread > 0, spread, 1)


def distances(points: Points) -> NDArray[np.float64]:
    """Euclidean distances `[n, n]` between the rows of `[n, d]`."""
    points = points - points.mean(0)  # for the numbers' sake
    squares = (points**2).sum(1)
    between: NDArray[np.float64] = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(between, 0)
    return np.sqrt(np.maximum(between, 0))


def rsa(
    model: Points,
    human: Points,
    *,
    standardise: bool = True,
    permutations: int = PERMUTATIONS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Measure:
    """Representational similarity analysis: Spearman's correlation of two sets of distances (Kriegeskorte et al. 2008).

    Human ratings are standardised, so that valence and arousal weigh the same. A resample of categories has pairs of a
    category with itself, whose distance is 0 on both sides; they are dropped, since they would count as agreement.

    Args:
        model: `[n, d]`.
        human: `[n, 2]`, or any other space of the same categories.
        standardise: Whether the second side's columns are brought to one spread; not where it is a model's space.
        standardise: Whether the second side's columns are brought to one spread; not where it is a model's space.
        permutations: Of the categories' names.
        draws: Bootstrap resamples of the categories.
        seed: Of both.
    """
    ours, theirs = (_order(distances(space)) for space in (model, standardised(human) if standardise else human))
    one, other = np.triu_indices(len(model), 1)

    def statistic(rows: NDArray[np.intp], partners: NDArray[np.intp]) -> float:
        apart = rows[one] != rows[other]
        return pearson(
            _ranks(ours[rows[one], rows[other]][apart]),
            _ranks(theirs[partners[one], partners[other]][apart]),
        )

    return measure(statistic, len(model), permutations=permutations, draws=draws, seed=seed)


def principal_components(points: Points) -> tuple[Points, NDArray[np.float64]]:
    """Scores `[n, k]` on the principal components, and the share of variance of each, `[k]`."""
    left, spread, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    variance = spread**2
    return left * spread, variance / max(variance.sum(), 1e-30)


def component_correlations(
    scores: Points, human: Points, *, permutations: int = PERMUTATIONS, draws: int = DRAWS, seed: int = 0
) -> dict[str, list[Measure]]:
    """How each component goes with the human ratings.

    Args:
        scores: `[n, k]`, from `principal_components`.
        human: `[n, 2]`, valence and arousal.
        permutations: Of the ratings.
        draws: Bootstrap resamples of the categories.
        seed: Of both.

    Returns:
        `valence` and `arousal`: |r| of each component; `arousal_given_valence`: |partial r|.
    """

    def of(k: int, kind: str) -> Measure:
        def statistic(rows: NDArray[np.intp], partners: NDArray[np.intp]) -> float:
            return _along(kind, scores[rows][:, [k, k]], human[partners])

        return measure(statistic, len(scores), unsigned=True, permutations=permutations, draws=draws, seed=seed)

    return {kind: [of(k, kind) for k in range(scores.shape[1])] for kind in KINDS}


def axis_agreement(
    reading: NDArray[np.float64],
    human: Points,
    *,
    permutations: int = PERMUTATIONS,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Measure]:
    """How two predicted ratings go with the human ones.

    Args:
        reading: `[n, 2]`, valence and arousal as an axis of the model gives them.
        human: `[n, 2]`.
        permutations: Of the human ratings.
        draws: Bootstrap resamples of the categories.
        seed: Of both.

    Returns:
        r of `valence` and of `arousal`, and the partial r of `arousal_given_valence`.
    """

    def of(kind: str) -> Measure:
        def statistic(rows: NDArray[np.intp], partners: NDArray[np.intp]) -> float:
            return _along(kind, reading[rows], human[partners])

        return measure(statistic, len(human), permutations=permutations, draws=draws, seed=seed)

    return {kind: of(kind) for kind in KINDS}


def held_out_axes(model: Points, human: Points, *, seed: int = 0) -> Points:
    """Valence and arousal of each category by an axis that was fitted on the other categories.

    Ridge regression with the penalty chosen by leave-one-out among the categories that the axis is fitted on. Penalties
    are in units of the mean variance of a principal component.

    Args:
        model: `[n, d]`.
        human: `[n, 2]`, or any other number of ratings; each has its own penalty.
        seed: Of the division into `FOLDS` parts.

    Returns:
        As `human`, every category predicted while it was held out.
    """
    from sklearn.linear_model import RidgeCV

    predicted = np.empty_like(human, dtype=float)
    scores, _ = principal_components(model)  # rotated, so that nothing but speed changes
    for held_out in _folds(len(model), FOLDS, seed):
        fitted = np.setdiff1d(np.arange(len(model)), held_out)
        scale = np.sqrt(scores[fitted].var(0).mean())
        ridge = RidgeCV(np.logspace(-2, 4, 13), alpha_per_target=True).fit(scores[fitted] / scale, human[fitted])
        predicted[held_out] = ridge.predict(scores[held_out] / scale)
    return predicted


def held_out_agreement(
    model: Points, human: Points, *, permutations: int = 1_000, draws: int = DRAWS, seed: int = 0
) -> dict[str, Measure]:
    """`axis_agreement` of the ratings that `held_out_axes` predicts, with a p that counts what fitting does.

    Where a model knows nothing, an axis says the mean of the others, which is low for a category that is high: held-out
    predictions of nothing go against the ratings. Fitting anew to names that were swapped has the same in its null.

    Args:
        model: `[n, d]`.
        human: `[n, 2]`, valence and arousal.
        permutations: Of the categories' names; the axes are fitted anew each time.
        draws: Bootstrap resamples of the categories.
        seed: Of all.
    """
    n = len(human)
    generator = np.random.default_rng(seed)
    found = axis_agreement(held_out_axes(model, human, seed=seed), human, permutations=0, draws=draws, seed=seed)
    swapped = human[np.stack([generator.permutation(n) for _ in range(permutations)], 1)]
    reading = held_out_axes(model, swapped.reshape(n, -1), seed=seed).reshape(swapped.shape)

    def with_p(kind: str, found: Measure) -> Measure:
        if found.value is None:
            return found
        reached = sum(_along(kind, reading[:, i], swapped[:, i]) >= found.value - 1e-12 for i in range(permutations))
        return replace(found, p=(1 + reached) / (1 + permutations))

    return {kind: with_p(kind, one) for kind, one in found.items()}


@dataclass(frozen=True)
class HeldOutMap:
    """Points of one space put into another by maps that were fitted without them.

    Args:
        mapped: `[n, k]`, in principal components of the target.
        true: `[n, k]`, the points that they should meet.
        nearer: `[n]`, how many other categories lie nearer to the mapped point than its own; 0 is identified.
    """

    mapped: Points
    true: Points
    nearer: NDArray[np.intp]

    @property
    def explained(self) -> float:
        """Share of the variance of the true points that is met (R²); below 0 is worse than their mean."""
        return _explained(self.mapped, self.true)


def held_out_map(source: Points, target: Points, *, components: int, seed: int = 0, folds: int = FOLDS) -> HeldOutMap:
    """Map one space onto another by Procrustes, each category by a map that was fitted on others.

    The map is orthogonal with one scale (Schönemann 1966). Both sides are centred on the categories that it is fitted
    on; the source is reduced to their principal components. The target is reduced to those of all categories: in
    components of the others a held-out one lies near the middle, where maps of nothing go, and would be identified.

    Args:
        source: `[n, d]`.
        target: `[n, e]`, the same categories.
        components: Dimensions kept of both sides, at most.
        seed: Of the division of the categories.
        folds: Into how many parts.
    """
    n = len(source)
    k = min(components, source.shape[1], target.shape[1], n - -(-n // folds) - 1)
    mapped, true, nearer = np.empty((n, k)), np.empty((n, k)), np.empty(n, dtype=np.intp)
    goal = principal_components(target)[0][:, :k]
    for held_out in _folds(n, folds, seed):
        fitted = np.setdiff1d(np.arange(n), held_out)
        ours, theirs = _reduced(source, fitted, k), goal - goal[fitted].mean(0)
        left, spread, right = np.linalg.svd(ours[fitted].T @ theirs[fitted])
        scale = spread.sum() / max((ours[fitted] ** 2).sum(), 1e-30)
        mapped[held_out] = ours[held_out] @ (left @ right) * scale
        true[held_out] = theirs[held_out]
        apart = ((mapped[held_out][:, None] - theirs[None]) ** 2).sum(-1)
        nearer[held_out] = (apart < apart[np.arange(len(held_out)), held_out][:, None]).sum(1)
    return HeldOutMap(mapped, true, nearer)


def procrustes(
    source: Points, target: Points, *, components: int, permutations: int = 1_000, draws: int = DRAWS, seed: int = 0
) -> Measure:
    """Share of the variance of held-out categories that a Procrustes map explains.

    Args:
        source: `[n, d]`.
        target: `[n, e]`.
        components: Dimensions kept of both sides.
        permutations: Of which category is paired with which; the map is fitted anew each time.
        draws: Bootstrap resamples of the held-out categories.
        seed: Of all.
    """
    generator = np.random.default_rng(seed)
    source, target = (principal_components(side)[0] for side in (source, target))  # the same map, faster
    found = held_out_map(source, target, components=components, seed=seed)
    n, value = len(source), found.explained
    null = (source[generator.permutation(n)] for _ in range(permutations))
    reached = sum(held_out_map(one, target, components=components, seed=seed).explained >= value for one in null)
    rows = (generator.integers(0, n, n) for _ in range(draws))
    low, high = np.percentile([_explained(found.mapped[one], found.true[one]) for one in rows], [2.5, 97.5])
    return Measure(value, float(low), float(high), (1 + reached) / (1 + permutations), n)


def partial_correlation(x: NDArray[np.float64], y: NDArray[np.float64], given: NDArray[np.float64]) -> float:
    """Pearson's correlation of x and y with what a third variable explains taken out of both; NaN without spread."""
    xy, xz, yz = pearson(x, y), pearson(x, given), pearson(y, given)
    rest = (1 - xz**2) * (1 - yz**2)
    return float((xy - xz * yz) / np.sqrt(rest)) if rest > 1e-12 else float("nan")


def _along(kind: str, ours: Points, theirs: Points) -> float:
    """The agreement of two sets of valence and arousal, `[n, 2]`, that one of `KINDS` names."""
    if kind == "arousal_given_valence":
        return partial_correlation(ours[:, 1], theirs[:, 1], theirs[:, 0])
    axis = int(kind == "arousal")
    return pearson(ours[:, axis], theirs[:, axis])


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson's correlation; NaN where one side has no spread."""
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread > 0 else float("nan")


def _order(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """The place of each value among those that differ, from 0, in the values' own shape.

    Values that differ by a rounding error, a billionth of the largest, are the same.
    """
    rounded = np.round(values / max(np.abs(values).max(), 1e-30), 9)
    order: NDArray[np.intp] = np.unique(rounded, return_inverse=True)[1].reshape(values.shape)
    return order


def _ranks(order: NDArray[np.intp]) -> NDArray[np.float64]:
    """Ranks of what `_order` has put in order, ties at their mean: a count, where sorting each resample is slow."""
    counts = np.bincount(order)
    ranks: NDArray[np.float64] = (counts.cumsum() - (counts - 1) / 2)[order]
    return ranks


def _explained(mapped: Points, true: Points) -> float:
    return float(1 - ((mapped - true) ** 2).sum() / max((true**2).sum(), 1e-30))


def _reduced(points: Points, fitted: NDArray[np.intp], k: int) -> Points:
    """All points in the k leading principal components of those that are fitted, centred on them."""
    mean = points[fitted].mean(0)
    _, _, components = np.linalg.svd(points[fitted] - mean, full_matrices=False)
    reduced: Points = (points - mean) @ components[:k].T
    return reduced


def _folds(n: int, folds: int, seed: int) -> list[NDArray[np.intp]]:
    return np.array_split(np.random.default_rng(seed).permutation(n), min(folds, n))
