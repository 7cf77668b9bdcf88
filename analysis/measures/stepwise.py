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
TANGENTS = 16  # directions along which a path is differentiated at once, likewise
SMALL = 16  # samples that are asked as they are: to fill them up would cost more than to compile a program for them


def denoised(model: gd.Denoiser, x: Float[np.ndarray, "n *event"], level: gd.NoiseLevel) -> np.ndarray:
    """The denoised samples (n, *event) at one level, BATCH by BATCH."""
    level = jax.tree.map(lambda value: jnp.asarray(value, x.dtype), level)
    answers = [explain.denoise(model, jnp.asarray(part), level) for part in _cut(x)]
    return np.concatenate([np.asarray(answer) for answer in answers])[: len(x)]


def posteriors(data_set: gd.Empirical, x: Float[np.ndarray, "n *event"], level: gd.NoiseLevel) -> Any:
    """What a data set knows of samples at one level: its posterior, every field with an axis (n,), BATCH by BATCH."""
    level = jax.tree.map(lambda value: jnp.asarray(value, x.dtype), level)
    parts = jax.device_get([_posteriors(data_set, jnp.asarray(part), level) for part in _cut(x)])
    return jax.tree.map(lambda *each: np.concatenate(each)[: len(x)], *parts)


@eqx.filter_jit
def _posteriors(data_set: gd.Empirical, x: Float[Array, "n *event"], level: gd.NoiseLevel):
    return jax.vmap(data_set.posterior, (0, None))(x, level)


def steps(
    sampler: gd.Sampler, model: gd.Denoiser, starts: Float[Array | np.ndarray, "n *event"], levels: gd.NoiseLevel
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The states after each step, and the denoised samples at the start of it, as gd.sample gives them: (n, *event)."""
    starts, count = np.asarray(starts), len(starts)
    pieces = [_piece(sampler, model, part, levels) for part in _cut(starts)]
    for parts in zip(*pieces, strict=True):
        x, x0 = (np.concatenate(each)[:count] for each in zip(*parts, strict=True))
        yield x, x0


def _cut(x: np.ndarray) -> list[np.ndarray]:
    """BATCH of the samples (n, *event) at a time, the last ones filled up; as they are where they are SMALL."""
    if len(x) <= SMALL:
        return [x]
    full = np.concatenate([x, np.repeat(x[-1:], -len(x) % BATCH, 0)])
    return [full[i : i + BATCH] for i in range(0, len(full), BATCH)]


def _piece(
    sampler: gd.Sampler, model: gd.Denoiser, x: np.ndarray, levels: gd.NoiseLevel
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What `steps` says of some of the starts."""
    state = jax.vmap(sampler.init, (0, None))(jnp.asarray(x), levels)
    alphas, sigmas = np.asarray(levels.alpha), np.asarray(levels.sigma)
    grid = [_level(*both) for both in zip(alphas, sigmas, strict=True)]
    for level, next_level in pairwise(grid):
        x, state, x0 = _stepped(sampler, model, x, state, level, next_level)
        yield x, x0


def derivatives(
    sampler: gd.Sampler,
    model: gd.Denoiser,
    start: Float[Array | np.ndarray, "*event"],
    levels: gd.NoiseLevel,
    directions: Float[np.ndarray, "k *event"],
) -> tuple[Float[np.ndarray, "*event"], Float[np.ndarray, "k *event"]]:
    """Where one start ends, and J v of the map from start to end for each direction v.

    Forward derivatives through all steps, TANGENTS directions at a time: one step is compiled, once for all grids and
    any number of directions.
    """
    ways = np.asarray(directions, np.asarray(start).dtype)
    full = np.concatenate([ways, np.zeros((-len(ways) % TANGENTS, *ways.shape[1:]), ways.dtype)])
    parts = [_derived(sampler, model, start, levels, full[i : i + TANGENTS]) for i in range(0, len(full), TANGENTS)]
    return parts[0][0], np.concatenate([changes for _, changes in parts])[: len(ways)]


def _derived(
    sampler: gd.Sampler, model: gd.Denoiser, start: Array | np.ndarray, levels: gd.NoiseLevel, ways: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    x = jnp.asarray(start)
    floats, rest = eqx.partition(sampler.init(x, levels), eqx.is_inexact_array)
    moves = jax.tree.map(lambda part: np.zeros((TANGENTS, *part.shape), part.dtype), floats)
    for level, next_level in pairwise(levels):
        (x, floats), (ways, moves), rest = _moved(sampler, model, (x, floats), (ways, moves), rest, level, next_level)
    return np.asarray(x), np.asarray(ways)


@eqx.filter_jit
def _moved(sampler, model, at, ways, rest, level, next_level):
    """One step of the state `at`, its derivatives along each of `ways`, and what of the state has no derivative."""

    def step(x, floats):
        with jax.default_matmul_precision("highest"):
            x, state, _ = _one(sampler, model, x, eqx.combine(floats, rest), level, next_level)
        floats, others = eqx.partition(state, eqx.is_inexact_array)
        return (x, floats), others

    def along(way):
        return jax.jvp(step, at, way, has_aux=True)

    return jax.vmap(along, out_axes=(None, 0, None))(ways)


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
