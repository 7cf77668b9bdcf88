"""Checks of arguments that know no diffusion: one home and one wording for each.

Every error names the argument, what was expected, what came, and the cure that the caller gives. A number that may be
traced comes back as an array; inside jit, where it cannot be looked at, one out of range comes back as NaN.
"""

import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gaussdiff.numerics.arrays import check_real, concrete, floating, host
from gaussdiff.numerics.kinds import described


def check_count(value, argument: str, cure: str, least: int = 1, most: int | None = None, symbol: str = "") -> int:
    """Return value as an integer; ValueError unless it is one, from `least` to `most`, which is called `symbol`."""
    try:
        count = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = least - 1
    if count < least or (most is not None and count > most):
        named = f"{symbol} = {most}" if symbol else f"{most}"
        bounds = f">= {least}" if most is None else f"from {least} to {named}"
        raise ValueError(f"{argument}: expected an integer {bounds}, got {described(value)}. {cure}")
    return count


def check_rank(rank: int, size: int) -> int:
    """Return the rank; ValueError outside 1..D."""
    return check_count(rank, "rank", "Leave it out for a full fit.", most=size, symbol="D")


def check_chunk(chunk: int, usual: int = 1000) -> int:
    """Return chunk; ValueError unless it is an integer >= 1."""
    return check_count(chunk, "chunk", f"It bounds the memory: {usual} suits most.")


def check_shape(shape, argument: str = "shape") -> tuple[int, ...]:
    """Return shape as a tuple of integers; ValueError unless each is >= 0."""
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        sizes = (-1,)
    if min(sizes, default=0) < 0:
        raise ValueError(
            f"{argument}: expected a tuple of sizes such as (3,) or (8, 8, 1), got {described(shape)}. It is the shape "
            "of one sample."
        )
    return sizes


def check_samples(shape: tuple[int, ...], argument: str = "x", least: int = 2) -> None:
    """ValueError unless shape is that of samples (N, *event), N >= least."""
    if not shape or shape[0] < least or 0 in shape:
        plural = "s" if least > 1 else ""
        raise ValueError(
            f"{argument}: expected at least {least} sample{plural}, shape (N, *event), got shape {tuple(shape)}. "
            "Stack them along the first axis."
        )


def or_nan(value: Array, holds: Array) -> Array:
    """value where it holds and NaN elsewhere: what cannot be refused inside jit must not become a wrong number."""
    return jnp.where(holds, value, jnp.nan)


def check_number(value, argument: str, cure: str) -> Array:
    """Return value as an array of shape (); TypeError unless it is a real number, ValueError where there are more."""
    value = floating(value, argument)
    if value.ndim:
        raise ValueError(f"{argument}: expected a single number, got shape {value.shape}. {cure}")
    return value


def check_finite_number(value, argument: str, cure: str) -> Array:
    """Return value as an array of shape (); ValueError unless it is finite."""
    value = check_number(value, argument, cure)
    if not concrete(value):
        return or_nan(value, jnp.isfinite(value))
    if not np.isfinite(float(value)):
        raise ValueError(f"{argument}: expected a finite number, got {float(value):g}. {cure}")
    return value


def shape_of_samples(x, argument: str = "x", least: int = 2) -> tuple[int, ...]:
    """The shape of samples (N, *event), which are not copied; TypeError and ValueError unless they are such."""
    if isinstance(getattr(x, "dtype", None), np.dtype):
        check_real(x, x, argument)
        shape = tuple(x.shape)
    else:  # lists, and arrays of other libraries
        shape = host(x, argument).shape
    check_samples(shape, argument, least)
    return shape


def check_at_least_0(value, argument: str, cure: str) -> Array:
    """Return value as an array; ValueError unless it is finite and >= 0."""
    value = check_number(value, argument, cure)
    if not concrete(value):
        return or_nan(value, (value >= 0) & (value < jnp.inf))
    if not 0 <= float(value) < np.inf:
        raise ValueError(f"{argument}: expected >= 0 and finite, got {float(value):g}. {cure}")
    return value


def check_above_0(value, argument: str, cure: str) -> Array:
    """Return value as an array; ValueError unless it is finite and > 0."""
    value = check_number(value, argument, cure)
    if not concrete(value):
        return or_nan(value, (value > 0) & (value < jnp.inf))
    if not 0 < float(value) < np.inf:
        raise ValueError(f"{argument}: expected > 0 and finite, got {float(value):g}. {cure}")
    return value


def check_each_at_least_0(value, argument: str, cure: str) -> Array:
    """Return an array of any shape; ValueError unless every entry is finite and >= 0."""
    value = floating(value, argument)
    if not concrete(value):
        return or_nan(value, (value >= 0) & (value < jnp.inf))
    numbers = np.asarray(value, np.float64)
    bad = numbers[~((numbers >= 0) & (numbers < np.inf))]
    if bad.size:
        raise ValueError(f"{argument}: expected >= 0 and finite, got {bad.flat[0]:g} among {numbers.size}. {cure}")
    return value


def check_fraction(value, argument: str, cure: str, bounds: str = "[0, 1]") -> Array:
    """Return value as an array; ValueError unless it is within the bounds "[0, 1]", "(0, 1]" or "(0, 1)"."""
    value = check_number(value, argument, cure)
    number = float(value) if concrete(value) else value
    above = number >= 0 if bounds.startswith("[") else number > 0
    below = number <= 1 if bounds.endswith("]") else number < 1
    if not concrete(value):
        return or_nan(value, jnp.logical_and(above, below))
    if not (above and below):
        raise ValueError(f"{argument}: expected in {bounds}, got {number:g}. {cure}")
    return value


def check_finite(value, argument: str, cure: str) -> None:
    """ValueError where an array has entries that are NaN or infinite."""
    if concrete(value) and not np.isfinite(np.asarray(value)).all():
        raise ValueError(f"{argument}: expected finite numbers, got NaN or infinity. {cure}")


def check_key(key) -> None:
    """TypeError unless `key` is a key of jax.random, of the new or the old style; ValueError for an array of keys."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    old = dtype == jnp.uint32 and key.ndim > 0 and key.shape[-1] in (2, 4)
    if not (typed or old):
        raise TypeError(f"key: expected a key of jax.random, got {described(key)}. Write jax.random.key(seed).")
    if key.ndim > (1 if old else 0):
        raise ValueError(
            f"key: expected one key, got {described(key)}. Take keys[i], or use jax.vmap over keys and samples."
        )
