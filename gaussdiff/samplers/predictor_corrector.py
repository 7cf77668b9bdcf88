"""Predictor and corrector: a step of any sampler, then Langevin steps at the level reached.

    x <- x + e score + sqrt(2 e) z,     e = 2 (snr |z| / |score|)^2

In terms of the noise that the model estimates, with q = snr |z| / |noise|, it is  x <- x + 2 q sigma (z - q noise).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.conversions import noise_from_x0
from gaussdiff.denoiser import Event
from gaussdiff.numerics.arrays import safe_divide, safe_sqrt
from gaussdiff.numerics.checks import check_at_least_0, check_count
from gaussdiff.samplers.base import Sampler, Step, check_sampler, denoise
from gaussdiff.schedules import NoiseLevel


class PredictorCorrector(Sampler):
    """Any sampler as the predictor, followed at each level above sigma = 0 by Langevin steps, one model call each.

    x <- x + 2 q sigma (z - q noise), q = snr |z| / |noise|, norms over the one sample. The step adapts to its noise, so
    it is not linear in x even on a Gaussian: `transfer` and `generated` do not apply to it. The same in
    every frame; the source's form for variance preserving has the factor 1 - beta in e. ValueError for snr < 0 or
    steps < 1, TypeError unless predictor is a Sampler. Song et al., arXiv 2011.13456, algorithms 4 and 5.
    """

    predictor: Sampler
    snr: Float[Array, ""]
    steps: int = eqx.field(static=True)

    def __init__(self, predictor: Sampler, snr=0.16, steps: int = 1):
        check_sampler(predictor, "predictor")
        self.predictor = predictor
        self.snr = check_at_least_0(snr, "snr", "0 is the predictor alone; 0.16 is the usual value.")
        self.steps = check_count(steps, "steps", "It counts the corrections at each level; without any: the predictor.")

    def draws(self) -> int:
        return self.predictor.draws() + self.steps

    def nfe(self, n: int) -> int:
        return self.predictor.nfe(n) + self.steps * (n - 1)

    def check_steps(self, n: int) -> None:
        self.predictor.check_steps(n)

    def init(self, x: Event, levels: NoiseLevel):
        return self.predictor.init(x, levels)

    def step(self, model, x, state, level, next_level, noise):
        own, others = jnp.split(noise, [self.predictor.draws()])
        step = self.predictor.step(model, x, state, level, next_level, own)

        def langevin(x: Event, fresh: Event):
            estimate = noise_from_x0(denoise(model, x, next_level), x, next_level)
            q = self.snr * safe_divide(_norm(fresh), _norm(estimate))
            return (x + 2 * q * next_level.sigma * (fresh - q * estimate)).astype(x.dtype), None

        def corrected(x: Event) -> Event:
            return jax.lax.scan(langevin, x, others)[0]

        # cond, not where: the model must not be called at sigma = 0
        end = jax.lax.cond(next_level.sigma > 0, corrected, lambda x: x, step.x)
        return Step(end, step.denoised, step.state)


def _norm(x: Event) -> Array:
    return safe_sqrt(jnp.sum(x**2))
