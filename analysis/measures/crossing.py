"""When a curve is half of the way from its first to its last value, and how that time goes with a mode's variance."""

import numpy as np

from analysis.measures.bootstrap import Interval, interval


def half_way(times: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """The first times (K,) at which positive curves (c, K), over rising times (c,), have gone half of their way in log.

    That is, where they cross the geometric mean of their first and last values, interpolated in log(1 + time). NaN
    where the two are within a factor 2: nothing is learned there.
    """
    logs, axis = np.log(curves), np.log1p(times)
    change = logs[-1] - logs[0]
    large = np.abs(change) >= np.log(2)
    progress = (logs - logs[0]) / np.where(large, change, 1)
    crossings = np.expm1([crossing(axis, curve) for curve in progress.T])
    return np.where(large, crossings, np.nan)


def crossing(axis: np.ndarray, curve: np.ndarray, last: bool = False) -> float:
    """Where a curve (c,) over an axis (c,) rises through one half, interpolated linearly; NaN where it never does.

    The first time, or the last, after which it stays above: NaN then for a curve that ends below one half.
    """
    rises = np.flatnonzero((curve[:-1] < 0.5) & (curve[1:] >= 0.5))
    if not rises.size or (last and curve[-1] < 0.5):
        return float("nan")
    i = rises[-1 if last else 0]
    weight = (0.5 - curve[i]) / (curve[i + 1] - curve[i])
    return float(axis[i] + weight * (axis[i + 1] - axis[i]))


def rising_and_falling(times: np.ndarray, curves: np.ndarray) -> dict[str, np.ndarray]:
    """Which modes (K,) rise and which fall, by a factor of 2 or more, of curves (c, K)."""
    changed = np.isfinite(half_way(times, curves))
    return {"rising": changed & (curves[-1] > curves[0]), "falling": changed & (curves[-1] < curves[0])}


def exponent(variances: np.ndarray, times: np.ndarray) -> float:
    """The slope of log time on log variance, over modes (K,) with a finite time; NaN with fewer than two variances."""
    usable = np.isfinite(times) & (times > 0)
    x, y = np.log(variances[usable]), np.log(times[usable])
    if len(x) < 2 or np.ptp(x) == 0:
        return float("nan")
    x = x - x.mean()
    return float((x * y).sum() / (x**2).sum())


def exponent_over_modes(variances: np.ndarray, times: np.ndarray) -> Interval:
    """The exponent, and its interval over resampled modes: how well one power fits."""
    return interval(exponent, variances, times)
