"""How much of one field of predictions another one explains."""

import numpy as np

from gaussdiff.numerics.arrays import centered, host
from gaussdiff.numerics.checks import check_samples


def explained_variance(target, prediction) -> float:
    """1 - sum |target - prediction|^2 / sum |target - mean(target)|^2 over samples (N, *event).

    1 is a perfect prediction, 0 as good as the mean of the targets, and below 0 worse.
    ValueError for NaN, unequal shapes, or a target without variance.
    """
    residual, total = _squares(target, prediction)
    if total.sum() == 0:
        raise ValueError("target: expected samples that differ, got equal ones. There is no variance to explain.")
    return float(1 - residual.sum() / total.sum())


def explained_by_entry(target, prediction) -> np.ndarray:
    """explained_variance of each entry of samples (N, *event) alone: (*event), NaN where the target has no variance.

    ValueError for NaN or unequal shapes.
    """
    residual, total = _squares(target, prediction)
    return 1 - np.divide(residual, total, out=np.full_like(total, np.nan), where=total > 0)


def _squares(target, prediction) -> tuple[np.ndarray, np.ndarray]:
    """Of each entry (*event): the squared residuals, and the squared differences from the mean, summed over samples."""
    target, prediction = host(target, "target"), host(prediction, "prediction")
    check_samples(target.shape, "target", least=1)
    if target.shape != prediction.shape:
        raise ValueError(
            f"prediction: expected the target's shape {target.shape}, got {prediction.shape}. Pair them up."
        )
    return ((target - prediction) ** 2).sum(0), (centered(target) ** 2).sum(0)
