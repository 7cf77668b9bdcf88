"""DPM-Solver++: the denoised image extrapolated linearly or quadratically in log-SNR, from past steps or within one.

With lambda = log(alpha / sigma), h the step in it, and D the estimate of x0 that a method puts over the whole step,

    x' = (sigma'/sigma) x + alpha' (1 - e^-h) D,     which is DDIM for D = x0

    2S   D = x0 + (x0_r - x0) / (2 r),               x0_r the model's at lambda + r h, reached by DDIM
    2M   D = x0 + (x0 - x0_1) / (2 r0),              x0_1 of the step before, r0 its length over h
    3M   (1 - e^-h) D = -phi1 x0 + phi2 D1 - phi3 D2,    of the last two steps, of lengths r0, r1 over h

with phi1 = e^-h - 1, phi2 = phi1/h + 1, phi3 = phi2/h - 1/2, and the slopes E0 = (x0 - x0_1)/r0, E1 = (x0_1 - x0_2)/r1,
D2 = (E0 - E1)/(r0 + r1), D1 = E0 + r0 D2. As published, D2 counts half of what a quadratic needs, so that 3M is of
order 2. Lu et al., arXiv 2211.01095.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.conversions import noise_from_x0
from gaussdiff.samplers._singlestep import between, check_r, data_step, ddim, log_step, where_finite
from gaussdiff.samplers.base import OneStep, Step, denoise
from gaussdiff.samplers.multistep import DataMultistep, History, by_order
from gaussdiff.schedules import NoiseLevel


class DPMSolverPP2M(DataMultistep):
    """DPM-Solver++(2M), multistep with two denoised images: one model call a step; it starts with DDIM.

    x' = (sigma'/sigma) x + alpha' (1 - e^-h) ((1 + q) x0 - q x0_1), q = 1 / (2 r0), symbols as at the head of this
    file. Lu et al., arXiv 2211.01095, algorithm 2.
    """

    @property
    def memory(self) -> int:
        return 1

    def weights(self, history: History, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " memory"]:
        return by_order(extrapolation, history, level, next_level)


class DPMSolverPP3M(DataMultistep):
    """DPM-Solver++(3M), multistep with three denoised images: one model call a step; it starts with DDIM and 2M.

    x' = (sigma'/sigma) x - alpha' (phi1 x0 - phi2 D1 + phi3 D2), symbols as at the head of this file. Lu et al., arXiv
    2211.01095, in the form of the authors' program.
    """

    @property
    def memory(self) -> int:
        return 2

    def weights(self, history: History, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " memory"]:
        return by_order(extrapolation, history, level, next_level)


def extrapolation(levels: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " past"]:
    """Weights of x0_1 - x0 and x0_2 - x0, as far as there are so many."""
    h = log_step(levels[0], next_level)
    r = log_step(levels[1:], levels[:-1]) / h
    if len(r) < 2:
        return -1 / (2 * r)
    phi1 = jnp.expm1(-h)
    phi2 = phi1 / h + 1
    phi3 = phi2 / h - 1 / 2
    e0, e1 = (jnp.stack(pair) for pair in ((-1 / r[0], jnp.zeros_like(h)), (1 / r[1], -1 / r[1])))
    d2 = (e0 - e1) / (r[0] + r[1])
    return (phi2 * (e0 + r[0] * d2) - phi3 * d2) / -phi1


class DPMSolverPP2S(OneStep):
    """DPM-Solver++(2S) at the fraction r of a step: order 2, two calls a step, one from alpha = 0 or to sigma = 0.

    x' = (sigma'/sigma) x + alpha' (1 - e^-h) ((1 - 1/(2 r)) x0 + x0_r / (2 r)). ValueError for r outside (0, 1]. Lu et
    al., arXiv 2211.01095, algorithm 1.
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
            change = denoise(model, ddim(x0, eps, middle), middle) - x0
            return moved + data_step(level, next_level) / (2 * self.r) * change

        return Step(where_finite(corrected, moved, level, next_level), x0)
