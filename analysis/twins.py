"""The closed-form twins of a training set: what a denoiser would be if it knew only so much of the data."""

from typing import NamedTuple

import jax
import numpy as np

import gaussdiff as gd


class Twins(NamedTuple):
    """gaussian: mean and covariance. mixture: one Gaussian per cluster. data_set: the training samples themselves."""

    gaussian: gd.Gaussian
    mixture: gd.GaussianMixture
    data_set: gd.Empirical


def fit(images: np.ndarray, components: int = 10, seed: int = 0) -> Twins:
    """Fit the three twins to training samples (N, *event); the mixture has `components` k-means clusters."""
    return Twins(
        gd.Gaussian.from_samples(images),
        gd.GaussianMixture.from_samples(images, components, key=jax.random.key(seed)),
        gd.Empirical(images),
    )
