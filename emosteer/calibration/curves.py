"""The numbers behind a calibration: cost as a power of the dose, whether tone still rises, which layers give most.

Cost is modelled as factor · dose^exponent with one exponent for all emotions. Its noise grows with it, so the factor of
an emotion is the ratio of sums, sum(cost) / sum(dose^exponent): the weighted least squares estimate where variance is
proportional to the mean, unbiased, and at ease with single costs below zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

EXPONENTS = (1.0, 4.0)
"""Costs rise in proportion to the dose at least; beyond its fourth power a few answers would decide."""

FROM, UPTO = 0.5, 1.2
"""Whether tone rises up to a dose is read from answers between so many times that dose."""

__all__ = ["FROM", "CostFit", "Samples", "fit_costs", "tone_rises", "tones_at_cost"]


@dataclass(frozen=True)
class Samples:
    """Answers as numbers, each array `[n]`.

    Args:
        group: Which emotion, from 0; where layers are compared, which window.
        cluster: Answers of the same cluster, such as those to one prompt, err together; from 0.
        dose: In mean residual norms.
        cost: In nats a token.
        tone: In standard deviations of neutral text; not a number where there is nothing to read.
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
        exponent: Of all groups.
        factors: `[groups]`, not below zero: cost never falls with the dose.
        errors: `[groups]`, their standard errors.
    """

    exponent: float
    factors: np.ndarray
    errors: np.ndarray

    def dose(self, group: int, cost: float) -> float:
        """The dose at which a group costs so much; infinite where it costs nothing."""
        factor = float(self.factors[group])
        return (cost / factor) ** (1 / self.exponent) if factor > 0 else float("inf")


def fit_costs(samples: Samples) -> CostFit:
    """Fit the cost of all groups.

    Standard errors are robust to answers of a cluster that err together. Where there are four groups or more, factors
    are drawn towards their mean by as much of their variance as noise explains (James and Stein 1961).

    Args:
        samples: One answer or more in every group.
    """
    import numpy as np

    n_groups = int(samples.group.max()) + 1
    exponent = _exponent(samples, n_groups)
    powers = samples.dose**exponent
    totals = np.bincount(samples.group, powers, n_groups)
    factors = np.bincount(samples.group, samples.cost, n_groups) / totals
    left = samples.cost - factors[samples.group] * powers
    by_cluster = np.zeros((n_groups, int(samples.cluster.max()) + 1))
    np.add.at(by_cluster, (samples.group, samples.cluster), left)
    errors = np.sqrt((by_cluster**2).sum(1)) / totals
    if n_groups >= 4:
        mean, spread, noise = factors.mean(), float(factors.var(ddof=1)), float((errors**2).mean())
        kept = max(0.0, 1 - noise / spread) if spread > 0 else 0.0
        factors = mean + kept * (factors - mean)
        errors = np.sqrt(kept * errors**2 + (1 - kept) * spread / n_groups)
    return CostFit(exponent, factors.clip(min=0), errors)


def _exponent(samples: Samples, n_groups: int) -> float:
    """Where the residuals no longer rise or fall with the logarithm of the dose, found by bisection."""
    import numpy as np

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
    """Whether the tone of each group still rises with the dose, from half of an upper dose on.

    By the regression line through all answers from half to about the upper dose, which says more than two levels do. It
    has stopped where the slope is not above its standard error, and below that of a tone in proportion to the dose by
    more than two of them: a dozen answers a level are too few (tone rises by 1 where its standard deviation is 2) to
    take a slope that merely happened to be small for a tone that has stopped.

    Args:
        samples: Of emotions.
        uppers: A dose for each group.
    """
    import numpy as np

    found = []
    for group, upper in enumerate(uppers):
        near = (samples.dose >= FROM * upper) & (samples.dose <= UPTO * upper)
        there = (samples.group == group) & near & ~np.isnan(samples.tone)
        x, y = samples.dose[there], samples.tone[there]
        if len(x) < 3 or np.ptp(x) == 0:
            found.append(True)  # for all that is known
            continue
        away = x - x.mean()
        slope = away @ y / (away @ away)
        left = y - y.mean() - slope * away
        error = np.sqrt(left @ left / (len(x) - 2) / (away @ away))
        found.append(not (slope <= error and slope <= y.sum() / x.sum() - 2 * error))
    return found


def tones_at_cost(samples: Samples, budget: float, limit: float, weights: np.ndarray) -> np.ndarray:
    """Tone of each window of layers at the dose that costs the budget, in every resample.

    Tone is taken as proportional to the dose, which it nearly is between the doses that are compared.

    Args:
        samples: Of windows; a cluster is an emotion and prompt, the same in each window.
        budget: Nats a token.
        limit: Highest dose.
        weights: `[1 + draws, clusters]`, from `emosteer.eval.bootstrap.resamples`.

    Returns:
        `[windows, 1 + draws]`.
    """
    import numpy as np

    exponent = fit_costs(samples).exponent
    found = []
    for window in range(int(samples.group.max()) + 1):
        ours, readable = samples.group == window, ~np.isnan(samples.tone)

        def total(values: np.ndarray, there: np.ndarray) -> np.ndarray:
            summed: np.ndarray = weights @ np.bincount(samples.cluster[there], values[there], weights.shape[1])
            return summed

        with np.errstate(invalid="ignore"):  # a resample without answers says nothing
            factor = total(samples.cost, ours) / total(samples.dose**exponent, ours)
            slope = total(samples.tone, ours & readable) / total(samples.dose, ours & readable)
        found.append(slope * np.minimum(limit, (budget / factor.clip(min=1e-9)) ** (1 / exponent)))
    return np.stack(found)
