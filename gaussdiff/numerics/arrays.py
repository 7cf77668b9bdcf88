"""The few numerical habits that every closed form here shares."""

import jax.numpy as jnp
import numpy as np
from jax import core, tree
from jaxtyping import Array, Float

from gaussdiff.numerics.kinds import described


def dot(a: Array, b: Array) -> Array:
    """a @ b at full precision: reduced-precision products (TF32, bfloat16 passes) cost a closed form its meaning."""
    return jnp.matmul(a, b, precision="highest")


def safe_divide(numerator: Array, denominator: Array, otherwise: float = 0.0) -> Array:
    """numerator / denominator, and `otherwise` where the denominator is 0, with finite gradients on both sides."""
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1), otherwise)


def safe_sqrt(x: Array) -> Array:
    """sqrt(x) for x >= 0, with the gradient 0 at 0, where it is infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def floating(x, argument: str = "x") -> Array:
    """x as a floating array: its own dtype where it has one, JAX's default float for integers and Python numbers.

    TypeError names `argument` where x is not made of real numbers.
    """
    try:
        array = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise _not_numbers(x, argument) from error
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    check_real(array, x, argument)
    return array.astype(float)


def host(x, argument: str) -> np.ndarray:
    """x as a finite float64 NumPy array, for fits and checks; ValueError names `argument` where it is not finite.

    TypeError where it is not made of real numbers, or is traced.
    """
    if not concrete(x):
        raise TypeError(
            f"{argument}: expected numbers that can be looked at, got a traced array. Call this outside jax.jit, "
            "jax.vmap and jax.grad."
        )
    try:
        array = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise _not_numbers(x, argument) from error
    check_real(array, x, argument)
    x = array.astype(np.float64, copy=False)
    bad = np.size(x) - np.count_nonzero(np.isfinite(x))
    if bad:
        raise ValueError(
            f"{argument}: expected finite numbers, got {bad} NaN or infinite of {x.size}. Remove them first."
        )
    return x


def check_real(array: Array | np.ndarray, given, argument: str) -> None:
    """TypeError unless the entries of an array are real numbers; the error describes what was given."""
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        cure = "Take its real part, or stack real and imaginary parts as two entries."
        raise TypeError(f"{argument}: expected real numbers, got {described(given)} that is complex. {cure}")
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise _not_numbers(given, argument)


def _not_numbers(given, argument: str) -> TypeError:
    cure = "Give a number or one array, such as np.asarray(rows, float), and look whether arguments are swapped."
    return TypeError(f"{argument}: expected real numbers, got {described(given)}. {cure}")


def host_features(a, b, least: int = 2, names: tuple[str, str] = ("a", "b")) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features (N, F) and (M, F) as finite float64 arrays; ValueError below `least` of either."""
    a, b = (host(value, name) for value, name in zip((a, b), names, strict=True))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < least or 0 in a.shape:
        raise ValueError(
            f"{', '.join(dict.fromkeys(names))}: expected features (N, F) and (M, F), N and M at least {least}, got "
            f"{a.shape} and {b.shape}. "
            "Flatten images."
        )
    return a, b


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a_i - b_j|^2 of (N, F) and (M, F) on the host, as (N, M), by one matrix product about the mean of b."""
    a, b = a - b.mean(0), b - b.mean(0)
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)


def device(x: np.ndarray | np.floating, like) -> Float[Array, "..."]:
    """x back from the host in the floating dtype of `like`."""
    return jnp.asarray(x, dtype=floating(like).dtype)


def concrete(*values) -> bool:
    """Whether every array in `values` can be looked at, that is none of them is being traced."""
    return not any(isinstance(leaf, core.Tracer) for leaf in tree.leaves(values))
