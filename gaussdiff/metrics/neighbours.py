"""Metrics of nearest neighbours: the distance of samples from the data, copies among them, precision and recall."""

from typing import NamedTuple

import numpy as np

from gaussdiff.numerics.arrays import host, host_features, squared_distances
from gaussdiff.numerics.checks import check_chunk, check_count


def nearest_distances(x, data, chunk: int = 256) -> np.ndarray:
    """Euclidean distance (N,) from each sample x (N, *event) to its nearest point of data (M, *event).

    ValueError for NaN, unlike shapes, or no data.
    """
    return _nearest(host(x, "x"), host(data, "data"), "data", chunk)


def _nearest(x: np.ndarray, data: np.ndarray, name: str, chunk: int = 256) -> np.ndarray:
    chunk = check_chunk(chunk, usual=256)
    if not (x.ndim and data.ndim) or x.shape[1:] != data.shape[1:] or not (x.size and data.size):
        empty = x.ndim and data.ndim and not (x.size and data.size)
        cure = "Give some." if empty else "Reshape them to (N, *event)."
        raise ValueError(f"x, {name}: expected samples of one shape, not empty, got {x.shape} and {data.shape}. {cure}")
    center = data.mean(0).reshape(-1)
    flat, points = x.reshape(len(x), -1) - center, data.reshape(len(data), -1) - center
    norms = (points**2).sum(1)
    # the nearest by matrix product, its distance directly, so that a copy is at distance 0 exactly
    nearest = [(norms - 2 * part @ points.T).argmin(1) for part in np.split(flat, range(chunk, len(flat), chunk))]
    return np.linalg.norm(flat - points[np.concatenate(nearest)], axis=1)


def copy_ratios(x, data, held_out) -> np.ndarray:
    """Each sample's distance to the nearest point of `data` over that to the nearest held-out one: (N,).

    0 for a copy, about 1 where the data were learned and not remembered, a little less where they outnumber the
    held-out points, and infinite for a held-out point itself; 1 for one that is in both. x: (N, *event), data:
    (M, *event), held_out: (K, *event). The fraction of ratios below a third, say, counts copies; its floor is that of
    real samples that are in neither set. ValueError for NaN, unlike shapes, or no data.
    """
    x, sets = host(x, "x"), {"data": host(data, "data"), "held_out": host(held_out, "held_out")}
    near, far = (_nearest(x, points, name) for name, points in sets.items())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(near == far, 1.0, near / far)


class PrecisionRecall(NamedTuple):
    """The fraction of samples that look real, and the fraction of the data that samples reach, both in [0, 1]."""

    precision: float
    recall: float


def precision_recall(samples, data, neighbours: int = 3) -> PrecisionRecall:
    """Fractions of samples (N, F) in the data's (M, F) neighbourhood, and of data in that of the samples.

    The neighbourhood of a set is the union of balls around its points, each as wide as the distance to the point's
    k-th nearest neighbour of the same set. Two sets of one law have about the same fraction, below 1, in both. O(N M
    F). ValueError for NaN, other shapes, or no more than `neighbours` points in either. Kynkaanniemi et al., arXiv
    1904.06991, eqs. 1 and 2.
    """
    check_count(neighbours, "neighbours", "The paper takes 3.")
    a, b = host_features(samples, data, least=neighbours + 1, names=("samples", "data"))
    return PrecisionRecall(_fraction_covered(a, b, neighbours), _fraction_covered(b, a, neighbours))


def _fraction_covered(points: np.ndarray, centers: np.ndarray, neighbours: int) -> float:
    """The fraction of points within the balls around centers."""
    # of a center's distances to its own set the smallest is to itself
    rows = _distances(centers, centers)
    radii = np.concatenate([np.partition(part, neighbours, axis=1)[:, neighbours] for part in rows])
    return float(np.mean(np.concatenate([(part <= radii).any(1) for part in _distances(points, centers)])))


def _distances(a: np.ndarray, b: np.ndarray, chunk: int = 256):
    """The squared distances (chunk, M), a few rows at a time."""
    return (squared_distances(part, b) for part in np.split(a, range(chunk, len(a), chunk)))
