"""Eigenvalues and directions of covariances, in float64 on the host: dense, through the samples, or randomised.

    Sigma = X^T X / N = U diag(lam) U^T     of centred samples X (N, D)

A few leading modes of a large Sigma come from a random block V to which Sigma is applied again and again, each time as
X^T (X V) / N and made orthonormal: no D x D matrix is ever formed (Halko, Martinsson & Tropp, arXiv 0909.4061,
algorithm 4.4). Variances are those of Sigma in the final subspace, so none is too large, and the rest of the total,
which is summed exactly, belongs to the residual.
"""

from collections.abc import Sequence

import numpy as np

from gaussdiff.numerics.arrays import host
from gaussdiff.progress import Progress

BLOCK_NUMBERS = 2**24  # numbers in float64 in memory at a time


def positive_eigh(cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decreasing eigenvalues >= 0 and eigenvectors of cov (D, D); ValueError for negative ones beyond rounding.

    A covariance that was rounded, as to float32, has eigenvalues of both signs in the place of 0: the most negative one
    measures that rounding, and positive ones of up to twice its size are 0 too.
    """
    eigvals, eigvecs = np.linalg.eigh((cov + cov.T) / 2)
    if eigvals.min(initial=0) < -1e-5 * np.abs(eigvals).max(initial=0):
        raise ValueError(f"cov: expected no negative eigenvalues, got {eigvals.min():g}. Check how it was made.")
    eigvals = np.where(eigvals > -2 * eigvals.min(initial=0), eigvals, 0)
    return without_rounding(eigvals[::-1], len(cov)), eigvecs[:, ::-1]


def without_rounding(variances: np.ndarray, size: int) -> np.ndarray:
    """Variances with 0 for those that are no more than rounding: `size` units of float64 of the largest.

    A direction that the data do not vary in would otherwise have a density of its own, of width 1e-9.
    """
    return np.where(variances > size * np.finfo(np.float64).eps * variances.max(initial=0), variances, 0)


def principal(centered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decreasing variances (over N) and directions of centred samples (N, D), through the smaller of N and D."""
    count, size = centered.shape
    if count >= size:
        return positive_eigh(centered.T @ centered / count)
    _, singular, vectors = np.linalg.svd(centered, full_matrices=False)
    return without_rounding(singular, size) ** 2 / count, vectors.T


def row_blocks(x, rows: int | None = None) -> list:
    """x (N, *event) cut into views of so many rows, so that float64 copies of one fit in memory; nothing is copied."""
    rows = rows or max(BLOCK_NUMBERS // max(int(np.prod(x.shape[1:])), 1), 1)
    return [x[start : start + rows] for start in range(0, len(x), rows)]


def leading_modes(
    batches: Sequence,
    mean: np.ndarray,
    rank: int,
    *,
    tolerance: float = 1e-9,
    passes: int = 30,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """The `rank` largest variances (decreasing), their directions (D, rank), and the total variance of the samples.

    batches: samples (n, *event), gone through once for each pass; any sequence, such as row_blocks of a memory-mapped
    array. mean: (D,). Passes end where the variances change by less than `tolerance` of the largest. progress(done,
    total) is called after each batch. Halko, Martinsson & Tropp, arXiv 0909.4061, algorithm 4.4.
    """
    size = mean.size
    width = min(rank + max(rank // 2, 16), size)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(size, width)))[0]
    before, done, total = np.zeros(rank), 0, passes * len(batches)
    count = sum(len(batch) for batch in batches)
    lam, turn, power = before, np.eye(width, rank), 0.0
    for _ in range(passes):
        image, power = np.zeros((size, width)), 0.0
        for batch in batches:
            centered = host(batch, "x").reshape(len(batch), size) - mean
            image += centered.T @ (centered @ basis)
            power, done = power + float(np.vdot(centered, centered)), done + 1
            if progress:
                progress(done, total)
        image /= count
        eigvals, vectors = np.linalg.eigh((basis.T @ image + image.T @ basis) / 2)
        lam, turn = without_rounding(eigvals[::-1][:rank], size), basis @ vectors[:, ::-1][:, :rank]
        if np.abs(lam - before).max() <= tolerance * lam.max(initial=0):
            break
        basis, before = np.linalg.qr(image)[0], lam
    if progress:
        progress(total, total)
    return lam, turn, power / count
