"""How far a number would move with other samples: percentile intervals by resampling."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A statistic of the samples, and the ends of its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    def holds(self, number: float) -> bool:
        """Whether the number lies in the interval."""
        return self.low <= number <= self.high


def interval(
    statistic: Callable[..., float], *samples: np.ndarray, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Interval:
    """The statistic of arrays whose rows (N, ...) belong together, and its percentile interval over resampled rows.

    statistic: from arrays of N rows to a number. Draws whose statistic is not finite are left out. ValueError for no
    rows, or arrays of unlike lengths. Efron 1979.
    """
    count = len(samples[0])
    if count == 0 or any(len(s) != count for s in samples):
        raise ValueError(f"samples: expected arrays of one length above 0, got {[len(s) for s in samples]}.")
    rng = np.random.default_rng(seed)
    picks = (rng.integers(count, size=count) for _ in range(draws))
    found = np.array([float(statistic(*(s[pick] for s in samples))) for pick in picks])
    found = found[np.isfinite(found)]
    ends = np.quantile(found, [(1 - level) / 2, (1 + level) / 2]) if found.size else (np.nan, np.nan)
    return Interval(float(statistic(*samples)), float(ends[0]), float(ends[1]))
