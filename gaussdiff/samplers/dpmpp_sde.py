"""DPM-Solver++ for the reverse SDE: relaxation toward the denoised image extrapolated in log-SNR.

With lambda = log(alpha / sigma), h the step in it and k = 1 + eta^2, the SDE has the solution

    x' = alpha' (e^(-k h) x / alpha + k int_0^h e^(-k (h - l)) x0(lambda + l) dl) + sigma' sqrt(1 - e^(-2 eta^2 h)) z

Both methods put one estimate for x0(lambda + l): that is ExponentialSDE's step toward it.

    2S   x0 + (x0_r - x0) / (2 r),     x0_r at lambda + r h, reached by ExponentialSDE
    2M   x0 + (x0 - x0_1) / (2 r0),    x0_1 of the step before, r0 its length over h

In 2S the noise z_r on the way to lambda + r h belongs to the same path as z: the correlation of both stochastic
integrals, c^2 = (e^(2 eta^2 r h) - 1) / (e^(2 eta^2 h) - 1), is exact. Independent ones would cost it its weak order 2.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.denoiser import Event
from gaussdiff.exact.flow import check_eta
from gaussdiff.numerics.arrays import safe_divide, safe_sqrt
from gaussdiff.numerics.checks import check_at_least_0
from gaussdiff.samplers._singlestep import between, check_r, log_step, where_finite
from gaussdiff.samplers.base import Memoryless, Sampler, Step, check_amount, denoise, is_noisy
from gaussdiff.samplers.dpmpp import extrapolation
from gaussdiff.samplers.exponential import drawn, relax
from gaussdiff.samplers.multistep import History, by_order, no_history
from gaussdiff.schedules import NoiseLevel

NOISE_CURE = "1 is the noise of the SDE, 0 leaves it out."


class DPMSolverPPSDE(Memoryless):
    """SDE-DPM-Solver++(2S), "DPM++ SDE": two calls a step, one from alpha = 0 or to sigma = 0; two draws.

    r in (0, 1]: how far along the step the model is called again; eta >= 0: the noise of the reverse SDE, as in
    gaussian_transition; s_noise: a factor on all noise drawn. The step is at the head of this file; eta = 0 is
    DPMSolverPP2S(r). ValueError for values out of range. Lu et al., arXiv 2211.01095, in the form that is in use.
    """

    r: Float[Array, ""]
    eta: Float[Array, ""]
    s_noise: Float[Array, ""]
    noisy: bool = eqx.field(static=True)

    def __init__(self, r=0.5, eta=1.0, s_noise=1.0):
        self.r, self.eta = check_r(r), check_eta(eta)
        self.noisy = is_noisy(self.eta)
        self.s_noise = check_at_least_0(s_noise, "s_noise", NOISE_CURE)

    def draws(self) -> int:
        check_amount(self.noisy, self.eta, "eta")
        return 2 if self.noisy else 0

    def nfe(self, n: int) -> int:
        return 2 * n - 1

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        whole, other = (self.s_noise * drawn(noise, 2)).astype(x.dtype)
        moved = relax(x, x0, level, next_level, self.eta, whole)

        def corrected(level, next_level):
            middle = between(level, next_level, self.r)
            shared, own = self._correlation(log_step(level, next_level))
            part = relax(x, x0, level, middle, self.eta, (shared * whole + own * other).astype(x.dtype))
            target = x0 + (denoise(model, part, middle) - x0) / (2 * self.r)
            return relax(x, target.astype(x.dtype), level, next_level, self.eta, whole)

        return Step(where_finite(corrected, moved, level, next_level), x0)

    def _correlation(self, h: Array) -> tuple[Array, Array]:
        """c and sqrt(1 - c^2), in a form that neither overflows in long steps nor cancels in short ones."""
        a = 2 * self.eta**2 * h
        total = jnp.expm1(-a)
        shared = jnp.exp((self.r - 1) * a) * safe_divide(jnp.expm1(-self.r * a), total, otherwise=1.0)
        own = safe_divide(jnp.expm1((self.r - 1) * a), total)
        return safe_sqrt(shared), safe_sqrt(own)


class DPMSolverPP2MSDE(Sampler):
    """SDE-DPM-Solver++(2M), multistep with two denoised images: one model call a step; it starts with ExponentialSDE.

    eta and s_noise as in DPMSolverPPSDE. The step is at the head of this file, at eta = 1 that of the source; eta = 0
    is DPMSolverPP2M. ValueError for values out of range. Lu et al., arXiv 2211.01095.
    """

    eta: Float[Array, ""]
    s_noise: Float[Array, ""]
    noisy: bool = eqx.field(static=True)

    def __init__(self, eta=1.0, s_noise=1.0):
        self.eta, self.s_noise = check_eta(eta), check_at_least_0(s_noise, "s_noise", NOISE_CURE)
        self.noisy = is_noisy(self.eta)

    def draws(self) -> int:
        check_amount(self.noisy, self.eta, "eta")
        return 1 if self.noisy else 0

    def nfe(self, n: int) -> int:
        return n

    @property
    def asks_at_start(self) -> bool:
        return True

    def init(self, x: Event, levels: NoiseLevel) -> History:
        return no_history(x, levels.sigma.dtype, 1)

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        target = x0 + state.weighted_change(by_order(extrapolation, state, level, next_level), x0)
        fresh = (self.s_noise * drawn(noise, 1)[0]).astype(x.dtype)
        return Step(relax(x, target, level, next_level, self.eta, fresh), x0, state.push(x0, level))
