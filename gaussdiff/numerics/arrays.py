"""The few numerical habits that every closed form here shares."""

import jax.numpy as jnp
import numpy as np
from jax import core, tree
from jaxtyping import Array, Float

from gaussdiff.numerics.kinds import described

ROUNDING = 1e-13  # relative, of a float64 sum of squares over the entries of a sample


def dot(a: Array, b: Array) -> Array:
    """a @ b at full precision: reduced-precision products (TF32, bfloat16 passes) cost a closed form its meaning."""
    return jnp.matmul(a, b, precision="highest")


def safe_divide(numerator: Array, denominator: Array, otherwise: float = 0.0) -> Array:
    """numerator / denominator, and `otherwise` where the denominator is 0, with finite gradients on both sides."""
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1), otherwise)


def safe_sqrt(x: Array) -> Array:
    """sqrt(x) for x > 0, NaN for NaN and 0 elsewhere, with the gradient 0 at 0, where it is infinite."""
    flat = x <= 0
    return jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, x)))


def floating(x, argument: str = "x") -> Array:
    """x as a floating array of `floating_dtype`; TypeError names `argument` where x is not made of real numbers."""
    try:
        array = jnp.asarray(float(x) if type(x) is int else x)  # JAX's integers end at 2**31, and are strongly typed
    except (TypeError, ValueError, OverflowError) as error:
        raise _not_numbers(x, argument) from error
    check_real(array, x, argument)
    dtype = floating_dtype(array.dtype)
    return array if array.dtype == dtype else array.astype(dtype)  # a Python number stays weakly typed


def floating_dtype(dtype) -> np.dtype:
    """The dtype that is computed in: float32 and float64 their own, float32 for half precision, else JAX's default.

    Half precision (float16, bfloat16) holds samples, not their mathematics: the square of 300 overflows the one, and
    the other rounds it by 1 in 256. Integers and booleans have no dtype of their own.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        return jnp.result_type(float)
    return jnp.promote_types(dtype, jnp.float32)


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
    """Two sets of features (N, F) and (M, F) as finite float64 arrays; ValueError below `least` of either.

    names: those of the arguments, one name where a set is compared with itself.
    """
    a, b = host(a, names[0]), host(b, names[1])
    alike = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1] and a.shape[1] > 0
    if not alike or min(len(a), len(b)) < least:
        cure = "Give more samples." if alike else "Flatten images, both alike: x.reshape(len(x), -1)."
        if names[0] == names[1]:
            expected, got = f"features (N, F), N at least {least}", f"{a.shape}"
        else:
            expected, got = f"features (N, F) and (M, F), N and M at least {least}", f"{a.shape} and {b.shape}"
        raise ValueError(f"{', '.join(dict.fromkeys(names))}: expected {expected}, got {got}. {cure}")
    return a, b


def centered(x: np.ndarray) -> np.ndarray:
    """Samples x (N, *event) on the host without their mean, 0 where all are equal, though the mean of equals rounds."""
    return np.where(np.ptp(x, axis=0) > 0, x - x.mean(0), 0)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a_i - b_j|^2 of (N, F) and (M, F) on the host, as (N, M), by one matrix product about the mean of b.

    0 where the difference is no more than the rounding of what it is the difference of, as for two copies.
    """
    a, b = a - b.mean(0), b - b.mean(0)
    both = (a**2).sum(1)[:, None] + (b**2).sum(1)
    squares = both - 2 * a @ b.T
    return np.where(squares > ROUNDING * both, squares, 0)


def device(x: np.ndarray | np.floating, like) -> Float[Array, "..."]:
    """x back from the host in the floating dtype of `like`; ValueError where that cannot hold a finite number of x."""
    dtype = floating_dtype(jnp.asarray(like).dtype)
    largest = np.abs(x).max(initial=0)
    if float(jnp.finfo(dtype).max) < largest < np.inf:
        raise ValueError(
            f"x: expected means and variances that {dtype} holds, got one of {largest:g}. Divide the samples by their "
            "standard deviation first."
        )
    return jnp.asarray(x, dtype=dtype)


def concrete(*values) -> bool:
    """Whether every array in `values` can be looked at, that is none of them is being traced."""
    return not any(isinstance(leaf, core.Tracer) for leaf in tree.leaves(values))
