"""Grids of least W2 on a Gaussian, for every number of steps and every first level, by one program for a solver.

gd.optimal_grid is compiled for each number of steps. Here a grid of n steps lies in an array of the largest number: its
last level, sigma = 0, is repeated, and a step from 0 to 0 leaves everything where it is. The exact flow leads from
N(0, sigma_max^2) to the grid's first level `top`, then the solver has the gain g on a mode of variance lam, mean m:

    W2^2 = sum over modes of (g c sigma_max - sqrt lam)^2 + (g c m)^2,     c^2 = (lam + top^2) / (lam + sigma_max^2)

so that a closed-form start (`choices.teleported`) is part of what is made small, and top = sigma_max has none.
"""

from collections.abc import Sequence
from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import gaussdiff as gd
from gaussdiff.design.error import Spectrum, grouped, spectrum
from gaussdiff.design.recipe import inner_sigmas, numbers_of
from gaussdiff.numerics.adam import descend
from gaussdiff.numerics.arrays import safe_sqrt

SIGMA_MIN = 0.002  # below the last level before 0
STEPS, RATE = 100, 0.05  # of the descent
LOWS = (0.002, 0.02)  # last levels above 0 of the usual grids, the best of which is where a descent starts


def least_w2(
    solver: gd.Sampler, gaussian: gd.Gaussian, counts: Sequence[int], tops: Sequence[float], sigma_max: float
) -> dict[tuple[int, float], gd.NoiseLevel]:
    """For each number of steps and each first level the grid (n+1,), which ends at 0; none has a larger W2 than usual.

    solver: deterministic, one call a step. counts: of at least 2 steps.
    """
    law, most = grouped(spectrum(gaussian)), max(counts)
    asked = list(product(counts, tops))
    usual = [[_numbers(levels, most) for levels in _usual(count, top)] for count, top in asked]
    starts, (count, top) = jnp.asarray(usual, jnp.float32), (jnp.asarray(part) for part in zip(*asked, strict=True))
    grids = _sought(solver, law, starts, count, top.astype(jnp.float32), jnp.float32(sigma_max))
    return {(n, top): levels[: n + 1] for (n, top), levels in zip(asked, map(gd.NoiseLevel, *grids), strict=True)}


@eqx.filter_jit
def _sought(solver: gd.Sampler, law: Spectrum, starts, counts, tops, sigma_max):
    """alpha and sigma (P, most + 1) of the best grid of each problem; starts: (P, tries, most)."""

    def one(starts, count, top):
        def loss(numbers):
            return w2(solver, levels_of(numbers, count, top), law, sigma_max)

        start = starts[jnp.argmin(jax.lax.map(loss, starts))]
        best, _ = descend(lambda numbers, _: loss(numbers), loss, start, jax.random.key(0), STEPS, RATE)
        levels = levels_of(best, count, top)
        return levels.alpha, levels.sigma

    return jax.vmap(one)(starts, counts, tops)


def w2(solver: gd.Sampler, levels: gd.NoiseLevel, law: Spectrum, sigma_max) -> Float[Array, ""]:
    """The W2 distance to a Gaussian, in data units, after its exact flow from sigma_max to the first of the levels."""
    (mean, variance), counts = law
    ones = jnp.ones_like(variance)
    gain = gd.sample(solver, gd.Diagonal(0 * mean, variance), ones, levels).x[-1]  # linear, and modes do not mix
    gain = gain * jnp.sqrt((variance + levels.sigma[0] ** 2) / (variance + sigma_max**2))
    spread = gain * sigma_max - jnp.sqrt(variance)
    return safe_sqrt(jnp.sum(counts * spread**2) + jnp.sum((gain * mean) ** 2))


def levels_of(numbers: Float[Array, " most"], count, top) -> gd.NoiseLevel:
    """The grid of `count` steps (most + 1,), 0 from its last level on: steps in log sigma by a softmax of numbers.

    The last of the steps would lead from the last level above 0 to SIGMA_MIN, and leads to 0.
    """
    inner = inner_sigmas(numbers, SIGMA_MIN, top, count)
    sigma = jnp.append(top, jnp.where(jnp.arange(len(numbers)) < count - 1, inner, 0))
    return gd.NoiseLevel(jnp.ones_like(sigma), sigma)


def _usual(count: int, top: float) -> list[gd.NoiseLevel]:
    return [make(count, low, top) for make in (gd.grids.karras, gd.grids.uniform_log_snr) for low in LOWS]


def _numbers(levels: gd.NoiseLevel, most: int) -> np.ndarray:
    """What `levels_of` turns into these levels; 0 beyond their steps."""
    numbers = numbers_of(levels, jnp.float32(SIGMA_MIN))
    return np.pad(np.asarray(numbers), (0, most - len(numbers)))
