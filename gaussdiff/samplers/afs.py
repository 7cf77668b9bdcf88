"""Analytic first step: where x is nearly all noise, the noise is x itself, scaled, and the model need not be called.

    noise = x / r,     x0 = (x - sigma noise) / alpha = alpha x / (r (r + sigma)),     r^2 = alpha^2 + sigma^2

For sigma well above the data's scale; at alpha = 0 it takes x0 to be 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from gaussdiff.denoiser import Denoiser, Event
from gaussdiff.samplers.base import Sampler, Step, check_sampler
from gaussdiff.schedules import NoiseLevel


class AFS(Sampler):
    """A sampler whose first call of the model is replaced by noise = x / sqrt(alpha^2 + sigma^2): one call less.

    TypeError unless sampler is one. Dockhorn et al., arXiv 2210.05475.
    """

    sampler: Sampler

    def __init__(self, sampler: Sampler):
        check_sampler(sampler)
        self.sampler = sampler

    def draws(self) -> int:
        return self.sampler.draws()

    def nfe(self, n: int) -> int:
        return max(self.sampler.nfe(n) - 1, 0)

    @property
    def asks_at_start(self) -> bool:
        return self.sampler.asks_at_start

    def check_steps(self, n: int) -> None:
        self.sampler.check_steps(n)

    def check_inversion(self) -> None:
        raise ValueError(
            "sampler: expected one that starts at the data, got AFS, whose first step takes x to be nearly all noise. "
            "Invert the sampler inside it: gd.invert(afs.sampler, ...)."
        )

    def init(self, x: Event, levels: NoiseLevel) -> tuple:
        return jnp.ones((), bool), self.sampler.init(x, levels)

    def step(self, model, x, state, level, next_level, noise):
        first, inside = state
        step = self.sampler.step(_Analytic(model, level, first), x, inside, level, next_level, noise)
        return Step(step.x, step.denoised, (jnp.zeros((), bool), step.state))


class _Analytic(Denoiser):
    """The model, and on the first step, at the level where that starts, the analytic answer."""

    model: Denoiser
    start: NoiseLevel
    first: Bool[Array, ""]

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        here = self.first & (level.alpha == self.start.alpha) & (level.sigma == self.start.sigma)
        r = jnp.sqrt(level.alpha**2 + level.sigma**2)
        analytic = (level.alpha / (r * (r + level.sigma)) * x).astype(x.dtype)
        # cond, not where: the call is what is saved
        return jax.lax.cond(here, lambda: analytic, lambda: self.model.denoise(x, level).astype(x.dtype))
