"""A grid and a sampler as free numbers.

The levels of a grid with ends sigma_max and sigma_min are fractions of the way between these in log sigma, and the
fractions a softmax of free numbers: they fall strictly, whatever the numbers. With a final 0 the last fraction is what
remains above sigma_min, so that the last level before 0 is free too:

    log sigma_i = log sigma_max - log(sigma_max / sigma_min) (fraction_1 + ... + fraction_i)
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.samplers import GaussianExact, Sampler, SwitchAt
from gaussdiff.schedules import NoiseLevel

SMALLEST_FRACTION = 1e-4  # so that neighbouring levels differ in float32


class Recipe(eqx.Module):
    """Free numbers that stand for a grid of m levels, and the sampler that takes it.

    numbers: (m - 1,). teleport: the law whose exact flow makes the first step, without a call of the model.
    """

    numbers: Float[Array, " m"]
    sampler: Sampler
    sigma_min: Float[Array, ""]
    sigma_max: Float[Array, ""]
    teleport: Gaussian | None
    final_zero: bool = eqx.field(static=True)

    def levels(self) -> NoiseLevel:
        """The grid, its ends exactly as asked."""
        inner = inner_sigmas(self.numbers, self.sigma_min, self.sigma_max)[:-1]
        last = jnp.zeros_like(self.sigma_min) if self.final_zero else self.sigma_min
        return NoiseLevel(1.0, jnp.concatenate([self.sigma_max[None], inner, last[None]]))

    def solver(self) -> Sampler:
        return teleported(self.teleport, self.sampler, self.levels())


def teleported(gaussian: Gaussian | None, sampler: Sampler, levels: NoiseLevel) -> Sampler:
    """The sampler itself, or with the exact flow of a Gaussian for the first step of these levels."""
    return sampler if gaussian is None else SwitchAt(GaussianExact(gaussian), sampler, levels[1].log_snr)


def inner_sigmas(
    numbers: Float[Array, " m"], sigma_min: Array | float, sigma_max: Array | float, count: Array | int | None = None
) -> Float[Array, " m"]:
    """The sigmas after each step from sigma_max to sigma_min, decreasing: steps in log sigma by a softmax of numbers.

    count: how many of the numbers, the first ones, are steps; by default all, and what comes after them has no meaning.
    """
    count = len(numbers) if count is None else count
    used = jnp.where(jnp.arange(len(numbers)) < count, numbers, -jnp.inf)
    fractions = (jax.nn.softmax(used) + SMALLEST_FRACTION) / (1 + count * SMALLEST_FRACTION)
    return sigma_max * jnp.exp(-jnp.log(sigma_max / sigma_min) * jnp.cumsum(fractions))


def numbers_of(levels: NoiseLevel, sigma_min: Array) -> Float[Array, " m"]:
    """The numbers that `inner_sigmas` turns into a grid's, (m,) of m steps; its last one stands for sigma_min."""
    logs = jnp.log(jnp.maximum(levels.sigma[:-1], sigma_min) / levels.alpha[:-1])
    last = jnp.log(sigma_min)
    fractions = -jnp.diff(jnp.append(logs, last)) / (logs[0] - last)
    weights = fractions * (1 + len(fractions) * SMALLEST_FRACTION) - SMALLEST_FRACTION
    return jnp.log(jnp.maximum(weights, SMALLEST_FRACTION / 10))
