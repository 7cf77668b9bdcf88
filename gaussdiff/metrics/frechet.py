"""The distance of two sets of features by their means and covariances alone.

With A and B the centred features over the roots of their counts, so that the covariances are A^T A and B^T B,

    tr A^T A + tr B^T B - 2 tr ((A^T A)(B^T B))^1/2 = |A|^2 + |B|^2 - 2 |A B^T|_* = min_R |A - R B|^2,   R^T R = I

where the nuclear norm |.|_* is the sum of singular values and R is the rotation of their vectors (Schonemann 1966). The
right side is a sum of squares: never negative, and as small as it should be for sets that nearly agree, where the left
side would be a difference of roots of eigenvalues that are rounding.
"""

import numpy as np

from gaussdiff.numerics.arrays import centered, host_features


def frechet_distance(a, b) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features (N, F) and (M, F); never negative.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), with A and B the covariances over N and M, in the stable
    form at the head of this file. It depends on the number of samples: state N, and the value between two sets of real
    data at the same N. Dowson & Landau 1982. ValueError for NaN or other shapes.
    """
    a, b = host_features(a, b)
    shift = a.mean(0) - b.mean(0)
    factor, other = sorted((_factor(a), _factor(b)), key=len, reverse=True)
    u, _, vt = np.linalg.svd(factor @ other.T, full_matrices=False)
    return float(shift @ shift + ((factor - u @ (vt @ other)) ** 2).sum())


def _factor(x: np.ndarray) -> np.ndarray:
    """A (min(N, F), F) with A^T A the covariance of x (N, F) over N."""
    rows = centered(x) / np.sqrt(len(x))
    return np.asarray(np.linalg.qr(rows, mode="r")) if len(x) > x.shape[1] else rows
