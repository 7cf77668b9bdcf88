"""One sampler for the noisy part of a path and another for the rest.

Teleportation is SwitchAt(GaussianExact(gaussian), Heun(), log_snr): while the noise hides all but the second moments,
the closed form replaces the network. Wang & Vastola, arXiv 2412.09726.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.denoiser import Event
from gaussdiff.numerics.arrays import concrete
from gaussdiff.numerics.checks import check_number
from gaussdiff.samplers.base import Sampler, Step, check_sampler
from gaussdiff.schedules import NoiseLevel


class SwitchAt(Sampler):
    """`first` for every step that ends at or before log_snr, `second` from the next step on.

    In gd.invert each has the steps that it has in gd.sample, in the opposite order: `second` first.
    TypeError unless both are samplers. Wang & Vastola, arXiv 2412.09726.
    """

    first: Sampler
    second: Sampler
    log_snr: Float[Array, ""]

    def __init__(self, first: Sampler, second: Sampler, log_snr):
        check_sampler(first, "first")
        check_sampler(second, "second")
        self.first, self.second, self.log_snr = first, second, _log_snr(log_snr)

    def draws(self) -> int:
        return max(self.first.draws(), self.second.draws())

    def nfe(self, n: int) -> int:
        """At most this many: the count of the costlier sampler, since the switch depends on the grid."""
        return max(self.first.nfe(n), self.second.nfe(n))

    @property
    def asks_at_start(self) -> bool:
        return self.first.asks_at_start and self.second.asks_at_start

    def check_inversion(self) -> None:
        self.first.check_inversion()
        self.second.check_inversion()

    def init(self, x: Event, levels: NoiseLevel) -> tuple:
        return self.first.init(x, levels), self.second.init(x, levels)

    def step(self, model, x, state, level, next_level, noise):
        def early() -> Step:
            step = self.first.step(model, x, state[0], level, next_level, noise[: self.first.draws()])
            return Step(step.x, step.denoised, (step.state, state[1]))

        def late() -> Step:
            step = self.second.step(model, x, state[1], level, next_level, noise[: self.second.draws()])
            return Step(step.x, step.denoised, (state[0], step.state))

        return jax.lax.cond(jnp.maximum(level.log_snr, next_level.log_snr) <= self.log_snr, early, late)


def _log_snr(log_snr) -> Array:
    cure = "It is log(alpha^2 / sigma^2) of the level of the switch, level.log_snr."
    log_snr = check_number(log_snr, "log_snr", cure)
    if concrete(log_snr) and jnp.isnan(log_snr):
        raise ValueError(f"log_snr: expected a number, got nan. {cure}")
    return log_snr
