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

FLOOR = 1e-4  # of a share: float32 still tells the levels apart


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
        count = len(self.numbers)
        shares = (jax.nn.softmax(self.numbers) + FLOOR) / (1 + count * FLOOR)
        done = jnp.cumsum(shares)[:-1]
        inner = jnp.exp(jnp.log(self.sigma_max) - jnp.log(self.sigma_max / self.sigma_min) * done)
        last = jnp.zeros_like(self.sigma_min) if self.final_zero else self.sigma_min
        return NoiseLevel(1.0, jnp.concatenate([self.sigma_max[None], inner, last[None]]))

    def solver(self) -> Sampler:
        return teleported(self.teleport, self.sampler, self.levels())


def teleported(gaussian: Gaussian | None, sampler: Sampler, levels: NoiseLevel) -> Sampler:
    """The sampler itself, or with the exact flow of a Gaussian for the first step of these levels."""
    return sampler if gaussian is None else SwitchAt(GaussianExact(gaussian), sampler, levels[1].log_snr)


def numbers_of(levels: NoiseLevel, sigma_min: Array, final_zero: bool) -> Float[Array, " m"]:
    """The free numbers of a grid, up to a share of FLOOR: what Recipe.levels inverts."""
    heights = jnp.log(jnp.maximum(levels.sigma[:-1], sigma_min) / levels.alpha[:-1])
    last = jnp.log(sigma_min)
    shares = -jnp.diff(jnp.append(heights, last)) / (heights[0] - last)
    return jnp.log(jnp.maximum(shares * (1 + len(shares) * FLOOR) - FLOOR, FLOOR / 10))
