"""DDIM: the exact solution of the probability flow for a constant denoised image, with optional fresh noise.

    x' = alpha' x0 + sigma' (sqrt(1 - eta^2 (1 - r^2)) noise + eta sqrt(1 - r^2) z),   r = (alpha sigma') / (alpha'
    sigma)

with noise = (x - alpha x0) / sigma and z ~ N(0, I). eta = 0 is the ODE, eta = 1 the posterior of DDPM. It needs no
logarithm and no division by alpha, so it starts at alpha = 0 and ends at sigma = 0 exactly.
"""

import equinox as eqx
from jaxtyping import Array, Float

from gaussdiff.conversions import noise_from_x0
from gaussdiff.numerics.arrays import safe_divide, safe_sqrt
from gaussdiff.numerics.checks import check_fraction
from gaussdiff.samplers.base import Memoryless, Step, check_amount, denoise, is_noisy
from gaussdiff.schedules import NoiseLevel


class DDIM(Memoryless):
    """DDIM with noise eta in [0, 1]: order 1, one model call a step.

    ValueError for eta outside [0, 1]. Song et al., arXiv 2010.02502, eqs. 12 and 16.
    """

    eta: Float[Array, ""]
    noisy: bool = eqx.field(static=True)

    def __init__(self, eta=0.0):
        self.eta = check_fraction(eta, "eta", "0 is deterministic, 1 is DDPM.")
        self.noisy = is_noisy(self.eta)

    def draws(self) -> int:
        check_amount(self.noisy, self.eta, "eta")
        return 1 if self.noisy else 0

    def nfe(self, n: int) -> int:
        return n

    @property
    def asks_at_start(self) -> bool:
        return True

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        direction = noise_from_x0(x0, x, level)
        if self.noisy:
            ratio = noise_ratio(level, next_level)
            # sums of squares: 1 - eta^2 (1 - r^2) can round to below 0 where r is small
            scale = safe_sqrt((1 - self.eta) * (1 + self.eta) + (self.eta * ratio) ** 2)
            fresh = self.eta * safe_sqrt((1 - ratio) * (1 + ratio))
            direction = scale * direction + fresh * noise[0]
        return Step((next_level.alpha * x0 + next_level.sigma * direction).astype(x.dtype), x0)


def noise_ratio(level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """r = alpha sigma' / (alpha' sigma), in [0, 1): the fraction of the noise that a step keeps, in units of x0.

    Above 1 toward noise, where only eta = 0 makes sense and r has no effect; 0 where it would be infinite.
    """
    return safe_divide(level.alpha * next_level.sigma, next_level.alpha * level.sigma)
