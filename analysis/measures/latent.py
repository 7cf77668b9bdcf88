"""Noise as a latent space: what the map from noise to sample stretches most, and walks through it.

The map F(x) is a sampler from levels[0] to the end. J v is a forward derivative through all steps, J^T u a backward
one, with respect to the noise alone; the derivative J itself is formed for samples of few entries. Of a Gaussian J is
U diag(g) U^T with a gain g for each component: sqrt(lam) / sqrt(lam + sigma^2) in closed form, gd.transfer's with the
sampler.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import gaussdiff as gd
from analysis.measures.endpoints import ends
from analysis.measures.stepwise import derivatives

DENSE = 4  # times depth: for at most so many entries all columns of J cost less than Lanczos


class Stretches(NamedTuple):
    """values (B, k), falling; directions of the noise (B, k, *event), unit vectors; residual (B,), see `stretches`."""

    values: Float[Array, "B k"]
    directions: Float[Array, "B k *event"]
    residual: Float[Array, " B"]


def stretches(
    model: gd.Denoiser,
    sampler: gd.Sampler,
    x: Float[Array, "B *event"],
    levels: gd.NoiseLevel,
    count: int,
    key: PRNGKeyArray,
    depth: int = 24,
) -> Stretches:
    """The largest singular values of J at each x (B, *event), and the directions of the noise that they belong to.

    Up to D = DENSE depth the singular values of all columns of J. Beyond that Lanczos on J^T J from a random start,
    `depth` orthogonal vectors, and the singular values of J on their span, which are never above the true ones.
    residual: the largest |J^T u - s v| over the largest s; some true value lies within that of each one returned. One x
    after another: memory does not grow with B. ValueError unless 1 <= count <= min(depth, D). Golub & Kahan 1965; Golub
    & Van Loan, Matrix Computations, 10.4.
    """
    size = x[0].size
    depth = min(depth, size)
    if not 1 <= count <= depth:
        raise ValueError(f"count: expected 1 to min(depth, D) = {depth}, got {count}. Raise depth.")
    if size <= DENSE * depth:
        each = [_of_columns(model, sampler, one, levels, count) for one in np.asarray(x)]
        return Stretches(*(jnp.asarray(np.stack(parts)) for parts in zip(*each, strict=True)))
    return _lanczos(model, sampler, x, levels, count, jax.random.normal(key, (depth, size), x.dtype))


def _of_columns(
    model: gd.Denoiser, sampler: gd.Sampler, x: np.ndarray, levels: gd.NoiseLevel, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, directions and residual of one x, from its dense J."""
    _, changes = derivatives(sampler, model, x, levels, np.eye(x.size).reshape(x.size, *x.shape))
    columns = changes.reshape(x.size, -1)
    left, values, right = np.linalg.svd(columns.T)
    left, values, right = left[:, :count], values[:count], right[:count]
    away = np.linalg.norm(columns @ left - right.T * values, axis=0).max()
    residual = away / values[0] if values[0] > 0 else away
    return values, right.reshape(count, *x.shape), residual


@eqx.filter_jit
def _lanczos(
    model: gd.Denoiser,
    sampler: gd.Sampler,
    x: Float[Array, "B *event"],
    levels: gd.NoiseLevel,
    count: int,
    random: Float[Array, "depth D"],
) -> Stretches:
    """`stretches` from products with J and its transpose."""

    def one(x: Array) -> Stretches:
        def end(flat: Array) -> Array:
            with jax.default_matmul_precision("highest"):
                return gd.sample(sampler, model, flat.reshape(x.shape), levels).x[-1].reshape(-1)

        _, push = jax.linearize(end, x.reshape(-1))
        pull = jax.linear_transpose(push, x.reshape(-1))
        basis, images, products = _krylov(push, lambda u: pull(u)[0], random)
        _, values, turn = jnp.linalg.svd(images.T, full_matrices=False)
        directions = jnp.matmul(turn[:count], basis, precision="highest")
        lengths = jnp.where(values > 0, values, 1)[:count, None]
        back = jnp.matmul(turn[:count], products, precision="highest") / lengths  # J^T u of u = J v / s
        away = jnp.linalg.norm(back - values[:count, None] * directions, axis=1)
        residual = jnp.max(away) / lengths[0, 0]
        return Stretches(values[:count], directions.reshape(count, *x.shape), residual)

    return jax.lax.map(one, x)


def _krylov(push, pull, random: Float[Array, "depth D"]) -> tuple[Array, Array, Array]:
    """Orthonormal rows V whose span holds r, J^T J r, ... of the first random row r; J V and J^T J V: all (depth, D).

    A product that is already in the span, as all are where J is a multiple of the identity, makes way for the next
    random row.
    """
    small = jnp.finfo(random.dtype).eps ** 0.5

    def unit(v: Array) -> Array:
        length = jnp.linalg.norm(v)
        return v / jnp.where(length > 0, length, 1)

    def outside(v: Array, basis: Array) -> Array:
        for _ in range(2):  # once leaves rounding behind
            v = v - jnp.matmul(jnp.matmul(basis, v, precision="highest"), basis, precision="highest")
        return v

    def grow(i: Array, state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        basis, images, products, v = state
        new, other = outside(v, basis), unit(outside(unit(random[i]), basis))
        new = jnp.where(jnp.linalg.norm(new) > small, unit(new), other)
        image = push(new)
        product = pull(image)
        return basis.at[i].set(new), images.at[i].set(image), products.at[i].set(product), unit(product)

    empty = jnp.zeros_like(random)
    return jax.lax.fori_loop(0, len(random), grow, (empty, empty, empty, unit(random[0])))[:3]


def walks(
    model: gd.Denoiser,
    sampler: gd.Sampler,
    x: Float[np.ndarray, "*event"],
    levels: gd.NoiseLevel,
    moves: Float[np.ndarray, "rows steps *event"],
) -> Float[np.ndarray, "rows steps *event"]:
    """What the sampler makes of the noise x moved by each of the moves."""
    starts = (x + moves).reshape(-1, *x.shape)
    return ends(sampler, model, starts, levels).reshape(moves.shape)


def moves(gaussian: gd.Gaussian, directions: np.ndarray, level: gd.NoiseLevel, steps: np.ndarray) -> np.ndarray:
    """Steps (m,) along unit directions (rows, *event), in standard deviations of the noisy data: (rows, m, *event).

    sqrt(v . (Sigma + sigma^2) v) each. A Gaussian's sample then moves by the step times sqrt(lam) along a component.
    """
    flat, axes = directions.reshape(len(directions), -1), np.asarray(gaussian.eigvecs, np.float64)
    excess = np.asarray(gaussian.eigvals, np.float64) - float(gaussian.residual)
    variances = (flat @ axes) ** 2 @ excess + float(gaussian.residual) + float(level.sigma) ** 2
    sizes = np.sqrt(variances)[:, None] * steps
    return np.einsum("rs,r...->rs...", sizes, directions)
