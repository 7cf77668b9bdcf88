"""Adams-Bashforth methods for dy = noise ds, where y = x / alpha and s = sigma / alpha.

    y' = y + (s' - s) (w_0 noise_0 + w_1 noise_1 + ...)

with noise_j of j steps ago. The weights are the integrals over the step of the Lagrange polynomials through the noises,
for the grid's own steps (AdamsBashforth) or as though these were even in s (IPNDM).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.samplers.multistep import (
    History,
    NoiseMultistep,
    by_order,
    check_order,
    gauss_legendre,
    polynomial_weights,
)
from gaussdiff.schedules import NoiseLevel

# weights of the noises before the present one, for orders 1 to 4
EVEN_WEIGHTS = (), (-1 / 2,), (-16 / 12, 5 / 12), (-59 / 24, 37 / 24, -9 / 24)


class AdamsBashforth(NoiseMultistep):
    """Adams-Bashforth in s = sigma / alpha with the exact weights of uneven steps: one model call a step.

    y' = y + int_s^s' P ds for the polynomial P of degree order - 1 through the last noises. ValueError for an order
    outside 1 to 4. Hairer, Norsett & Wanner, Solving ODEs I, section III.5; Zhang & Chen, arXiv 2204.13902 (rho-AB).
    """

    order: int = eqx.field(static=True)

    def __init__(self, order: int = 4):
        self.order = check_order(order, 4)

    def weights(self, history: History, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " memory"]:
        return by_order(_uneven, history, level, next_level)


class IPNDM(NoiseMultistep):
    """Adams-Bashforth with the fixed weights of even steps, lower orders first: one model call a step.

    (3, -1)/2, (23, -16, 5)/12, (55, -59, 37, -9)/24; on a grid even in sigma / alpha it is AdamsBashforth. ValueError
    for an order outside 1 to 4. Zhang & Chen, arXiv 2204.13902; Liu et al., arXiv 2202.09778.
    """

    order: int = eqx.field(static=True)

    def __init__(self, order: int = 4):
        self.order = check_order(order, 4)

    def weights(self, history: History, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " memory"]:
        return by_order(_even, history, level, next_level)


def _even(levels: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " past"]:
    return jnp.asarray(EVEN_WEIGHTS[len(levels) - 1], levels.sigma.dtype)


def _uneven(levels: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " past"]:
    s = levels.sigma / levels.alpha
    nodes = (s - s[0]) / (next_level.sigma / next_level.alpha - s[0])
    return polynomial_weights(nodes, *gauss_legendre(s.dtype))[1:]
