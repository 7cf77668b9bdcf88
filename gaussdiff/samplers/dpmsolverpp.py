"""DPM-Solver++(2M): the denoised image extrapolated linearly in log-SNR from the last two steps.

    x' = (sigma'/sigma) x + (alpha' - alpha sigma'/sigma) ((1 + q) x0 - q x0_prev),   q = h / (2 h_prev)

with h the step in half log-SNR. The first step, and one to sigma = 0 where h is infinite, are DDIM steps (q = 0), and
so is the step after one from alpha = 0.
"""

import jax.numpy as jnp
from jaxtyping import Array

from gaussdiff.denoiser import Denoiser, Event
from gaussdiff.numerics import safe_divide
from gaussdiff.samplers.base import Sampler, Step, denoise
from gaussdiff.schedules import NoiseLevel


class DPMSolverPP2M(Sampler):
    """DPM-Solver++(2M), the same in every frame: one model call a step. Lu et al., arXiv 2211.01095, algorithm 2."""

    def draws(self) -> int:
        return 0

    def nfe(self, n: int) -> int:
        return n

    def init(self, x: Event, level: NoiseLevel) -> tuple[Array, Array]:
        """The previous denoised image and step in half log-SNR, 0 where there is none."""
        return jnp.zeros_like(x), jnp.zeros_like(level.sigma)

    def step(
        self,
        model: Denoiser,
        x: Event,
        state: tuple[Array, Array],
        level: NoiseLevel,
        next_level: NoiseLevel,
        noise: Array,
    ) -> Step:
        previous, h_previous = state
        x0 = denoise(model, x, level)
        h = _log_step(level, next_level)
        q = safe_divide(h, 2 * h_previous)
        extrapolated = x0 + q * (x0 - previous)
        ratio = next_level.sigma / level.sigma
        moved = ratio * x + (next_level.alpha - level.alpha * ratio) * extrapolated
        return Step(moved.astype(x.dtype), x0, (x0, h))


def _log_step(level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """h = log(alpha' / sigma') - log(alpha / sigma), and 0 where that is infinite, with finite gradients."""
    inner = (level.alpha > 0) & (next_level.sigma > 0)
    signal = next_level.alpha / jnp.where(inner, level.alpha, 1)
    return jnp.log(jnp.where(inner, signal, 1) / jnp.where(inner, next_level.sigma / level.sigma, 1))
