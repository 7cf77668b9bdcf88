"""DEIS: Adams-Bashforth with polynomials in the time tau of a schedule.

    y' = y + sum_j C_j noise_j,     C_j = int_tau^tau' (ds/dtau) L_j(tau) dtau,     y = x / alpha,  s = sigma / alpha

C_j by Gauss-Legendre quadrature, in log-SNR; they sum to s' - s.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.samplers._singlestep import log_step
from gaussdiff.samplers.multistep import (
    History,
    NoiseMultistep,
    by_order,
    check_order,
    gauss_legendre,
    polynomial_weights,
)
from gaussdiff.schedules import NoiseLevel, Schedule, VariancePreserving, check_schedule


class DEIS(NoiseMultistep):
    """tAB-DEIS: the noise as a polynomial of degree order - 1 in a schedule's time: one model call a step.

    y' = y + sum_j C_j noise_j with C_j = int (ds/dtau) L_j dtau. The schedule, by default VariancePreserving(), is the
    clock alone: levels are of any frame, with log-SNRs that the schedule has. Under VarianceExploding it is
    AdamsBashforth. ValueError for an order outside 1 to 4, TypeError unless schedule is a Schedule. Zhang & Chen, arXiv
    2204.13902.
    """

    schedule: Schedule
    order: int = eqx.field(static=True)

    def __init__(self, order: int = 3, schedule: Schedule | None = None):
        self.order = check_order(order, 4)
        self.schedule = VariancePreserving() if schedule is None else schedule
        check_schedule(self.schedule)

    def weights(self, history: History, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " memory"]:
        return by_order(self._rule, history, level, next_level)

    def _rule(self, levels: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " past"]:
        h, (points, mass) = log_step(levels[0], next_level), gauss_legendre(levels.sigma.dtype)
        time = self.schedule.time_at(levels.log_snr)
        # the measure ds in log-SNR, where all is smooth: as a function of tau, s can rise like a root from tau = 0
        inside = self.schedule.time_at(levels.log_snr[0] + 2 * h * points)
        step = self.schedule.time_at(next_level.log_snr) - time[0]
        return polynomial_weights((time - time[0]) / step, (inside - time[0]) / step, mass * jnp.exp(-h * points))[1:]
