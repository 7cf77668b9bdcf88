"""Frechet distances of resampled sets of features to one target: its root is taken once, all draws at the same time.

    |mean_a - mean_b|^2 + min_R |A^1/2 - R B^1/2|^2,   R^T R = I        gd.metrics.frechet_distance, of covariances

A set drawn with counts n_i of its N rows has the mean sum n_i a_i / N and the second moment sum n_i a_i a_i^T / N.
"""

import numpy as np


def resampled_frechet(features: np.ndarray, picks: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The distances (draws,) of features (N, F) at each of the picks (draws, N) of their rows to the target (M, F)."""
    center = target.mean(0, dtype=np.float64)  # both sets around it: a second moment loses digits far from 0
    a, b = features.astype(np.float64) - center, target.astype(np.float64) - center
    counts = np.stack([np.bincount(pick, minlength=len(a)) for pick in picks])
    means, products = (counts @ part / picks.shape[1] for part in (a, (a[:, :, None] * a[:, None]).reshape(len(a), -1)))
    covariances = products.reshape(len(picks), *(a.shape[1],) * 2) - means[:, :, None] * means[:, None]
    covariance = b.T @ b / len(b)
    roots, root = _root(covariances), _root(covariance)
    u, _, vt = np.linalg.svd(roots @ root)
    return (means**2).sum(1) + ((roots - u @ vt @ root) ** 2).sum((1, 2))


def _root(covariances: np.ndarray) -> np.ndarray:
    """The symmetric roots of covariances (..., F, F)."""
    values, axes = np.linalg.eigh(covariances)
    return (axes * np.sqrt(np.maximum(values, 0))[..., None, :]) @ np.swapaxes(axes, -1, -2)
