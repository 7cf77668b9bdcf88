"""One Brownian path for every grid: the noise of a step is an increment of it, so that n and 2n steps share theirs.

The path W lives on a clock tau in [0, 1] that is linear in log-SNR, and is drawn by halving intervals: the middle of
one of length h is the mean of its ends plus sqrt(h)/2 times a standard normal of its own key (Levy's construction).
Only the halves that contain a wanted time are drawn, 22 of them for each time.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gaussdiff.numerics.arrays import safe_divide
from gaussdiff.schedules import NoiseLevel

DEPTH, REACH = 22, 60.0  # halvings of the clock, which covers log-SNRs within +-60 at a resolution of 3e-5


def step_noise(key: PRNGKeyArray, levels: NoiseLevel, shape: tuple[int, ...], dtype) -> Float[Array, "n *shape"]:
    """Standard normals for the n steps between levels (n+1,): (W(tau') - W(tau)) / sqrt(tau' - tau).

    A step of less than 3e-5 in log-SNR, where samplers add next to nothing, may get 0. The gradient in the levels is 0.
    """
    clock = jax.lax.stop_gradient(jnp.clip(levels.log_snr / REACH, -1, 1) + 1) / 2
    ticks = jnp.round(clock * 2**DEPTH).astype(int)
    path = jax.vmap(lambda tick: _at(key, tick, shape, dtype))(ticks)
    elapsed = (jnp.diff(ticks) / 2**DEPTH).astype(dtype).reshape(-1, *[1] * len(shape))
    return safe_divide(jnp.diff(path, axis=0), jnp.sqrt(elapsed))


def _at(key: PRNGKeyArray, tick: Int[Array, ""], shape: tuple[int, ...], dtype) -> Float[Array, "*shape"]:
    """W(tick / 2^DEPTH), with W(0) = 0."""
    end = jax.random.normal(key, shape, dtype)

    def halve(i, interval):
        low, high, key = interval
        middle = (low + high) / 2 + jnp.exp2(-i / 2).astype(dtype) / 2 * jax.random.normal(key, shape, dtype)
        right = (tick >> (DEPTH - 1 - i)) & 1
        return jnp.where(right, middle, low), jnp.where(right, high, middle), jax.random.fold_in(key, right)

    start = (jnp.zeros_like(end), end, jax.random.fold_in(key, 2))
    return jnp.where(tick == 2**DEPTH, end, jax.lax.fori_loop(0, DEPTH, halve, start)[0])
