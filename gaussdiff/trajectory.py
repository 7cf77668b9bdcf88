"""The record of one path through noise levels, and the geometry read off it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.schedules import NoiseLevel


class Trajectory(eqx.Module):
    """One path: the levels it visits, the states there, and the denoised image that each step started from.

    levels: (n+1,), in the order visited. x: (n+1, *event). denoised: (n, *event), denoised[i] belongs to x[i]. Under
    vmap every leaf gains a leading batch axis.
    """

    levels: NoiseLevel
    x: Float[Array, "points *event"]
    denoised: Float[Array, "steps *event"]


def path_distance(a: Float[Array, "steps *event"], b: Float[Array, "steps *event"]) -> Float[Array, " steps"]:
    """Root mean square difference per entry of two paths at each step, in data units: sqrt(mean (a - b)^2).

    a, b: (n, *event), the answer (n,). ValueError for different shapes.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"a, b: expected paths of one shape, got {a.shape} and {b.shape}. Use the same levels for both."
        )
    return jnp.sqrt(jnp.mean((a - b).reshape(len(a), -1) ** 2, axis=1))


def chord_deviation(path: Float[Array, "steps *event"]) -> Float[Array, " steps"]:
    """Distance of each state from the line between the path's ends: |d - (d . u) u|.

    path: (n, *event), d = path - end, u the unit chord. In data units (Euclidean norm); 0 along a straight path. Chen
    et al., arXiv 2305.19947.
    """
    flat = path.reshape(len(path), -1)
    away = flat - flat[-1:]
    chord = away[0]
    along = away @ chord / jnp.maximum(chord @ chord, jnp.finfo(path.dtype).tiny)
    return jnp.linalg.norm(away - jnp.outer(along, chord), axis=1)
