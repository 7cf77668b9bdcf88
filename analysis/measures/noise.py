"""Normal numbers of any shape by one program."""

import math

import jax
import numpy as np
from jaxtyping import DTypeLike, PRNGKeyArray

DRAWN = 8192  # numbers at a time


def normal(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = float) -> np.ndarray:
    """jax.random.normal(key, shape, dtype), whose program takes longer to compile than to draw: multiples of DRAWN.

    The numbers are the same, since those of a key depend on their place alone (jax_threefry_partitionable).
    """
    count = math.prod(shape)
    drawn = jax.random.normal(key, (-(-count // DRAWN) * DRAWN,), dtype)
    return np.asarray(drawn)[:count].reshape(shape)
