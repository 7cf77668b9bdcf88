"""How much of one field of predictions another one explains."""

from gaussdiff.numerics.arrays import host


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
