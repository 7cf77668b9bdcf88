"""When a curve is half of the way from its first to its last value, and how that time goes with a mode's variance."""

import numpy as np

from analysis.measures.bootstrap import Interval, interval


def half_way(times: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """The first times (K,) at which positive curves (c, K), over rising times (c,), have gone half of their way in log.

    That is, where they cross the geometric mean of their first and last values, interpolated in log(1 + time). NaN
    where the two are within a factor 2: nothing is learned there.
    """
    logs, axis = np.log(curves), np.log1p(times)
    return np.array([_crossing(axis, curve) for curve in logs.T])


def _crossing(axis: np.ndarray, curve: np.ndarray) -> float:
    way = curve[-1] - curve[0]
    if abs(way) < np.log(2):
        return float("nan")
    progress = (curve - curve[0]) / way
    i = int((progress >= 0.5).argmax())
    weight = (0.5 - progress[i - 1]) / (progress[i] - progress[i - 1])
    return float(np.expm1(axis[i - 1] + weight * (axis[i] - axis[i - 1])))


def rising_and_falling(times: np.ndarray, curves: np.ndarray) -> dict[str, np.ndarray]:
    """Which modes (K,) rise and which fall, by a factor of 2 or more, of curves (c, K)."""
    held = np.isfinite(half_way(times, curves))
    return {"rising": held & (curves[-1] > curves[0]), "falling": held & (curves[-1] < curves[0])}


def exponent(variances: np.ndarray, times: np.ndarray) -> float:
    """The slope of log time on log variance, over modes (K,) with a finite time; NaN with fewer than two variances."""
    kept = np.isfinite(times) & (times > 0)
    x, y = np.log(variances[kept]), np.log(times[kept])
    if len(x) < 2 or np.ptp(x) == 0:
        return float("nan")
    x = x - x.mean()
    return float((x * y).sum() / (x**2).sum())


def exponent_over_modes(variances: np.ndarray, times: np.ndarray) -> Interval:
    """The exponent, and its interval over resampled modes: how well one power fits."""
    return interval(exponent, variances, times)
