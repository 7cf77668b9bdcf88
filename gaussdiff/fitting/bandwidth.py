"""How much to smooth a data set: by the bandwidth of highest likelihood of held-out samples.

At bandwidth 0 the data set gives them no density at all, at a large one it gives them little; in between there is one
maximum of the mean log-likelihood, and that smoothed data set is the best guess of what a network will learn.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.distributions.empirical import Empirical
from gaussdiff.numerics.arrays import centered, device, floating, host
from gaussdiff.numerics.checks import check_samples

BATCH = 256  # held-out samples at a time, at the most


def choose_bandwidth(points, held_out, chunk: int = 1000) -> float:
    """The bandwidth, in data units, of the highest mean log-density of held_out (M, *event) around points (N, *event).

    Sought from 1/1000 to 2 standard deviations of the data, to 1 percent, in two passes. ValueError for samples of
    unlike shapes or without variance, and where the best is the narrowest, as when held_out repeats points. Silverman
    1986, section 3.4.4 (likelihood cross-validation).
    """
    points, held_out = floating(points, "points"), floating(held_out, "held_out")
    check_samples(points.shape, "points")
    host(held_out, "held_out")
    if points.shape[1:] != held_out.shape[1:] or not held_out.size:
        raise ValueError(
            f"points, held_out: expected samples of one shape, got {points.shape} and {held_out.shape}. Split one set."
        )
    scale = float(np.sqrt((centered(host(points, "points")) ** 2).mean()))
    if scale == 0:
        raise ValueError("points: expected samples that differ, got equal ones. They have no bandwidth.")
    data = Empirical(points, 0.0, chunk=chunk)
    coarse = np.geomspace(1e-3, 2, 45) * scale
    best = int(np.argmax([_likelihood(data, held_out, device(width, points)) for width in coarse]))
    if best == 0:
        raise ValueError(
            f"held_out: expected samples beside the points, got a best bandwidth below {coarse[0]:g}. Remove copies."
        )
    fine = np.geomspace(coarse[best - 1], coarse[min(best + 1, len(coarse) - 1)], 31)
    return float(fine[np.argmax([_likelihood(data, held_out, device(width, points)) for width in fine])])


@eqx.filter_jit
def _likelihood(data: Empirical, held_out: Float[Array, "M *event"], bandwidth: Array) -> Float[Array, ""]:
    """The mean log-density of held_out at one bandwidth."""
    law = eqx.tree_at(lambda d: d.bandwidth, data, bandwidth)
    # even batches, the last one filled up: a remainder would be a second program as large
    batches = -(-len(held_out) // BATCH)
    rows = jnp.arange(batches * -(-len(held_out) // batches)).reshape(batches, -1)
    each = jax.lax.map(lambda batch: jax.vmap(lambda x: law.log_prob(x))(batch), held_out[rows % len(held_out)])
    return jnp.mean(each.reshape(-1)[: len(held_out)])
