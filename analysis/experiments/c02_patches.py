"""The part of C2 that is about patches: when each component of the patches of generated images is learned.

A convolution sees patches, and its weights are learned along the components of the covariance of patches, pooled over
all places of all images,

    Sigma_p = E (p - E p)(p - E p)^T = V diag(lam_p) V^T,

those of large variance first, at all places, and so for all whole-image components, at about one time (Wang & Pehlevan,
arXiv 2503.03206). So times are measured along V as they are along the components of whole images.
"""

from dataclasses import dataclass

import numpy as np

from analysis.harness.experiment import NotMeasuredError
from analysis.harness.setting import Setting
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.crossing import exponent, half_way, rising_and_falling
from training.data.dataset import spread

SIZES = (3, 5)  # pixels on an edge: the kernel of the networks here, and a larger one
UNSEEN = 0.1  # the fraction of components that may be learned before the first saved state after step 0
IMAGES, BLOCK = 512, 64  # of the data that the covariance is taken from, and how many at a time


@dataclass(frozen=True)
class Components:
    """Of patches of `size` pixels on an edge: variances (K,), falling, and directions (size size C, K)."""

    size: int
    variances: np.ndarray
    directions: np.ndarray


@dataclass(frozen=True)
class Growth:
    """Of patches of `size` pixels on an edge: variances (K,) of the data; first, second (c, n, K): the means over
    places of the coefficients of each of n generated images at c checkpoints, and of their squares.
    """

    size: int
    variances: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def generated(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The variance of generated patches (c, K), pooled over places and the images `rows`."""
        return self.second[:, rows].mean(1) - self.first[:, rows].mean(1) ** 2


def patches(images: np.ndarray, size: int) -> np.ndarray:
    """All patches (N, places, size size C) of images (N, H, W, C), in float64."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), (1, 2))  # (N, h, w, C, size, size)
    return np.moveaxis(windows, 3, 5).reshape(len(images), -1, size * size * images.shape[-1]).astype(np.float64)


def components(images: np.ndarray, size: int) -> Components:
    """Of the covariance of all patches of some of the images (N, H, W, C)."""
    few = images[spread(len(images), IMAGES)]
    first, second, count = 0.0, 0.0, 0
    for start in range(0, len(few), BLOCK):
        rows = patches(few[start : start + BLOCK], size).reshape(-1, size * size * images.shape[-1])
        first, second, count = first + rows.sum(0), second + rows.T @ rows, count + len(rows)
    mean = np.asarray(first) / count
    variances, directions = np.linalg.eigh(np.asarray(second) / count - np.outer(mean, mean))
    return Components(size, np.maximum(variances[::-1], 0), directions[:, ::-1])


def fitting(setting: Setting) -> list[Components]:
    """Of the patch sizes that fit into the data's images; none for data that are no images."""
    if not setting.is_image:
        return []
    sizes = [size for size in SIZES if size < min(setting.data.shape[:2])]
    return [components(setting.data.train, size) for size in sizes]


def moments(images: np.ndarray, components: Components) -> tuple[np.ndarray, np.ndarray]:
    """The means over places of each image's coefficients along the components, and of their squares: (N, K) both."""
    blocks = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
    along = [patches(block, components.size) @ components.directions for block in blocks]
    return np.concatenate([one.mean(1) for one in along]), np.concatenate([(one**2).mean(1) for one in along])


def growth(samples: list[np.ndarray], components: Components) -> Growth:
    """Of the images (n, H, W, C) that each checkpoint generated; components of next to no variance are left out."""
    mask = components.variances > 1e-3 * components.variances[0]
    few = Components(components.size, components.variances[mask], components.directions[:, mask])
    first, second = (np.stack(part) for part in zip(*(moments(images, few) for images in samples), strict=True))
    return Growth(few.size, few.variances, first, second)


def times(steps: np.ndarray, growth: Growth) -> np.ndarray:
    """The step (K,) at which each variance is half of its way, in log; NaN where it changes by less than 2."""
    return half_way(steps, growth.generated())


def exponents(steps: np.ndarray, growth: Growth) -> dict[str, Interval]:
    """The power of the variance that the step goes as, of components that rise and that fall, where it is measurable.

    That takes three components or more whose variances span a factor of 4. NotMeasuredError as seen_learning.
    """
    seen_learning(f"components of patches of {growth.size} x {growth.size} pixels", steps, times(steps, growth))
    groups = rising_and_falling(steps, growth.generated())
    return {name: _exponent(steps, growth, group) for name, group in groups.items() if tells(growth.variances[group])}


def seen_learning(what: str, steps: np.ndarray, learned: np.ndarray) -> int:
    """How many of the components, learned at steps (K,) or NaN, were learned before the first saved state after step 0.

    NotMeasuredError where more than UNSEEN of them were: such a step is an interpolation, and their order not known.
    """
    crossing, first = np.isfinite(learned), steps[steps > 0][0]
    early = int((learned[crossing] < first).sum())
    if early > UNSEEN * crossing.sum():
        raise NotMeasuredError(
            f"history: {early} of {crossing.sum()} {what} were learned before the first saved state after step 0, at "
            f"step {first}, so that the order in which they were is not known. Train with --keep-powers."
        )
    return early


def tells(variances: np.ndarray) -> bool:
    """Whether so many components of such variances have an exponent that means something."""
    return len(variances) >= 3 and bool(variances.max() >= 4 * variances.min())


def _exponent(steps: np.ndarray, growth: Growth, group: np.ndarray) -> Interval:
    def slope(rows: np.ndarray) -> float:
        return exponent(growth.variances[group], half_way(steps, growth.generated(rows)[:, group]))

    return interval(slope, np.arange(growth.first.shape[1]), draws=200)
