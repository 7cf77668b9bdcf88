"""The data set's denoiser at small noise, from a few candidates, with a bound on what the others could change.

Let P project on r leading principal directions of the centred points and Q on the rest. Since |Q a - Q b| is at least
| |Q a| - |Q b| |, the r + 1 numbers (P y, |Q y|) give a lower bound of every distance by one thin matrix product:

    |x - alpha y|^2 >= |P x - alpha P y|^2 + (|Q x| - alpha |Q y|)^2

The m points of smallest bound are the candidates, whose distances are then computed. All others together hold at most
the share q = N exp(u - l) of the softmax, where u is the largest exponent that a bound leaves to any of them, rounding
included, and l the candidates' log sum. Leaving them out moves the denoised value by at most

    (sigma^2 / S^2) q (|y_candidates - mean| + max_i |y_i - mean|)

Where this is above the tolerance, the answer is the full sum.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.empirical import Empirical
from gaussdiff.numerics import device, dot, safe_divide
from gaussdiff.schedules import NoiseLevel, check_level

GROUP = 16


class Truncated(Distribution):
    """An `Empirical` whose denoise sums over candidates only, wherever that is certain to stay within the tolerance.

    tolerance: the largest Euclidean distance from the full sum, in data units, beside rounding. rank: r, the principal
    directions that bound distances, at most D. candidates: m. The bound is computed for every x and level. In a batch
    of which any sample misses it, the full sum is computed for all and used for those that miss it, inside jit and vmap
    too. Densities are the full sum's. Gradients are those of the branch taken. ValueError for a tolerance <= 0, no
    candidates or unequal weights, TypeError for anything but an Empirical on one device.
    """

    full: Empirical
    tolerance: Float[Array, ""]
    basis: Float[Array, "D r"]
    keys: Float[Array, "groups group r+1"]
    exponents: Float[Array, "groups group"]  # -|key|^2 / 2; -inf where there is no point
    candidates: int = eqx.field(static=True)

    def __init__(self, full: Empirical, tolerance=1e-6, rank: int = 64, candidates: int = 64):
        _check(full, tolerance, candidates)
        self.full, self.tolerance = full, jnp.asarray(tolerance, full.offsets.dtype)
        count = int(np.isfinite(np.asarray(full.log_weights)).sum())
        offsets = np.asarray(full.offsets)[:count]
        rank = min(rank, offsets.shape[1])
        self.basis = device(_principal_directions(offsets, rank), full.offsets)
        keys = _keys(full.offsets[:count], self.basis)
        self.candidates = min(candidates, count)
        padding = -count % GROUP
        exponents = jnp.pad(-jnp.sum(keys**2, axis=1) / 2, (0, padding), constant_values=-jnp.inf)
        self.keys = jnp.pad(keys, ((0, padding), (0, 0))).reshape(-1, GROUP, keys.shape[1])
        self.exponents = exponents.reshape(-1, GROUP)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.full.shape

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        x = check_sample(x, self.shape)
        short, bound = self.bounded(x, level)
        certain = bound <= self.tolerance
        return jax.lax.cond(
            _everywhere(certain),
            lambda: short,
            lambda: jnp.where(certain, short, self.full.denoise(x, level)),
        )

    def log_prob(self, x: Event, level: NoiseLevel | None = None) -> Float[Array, ""]:
        return self.full.log_prob(x, level)

    def sample(self, key: PRNGKeyArray) -> Event:
        return self.full.sample(key)

    def bounded(self, x: Event, level: NoiseLevel) -> tuple[Event, Float[Array, ""]]:
        """The sum over the candidates alone, and a bound on its Euclidean distance from the full sum.

        Memory for a batch of B samples is O(B (N + candidates D)).
        """
        check_level(level)
        x = check_sample(x, self.shape)
        full, alpha = self.full, level.alpha
        centered = (x - alpha * full.mean).reshape(-1)
        variance = alpha**2 * full.bandwidth**2 + level.sigma**2
        key = _keys(centered[None], self.basis)[0]
        chosen, held, left = self._chosen(key, alpha)
        points = full.offsets[chosen]
        residuals = centered[None] - alpha * points
        squares = jnp.where(held, jnp.sum(residuals**2, axis=1), jnp.inf)
        nearest = jnp.min(squares)
        # one dot product of D terms has a relative rounding of D eps at most, and the key has two
        radius = jnp.sqrt(2 * jnp.max(full.half_norms))
        eps = jnp.finfo(squares.dtype).eps
        slack = 2 * (x.size + 8) * eps * (jnp.linalg.norm(centered) + alpha * radius) ** 2
        beyond = jnp.sum(centered**2) - 2 * left - slack  # |x - alpha y|^2 of any other point is no less
        width = 2 * jnp.maximum(variance, jnp.finfo(squares.dtype).tiny / jnp.finfo(squares.dtype).eps)
        weights = jnp.exp(-(squares - nearest) / width)
        mass = jnp.sum(weights)
        share = full.offsets.shape[0] * jnp.exp(jnp.minimum((nearest - beyond) / width, 60)) / mass
        offset = dot(weights, points) / mass
        gain = safe_divide(level.sigma**2, variance, 1.0)
        point = full.mean + offset.reshape(self.shape)
        pull = safe_divide(alpha * full.bandwidth**2, variance)
        bound = gain * jnp.minimum(share, 1) * (jnp.linalg.norm(offset) + radius)
        bound = jnp.where(left > -jnp.inf, bound, 0)
        return (point + pull * (x - alpha * point)).astype(x.dtype), jax.lax.stop_gradient(bound)

    def _chosen(self, key: Array, alpha: Array) -> tuple[Array, Array, Array]:
        """The candidates' indices, whether they exist, and the most that a bound leaves to any other.

        The measure is alpha y . x - alpha^2 |y|^2 / 2, which falls as the distance grows.
        """
        energies = alpha * dot(self.keys.reshape(-1, key.size), key).reshape(-1, GROUP) + alpha**2 * self.exponents
        energies = jnp.where(jnp.isfinite(self.exponents), energies, -jnp.inf)
        best = jnp.max(energies, axis=1)
        # one more than is wanted: the first of those left out bounds the others
        most = min(self.candidates + 1, len(best))
        # without the barrier a slice of the result turns it into a sort of everything on the CPU
        _, groups = jax.lax.optimization_barrier(jax.lax.top_k(best, most))
        others = jnp.where(most > self.candidates, best[groups[-1]], -jnp.inf)
        groups = groups[: self.candidates]
        inside = energies[groups].reshape(-1)
        wanted = min(self.candidates + 1, len(inside))
        found, order = jax.lax.optimization_barrier(jax.lax.top_k(inside, wanted))
        chosen = (groups[order // GROUP] * GROUP + order % GROUP)[: self.candidates]
        last = found[-1] if wanted > self.candidates else -jnp.inf
        return chosen, found[: self.candidates] > -jnp.inf, jnp.maximum(others, last)


def _keys(offsets: Array, basis: Array) -> Array:
    """(P y, |Q y|) of points (n, D)."""
    along = dot(offsets, basis)
    rest = jnp.sum((offsets - dot(along, basis.T)) ** 2, axis=1)
    return jnp.concatenate([along, jnp.sqrt(rest)[:, None]], axis=1)


def _principal_directions(offsets: np.ndarray, rank: int) -> np.ndarray:
    offsets = offsets.astype(np.float64)
    if len(offsets) < offsets.shape[1]:
        return np.linalg.svd(offsets, full_matrices=False)[2][:rank].T
    return np.linalg.eigh(offsets.T @ offsets)[1][:, ::-1][:, :rank]


@custom_vmap
def _everywhere(certain: Array) -> Array:
    """Whether it holds in the whole batch: under vmap one answer for all, so that lax.cond stays a branch."""
    return certain


@_everywhere.def_vmap
def _(axis_size, in_batched, certain):
    return _everywhere(jnp.all(certain, axis=0)), False


def _check(full, tolerance, candidates: int) -> None:
    if not isinstance(full, Empirical) or full.mesh is not None:
        raise TypeError(
            f"full: expected a gd.Empirical on one device, got {type(full).__name__}. Build one without devices."
        )
    weights = np.asarray(full.log_weights)
    if np.ptp(weights[np.isfinite(weights)]) > 1e-5:
        raise ValueError("full: expected equal log_weights, got different ones. Leave them out of gd.Empirical.")
    if not 0 < float(tolerance) < np.inf:
        raise ValueError(f"tolerance: expected > 0, in data units, got {float(tolerance):g}. 1e-6 is usual.")
    if candidates < 1:
        raise ValueError(f"candidates: expected an integer >= 1, got {candidates}. 64 suits most.")
