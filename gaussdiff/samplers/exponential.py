"""The reverse SDE solved exactly over a step for a constant denoised image: relaxation toward a point.

In the frame alpha = 1, from s down to t,  dy = -(1 + eta^2) s score ds + eta sqrt(2 s) dw  with  score = (x0 - y) / s^2
has the solution

    y' = x0 + (t/s)^(1 + eta^2) (y - x0) + t sqrt(1 - (t/s)^(2 eta^2)) z

which is the exact transition of data that are the one point x0. With h = log(s/t) it is the exponential integrator of
the DPM family. A method of higher order takes the same step toward a better estimate than x0.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.conversions import noise_from_x0
from gaussdiff.denoiser import Event
from gaussdiff.exact.flow import check_eta
from gaussdiff.numerics.arrays import safe_sqrt
from gaussdiff.samplers._singlestep import ddim
from gaussdiff.samplers.base import Memoryless, Step, check_amount, denoise, is_noisy
from gaussdiff.samplers.ddim import noise_ratio
from gaussdiff.schedules import NoiseLevel


class ExponentialSDE(Memoryless):
    """The reverse SDE at noise eta >= 0 with x0 held constant over a step: one model call a step.

    x' = alpha' x0 + sigma' (r^(eta^2) noise + sqrt(1 - r^(2 eta^2)) z), r = alpha sigma' / (alpha' sigma): the exact
    gaussian_transition of data that are one point, with the same eta. 0 and 1 are DDIM's; between them the two differ
    in long steps. At eta = 1 the mean of x' given x is exact for every law. ValueError for eta < 0. Lu et al.,
    arXiv 2211.01095.
    """

    eta: Float[Array, ""]
    noisy: bool = eqx.field(static=True)

    def __init__(self, eta=1.0):
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
        return Step(relax(x, x0, level, next_level, self.eta, fresh), x0)


def drawn(noise: Array, count: int) -> Float[Array, "count *event"]:
    """The noise of a step, `count` normals; 0 where a sampler that draws none was given none."""
    return noise if len(noise) else jnp.zeros((count, *noise.shape[1:]), noise.dtype)


def relax(x: Event, target: Event, level: NoiseLevel, next_level: NoiseLevel, eta, fresh: Event) -> Event:
    """x (*event) carried to next_level by the reverse SDE of data that are the point `target`; fresh ~ N(0, I)."""
    ratio, power = noise_ratio(level, next_level), eta**2
    # r^0 = 1 at r = 0 too; the power itself has no gradient there
    factor = jnp.where(ratio > 0, jnp.where(ratio > 0, ratio, 1) ** power, jnp.where(power > 0, 0, 1))
    noise = factor * noise_from_x0(target, x, level) + safe_sqrt((1 - factor) * (1 + factor)) * fresh
    return ddim(target, noise.astype(x.dtype), next_level)
