"""Ancestral sampling: DDPM's reverse steps, whose variance is known up to a choice between two bounds.

    x' = alpha' x0 + sigma' r noise + sqrt(large^v small^(1 - v)) z,     r = alpha sigma' / (alpha' sigma)
    small = sigma'^2 (1 - r^2),     large = (c' sigma / c)^2 (1 - r^2),  c = sqrt(alpha^2 + sigma^2)

small is the variance of q(x' | x, x0), right where the data is a point; large is beta, right where it is N(0, I). So
the step is DDIM's at eta = 1 with its noise widened by (c' sigma / (c sigma'))^v.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.numerics.arrays import safe_divide
from gaussdiff.numerics.checks import check_fraction
from gaussdiff.samplers.base import Memoryless
from gaussdiff.samplers.ddim import DDIM


class Ancestral(Memoryless):
    """DDPM: one model call a step, and noise of a variance between those of the posterior (v = 0) and of beta (v = 1).

    x' = alpha' x0 + sigma' (r noise + sqrt(1 - r^2) (c' sigma / (c sigma'))^v z), symbols as at the head of this file;
    to sigma' = 0 it adds none. v = 0 is DDIM(1). ValueError for v outside [0, 1]. Ho et al., arXiv 2006.11239,
    algorithm 2; Nichol & Dhariwal, arXiv 2102.09672, eq. 15.
    """

    v: Float[Array, ""]

    def __init__(self, v=0.0):
        self.v = check_fraction(v, "v", "0 is the posterior's variance, 1 is beta.")

    def draws(self) -> int:
        return 1

    def nfe(self, n: int) -> int:
        return n

    @property
    def asks_at_start(self) -> bool:
        return True

    def step(self, model, x, state, level, next_level, noise):
        fraction, next_fraction = (lv.sigma / jnp.hypot(lv.alpha, lv.sigma) for lv in (level, next_level))
        # at sigma' = 0 DDIM takes the noise times 0
        wider = safe_divide(fraction, next_fraction, otherwise=1.0) ** self.v
        return DDIM(1.0).step(model, x, state, level, next_level, (wider * noise).astype(noise.dtype))
