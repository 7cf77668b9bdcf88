"""The five ways to say what a denoiser knows, each from the clean estimate x0 and back.

    noise      (x - alpha x0) / sigma
    score      (alpha x0 - x) / sigma^2                  gradient of log p(x), by Tweedie's formula
    v          alpha noise - sigma x0                    Salimans & Ho, arXiv 2202.00512, appendix D
    velocity   alpha' x0 + sigma' noise                  dx/dt of the probability flow; a prime is d/dt

x, x0 and the rest share one shape; level is a single NoiseLevel. Where a quantity is not determined by x0 (or x0 not by
it) a ValueError says so; inside jit, where the level cannot be looked at, the result is then not finite.
"""

from jaxtyping import Array, Float

from gaussdiff.numerics.arrays import floating, safe_divide
from gaussdiff.numerics.checks import check_number
from gaussdiff.schedules import SIGNAL_CURE, NoiseLevel, Schedule, check_level, check_nonzero, check_schedule, rates

Event = Float[Array, "*event"]
ONE_TIME = "For several times use jax.vmap."


def _alike(value, x, argument: str) -> tuple[Array, Array]:
    """value and x as floating arrays; ValueError unless they have one shape."""
    value, x = floating(value, argument), floating(x)
    if value.shape != x.shape:
        raise ValueError(
            f"{argument}: expected the shape of x, {x.shape}, got {value.shape}. Both are of one sample: for a batch "
            "use jax.vmap."
        )
    return value, x


def noise_from_x0(x0: Event, x: Event, level: NoiseLevel) -> Event:
    """noise = (x - alpha x0) / sigma; at sigma = 0 its limit for a smooth law, 0.

    ValueError for an array of levels.
    """
    check_level(level)
    x0, x = _alike(x0, x, "x0")
    return safe_divide(x - level.alpha * x0, level.sigma).astype(x.dtype)


def x0_from_noise(noise: Event, x: Event, level: NoiseLevel) -> Event:
    """x0 = (x - sigma noise) / alpha. ValueError at alpha = 0, where the noise says nothing of x0."""
    check_level(level)
    noise, x = _alike(noise, x, "noise")
    check_nonzero("x0 from a noise prediction", level.alpha, "alpha", SIGNAL_CURE)
    return ((x - level.sigma * noise) / level.alpha).astype(x.dtype)


def score_from_x0(x0: Event, x: Event, level: NoiseLevel) -> Event:
    """score = (alpha x0 - x) / sigma^2, in 1 / data units. ValueError at sigma = 0, where x0 does not determine it."""
    check_level(level)
    x0, x = _alike(x0, x, "x0")
    check_nonzero("the score", level.sigma, "sigma", "A distribution knows its own: model.score(x, level).")
    return ((level.alpha * x0 - x) / level.sigma / level.sigma).astype(x.dtype)


def x0_from_score(score: Event, x: Event, level: NoiseLevel) -> Event:
    """x0 = (x + sigma^2 score) / alpha (Tweedie). ValueError at alpha = 0, where the score says nothing of x0."""
    check_level(level)
    score, x = _alike(score, x, "score")
    check_nonzero("x0 from a score", level.alpha, "alpha", SIGNAL_CURE)
    return ((x + level.sigma**2 * score) / level.alpha).astype(x.dtype)


def v_from_x0(x0: Event, x: Event, level: NoiseLevel) -> Event:
    """v = alpha noise - sigma x0, finite at every level. Salimans & Ho, arXiv 2202.00512, appendix D."""
    check_level(level)
    x0, x = _alike(x0, x, "x0")
    return (level.alpha * noise_from_x0(x0, x, level) - level.sigma * x0).astype(x.dtype)


def x0_from_v(v: Event, x: Event, level: NoiseLevel) -> Event:
    """x0 = (alpha x - sigma v) / (alpha^2 + sigma^2), finite at every level and in every frame.

    v as in v_from_x0. ValueError for an array of levels.
    """
    check_level(level)
    v, x = _alike(v, x, "v")
    return ((level.alpha * x - level.sigma * v) / (level.alpha**2 + level.sigma**2)).astype(x.dtype)


def velocity_from_x0(x0: Event, x: Event, schedule: Schedule, t) -> Event:
    """velocity = alpha' x0 + sigma' noise, in data units per unit of t. ValueError where sigma = 0.

    Song et al., arXiv 2011.13456, eq. 13.
    """
    check_schedule(schedule)
    x0, x = _alike(x0, x, "x0")
    level, rate = rates(schedule, check_number(t, "t", ONE_TIME))
    check_nonzero("the velocity", level.sigma, "sigma", "It is a limit there: ask at a small t > 0.")
    return (rate.alpha * x0 + rate.sigma * noise_from_x0(x0, x, level)).astype(x.dtype)


def x0_from_velocity(velocity: Event, x: Event, schedule: Schedule, t) -> Event:
    """x0 = (sigma velocity - sigma' x) / (sigma alpha' - sigma' alpha). ValueError where sigma = 0."""
    check_schedule(schedule)
    velocity, x = _alike(velocity, x, "velocity")
    level, rate = rates(schedule, check_number(t, "t", ONE_TIME))
    check_nonzero("x0 from a velocity", level.sigma, "sigma", "There x0 = x / alpha.")
    x0 = (level.sigma * velocity - rate.sigma * x) / (level.sigma * rate.alpha - rate.sigma * level.alpha)
    return x0.astype(x.dtype)
