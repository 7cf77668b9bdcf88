"""Euler-Maruyama: the reverse SDE of a schedule, in its own time, as though drift and noise were constant over a step.

    dx = (alpha' x0 + sigma' noise + eta^2 q noise) dt + eta sqrt(2 sigma q) dw,     q = sigma' - sigma alpha' / alpha

a prime is d/dt here, dt < 0 and noise = (x - alpha x0) / sigma. At eta = 1 it is  f x - g^2 score  with f = alpha' /
alpha and g^2 = 2 sigma q; the probability flow is eta = 0. f is infinite at alpha = 0.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.conversions import noise_from_x0
from gaussdiff.denoiser import Event
from gaussdiff.exact.flow import check_eta
from gaussdiff.numerics.arrays import safe_sqrt
from gaussdiff.samplers._singlestep import where_finite
from gaussdiff.samplers.base import Memoryless, Step, check_amount, denoise, is_noisy
from gaussdiff.samplers.exponential import drawn, relax
from gaussdiff.schedules import NoiseLevel, Schedule, VariancePreserving, check_schedule, rates


class EulerMaruyama(Memoryless):
    """Euler-Maruyama for the reverse SDE of a schedule at noise eta >= 0: one model call a step.

    x' = x + dt (alpha' x0 + sigma' noise + eta^2 q noise) + eta sqrt(2 sigma q |dt|) z, symbols as at the head of this
    file. The schedule, by default VariancePreserving(), defines a step: x is carried to its frame and back, and
    its log-SNRs must include those of the levels. A step from alpha = 0, where the rates are infinite, or to sigma = 0
    is ExponentialSDE's, which forgets x in the one case and gives the denoised image in the other. Long steps are
    unstable, beyond |dt| (1 + eta^2) g^2 / (2 sigma^2) = 2. ValueError for eta < 0, TypeError unless schedule is a
    Schedule. Maruyama 1955; Song et al., arXiv 2011.13456, eq. 6.
    """

    schedule: Schedule
    eta: Float[Array, ""]
    noisy: bool = eqx.field(static=True)

    def __init__(self, schedule: Schedule | None = None, eta=1.0):
        self.schedule = VariancePreserving() if schedule is None else schedule
        check_schedule(self.schedule)
        self.eta = check_eta(eta)
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
        (fresh,) = drawn(noise, 1)
        limit = relax(x, x0, level, next_level, self.eta, fresh)

        def moved(level, next_level):
            t, next_t = self.schedule.time_at(level.log_snr), self.schedule.time_at(next_level.log_snr)
            here = _scale(self.schedule(t), level) * x
            there = here + self._move(x0, noise_from_x0(x0, x, level), fresh, t, next_t)
            return there / _scale(self.schedule(next_t), next_level)

        return Step(where_finite(moved, limit, level, next_level), x0)

    def _move(self, x0: Event, noise: Event, fresh: Event, t: Array, next_t: Array) -> Event:
        level, rate = rates(self.schedule, t)
        q = rate.sigma - level.sigma * rate.alpha / level.alpha
        drift = rate.alpha * x0 + (rate.sigma + self.eta**2 * q) * noise
        return (next_t - t) * drift + self.eta * safe_sqrt(2 * level.sigma * q * (t - next_t)) * fresh


def _scale(own: NoiseLevel, level: NoiseLevel) -> Array:
    """What x at `level` is multiplied with in another frame, `own` at the same log-SNR."""
    return jnp.hypot(own.alpha, own.sigma) / jnp.hypot(level.alpha, level.sigma)
