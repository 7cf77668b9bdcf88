"""Paths step by step on the host: a network is compiled once, whatever the samplers, grids, starts and budgets.

A sampler that asks the model where its step starts, Heun's also where its Euler step ends, is given the answers: only
its own arithmetic is compiled for it. Any other is compiled together with the model, once for all its grids.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

import gaussdiff as gd
from training.evaluation import explain

BATCH = 64  # samples that a model is asked of at once: more are cut, fewer filled up, so that one program serves all
SMALL = 16  # samples that are asked as they are: to fill them up would cost more than to compile a program for them


def denoised(model: gd.Denoiser, x: Float[np.ndarray, "n *event"], level: gd.NoiseLevel) -> np.ndarray:
    """The denoised samples (n, *event) at one level, BATCH by BATCH."""
    count, missing = len(x), -len(x) % BATCH
    level = jax.tree.map(lambda value: jnp.asarray(value, x.dtype), level)
    if count <= SMALL:
        return np.asarray(explain.denoise(model, jnp.asarray(x), level))
    full = np.concatenate([x, np.repeat(x[-1:], missing, 0)])
    answers = [explain.denoise(model, jnp.asarray(full[i : i + BATCH]), level) for i in range(0, count, BATCH)]
    return np.concatenate([np.asarray(answer) for answer in answers])[:count]


def steps(
    sampler: gd.Sampler, model: gd.Denoiser, starts: Float[Array | np.ndarray, "n *event"], levels: gd.NoiseLevel
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The states after each step, and the denoised samples at the start of it, as gd.sample gives them: (n, *event)."""
    state, x = jax.vmap(sampler.init, (0, None))(jnp.asarray(starts), levels), np.asarray(starts)
    alphas, sigmas = np.asarray(levels.alpha), np.asarray(levels.sigma)
    grid = [_level(*both) for both in zip(alphas, sigmas, strict=True)]
    for level, next_level in pairwise(grid):
        x, state, x0 = _stepped(sampler, model, x, state, level, next_level)
        yield x, x0


def _level(alpha: np.ndarray, sigma: np.ndarray) -> gd.NoiseLevel:
    """One level of a grid that was checked as a whole."""
    return jax.tree.unflatten(jax.tree.structure(gd.NoiseLevel(1.0, 1.0)), [jnp.asarray(alpha), jnp.asarray(sigma)])


def _stepped(
    sampler: gd.Sampler, model: gd.Denoiser, x: np.ndarray, state: Any, level: gd.NoiseLevel, next_level: gd.NoiseLevel
) -> tuple[np.ndarray, Any, np.ndarray]:
    ways = level, next_level
    if isinstance(sampler, gd.SwitchAt):  # each of its two samplers asks in its own way
        later = int(max(float(each.log_snr) for each in ways) > float(sampler.log_snr))
        x, own, x0 = _stepped((sampler.first, sampler.second)[later], model, x, state[later], *ways)
        return x, (state[0], own) if later else (own, state[1]), x0
    if not sampler.asks_at_start and not isinstance(sampler, gd.Heun):
        return _host(_asking(sampler, model, x, state, *ways))
    first = denoised(model, x, level) if sampler.nfe(2) else x  # a sampler without calls never looks
    second = first
    if isinstance(sampler, gd.Heun) and next_level.sigma > 0:
        second = denoised(model, np.asarray(_answered(gd.Euler(), first, first, x, state, *ways)[0]), next_level)
    return _host(_answered(sampler, first, second, x, state, *ways))


def _host(made: tuple[Array, Any, Array]) -> tuple[np.ndarray, Any, np.ndarray]:
    x, state, x0 = made
    return np.asarray(x), state, np.asarray(x0)


@final
class _Answers(gd.Denoiser):
    """The model that is known at both ends of a step of one sample: first (*event) at its start, second at its end."""

    start: gd.NoiseLevel
    first: Float[Array, "*event"]
    second: Float[Array, "*event"]

    def denoise(self, x: Float[Array, "*event"], level: gd.NoiseLevel) -> Float[Array, "*event"]:
        at_start: Bool[Array, ""] = (level.sigma == self.start.sigma) & (level.alpha == self.start.alpha)
        return jnp.where(at_start, self.first, self.second)


@eqx.filter_jit
def _answered(sampler, first, second, x, state, level, next_level):
    def one(first, second, x, state):
        return _one(sampler, _Answers(level, first, second), x, state, level, next_level)

    return jax.vmap(one)(first, second, x, state)


@eqx.filter_jit
def _asking(sampler, model, x, state, level, next_level):
    return jax.vmap(lambda x, state: _one(sampler, model, x, state, level, next_level))(x, state)


def _one(sampler, model, x, state, level, next_level):
    made = sampler.step(model, x, state, level, next_level, jnp.zeros((0, *x.shape), x.dtype))
    return made.x, made.state, made.denoised
