"""Samples cut into clusters, in float64 on the host.

k-means lowers sum_n |x_n - center(x_n)|^2 by turns: every sample to its nearest centre, every centre to the mean of its
samples (Lloyd 1982), from distant random centres (Arthur & Vassilvitskii 2007).
"""

import numpy as np

from gaussdiff.numerics.arrays import ROUNDING
from gaussdiff.progress import Progress


def k_means(
    x: np.ndarray, count: int, rng: np.random.Generator, iterations: int = 50, progress: Progress | None = None
) -> np.ndarray:
    """Lloyd's labels (N,) of samples x (N, D) in `count` groups, none empty; an emptied one takes the farthest sample.

    ValueError where fewer than `count` samples are distinct.
    """
    x = x - x.mean(0)  # distances keep their digits
    norms = np.einsum("nd,nd->n", x, x)
    centers = _spread_centers(x, norms, count, rng)
    labels = np.full(len(x), -1)
    for done in range(iterations):
        distances = _square_distances(x, norms, centers)
        previous, labels = labels, _without_empty(distances, distances.argmin(1), count)
        if progress:
            progress(done + 1, iterations)
        if (previous == labels).all():
            break
        centers = np.stack([x[labels == i].mean(0) for i in range(count)])
    if progress:
        progress(iterations, iterations)
    return labels


def _without_empty(distances: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    nearest = distances[np.arange(len(labels)), labels]
    sizes = np.bincount(labels, minlength=count)
    for empty in np.flatnonzero(sizes == 0):
        farthest = np.where(sizes[labels] > 1, nearest, -1).argmax()
        sizes[labels[farthest]] -= 1
        labels[farthest], nearest[farthest], sizes[empty] = empty, 0, 1
    return labels


def _spread_centers(x: np.ndarray, norms: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ (Arthur & Vassilvitskii 2007): each next centre drawn in proportion to its squared distance."""
    centers = [x[rng.integers(len(x))]]
    distances = _square_distances(x, norms, centers[0][None])[:, 0]
    while len(centers) < count:
        total = distances.sum()
        if total == 0:
            raise ValueError(
                f"components: expected no more than the {len(centers)} distinct samples, got {count}. Ask for fewer "
                "components."
            )
        centers.append(x[rng.choice(len(x), p=distances / total)])
        distances = np.minimum(distances, _square_distances(x, norms, centers[-1][None])[:, 0])
    return np.array(centers)


def _square_distances(x: np.ndarray, norms: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """|x - c|^2 (N, K) by a matrix product, 0 where it is rounding."""
    both = norms[:, None] + np.einsum("kd,kd->k", centers, centers)
    distances = both - 2 * x @ centers.T
    return np.where(distances > ROUNDING * both, distances, 0)
