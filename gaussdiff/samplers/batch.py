"""Many samples in chunks of bounded memory: sample i is a function of the key and of i, not of its batch.

    key_i = fold_in(key, i),     start_i, noise_i from split(key_i)

A chunk is one vmapped program that stores the present states alone, not their paths; the last one is filled up to the
length of the others, so that nothing compiles again.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, Distribution, check_key, check_model, sample_prior
from gaussdiff.numerics.arrays import floating, floating_dtype
from gaussdiff.numerics.checks import check_chunk, check_count, check_finite, check_shape
from gaussdiff.numerics.kinds import described
from gaussdiff.progress import Progress
from gaussdiff.samplers._brownian import step_noise
from gaussdiff.samplers.base import Sampler, Step, check_grid, check_sampler
from gaussdiff.samplers.sample import check_start
from gaussdiff.schedules import NoiseLevel

Callback = Callable[[int, int, NoiseLevel, np.ndarray, np.ndarray], object]


def sample_batch(
    sampler: Sampler,
    model: Denoiser,
    levels: NoiseLevel,
    *,
    count: int | None = None,
    shape: tuple[int, ...] | None = None,
    starts=None,
    key: PRNGKeyArray | None = None,
    first: int = 0,
    chunk: int = 64,
    sharding: jax.sharding.NamedSharding | None = None,
    out: np.ndarray | None = None,
    callback: Callback | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """The ends of gd.sample for samples first to first + count - 1, `chunk` at a time: (count, *event) on the host.

    Args:
        sampler: as for gd.sample.
        model: as for gd.sample.
        levels: the grid (n+1,).
        count: how many samples, where there are no starts.
        shape: of one sample, where there are no starts; by default a distribution's own.
        starts: (count, *event) at levels[0]; without them starts are drawn by sample_prior.
        key: for starts and noise; sample i has start_key, noise_key = split(fold_in(key, i)).
        first: the number of the first sample: a call goes on where another one stopped.
        chunk: how many samples at a time; device memory is that of one chunk, whatever count and n.
        sharding: spreads each chunk, made a multiple of its devices, over a mesh (of Auto axes).
        out: an array to write to, such as one that maps a file; when interrupted, it has the finished chunks.
        callback: callback(first, step, level, x, denoised) after each step, with the number of the chunk's first
            sample, that of the step, the level that x has reached, and NumPy arrays (m, *event); steps then run one at
            a time.
        progress: progress(done, count) after each chunk, such as gd.ProgressBar().

    Sample i is gd.sample(..., noise_key) from sample_prior(start_key, shape, levels[0]), in chunks of any size.

    TypeError and ValueError as gd.sample, and for a missing count, shape or key, a chunk below 1 or an `out` of another
    shape.
    """
    check_sampler(sampler)
    check_model(model)
    check_grid(levels)
    starts = None if starts is None else _on_host(starts)
    event, count = _shape(model, starts, shape, count)
    dtype = levels.sigma.dtype if starts is None else starts.dtype
    check_start(sampler, model, jnp.zeros(event, dtype), levels)
    chunk = check_chunk(chunk, usual=64)
    first = _check_keys(sampler, starts, key, first)
    for name, function in (("callback", callback), ("progress", progress)):
        if function is not None and not callable(function):
            raise TypeError(f"{name}: expected a function, got {described(function)}. Leave it out for none.")
    ends, chunk = _check_out(out, (count, *event), dtype), _whole(min(chunk, count), sharding)
    for begin in range(0, count, chunk):
        real = min(chunk, count - begin)
        # a last chunk that is shorter is filled up with copies of the last sample
        rows = np.minimum(np.arange(begin, begin + chunk), count - 1)
        keys, x = _draw(key, jax.device_put(first + rows, sharding), event, levels[0])
        x = x if starts is None else jax.device_put(starts[rows], sharding)
        if callback is None:
            x = _ends(sampler, model, levels, x, keys)
        else:
            x = _stepwise(sampler, model, levels, x, keys, functools.partial(_report, callback, first + begin, real))
        ends[begin : begin + real] = np.asarray(x)[:real]
        if progress:
            progress(begin + real, count)
    return ends


def _whole(chunk: int, sharding: jax.sharding.NamedSharding | None) -> int:
    """The chunk, or with a sharding the next multiple of the number of devices."""
    devices = 1 if sharding is None else sharding.num_devices
    return -(-chunk // devices) * devices


def _report(callback: Callback, first: int, real: int, step: int, level: NoiseLevel, x: Array, denoised: Array) -> None:
    callback(first, step, level, np.asarray(x)[:real], np.asarray(denoised)[:real])


@eqx.filter_jit
def _draw(key: PRNGKeyArray | None, indices: Int[Array, " chunk"], shape: tuple[int, ...], level: NoiseLevel) -> tuple:
    """The keys of the samples' noise and their starts from the prior; nothing without a key."""
    if key is None:
        return None, None

    def one(i):
        start_key, noise_key = jax.random.split(jax.random.fold_in(key, i))
        return noise_key, sample_prior(start_key, shape, level)

    return jax.vmap(one)(indices)


