"""Multistep solvers: DDIM, corrected by the estimates of earlier steps.

    x' = DDIM + reach sum_j w_j (value_j - value),     j = 1 the step before, j = 2 the one before that, ...

value is the noise, with reach = sigma' - alpha' sigma / alpha, or x0, with reach = alpha' - alpha sigma' / sigma. That
is the step whose noise, or x0, is the mean of the earlier estimates with weights w_j and of the present one with
1 - sum_j w_j. The methods differ in nothing but their weights, most of which are integrals of a polynomial through the
values:

    w_j = int L_j dm / int dm,     L_j the Lagrange polynomials in the method's own clock, m the measure of its integral

A step from or to a level of alpha = 0 or sigma = 0 is DDIM's, and values of such levels are not used later, since
clocks are infinite. So the order rises 1, 2, 3, ... from the first finite level, whichever way the path runs.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gaussdiff.conversions import noise_from_x0
from gaussdiff.denoiser import Event
from gaussdiff.numerics.arrays import safe_divide
from gaussdiff.numerics.checks import check_count
from gaussdiff.samplers._singlestep import both_finite, data_step, ddim, noise_step
from gaussdiff.samplers.base import Sampler, Step, denoise
from gaussdiff.schedules import NoiseLevel

Rule = Callable[[NoiseLevel, NoiseLevel], Array]

# Gauss-Legendre on [0, 1]: 64 points, exact to rounding for every step in use, even from sigma = 80 to 0.002
_X, _W = np.polynomial.legendre.leggauss(64)


class History(eqx.Module):
    """The last values (memory, *event) and their levels (memory,), newest first.

    usable: how many of them are set and of a level with alpha > 0 and sigma > 0; index: the steps taken so far.
    """

    values: Float[Array, "memory *event"]
    levels: NoiseLevel
    usable: Int[Array, ""]
    index: Int[Array, ""]

    def push(self, value: Event, level: NoiseLevel) -> "History":
        memory = len(self.values)
        values = jnp.concatenate([value[None], self.values])[:memory]
        alpha, sigma = (
            jnp.append(new, old)[:memory]
            for new, old in ((level.alpha, self.levels.alpha), (level.sigma, self.levels.sigma))
        )
        finite = (level.alpha > 0) & (level.sigma > 0)
        usable = jnp.where(finite, jnp.minimum(self.usable + 1, memory), 0)
        return History(values, NoiseLevel(alpha, sigma), usable, self.index + 1)

    def cut(self, start: int, stop: int) -> "History":
        """The values from `start` to before `stop`."""
        usable = jnp.clip(self.usable - start, 0, stop - start)
        return History(self.values[start:stop], self.levels[start:stop], usable, self.index)

    def weighted_change(self, weights: Array, value: Event) -> Event:
        """sum_j weights_j (value_j - value)."""
        changes = (
            (weight * (past - value)).astype(value.dtype) for weight, past in zip(weights, self.values, strict=True)
        )
        return sum(changes, jnp.zeros_like(value))


def no_history(x: Event, dtype, memory: int) -> History:
    ones = jnp.ones((memory,), dtype)
    zero = jnp.zeros((), int)
    return History(jnp.zeros((memory, *x.shape), x.dtype), NoiseLevel(ones, ones), zero, zero)


def check_order(order: int, highest: int) -> int:
    """Return order; ValueError unless it is an integer from 1 to `highest`."""
    return check_count(order, "order", "Order 1 is DDIM.", most=highest)


def by_order(rule: Rule, history: History, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " weights"]:
    """The weights that `rule` gives for the values that are usable, and 0 for the others and where a clock is infinite.

    rule(levels, next_level): levels (k+1,) the present one and k before it, newest first.
    """
    inner = both_finite(level, next_level)
    # every order is computed and one is taken: the others get made-up levels, so that they stay finite, gradients too
    alpha, sigma = jnp.where(inner, level.alpha, 1), jnp.where(inner, level.sigma, 2)
    end = NoiseLevel(jnp.where(inner, next_level.alpha, 1), jnp.where(inner, next_level.sigma, 1))
    back = np.arange(1, len(history.values) + 1)
    known = inner & (back <= history.usable)
    # ahead of the step, where no known level is: equal clocks would be divided by
    ahead = jnp.where(sigma * end.alpha > end.sigma * alpha, 0.5**back, 2.0**back).astype(sigma.dtype)
    past_alpha = jnp.where(known, history.levels.alpha, alpha)
    past_sigma = jnp.where(known, history.levels.sigma, sigma * ahead)
    levels = NoiseLevel(jnp.append(alpha, past_alpha), jnp.append(sigma, past_sigma))
    rows = [rule(levels[: k + 1], end) for k in range(len(history.values) + 1)]
    table = jnp.stack([jnp.pad(row, (0, len(rows[-1]) - len(row))) for row in rows])
    return jnp.where(inner, table[history.usable], 0)


def gauss_legendre(dtype) -> tuple[Float[Array, " points"], Float[Array, " points"]]:
    """Points in [0, 1] and their masses."""
    return jnp.asarray((_X + 1) / 2, dtype), jnp.asarray(_W / 2, dtype)


def polynomial_weights(
    nodes: Float[Array, " n"], points: Float[Array, " points"], mass: Float[Array, " points"]
) -> Float[Array, " n"]:
    """int L_j dm / int dm for the Lagrange polynomials L_j of the nodes, and a measure of `mass` at `points`."""
    own = np.eye(len(nodes), dtype=bool)
    # points x polynomials x factors, of which each polynomial's own is 1
    rise = jnp.where(own, 1, points[:, None, None] - nodes[None, None])
    fall = jnp.where(own, 1, nodes[:, None] - nodes[None])
    lagrange = jnp.prod(safe_divide(rise, fall[None]), axis=2)
    return jnp.sum(mass[:, None] * lagrange, axis=0) / jnp.sum(mass)


class Multistep(Sampler):
    """DDIM plus a weighted sum of differences to the values of the last `memory` steps: one model call a step."""

    @property
    @abc.abstractmethod
    def memory(self) -> int:
        """How many earlier values are remembered."""

    @abc.abstractmethod
    def weights(self, history: History, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " memory"]:
        """w_j of the earlier values, newest first."""

    @abc.abstractmethod
    def value(self, x0: Event, x: Event, level: NoiseLevel) -> Event:
        """What is remembered: the noise or x0."""

    @abc.abstractmethod
    def reach(self, level: NoiseLevel, next_level: NoiseLevel) -> Array:
        """What DDIM multiplies it with."""

    def draws(self) -> int:
        return 0

    def nfe(self, n: int) -> int:
        return n

    @property
    def asks_at_start(self) -> bool:
        return True

    def init(self, x: Event, levels: NoiseLevel) -> History:
        return no_history(x, levels.sigma.dtype, self.memory)

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        value = self.value(x0, x, level)
        change = state.weighted_change(self.weights(state, level, next_level), value)
        moved = ddim(x0, noise_from_x0(x0, x, level), next_level) + self.reach(level, next_level) * change
        return Step(moved.astype(x.dtype), x0, state.push(value, level))


class NoiseMultistep(Multistep):
    """Remembers the noise, as many values of it as its order needs."""

    order: eqx.AbstractVar[int]

    @property
    def memory(self) -> int:
        return self.order - 1

    def value(self, x0: Event, x: Event, level: NoiseLevel) -> Event:
        return noise_from_x0(x0, x, level)

    def reach(self, level: NoiseLevel, next_level: NoiseLevel) -> Array:
        return -noise_step(level, next_level)


class DataMultistep(Multistep):
    """Remembers x0."""

    def value(self, x0: Event, x: Event, level: NoiseLevel) -> Event:
        return x0

    def reach(self, level: NoiseLevel, next_level: NoiseLevel) -> Array:
        return data_step(level, next_level)
