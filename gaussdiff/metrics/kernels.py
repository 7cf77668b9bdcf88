"""Maximum mean discrepancies: how unlike two sets are to a kernel, without bias.

    MMD^2 = mean_(i != j) k(a_i, a_j) + mean_(i != j) k(b_i, b_j) - 2 mean_(i, j) k(a_i, b_j)

Its mean over samples is the value between the laws, 0 for equal ones, whatever N: so single values may be below 0. The
standard error is that of the jackknife: how the value varies as each of 20 groups of both sets is left out. It is on
average not too small (Efron & Stein 1981), and about sqrt(2) too large for two sets of one law.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gaussdiff.numerics.arrays import host_features, squared_distances
from gaussdiff.numerics.checks import check_above_0

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
JACKKNIFE_GROUPS = 20
MEDIAN_POINTS = 1000  # at most so many points, the distances of which make a median


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
    check_above_0(bandwidth, "bandwidth", "Use median_distance of the data.")
    bandwidth = float(bandwidth)
    return _discrepancy(a, b, lambda x, y: np.exp(-squared_distances(x, y) / (2 * bandwidth**2)))


def median_distance(x) -> float:
    """The median of |x_i - x_j| over pairs of features x (N, F), of 1000 evenly chosen ones where there are more.

    ValueError for NaN, other shapes or fewer than 2.
    """
    x, _ = host_features(x, x, names=("x", "x"))
    x = x[np.linspace(0, len(x) - 1, min(len(x), MEDIAN_POINTS)).astype(int)]
    rows, columns = np.triu_indices(len(x), 1)
    return float(np.sqrt(np.median(squared_distances(x, x)[rows, columns])))


def _discrepancy(a, b, kernel: Kernel) -> Estimate:
    """The unbiased MMD^2, and its standard error by a jackknife over groups of both sets."""
    a, b = host_features(a, b, least=3)
    count = min(JACKKNIFE_GROUPS, len(a), len(b))
    groups_a, groups_b = np.array_split(a, count), np.array_split(b, count)

    # the kernel's sums over each pair of groups (count, count): every sum over groups is one of these
    sums_aa = _sums(kernel, groups_a, groups_a) - _self_sums(kernel, groups_a)
    sums_bb = _sums(kernel, groups_b, groups_b) - _self_sums(kernel, groups_b)
    sums_ab = _sums(kernel, groups_a, groups_b)
    sizes_a, sizes_b = (np.array([len(group) for group in groups]) for groups in (groups_a, groups_b))

    def value(groups: np.ndarray) -> float:
        """MMD^2 of the samples in these groups."""
        pairs = np.ix_(groups, groups)
        n, m = sizes_a[groups].sum(), sizes_b[groups].sum()
        within = sums_aa[pairs].sum() / (n * (n - 1)) + sums_bb[pairs].sum() / (m * (m - 1))
        return within - 2 * sums_ab[pairs].sum() / (n * m)

    everything = np.arange(count)
    without = np.array([value(np.delete(everything, i)) for i in everything])
    return Estimate(float(value(everything)), float(np.sqrt((count - 1) * without.var())))


def _sums(kernel: Kernel, a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """The kernel summed over each pair of groups; no matrix is larger than one group by all of b."""
    everything, starts = np.concatenate(b), np.cumsum([0, *map(len, b[:-1])])
    return np.array([np.add.reduceat(kernel(x, everything).sum(0), starts) for x in a])


def _self_sums(kernel: Kernel, groups: list[np.ndarray]) -> np.ndarray:
    """The sums of k(x, x), which the unbiased mean leaves out, on the diagonal."""
    return np.diag([np.trace(kernel(group, group)) for group in groups])