@eqx.filter_jit
def _ends(sampler: Sampler, model: Denoiser, levels: NoiseLevel, x: Array, keys: Array | None) -> Array:
    def one(x, key):
        def body(carry, i):
            step = _advance(sampler, model, levels, carry[0], carry[1], key, i)
            return (step.x, step.state), None

        return jax.lax.scan(body, (x, sampler.init(x, levels)), jnp.arange(len(levels) - 1))[0][0]

    return jax.vmap(one)(x, keys)


def _stepwise(
    sampler: Sampler, model: Denoiser, levels: NoiseLevel, x: Array, keys: Array | None, report: Callable
) -> Array:
    state = _states(sampler, x, levels)
    for i in range(len(levels) - 1):
        step = _steps(sampler, model, levels, x, state, keys, jnp.asarray(i))
        x, state = step.x, step.state
        report(i, levels[i + 1], x, step.denoised)
    return x


@eqx.filter_jit
def _states(sampler: Sampler, x: Array, levels: NoiseLevel) -> Any:
    # over x alone: what does not depend on it, such as the count of steps, is stored once for each sample
    return jax.vmap(lambda x: sampler.init(x, levels))(x)


@eqx.filter_jit
def _steps(
    sampler: Sampler, model: Denoiser, levels: NoiseLevel, x: Array, state: Any, keys: Array | None, i: Array
) -> Step:
    return jax.vmap(lambda x, state, key: _advance(sampler, model, levels, x, state, key, i))(x, state, keys)


def _advance(
    sampler: Sampler,
    model: Denoiser,
    levels: NoiseLevel,
    x: Float[Array, "*event"],
    state: Any,
    key: PRNGKeyArray | None,
    i: Int[Array, ""],
) -> Step:
    """Step i of one sample; its noise is drawn when it is needed, so that memory does not grow with the steps."""
    level, next_level = levels[i], levels[i + 1]
    shape = (sampler.draws(), *x.shape)
    if key is None or not sampler.draws():
        noise = jnp.zeros(shape, x.dtype)
    else:
        pair = jax.tree.map(lambda *ends: jnp.stack(ends), level, next_level)
        noise = step_noise(key, pair, shape, x.dtype)[0]
    return sampler.step(model, x, state, level, next_level, noise)


def _shape(
    model: Denoiser, starts: np.ndarray | None, shape: tuple[int, ...] | None, count: int | None
) -> tuple[tuple[int, ...], int]:
    """The shape of one sample, and how many there are."""
    if starts is not None:
        if starts.ndim == 0 or len(starts) == 0 or not (count is None and shape is None):
            raise ValueError(
                f"starts: expected (count, *event), at least one, and no count or shape, got shape {starts.shape}, "
                f"count {count} and shape {shape}. The array says both."
            )
        return starts.shape[1:], len(starts)
    if shape is None and isinstance(model, Distribution):
        shape = model.shape
    if shape is None or count is None:
        raise ValueError(
            f"count, shape: expected a number of samples >= 1 and the shape of one, got {count} and {shape}. Or pass "
            "starts, an array (count, *event)."
        )
    return check_shape(shape), check_count(count, "count", "Or pass starts, an array (count, *event).")


def _on_host(starts) -> np.ndarray:
    floating(starts[:1] if isinstance(starts, np.ndarray) and starts.ndim else starts, "starts")
    starts = np.asarray(starts)
    starts = starts.astype(floating_dtype(starts.dtype), copy=False)
    check_finite(starts, "starts", "Draw them with gd.sample_prior.")
    return starts


def _check_keys(sampler: Sampler, starts: np.ndarray | None, key, first: int) -> int:
    drawn = sampler.draws() or starts is None
    if key is not None:
        check_key(key)
    elif drawn:
        raise ValueError("key: expected one for starts or noise to be drawn, got no key. Pass jax.random.key(seed).")
    return check_count(first, "first", "It is the number of the first sample, 0 by default.", least=0)


def _check_out(out: np.ndarray | None, shape: tuple[int, ...], dtype) -> np.ndarray:
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}. It takes one row for each sample.")
    return out
