"""Single-step solvers of the DPM family: DDIM, corrected by a call of the model between the two levels of a step.

With lambda = log(alpha / sigma), h the step in it, and noise and x0 the estimates of the model,

    noise_step = sigma' (e^h - 1) = alpha' sigma / alpha - sigma',     data_step = alpha' (1 - e^-h)

are what DDIM multiplies the noise with (times -1) and x0. h is negative toward noise, and infinite where an alpha or a
sigma of either level is 0: there they take the DDIM step, with one call of the model.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from gaussdiff.denoiser import Event
from gaussdiff.numerics.arrays import safe_divide
from gaussdiff.numerics.checks import check_fraction
from gaussdiff.schedules import NoiseLevel


def check_r(r) -> Array:
    """Return r as an array; ValueError unless it is in (0, 1]."""
    return check_fraction(r, "r", "It is how far along the step the model is called.", "(0, 1]")


def ddim(x0: Event, noise: Event, level: NoiseLevel) -> Event:
    """alpha x0 + sigma noise."""
    return (level.alpha * x0 + level.sigma * noise).astype(x0.dtype)


def noise_step(level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """alpha' sigma / alpha - sigma', and -sigma' where alpha = 0."""
    return next_level.alpha * safe_divide(level.sigma, level.alpha) - next_level.sigma


def data_step(level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """alpha' - alpha sigma' / sigma, and alpha' where sigma = 0, from where a step uses it for nothing."""
    return next_level.alpha - level.alpha * safe_divide(next_level.sigma, level.sigma)


def log_step(level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """h = log(alpha' / sigma') - log(alpha / sigma) of two levels where it is finite."""
    return jnp.log(next_level.alpha / level.alpha) - jnp.log(next_level.sigma / level.sigma)


def both_finite(level: NoiseLevel, next_level: NoiseLevel) -> Bool[Array, ""]:
    """Whether h is finite."""
    return (level.alpha > 0) & (level.sigma > 0) & (next_level.alpha > 0) & (next_level.sigma > 0)


def between(level: NoiseLevel, next_level: NoiseLevel, r) -> NoiseLevel:
    """The level at lambda + r h, on the straight line from (alpha^2, sigma^2) to (alpha'^2, sigma'^2).

    In the frame alpha = 1 and in every frame alpha^2 + sigma^2 = 1 that line is the frame itself, so a network gets a
    level that it was trained on. Elsewhere it lies beside the frame: the answer is the same for every model that
    depends on x / alpha and sigma / alpha alone, as closed forms do.
    """
    h = log_step(level, next_level)
    # alpha_m^2 = (alpha^2 b + alpha'^2 a) / (a + b), where both a and b are differences written without cancellation
    a = -jnp.expm1(-2 * r * h) * level.alpha**2
    b = -jnp.expm1(-2 * (1 - r) * h) * jnp.exp(-2 * r * h) * next_level.alpha**2
    alpha = jnp.sqrt((level.alpha**2 * b + next_level.alpha**2 * a) / (a + b))
    return NoiseLevel(alpha, alpha * (level.sigma / level.alpha) * jnp.exp(-r * h))


def where_finite(step: Callable, otherwise: Event, level: NoiseLevel, next_level: NoiseLevel) -> Event:
    """step(level, next_level) where h is finite, `otherwise` where it is not, and then without a call of the model."""
    inner = both_finite(level, next_level)
    # under vmap over levels both sides are computed: the one not taken is a step between harmless levels
    start = NoiseLevel(jnp.where(inner, level.alpha, 1), jnp.where(inner, level.sigma, 2))
    end = NoiseLevel(jnp.where(inner, next_level.alpha, 1), jnp.where(inner, next_level.sigma, 1))
    # cond, not where: the model must not be called in vain
    return jax.lax.cond(inner, lambda: step(start, end).astype(otherwise.dtype), lambda: otherwise)
