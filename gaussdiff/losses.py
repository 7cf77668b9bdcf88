"""Denoising losses: the squared error of the clean estimate, weighted by noise level.

Every objective of the field is  weight(level) |denoise(x, level) - x0|^2  with  x = alpha x0 + sigma noise:

    x0       1
    noise    alpha^2 / sigma^2                                        Ho et al., arXiv 2006.11239, eq. 14
    v        (alpha^2 + sigma^2)^2 / sigma^2                          Salimans & Ho, arXiv 2202.00512
    EDM      (sigma^2 + alpha^2 sigma_data^2) / (sigma sigma_data)^2  Karras et al., arXiv 2206.00364, table 1
    min-SNR  min(alpha^2 / sigma^2, gamma)                            Hang et al., arXiv 2303.09556, sec. 3.4
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, add_noise, check_model, check_sample
from gaussdiff.schedules import NoiseLevel

Weight = Callable[[NoiseLevel], Array]


def denoising_loss(
    model: Denoiser, x0, level: NoiseLevel, key: PRNGKeyArray, weight: Weight | None = None
) -> Float[Array, ""]:
    """weight(level) times the mean over entries of (denoise(x, level) - x0)^2, one x0 (*event) noised with `key`.

    weight: one of the functions below, or any level -> scalar; 1 by default. Use jax.vmap and the mean for a batch.
    TypeError unless model is a Denoiser, ValueError for an array of levels.
    """
    check_model(model)
    x0 = check_sample(x0, argument="x0")
    error = jnp.mean((model.denoise(add_noise(key, x0, level), level) - x0) ** 2)
    return error if weight is None else weight(level) * error


def noise_weight(level: NoiseLevel) -> Float[Array, ""]:
    """alpha^2 / sigma^2, of the level's shape: the error of the noise. Ho et al., arXiv 2006.11239, eq. 14."""
    return (level.alpha / level.sigma) ** 2


def v_weight(level: NoiseLevel) -> Float[Array, ""]:
    """(alpha^2 + sigma^2)^2 / sigma^2: the error of the v prediction. Salimans & Ho, arXiv 2202.00512."""
    return ((level.alpha**2 + level.sigma**2) / level.sigma) ** 2


def edm_weight(level: NoiseLevel, sigma_data=0.5) -> Float[Array, ""]:
    """(sigma^2 + alpha^2 sigma_data^2) / (sigma sigma_data)^2: the error of the network in gd.Preconditioned.

    Karras et al., arXiv 2206.00364, table 1.
    """
    return 1 / sigma_data**2 + (level.alpha / level.sigma) ** 2


def min_snr_weight(level: NoiseLevel, gamma=5.0) -> Float[Array, ""]:
    """min(alpha^2 / sigma^2, gamma), of the level's shape: the noise weight, at most gamma.

    Hang et al., arXiv 2303.09556, sec. 3.4.
    """
    return jnp.minimum(noise_weight(level), gamma)


def edm_level(key: PRNGKeyArray, mean=-1.2, std=1.2, shape: tuple[int, ...] = ()) -> NoiseLevel:
    """Levels (shape) with alpha = 1 and log sigma ~ N(mean, std^2): where EDM spends its training.

    Karras et al., arXiv 2206.00364, table 1.
    """
    return NoiseLevel(1.0, jnp.exp(mean + std * jax.random.normal(key, shape)))
