"""DPM-Solver-2 and 3: the noise between the two levels of a step, integrated exactly against e^-lambda.

    order 2    x' = DDIM - sigma' (e^h - 1) / (2 r) (noise_r - noise)
    order 3    x' = DDIM - sigma' ((e^h - 1) / h - 1) / r2 (noise_r2 - noise),   r1 = 1/3, r2 = 2/3

noise_r is the model's at lambda + r h, reached by DDIM; noise_r2 is reached by DDIM with one correction from noise_r1.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.conversions import noise_from_x0
from gaussdiff.denoiser import Denoiser, Event
from gaussdiff.samplers._singlestep import between, check_r, ddim, log_step, noise_step, where_finite
from gaussdiff.samplers.base import OneStep, Step, denoise
from gaussdiff.schedules import NoiseLevel


class DPMSolver2(OneStep):
    """DPM-Solver-2 at the fraction r of a step: order 2, two calls a step, one from alpha = 0 or to sigma = 0.

    x' = alpha' x0 + sigma' noise - sigma' (e^h - 1) / (2 r) (noise_r - noise). With r = 1 in the frame alpha = 1 it is
    Heun. ValueError for r outside (0, 1]. Lu et al., arXiv 2206.00927, algorithm 1.
    """

    r: Float[Array, ""]

    def __init__(self, r=0.5):
        self.r = check_r(r)

    def nfe(self, n: int) -> int:
        return 2 * n - 1

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        eps = noise_from_x0(x0, x, level)
        moved = ddim(x0, eps, next_level)

        def corrected(level, next_level):
            middle = between(level, next_level, self.r)
            change = _noise(model, ddim(x0, eps, middle), middle) - eps
            return moved - noise_step(level, next_level) / (2 * self.r) * change

        return Step(where_finite(corrected, moved, level, next_level), x0)


class DPMSolver3(OneStep):
    """DPM-Solver-3: order 3, three calls a step, one from alpha = 0 or to sigma = 0.

    x' = alpha' x0 + sigma' noise - 3/2 sigma' ((e^h - 1) / h - 1) (noise_(2/3) - noise). Lu et al., arXiv 2206.00927,
    algorithm 2.
    """

    def nfe(self, n: int) -> int:
        return 3 * n - 2

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        eps = noise_from_x0(x0, x, level)
        moved = ddim(x0, eps, next_level)

        def corrected(level, next_level):
            first, second = (between(level, next_level, r) for r in (1 / 3, 2 / 3))
            change = _noise(model, ddim(x0, eps, first), first) - eps
            later = (ddim(x0, eps, second) - 2 * _curvature(level, second) * change).astype(x.dtype)
            return moved - 1.5 * _curvature(level, next_level) * (_noise(model, later, second) - eps)

        return Step(where_finite(corrected, moved, level, next_level), x0)


def _noise(model: Denoiser, x: Event, level: NoiseLevel) -> Event:
    return noise_from_x0(denoise(model, x, level), x, level)


def _curvature(level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """sigma' ((e^h - 1) / h - 1) in the form that does not overflow for long steps."""
    h = log_step(level, next_level)
    return next_level.alpha * level.sigma / level.alpha * (-jnp.expm1(-h) / h - jnp.exp(-h))
