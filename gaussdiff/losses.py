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

from gaussdiff.denoiser import Denoiser, Distribution, add_noise, check_model, check_sample
from gaussdiff.numerics.checks import check_above_0, check_at_least_0, check_finite_number, check_key, check_shape
from gaussdiff.numerics.kinds import check_kind, described
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
    x0 = check_sample(x0, model.shape if isinstance(model, Distribution) else None, "x0")
    if weight is not None and not callable(weight):
        raise TypeError(
            f"weight: expected a function of the level, got {described(weight)}. Pass one such as gd.losses.v_weight."
        )
    error = jnp.mean((model.denoise(add_noise(key, x0, level), level) - x0) ** 2)
    return error if weight is None else weight(level) * error


def noise_weight(level: NoiseLevel) -> Float[Array, ""]:
    """alpha^2 / sigma^2, of the level's shape: the error of the noise. Ho et al., arXiv 2006.11239, eq. 14."""
    _check_levels(level)
    return (level.alpha / level.sigma) ** 2


def v_weight(level: NoiseLevel) -> Float[Array, ""]:
    """(alpha^2 + sigma^2)^2 / sigma^2: the error of the v prediction. Salimans & Ho, arXiv 2202.00512."""
    _check_levels(level)
    return ((level.alpha**2 + level.sigma**2) / level.sigma) ** 2


def edm_weight(level: NoiseLevel, sigma_data=0.5) -> Float[Array, ""]:
    """(sigma^2 + alpha^2 sigma_data^2) / (sigma sigma_data)^2: the error of the network in gd.Preconditioned.

    Karras et al., arXiv 2206.00364, table 1.
    """
    _check_levels(level)
    sigma_data = check_above_0(sigma_data, "sigma_data", "Use the data's standard deviation.")
    return 1 / sigma_data**2 + (level.alpha / level.sigma) ** 2


def min_snr_weight(level: NoiseLevel, gamma=5.0) -> Float[Array, ""]:
    """min(alpha^2 / sigma^2, gamma), of the level's shape: the noise weight, at most gamma.

    Hang et al., arXiv 2303.09556, sec. 3.4.
    """
    gamma = check_above_0(gamma, "gamma", "The published value is 5.")
    return jnp.minimum(noise_weight(level), gamma)


def edm_level(key: PRNGKeyArray, mean=-1.2, std=1.2, shape: tuple[int, ...] = ()) -> NoiseLevel:
    """Levels (shape) with alpha = 1 and log sigma ~ N(mean, std^2): where EDM spends its training.

    Karras et al., arXiv 2206.00364, table 1.
    """
    check_key(key)
    mean = check_finite_number(mean, "mean", "EDM uses -1.2.")
    std, shape = check_at_least_0(std, "std", "EDM uses 1.2."), check_shape(shape)
    return NoiseLevel(1.0, jnp.exp(mean + std * jax.random.normal(key, shape)))


def _check_levels(level) -> None:
    cure = "Write gd.NoiseLevel(alpha, sigma), or gd.NoiseLevel(1., sigma) for a plain noise scale."
    check_kind(level, NoiseLevel, "level", "a NoiseLevel", cure)
