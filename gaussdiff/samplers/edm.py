"""EDM's stochastic sampler: a little noise is added, then Heun's step removes that and more.

    s = sigma / alpha  ->  (1 + gamma) s  by fresh noise,     gamma = min(churn / n, sqrt 2 - 1) for n steps

The noisier level lies on the straight line through both ends of the step in (alpha^2, sigma^2), extended: in the frame
alpha = 1, and wherever alpha^2 + sigma^2 = 1, it is a level of that frame. With k = 1 + gamma, A = alpha'^2 - alpha^2
and B = sigma^2 - sigma'^2, each 0 where it is below, it is

    alpha^2 (1 - w sigma^2 A),  sigma^2 (1 + w alpha^2 B),     w = (k^2 - 1) / (alpha^2 B + k^2 sigma^2 A)

x shrinks as alpha does, and is given noise of the variance w sigma^2 (alpha^2 B + sigma^2 A).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.denoiser import Event
from gaussdiff.numerics.arrays import concrete, safe_divide, safe_sqrt
from gaussdiff.numerics.checks import check_at_least_0, check_number, or_nan
from gaussdiff.samplers.base import Sampler, Step, check_amount, is_noisy
from gaussdiff.samplers.heun import Heun
from gaussdiff.schedules import NoiseLevel


class EDMStochastic(Sampler):
    """EDM's stochastic sampler: as many calls as Heun, and noise added before the step where s_min <= s <= s_max.

    s = sigma / alpha in data units. churn >= 0: how much noise, over all steps; s_noise: a factor on it, 1 by theory.
    churn = 0 is Heun. The denoised values of a path are those at the noisier levels, where the model is called.
    ValueError for negative values, or s_min > s_max. Karras et al., arXiv 2206.00364, algorithm 2.
    """

    churn: Float[Array, ""]
    s_min: Float[Array, ""]
    s_max: Float[Array, ""]
    s_noise: Float[Array, ""]
    noisy: bool = eqx.field(static=True)

    def __init__(self, churn=40.0, s_min=0.0, s_max=np.inf, s_noise=1.0):
        self.churn = check_at_least_0(churn, "churn", "0 is Heun; 30 to 80 are the published values.")
        self.noisy = is_noisy(self.churn)
        self.s_noise = check_at_least_0(s_noise, "s_noise", "1 is the noise that fits the level.")
        cure = "Noise is added between the two, in units of sigma / alpha."
        self.s_min, self.s_max = check_number(s_min, "s_min", cure), check_number(s_max, "s_max", cure)
        if not concrete(self.s_min, self.s_max):
            # no step is at a level that is NaN: the noise itself says that they do not fit
            self.s_noise = or_nan(self.s_noise, (self.s_min >= 0) & (self.s_min <= self.s_max))
        elif not 0 <= float(self.s_min) <= float(self.s_max):
            raise ValueError(
                f"s_min, s_max: expected 0 <= s_min <= s_max, got {float(self.s_min):g} and {float(self.s_max):g}. "
                f"{cure}"
            )

    def draws(self) -> int:
        check_amount(self.noisy, self.churn, "churn")
        return 1 if self.noisy else 0

    def nfe(self, n: int) -> int:
        return 2 * n - 1

    def init(self, x: Event, levels: NoiseLevel) -> Float[Array, ""]:
        """gamma."""
        gamma = jnp.minimum(self.churn / (len(levels) - 1), np.sqrt(2) - 1)
        return gamma.astype(levels.sigma.dtype)

    def step(self, model, x, state, level, next_level, noise):
        if self.noisy:
            s = safe_divide(level.sigma, level.alpha, otherwise=np.inf)
            k = 1 + jnp.where((self.s_min <= s) & (s <= self.s_max), state, 0)
            shrink, added, level = _raised(k, level, next_level)
            x = (shrink * x + self.s_noise * added * noise[0]).astype(x.dtype)
        step = Heun().step(model, x, None, level, next_level, noise)
        return Step(step.x, step.denoised, state)


def _raised(k: Array, level: NoiseLevel, next_level: NoiseLevel) -> tuple[Array, Array, NoiseLevel]:
    """The level of k times the noise, with what takes x there: its factor, and the deviation of the noise to add."""
    signal, noise = level.alpha**2, level.sigma**2
    # what the step gains in alpha^2 and loses in sigma^2: A and B; both are 0 for no step that loses noise
    signal_gain = jnp.maximum(next_level.alpha**2 - signal, 0)
    noise_loss = jnp.maximum(noise - next_level.sigma**2, 0)

    # the line through both ends of the step, extended until sigma / alpha is k times as large
    w = (k - 1) * (k + 1) / (signal * noise_loss + k**2 * noise * signal_gain)
    shrink = jnp.sqrt(1 - w * noise * signal_gain)
    grow = jnp.sqrt(1 + w * signal * noise_loss)
    raised = NoiseLevel(level.alpha * shrink, level.sigma * grow)

    # x shrinks as alpha does, and its noise with it: sigma^2 (grow^2 - shrink^2) is missing
    added = level.sigma * safe_sqrt(w * (signal * noise_loss + noise * signal_gain))
    return shrink, added, raised
