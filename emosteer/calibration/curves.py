"""Curves of a calibration: cost as a power of the dose, whether tone still rises, which layers give the most tone.

Cost is modelled as factor · dose^exponent with one exponent for all emotions. Its noise grows with it, so the factor of
an emotion is the ratio of sums, sum(cost) / sum(dose^exponent): the weighted least squares estimate where variance is
proportional to the mean. It is unbiased and allows single costs below zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXPONENTS = (1.0, 4.0)
"""Bounds of the exponent: costs rise at least in proportion to the dose; above 4, a few answers would decide it."""

FROM, UPTO = 0.5, 1.2
"""Range of answers, in multiples of a dose, from which to tell whether tone rises up to that dose."""

__all__ = ["FROM", "CostFit", "Samples", "fit_costs", "tone_rises", "tones_at_cost"]


@dataclass(frozen=True)
class Samples:
    """Answers as numbers, each array `[n]`.

    Args:
        group: Index of the emotion; of the window where layers are compared.
        cluster: Index of the cluster. Errors within a cluster, such as the answers to one prompt, are correlated.
        dose: Dose in mean residual norms.
        cost: Cost in nats per token.
        tone: Tone in standard deviations of neutral text; NaN where there is nothing to read.
    """

    group: np.ndarray
    cluster: np.ndarray
    dose: np.ndarray
    cost: np.ndarray
    tone: np.ndarray


@dataclass(frozen=True)
class CostFit:
    """Cost of each group as factor · dose^exponent.

    Args:
        exponent: Exponent shared by all groups.
        factors: `[groups]`, not negative: cost never falls with the dose.
        errors: `[groups]`, standard errors of the factors.
    """

    exponent: float
    factors: np.ndarray
    errors: np.ndarray

    def dose(self, group: int, cost: float) -> float:
        """Return the dose at which a group has this cost; infinite where it costs nothing."""
        factor = float(self.factors[group])
        return (cost / factor) ** (1 / self.exponent) if factor > 0 else float("inf")


def fit_costs(samples: Samples) -> CostFit:
    """Fit the cost of all groups.

    Standard errors are cluster-robust. With four groups or more, factors are shrunk towards their mean by the share of
    their variance that noise explains (James and Stein 1961).

    Args:
        samples: At least one answer in every group.
    """
    n_groups = int(samples.group.max()) + 1
    exponent = _exponent(samples, n_groups)
    powers = samples.dose**exponent
    totals = np.bincount(samples.group, powers, n_groups)
    factors = np.bincount(samples.group, samples.cost, n_groups) / totals
    residuals = samples.cost - factors[samples.group] * powers
    by_cluster = np.zeros((n_groups, int(samples.cluster.max()) + 1))
    np.add.at(by_cluster, (samples.group, samples.cluster), residuals)
    errors = np.sqrt((by_cluster**2).sum(1)) / totals
    if n_groups >= 4:
        mean, variance, noise = factors.mean(), float(factors.var(ddof=1)), float((errors**2).mean())
        kept = max(0.0, 1 - noise / variance) if variance > 0 else 0.0
        factors = mean + kept * (factors - mean)
        errors = np.sqrt(kept * errors**2 + (1 - kept) * variance / n_groups)
    return CostFit(exponent, factors.clip(min=0), errors)


def _exponent(samples: Samples, n_groups: int) -> float:
    """Find by bisection the exponent whose residuals do not depend on the logarithm of the dose."""
    logs = np.log(samples.dose)

    def slope(exponent: float) -> float:
        powers = samples.dose**exponent
        totals = np.bincount(samples.group, powers, n_groups)
        factors = np.bincount(samples.group, samples.cost, n_groups) / totals
        return float(((samples.cost - factors[samples.group] * powers) * logs).sum())

    low, high = EXPONENTS
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return round((low + high) / 2, 3)


def tone_rises(samples: Samples, uppers: Sequence[float]) -> list[bool]:
    """Return whether the tone of each group still rises with the dose, from half of an upper dose on.

    The test is the regression line through all answers from half to about the upper dose. Tone has stopped rising if
    the slope is at most its standard error, and at least two standard errors below the slope of a tone proportional to
    the dose. A dozen answers per level are too few to require less: tone rises by 1 where its standard deviation is 2.

    Args:
        samples: Answers, grouped by emotion.
        uppers: A dose for each group.
    """
    rises = []
    for group, upper in enumerate(uppers):
        near = (samples.dose >= FROM * upper) & (samples.dose <= UPTO * upper)
        rows = (samples.group == group) & near & ~np.isnan(samples.tone)
        x, y = samples.dose[rows], samples.tone[rows]
        if len(x) < 3 or np.ptp(x) == 0:
            rises.append(True)  # nothing contradicts it
            continue
        away = x - x.mean()
        slope = away @ y / (away @ away)
        residuals = y - y.mean() - slope * away
        error = np.sqrt(residuals @ residuals / (len(x) - 2) / (away @ away))
        rises.append(not (slope <= error and slope <= y.sum() / x.sum() - 2 * error))
    return rises


def tones_at_cost(samples: Samples, budget: float, limit: float, weights: np.ndarray) -> np.ndarray:
    """Compute the tone of each window of layers at the dose that costs the budget, in every resample.

    Tone is taken as proportional to the dose, which it nearly is between the doses that are compared.

    Args:
        samples: Answers, grouped by window; a cluster is an emotion and prompt, the same in each window.
        budget: Budget in nats per token.
        limit: Highest dose.
        weights: `[1 + draws, clusters]`, from `emosteer._util.stats.resamples`.

    Returns:
        `[windows, 1 + draws]`.
    """
    exponent = fit_costs(samples).exponent
    tones = []
    for window in range(int(samples.group.max()) + 1):
        ours, readable = samples.group == window, ~np.isnan(samples.tone)

        def total(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
            summed: np.ndarray = weights @ np.bincount(samples.cluster[rows], values[rows], weights.shape[1])
            return summed

        with np.errstate(invalid="ignore"):  # a resample without answers gives NaN
            factor = total(samples.cost, ours) / total(samples.dose**exponent, ours)
            slope = total(samples.tone, ours & readable) / total(samples.dose, ours & readable)
        tones.append(slope * np.minimum(limit, (budget / factor.clip(min=1e-9)) ** (1 / exponent)))
    return np.stack(tones)
