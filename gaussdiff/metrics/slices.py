"""The Wasserstein distance of two sets, averaged over lines, where sorting solves it."""

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from gaussdiff.denoiser import check_key
from gaussdiff.metrics.kernels import Estimate
from gaussdiff.numerics.arrays import host_features
from gaussdiff.numerics.checks import check_count


def sliced_wasserstein(a, b, key: PRNGKeyArray, directions: int = 256) -> Estimate:
    """sqrt(E_v W2(v . a, v . b)^2) of features (N, F) and (M, F) over unit vectors v, in units of the features.

    The mean is over that many directions drawn from `key`, the standard error that of this mean alone: the sets are
    taken as given. Compare values with one key. N and M may differ: W2^2 is the integral of the squared difference of
    the two quantile functions. ValueError for NaN, other shapes, or fewer than 2 directions. Bonneel et al. 2015,
    "Sliced and Radon Wasserstein barycenters of measures", eq. 11.
    """
    a, b = host_features(a, b, least=1)
    check_key(key)
    check_count(directions, "directions", "One has no standard error.", least=2)
    lines = np.asarray(jax.random.normal(key, (directions, a.shape[1])), np.float64)
    lines = lines / np.linalg.norm(lines, axis=1, keepdims=True)
    squares = np.array([_squared_w2(a @ v, b @ v) for v in lines])
    value, error = np.sqrt(squares.mean()), squares.std(ddof=1) / np.sqrt(directions)
    return Estimate(float(value), float(error / (2 * value)) if value else 0.0)


def _squared_w2(a: np.ndarray, b: np.ndarray) -> float:
    """Of points on a line: both quantile functions are constant between the multiples of 1/N and of 1/M."""
    n, m = len(a), len(b)
    ends = np.union1d(m * np.arange(1, n + 1), n * np.arange(1, m + 1))  # in units of 1 / (N M), so exact
    gaps = np.sort(a)[(ends - 1) // m] - np.sort(b)[(ends - 1) // n]
    return float(np.diff(ends, prepend=0) @ gaps**2) / (n * m)
