"""Maximum mean discrepancies: how unlike two sets are to a kernel, without bias.

    MMD^2 = mean_(i != j) k(a_i, a_j) + mean_(i != j) k(b_i, b_j) - 2 mean_(i, j) k(a_i, b_j)

Its mean over samples is the value between the laws, 0 for equal ones, whatever N: so single values may be below 0. The
standard error is that of the jackknife: what the value loses as each of 20 groups of both sets is left out. It is on
average not too small (Efron & Stein 1981), and about sqrt(2) too large for two sets of one law.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gaussdiff.numerics.arrays import host_features, squared_distances

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
GROUPS = 20
MOST = 1000  # points whose distances make a median


class Estimate(NamedTuple):
    """A number estimated from samples, and its standard error."""

    value: float
    standard_error: float


def kernel_distance(a, b) -> Estimate:
    """MMD^2 of features (N, F) and (M, F) with k(x, y) = (x . y / F + 1)^3, without bias; O((N + M)^2 F).

    It sees the first three moments. On Inception features it is the published KID; on others it is not to be called
    so. ValueError for NaN, other shapes or fewer than 3 of either. Binkowski et al., arXiv 1801.01401, sec. 3.
    """
    return _discrepancy(a, b, lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3)


def mmd(a, b, bandwidth: float) -> Estimate:
    """MMD^2 of features (N, F) and (M, F) with k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)), without bias.

    bandwidth: in units of the features, one for all values that are to be compared, such as median_distance(data). It
    is 0 for equal laws alone. ValueError for NaN, other shapes, fewer than 3 of either, or a bandwidth that is not
    above 0. Gretton et al. 2012, "A kernel two-sample test", eq. 3.
    """
    if not 0 < bandwidth < np.inf:
        raise ValueError(f"bandwidth: expected > 0, got {bandwidth}. Use median_distance of the data.")
    return _discrepancy(a, b, lambda x, y: np.exp(-squared_distances(x, y) / (2 * bandwidth**2)))


def median_distance(x) -> float:
    """The median of |x_i - x_j| over pairs of features x (N, F), of 1000 evenly chosen ones where there are more.

    ValueError for NaN, other shapes or fewer than 2.
    """
    x, _ = host_features(x, x)
    x = x[np.linspace(0, len(x) - 1, min(len(x), MOST)).astype(int)]
    rows, columns = np.triu_indices(len(x), 1)
    return float(np.sqrt(np.median(squared_distances(x, x)[rows, columns])))


def _discrepancy(a, b, kernel: Kernel) -> Estimate:
    a, b = host_features(a, b, least=3)
    groups = min(GROUPS, len(a), len(b))
    parts = [np.array_split(x, groups) for x in (a, b)]
    sizes = [np.array([len(part) for part in x]) for x in parts]
    within = [_sums(kernel, x, x) - np.diag([np.trace(kernel(part, part)) for part in x]) for x in parts]
    between = _sums(kernel, *parts)

    def value(kept: np.ndarray) -> float:
        pairs = np.ix_(kept, kept)
        n, m = (size[kept].sum() for size in sizes)
        inside = within[0][pairs].sum() / (n * (n - 1)) + within[1][pairs].sum() / (m * (m - 1))
        return inside - 2 * between[pairs].sum() / (n * m)

    everything = np.arange(groups)
    without = np.array([value(np.delete(everything, i)) for i in everything])
    return Estimate(float(value(everything)), float(np.sqrt((groups - 1) * without.var())))


def _sums(kernel: Kernel, a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """The kernel summed over each pair of groups; no matrix is larger than one group by all of b."""
    everything, starts = np.concatenate(b), np.cumsum([0, *map(len, b[:-1])])
    return np.array([np.add.reduceat(kernel(x, everything).sum(0), starts) for x in a])
