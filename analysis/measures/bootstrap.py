"""How far a number would move with other samples: percentile intervals by resampling.

Two things that plain percentiles do not say are settled here, always to the wider side. A draw without a finite
statistic may stand for any number, so it counts below the low end and above the high one: where there are more of them
than either tail holds, that interval is not known. And draws of a statistic that is bounded, or chosen for being
largest, lie to one side of it (a mean of maxima is above the maximum of means): an interval that would miss its own
value is widened to it. `extreme` chooses the largest once, so that its interval is not moved in the first place.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """A statistic of the samples, and the ends of its interval, NaN where it is not known."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan([self.low, self.high]).any():
            return f"{self.value:.3g} (no interval: too many draws have no value)"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    def holds(self, number: float) -> bool:
        """Whether the number lies in the interval."""
        return self.low <= number <= self.high

    @property
    def is_known(self) -> bool:
        """Whether value and ends are numbers."""
        return bool(np.isfinite(self).all())


def interval(
    statistic: Callable[..., float], *samples: np.ndarray, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Interval:
    """The statistic of arrays whose rows (N, ...) belong together, and its percentile interval over resampled rows.

    statistic: from arrays of N rows to a number. Ends are NaN where it is not finite for the samples themselves, or
    for (1 - level) / 2 of the draws or more. ValueError for no rows, or arrays of unlike lengths. Efron 1979.
    """
    count = len(samples[0])
    if count == 0 or any(len(s) != count for s in samples):
        raise ValueError(f"samples: expected arrays of one length above 0, got {[len(s) for s in samples]}.")
    picks = resamples(count, draws, seed)
    return percentiles(statistic(*samples), [statistic(*(s[pick] for s in samples)) for pick in picks], level)


def resamples(count: int, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """The rows that each draw takes of `count`, (draws, count): the same for all statistics of as many rows."""
    return np.random.default_rng(seed).integers(count, size=(draws, count))


def percentiles(value: float, drawn: ArrayLike, level: float = 0.95) -> Interval:
    """The value of a statistic, and the interval of its values in resamples (draws,)."""
    value, drawn, tail = float(value), np.asarray(drawn, np.float64), (1 - level) / 2
    missing = ~np.isfinite(drawn)
    if not np.isfinite(value) or missing.mean() >= tail:
        return Interval(value, float("nan"), float("nan"))
    low = np.quantile(np.where(missing, drawn[~missing].min(), drawn), tail)
    high = np.quantile(np.where(missing, drawn[~missing].max(), drawn), 1 - tail)
    return Interval(value, min(value, float(low)), max(value, float(high)))


def extreme(rows: np.ndarray, least: bool = False) -> Interval:
    """The largest (or least) mean over rows (N, m), and the interval of the mean of that column.

    The column is chosen once, on all rows; that another might have been the largest is not in the interval.
    """
    means = rows.mean(0)
    return interval(np.mean, rows[:, means.argmin() if least else means.argmax()])
