"""Numbers that compare sets of samples and fields of predictions; sums and square roots in float64 on the host."""

import numpy as np

from gaussdiff.numerics import host


def explained_variance(target, prediction) -> float:
    """1 - sum |target - prediction|^2 / sum |target - mean(target)|^2 over samples (N, *event).

    1 is a perfect prediction, 0 as good as the mean of the targets, and below 0 worse.
    ValueError for NaN, unequal shapes, or a target without variance.
    """
    target, prediction = host(target, "target"), host(prediction, "prediction")
    if target.shape != prediction.shape:
        raise ValueError(
            f"prediction: expected the target's shape {target.shape}, got {prediction.shape}. Pair them up."
        )
    total = ((target - target.mean(0)) ** 2).sum()
    if total == 0:
        raise ValueError("target: expected samples that differ, got equal ones. There is no variance to explain.")
    return float(1 - ((target - prediction) ** 2).sum() / total)


def frechet_distance(a, b) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features (N, F) and (M, F).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2). It depends on the number of samples: state N, and the value
    between two sets of real data at the same N. Dowson & Landau 1982. ValueError for NaN or other shapes.
    """
    a, b = host(a, "a"), host(b, "b")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"a, b: expected features (N, F) and (M, F), N and M at least 2, got {a.shape} and {b.shape}. "
            "Flatten images."
        )
    root = _root(np.cov(a, rowvar=False, bias=True).reshape(a.shape[1], -1))
    other = np.cov(b, rowvar=False, bias=True).reshape(b.shape[1], -1)
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (root**2).sum() + np.trace(other) - 2 * cross)


def _root(matrix: np.ndarray) -> np.ndarray:
    eigvals, eigvecs = np.linalg.eigh(matrix)
    return (eigvecs * np.sqrt(np.maximum(eigvals, 0))) @ eigvecs.T


def nearest_distances(x, data, chunk: int = 256) -> np.ndarray:
    """Euclidean distance (N,) from each sample x (N, *event) to its nearest point of data (M, *event).

    ValueError for NaN, unlike shapes, or no data.
    """
    x, data = host(x, "x"), host(data, "data")
    if x.shape[1:] != data.shape[1:] or not len(data):
        raise ValueError(
            f"x, data: expected samples of one shape, data not empty, got {x.shape} and {data.shape}. Reshape them."
        )
    center = data.mean(0).reshape(-1)
    flat, points = x.reshape(len(x), -1) - center, data.reshape(len(data), -1) - center
    norms = (points**2).sum(1)
    # the nearest by matrix product, its distance directly, so that a copy is at distance 0 exactly
    nearest = [(norms - 2 * part @ points.T).argmin(1) for part in np.split(flat, range(chunk, len(flat), chunk))]
    return np.linalg.norm(flat - points[np.concatenate(nearest)], axis=1)
