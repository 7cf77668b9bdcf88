"""The distance of two sets of features by their means and covariances alone."""

import numpy as np

from gaussdiff.numerics.arrays import host_features


def frechet_distance(a, b) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features (N, F) and (M, F).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2). It depends on the number of samples: state N, and the value
    between two sets of real data at the same N. Dowson & Landau 1982. ValueError for NaN or other shapes.
    """
    a, b = host_features(a, b)
    root = _root(np.cov(a, rowvar=False, bias=True).reshape(a.shape[1], -1))
    other = np.cov(b, rowvar=False, bias=True).reshape(b.shape[1], -1)
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (root**2).sum() + np.trace(other) - 2 * cross)


def _root(matrix: np.ndarray) -> np.ndarray:
    eigvals, eigvecs = np.linalg.eigh(matrix)
    return (eigvecs * np.sqrt(np.maximum(eigvals, 0))) @ eigvecs.T
