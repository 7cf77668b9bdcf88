"""Annealed Langevin dynamics: at each level steps that leave its law nearly alone, then on to the next level.

    x <- x + (a / 2) (alpha x0 - x) + sqrt(a) sigma z

that is a step of a sigma^2 along the score, plus noise. At a level of one Gaussian many of them end at the variance
S^2 / (1 - a sigma^2 / (4 S^2)), S^2 = alpha^2 lam + sigma^2: too much, by less as sigma falls below the data's scale.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.denoiser import Event
from gaussdiff.numerics.arrays import concrete, safe_divide
from gaussdiff.numerics.checks import check_count, check_number, or_nan
from gaussdiff.samplers.base import Memoryless, Step, denoise


class AnnealedLangevin(Memoryless):
    """The sampler of noise-conditional score networks: `steps` Langevin steps at every level, then x / alpha goes on.

    x <- x + (step_size / 2) (alpha x0 - x) + sqrt(step_size) sigma z: step_size is the source's alpha_i / sigma_i^2 =
    epsilon / sigma_L^2, 0.2 there, in (0, 4). To sigma = 0 x becomes the denoised image (Tweedie's step), for one more
    call; a grid should end there, since at its last level no Langevin steps are taken. From alpha = 0, where x / alpha
    is infinite, x goes on by DDIM. ValueError for values out of range. Song & Ermon, arXiv 1907.05600, algorithm 1;
    Jolicoeur-Martineau et al., arXiv 2009.05475.
    """

    steps: int = eqx.field(static=True)
    step_size: Float[Array, ""]

    def __init__(self, steps: int = 100, step_size=0.2):
        self.steps = check_count(steps, "steps", "It counts the Langevin steps at each level.")
        cure = "From 4 on the steps diverge; 0.2 is the usual value."
        self.step_size = check_number(step_size, "step_size", cure)
        if not concrete(self.step_size):
            self.step_size = or_nan(self.step_size, (self.step_size > 0) & (self.step_size < 4))
        elif not 0 < float(self.step_size) < 4:
            raise ValueError(f"step_size: expected in (0, 4), got {float(self.step_size):g}. {cure}")

    def draws(self) -> int:
        return self.steps

    def nfe(self, n: int) -> int:
        return self.steps * n + 1

    def step(self, model, x, state, level, next_level, noise):
        def langevin(x: Event, fresh: Event):
            x0 = denoise(model, x, level)
            moved = x + self.step_size / 2 * (level.alpha * x0 - x) + jnp.sqrt(self.step_size) * level.sigma * fresh
            return moved.astype(x.dtype), x0

        x, denoised = jax.lax.scan(langevin, x, noise)

        def onward() -> Event:
            ddim = next_level.alpha * denoised[-1] + next_level.sigma / level.sigma * x
            rescaled = safe_divide(next_level.alpha, level.alpha) * x
            return jnp.where(level.alpha > 0, rescaled, ddim).astype(x.dtype)

        def clean() -> Event:
            return (next_level.alpha * denoise(model, x, level)).astype(x.dtype)

        # cond, not where: the last call of the model is for the end alone
        return Step(jax.lax.cond(next_level.sigma > 0, onward, clean), denoised[0])
