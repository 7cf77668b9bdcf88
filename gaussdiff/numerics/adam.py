"""Adam on the logarithm of a positive loss, as one scan, which returns the best of the points that were checked.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   x <- x - rate_i (m / (1 - b1^i)) / sqrt(v / (1 - b2^i))

with g = grad log loss, so that the units and the scale of a loss do not matter, and rate_i falling along half a cosine.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

B1, B2, ROUNDS = 0.9, 0.99, 20


def descend(
    loss: Callable[[Any, PRNGKeyArray], Array],
    check: Callable[[Any], Array],
    start: PyTree,
    key: PRNGKeyArray,
    steps: int,
    rate,
) -> tuple[PyTree, Float[Array, ""]]:
    """The best point by `check`, of the start and 20 points on the way, and its value; steps = 0 gives the start.

    loss(point, key) > 0 may be of a random part of the data, check(point) is not. Not finite gradients count as 0.
    Kingma & Ba, arXiv 1412.6980, algorithm 1.
    """
    rounds = min(ROUNDS, steps)
    zeros = jax.tree.map(jnp.zeros_like, start)
    if not rounds:
        return start, check(start)
    count = -(-steps // rounds)

    def step(carry, inputs):
        index, key = inputs
        slope = jax.grad(lambda point: jnp.log(loss(point, key)))(carry[0])
        rates = rate * (1 + jnp.cos(jnp.pi * index / (rounds * count))) / 2
        return _adam(carry, slope, index + 1, rates), None

    def turn(carry, inputs):
        moved, best = carry
        value = check(moved[0])  # before the steps, so that one program checks the start and all that follow
        better = value < best[1]
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), (moved[0], value), best)
        last = inputs[0][0] >= rounds * count
        moved = jax.lax.cond(last, lambda point: point, lambda point: jax.lax.scan(step, point, inputs)[0], moved)
        return (moved, best), None

    keys = jax.random.split(key, rounds * count)
    indices, keys = jnp.arange((rounds + 1) * count), jnp.concatenate([keys, keys[:count]])  # the last turn only checks
    inputs = jax.tree.map(lambda leaf: leaf.reshape(rounds + 1, count, *leaf.shape[1:]), (indices, keys))
    return jax.lax.scan(turn, ((start, zeros, zeros), (start, jnp.inf)), inputs)[0][1]


def _adam(carry: tuple, slope: PyTree, count, rate) -> tuple:
    """One step of a point with its two moments."""
    point, mean, square = carry
    slope = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0), slope)
    mean = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, mean, slope)
    square = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g**2, square, slope)

    def move(x, m, v):
        size = rate * m / (1 - B1**count) / (jnp.sqrt(v / (1 - B2**count)) + 1e-8)
        return x - size.astype(x.dtype)

    return jax.tree.map(move, point, mean, square), mean, square
