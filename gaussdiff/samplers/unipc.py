"""UniPC: a multistep predictor, and a corrector that uses the model's next answer, which the next step needs anyway.

With lambda = log(alpha / sigma), P the polynomial in lambda through denoised images x0 of the present and the past,

    predictor    x' = (sigma'/sigma) x + sigma' int_lambda^lambda' e^l P(l) dl
    corrector    the same with the x0 that the model then gives for the predicted x' as one more point of P

These are the paper's formulas wherever it solves for their coefficients: its B(h) cancels. B(h) remains where a
coefficient is set to 1/2, with r = -h_1/h and h_1 the step before:

    predictor of order 2   x' = DDIM - alpha' B(h)/2 (x0_1 - x0)/r,     bh1 is B(h) = -h
    corrector of order 1   x' = DDIM - alpha' B(h)/2 (x0' - x0),        bh2 is B(h) = e^-h - 1
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.conversions import noise_from_x0
from gaussdiff.denoiser import Event
from gaussdiff.samplers._singlestep import data_step, ddim, log_step
from gaussdiff.samplers.base import Sampler, Step, denoise
from gaussdiff.samplers.multistep import History, by_order, check_order, gauss_legendre, no_history, polynomial_weights
from gaussdiff.schedules import NoiseLevel


class Memory(eqx.Module):
    """The x0 of earlier steps, and the change of x0 that the last predictor assumed (*event)."""

    history: History
    assumed: Float[Array, "*event"]


class UniPC(Sampler):
    """UniPC with data prediction: predictor of an order, corrector one order higher, one model call a step.

    Step i corrects x for the step before it, with the call that it makes anyway, then predicts; a path has the
    predicted x, where the model is called. Orders rise 1, 2, 3 from the start and do not fall before the end. Order 1
    predicts by DDIM. ValueError for an order outside 1 to 3, or a variant other than "bh1" and "bh2". Zhao et al.,
    arXiv 2302.04867.
    """

    order: int = eqx.field(static=True)
    variant: str = eqx.field(static=True)

    def __init__(self, order: int = 3, variant: str = "bh2"):
        if variant not in ("bh1", "bh2"):
            raise ValueError(f'variant: expected "bh1" or "bh2", got {variant!r}. They differ in few coefficients.')
        self.order, self.variant = check_order(order, 3), variant

    def draws(self) -> int:
        return 0

    def nfe(self, n: int) -> int:
        return n

    @property
    def asks_at_start(self) -> bool:
        return True

    def init(self, x: Event, levels: NoiseLevel) -> Memory:
        return Memory(no_history(x, levels.sigma.dtype, self.order), jnp.zeros_like(x))

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        x = self._corrected(x, x0, state, level)
        past = state.history.cut(0, self.order - 1)
        change = past.weighted_change(by_order(self._predictor, past, level, next_level), x0)
        moved = ddim(x0, noise_from_x0(x0, x, level), next_level) + data_step(level, next_level) * change
        return Step(moved.astype(x.dtype), x0, Memory(state.history.push(x0, level), change))

    def _corrected(self, x: Event, x0: Event, state: Memory, level: NoiseLevel) -> Event:
        """x moved by what the last step should have assumed of x0 and did not; as it is where no clock was finite."""
        there = state.history.usable > 0
        last, past = state.history.values[0], state.history.cut(1, self.order)
        last_level = NoiseLevel(
            jnp.where(there, state.history.levels.alpha[0], level.alpha),
            jnp.where(there, state.history.levels.sigma[0], 2 * level.sigma),
        )
        weights = by_order(self._corrector, past, last_level, level)
        change = weights[0] * (x0 - last) + past.weighted_change(weights[1:], last)
        reach = jnp.where(there, data_step(last_level, level), 0)
        return (x + reach * (change - state.assumed)).astype(x.dtype)

    def _predictor(self, levels: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " past"]:
        h, nodes = _clock(levels, next_level)
        return self._half(h) / nodes[1:] if len(nodes) == 2 else polynomial_weights(nodes, *_measure(h))[1:]

    def _corrector(self, levels: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " new_and_past"]:
        h, nodes = _clock(levels, next_level)
        if len(nodes) == 1:
            return self._half(h)[None]
        return jnp.roll(polynomial_weights(jnp.append(nodes, 1), *_measure(h))[1:], 1)

    def _half(self, h: Array) -> Array:
        """B(h) / 2 in units of e^-h - 1."""
        return jnp.full_like(h, 0.5) if self.variant == "bh2" else -h / 2 / jnp.expm1(-h)


def _clock(levels: NoiseLevel, next_level: NoiseLevel) -> tuple[Array, Float[Array, " levels"]]:
    """h and the levels' lambda, counted from the present one in units of h."""
    h = log_step(levels[0], next_level)
    return h, log_step(levels[0], levels) / h


def _measure(h: Array) -> tuple[Float[Array, " points"], Float[Array, " points"]]:
    """e^l dl over a step, in units of h."""
    points, mass = gauss_legendre(h.dtype)
    return points, mass * jnp.exp(-h * (1 - points))
