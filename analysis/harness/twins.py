"""The closed-form twins of a training set: what a denoiser would be if it knew only so much of the data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from training.data.dataset import Dataset
from training.evaluation import explain

FINE = 100  # components of the fine mixture, where the data allow: at least 10 samples each
RANK = 10  # modes of its components, and of the low-rank Gaussian; the rest of their variance is spread evenly


MORE = ("isotropic", "low_rank", "fine_mixture")  # what `more` fits


class Twins(NamedTuple):
    """gaussian: mean and covariance. mixture: one Gaussian per cluster. data_set: the training samples themselves."""

    gaussian: gd.Gaussian
    mixture: gd.GaussianMixture
    data_set: gd.Empirical


def fit(images: np.ndarray, components: int = 10, seed: int = 0) -> Twins:
    """Fit the three twins to training samples (N, *event); the mixture has `components` k-means clusters.

    Samples of many numbers keep as many modes as explain.fit keeps, shared out among the clusters.
    """
    wide = images[0].size > explain.WIDEST
    rank, each = (explain.RANK, max(RANK, explain.RANK // components)) if wide else (None, None)
    return Twins(
        gd.Gaussian.from_samples(images, rank=rank),
        gd.GaussianMixture.from_samples(images, components, each, key=jax.random.key(seed)),
        gd.Empirical(images),
    )


def more(images: np.ndarray, seed: int = 0) -> dict[str, gd.Denoiser]:
    """Twins below and between these: isotropic and low-rank Gaussians, and a mixture of many low-rank components."""
    rank, components = min(RANK, images[0].size), max(1, min(FINE, len(images) // 10))
    return {
        "isotropic": explain.isotropic(images),
        "low_rank": gd.Gaussian.from_samples(images, rank=rank),
        "fine_mixture": gd.GaussianMixture.from_samples(images, components, rank, key=jax.random.key(seed)),
    }


def stand_in(data: Dataset, count: int, seed: int) -> gd.Empirical:
    """At most `count` training samples as a law."""
    points = _some(data.train, count, seed)
    bandwidth = gd.fitting.choose_bandwidth(points, _some(data.held_out, count, seed))
    print(f"data: {len(points)} samples, smoothed by {float(bandwidth):.3g}", flush=True)
    return gd.Empirical(jnp.asarray(points), bandwidth)


def _some(samples: np.ndarray, count: int, seed: int) -> np.ndarray:
    return samples[np.random.default_rng(seed).permutation(len(samples))[:count]]
