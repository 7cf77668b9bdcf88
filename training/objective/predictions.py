"""What a network may predict, and the clean image that follows: x0 = skip x + gain output.

    edm      x0 = c_skip x + c_out output       Karras et al., arXiv 2206.00364, table 1
    noise    output = noise                     Ho et al., arXiv 2006.11239
    x0       output = x0
    v        output = (alpha noise - sigma x0) / r, r^2 = alpha^2 + sigma^2: the v of Salimans & Ho, arXiv 2202.00512,
             in its own, variance-preserving frame
    flow     output = noise - x0: the velocity of the straight path, Lipman et al., arXiv 2210.02747
    score    output = sigma score = -noise      Song & Ermon, arXiv 1907.05600, eq. 5

With x = alpha x0 + sigma noise every line is one linear equation for x0; x0's error is gain times the output's.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

import gaussdiff as gd
from gaussdiff.denoisers.network import with_signal

Pair = tuple[ArrayLike, ArrayLike]


def _edm(level: gd.NoiseLevel, sigma_data: ArrayLike) -> Pair:
    scale = jnp.hypot(level.sigma, level.alpha * sigma_data)
    return level.alpha * (sigma_data / scale) ** 2, level.sigma * sigma_data / scale


def _noise(level: gd.NoiseLevel, sigma_data: ArrayLike) -> Pair:
    return 1 / level.alpha, -level.sigma / level.alpha


def _x0(level: gd.NoiseLevel, sigma_data: ArrayLike) -> Pair:
    return 0.0, 1.0


def _v(level: gd.NoiseLevel, sigma_data: ArrayLike) -> Pair:
    r = jnp.hypot(level.alpha, level.sigma)
    return level.alpha / r**2, -level.sigma / r


def _flow(level: gd.NoiseLevel, sigma_data: ArrayLike) -> Pair:
    total = level.alpha + level.sigma
    return 1 / total, -level.sigma / total


def _score(level: gd.NoiseLevel, sigma_data: ArrayLike) -> Pair:
    return 1 / level.alpha, level.sigma / level.alpha


PREDICTIONS: dict[str, Callable[[gd.NoiseLevel, ArrayLike], Pair]] = {
    "edm": _edm,
    "noise": _noise,
    "x0": _x0,
    "v": _v,
    "flow": _flow,
    "score": _score,
}


def defined(objective: str, level: gd.NoiseLevel) -> gd.NoiseLevel:
    """The level; ValueError where the objective's output says nothing of x0: noise and score at alpha = 0."""
    return with_signal(level, objective) if objective in ("noise", "score") else level


def error_weight(objective: str, level: gd.NoiseLevel, sigma_data: ArrayLike) -> Array:
    """1 / gain^2: what makes the squared error of x0 that of the network's output."""
    return 1 / jnp.square(PREDICTIONS[objective](level, sigma_data)[1])
