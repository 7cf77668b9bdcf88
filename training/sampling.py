"""Samples of a trained denoiser."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

import gaussdiff as gd
from training import devices
from training.networks.denoiser import LearnedDenoiser


def samples(
    model: LearnedDenoiser,
    n: int,
    sampler: gd.Sampler,
    levels: gd.NoiseLevel,
    seed: int,
    first: int = 0,
    conditioned: gd.Denoiser | None = None,
) -> np.ndarray:
    """The samples (n, *shape) from number `first` on, 256 at a time; sample i is the same for every n.

    conditioned: the denoiser to sample from where it is not the model itself: of one label, or guided.
    """
    options: Any = {"chunk": 256, "sharding": devices.spread(), "key": jax.random.key(seed), "first": first}
    return gd.sample_batch(sampler, conditioned or model, levels, count=n, shape=model.shape, **options)


def sharpened(
    model: LearnedDenoiser,
    images: np.ndarray,
    sampler: gd.Sampler,
    levels: gd.NoiseLevel,
    seed: int,
    conditioned: Callable[[Array], gd.Denoiser],
) -> np.ndarray:
    """One sample (n, *shape) of conditioned(image) for each small image (n, h, w, C)."""

    def draw(pair: tuple[Array, Array]) -> Array:
        image, key = pair
        start, noise = jax.random.split(key)
        x = gd.sample_prior(start, model.shape, levels[0])
        return gd.sample(sampler, conditioned(image), x, levels, noise).x[-1]

    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(np.arange(len(images)))
    count = jax.device_count()
    chunk = count * -(-min(64, len(images)) // count)
    return np.asarray(jax.jit(partial(devices.map_spread, draw, chunk=chunk))((jax.numpy.asarray(images), keys)))
