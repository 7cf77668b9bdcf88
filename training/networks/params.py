"""The weights of a network as plain data: nested dictionaries of float32 arrays."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jaxtyping import Float, PyTree

Params = PyTree[Float[Array, "..."]]


def once(function: Callable, **options: Any) -> Callable:
    """`function` under jit for a single call: optimizing many random draws takes seconds, saves milliseconds."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)
