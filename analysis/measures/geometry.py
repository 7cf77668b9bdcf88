"""Paths as vectors: states, the noise in them and their way off the straight line, in float64 on the host."""

import jax
import numpy as np

import gaussdiff as gd
from analysis.measures.paths import Paths


def flat(points: np.ndarray) -> np.ndarray:
    """(B, points, *event) as vectors (B, points, D)."""
    return points.reshape(*points.shape[:2], -1).astype(np.float64)


def preserved(path: Paths) -> np.ndarray:
    """The states at alpha^2 + sigma^2 = 1, where a path keeps its length: x / sqrt(1 + sigma^2), (B, n+1, D)."""
    return flat(path.x) / np.hypot(1, path.sigma.astype(np.float64))[:, None]


def noise(path: Paths) -> np.ndarray:
    """The noise that the model sees in each state: (x - denoised) / sigma, (B, n, D)."""
    return (flat(path.x[:, :-1]) - flat(path.denoised)) / path.sigma[:-1, None].astype(np.float64)


def preserving(levels: gd.NoiseLevel) -> gd.NoiseLevel:
    """The same signal-to-noise ratios with alpha^2 + sigma^2 = 1."""
    scale = (levels.alpha**2 + levels.sigma**2) ** 0.5
    return gd.NoiseLevel(levels.alpha / scale, levels.sigma / scale)


def expected_path(gaussian: gd.Gaussian, levels: gd.NoiseLevel) -> Paths:
    """One path (1, n+1, D + 1) with the expected Gram matrix of all the Gaussian's paths: S of each mode, and |mu|.

    A path has mu and S_k z_k along its modes with z_k conserved; sums over many modes hardly depend on z, and all
    z_k = 1 have their expectation. alpha = 1; gd.exact.gram_matrix.
    """
    variances, mean = np.asarray(gaussian.variances, np.float64), np.linalg.norm(np.asarray(gaussian.mean, np.float64))
    std = np.asarray(jax.vmap(gd.exact.marginal_std, in_axes=(None, 0))(gaussian.variances, levels), np.float64)
    x, denoised = (np.pad(part, ((0, 0), (0, 1)), constant_values=mean) for part in (std, variances / std[:-1]))
    return Paths(np.asarray(levels.sigma), x[None], denoised[None])


def off_chord(points: np.ndarray) -> np.ndarray:
    """From the straight line between a path's ends to each point of it: d - (d . u) u, (B, points, D).

    d from the path's end, u the unit chord; 0 where the ends are one point. Its lengths are gd.exact.chord_deviation's.
    """
    away = flat(points) - flat(points[:, -1:])
    length = np.linalg.norm(away[:, :1], axis=-1, keepdims=True)
    unit = np.divide(away[:, :1], length, out=np.zeros_like(away[:, :1]), where=length > 0)
    return away - (away * unit).sum(-1, keepdims=True) * unit


def rms(lengths: np.ndarray) -> np.ndarray:
    """Root mean square over paths: (B, ...) -> (...)."""
    return np.sqrt(np.mean(lengths**2, axis=0))
