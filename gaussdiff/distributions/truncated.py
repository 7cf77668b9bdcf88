"""The data set's denoiser at small noise, from a few candidates, with a bound on what the others could change.

Take x and the points y from their mean, let P project on r leading principal directions and Q on the rest. The r + 1
numbers k(y) = (P y, |Q y|) have |k(y)| = |y| and k(x) . k(y) >= x . y: one thin matrix product bounds every distance,

    |x - alpha y|^2 >= (1 - s) |x|^2 - 2 E(y),     E(y) = alpha k(x) . k(y) - (1 - s) alpha^2 |y|^2 / 2

Here s covers rounding, of unit u. A dot product of D terms is off by at most D u times both norms, in any order of
summation. So |y|^2 and |x|^2 are off by D u of themselves, both parts of k(x) and k(y) by sqrt(r) (D + r + 2) u of the
norm (the second by D u more), and k(x) . k(y) by their sum and (r + 4) u for the product itself, of |x| |y|. Since
2 alpha |x| |y| <= |x|^2 + alpha^2 |y|^2, all of it is less than s (|x|^2 + alpha^2 |y|^2) with

    s = 3 (sqrt(r) + 2) (D + r + 16) u

Let R be the largest |y|, d the nearest distance |x - alpha y| and S^2 = alpha^2 bandwidth^2 + sigma^2. Points with
|x - alpha y|^2 >= b have at most the fraction q = N exp((d^2 - b) / 2 S^2) of the softmax. The denoised value is
(sigma^2 / S^2) times the weighted mean of the points, plus a multiple of x: leaving those points out moves it by

    (sigma^2 / S^2) q |mean of them - mean of the others| <= (sigma^2 / S^2) q (R + |mean of the others|)

With R for the last norm, this is the tolerance at b = d^2 + 2 S^2 log(2 N R (sigma^2 / S^2) / tolerance). Any point's
distance is a ceiling on d. So the search drops groups of points, then points, whose bound is above that b, computes the
distances of the rest, and takes the nearest m as candidates; b is then the least bound of all others. The groups, of
16, come from halving the points along their widest axis again and again: few of them remain. Groups are bounded with r
directions, points with 2 r, for which s is taken.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.distributions.empirical import Empirical
from gaussdiff.numerics.arrays import device, dot, safe_divide
from gaussdiff.numerics.checks import check_above_0, check_count
from gaussdiff.numerics.kinds import described
from gaussdiff.schedules import NoiseLevel, check_level

GROUP_POINTS = 16
# how many groups and points a sample may look at: for a first ceiling, as a rule, and where that was not enough
FIRST, NARROW, WIDE = (2, 2), (96, 96), (1024, 512)
SAMPLES_PER_WIDE = 8  # one sample in so many may look wide
BLOCK_ITEMS = 128  # points or groups looked at together


class Truncated(Distribution):
    """An `Empirical` whose denoise sums over candidates only, wherever that is certain to stay within the tolerance.

    tolerance: the largest Euclidean distance from the full sum, in data units, beside rounding. rank: r, the principal
    directions that bound groups of points; 2 r bound single ones. candidates: m, the points summed over. The bound is
    computed for every x and level. In a batch of which any sample misses it, the full sum is computed for all and used
    for those that miss it, inside jit and vmap too. Densities and scores are the full sum's. Gradients are those of the
    branch taken. Beside the Empirical it keeps N (3 r + 5) numbers; a batch of B samples needs
    O(B (N / 16 + candidates D)) more. ValueError for a tolerance <= 0, no candidates or unequal weights, TypeError for
    anything but an Empirical on one device.
    """

    full: Empirical
    tolerance: Float[Array, ""]
    basis: Float[Array, "D 2r"]
    keys: Float[Array, "group groups r+2"]  # k(y) and -(1 - s) |y|^2 / 2
    fine: Float[Array, "groups group 2r+2"]  # the same with twice the directions
    rows: Int[Array, "groups group"]  # of the full's points; -1 where there is none
    slack: Float[Array, ""]  # s
    candidates: int = eqx.field(static=True)

    def __init__(self, full: Empirical, tolerance=1e-6, rank: int = 64, candidates: int = 16):
        _check(full, tolerance, candidates)
        rank = check_count(rank, "rank", "64 suits most.")
        self.full, self.tolerance = full, jnp.asarray(tolerance, full.offsets.dtype)
        weighted = np.flatnonzero(np.isfinite(np.asarray(full.log_weights)))
        offsets = np.asarray(full.offsets, np.float64)[weighted]
        size, rank = offsets.shape[1], min(2 * rank, *offsets.shape)
        basis = _principal_directions(offsets, rank)
        slack = 3 * (rank**0.5 + 2) * (size + rank + 16) * np.finfo(full.offsets.dtype).eps / 2
        along = offsets @ basis
        rest = np.linalg.norm(offsets - along @ basis.T, axis=1)
        halves = -(1 - slack) * np.sum(offsets**2, axis=1) / 2
        groups = _groups(along[:, : max(rank // 2, 1)])
        fine = np.column_stack([along, rest, halves])
        # a place without a point has the key of its neighbour, so that it bounds nothing else
        fine = fine[np.where(groups < 0, groups[:, :1], groups)]
        self.basis, self.fine, self.slack = (device(value, full.offsets) for value in (basis, fine, np.float64(slack)))
        self.keys = jnp.swapaxes(_coarse(self.fine), 0, 1)
        self.rows = jnp.asarray(np.where(groups < 0, -1, weighted[groups]))
        self.candidates = min(candidates, len(weighted))

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

    def score(self, x: Event, level: NoiseLevel) -> Event:
        return self.full.score(x, level)

    def sample(self, key: PRNGKeyArray) -> Event:
        return self.full.sample(key)

    def bounded(self, x: Event, level: NoiseLevel) -> tuple[Event, Float[Array, ""]]:
        """The sum over the candidates alone, and a bound on its Euclidean distance from the full sum."""
        check_level(level)
        x = check_sample(x, self.shape)
        full, alpha = self.full, level.alpha
        centered = (x - alpha * full.mean).reshape(-1)
        variance = alpha**2 * full.bandwidth**2 + level.sigma**2
        gain = safe_divide(level.sigma**2, variance, 1.0)
        smallest = jnp.finfo(variance.dtype).tiny / jnp.finfo(variance.dtype).eps
        width = jnp.where(variance < smallest, smallest, variance)
        most, radius = full.offsets.shape[0], jnp.sqrt(2 * jnp.max(full.half_norms))
        reach = 2 * width * jnp.maximum(jnp.log(2 * most * radius * gain / self.tolerance), 0)
        queries = jax.lax.stop_gradient((self, centered[None], alpha[None], reach[None]))
        rows, squares, beyond = (each[0] for each in _nearest(*queries))
        points = full.offsets[rows]
        # relative to the nearest and linear in x, as the full sum does it: the rounding is that of x itself
        middle = centered[None] - alpha * (points + points[:1]) / 2
        exponents = alpha * jnp.sum((points - points[:1]) * middle, axis=1) / width
        weights = jax.nn.softmax(jnp.where(jnp.isfinite(squares), exponents, -jnp.inf))
        offset = dot(weights, points)
        point = full.mean + offset.reshape(self.shape)
        pull = safe_divide(alpha * full.bandwidth**2, variance)
        gap = beyond - (1 + self.slack) * squares[0]
        fraction = jnp.minimum(most * jnp.exp(-jnp.maximum(gap, 0) / (2 * width)), 1)
        bound = gain * fraction * (radius + jnp.linalg.norm(offset))
        return (point + pull * (x - alpha * point)).astype(x.dtype), jax.lax.stop_gradient(bound)


class _Query(NamedTuple):
    """A batch of samples, and the groups' largest energies."""

    centered: Float[Array, "B D"]
    alpha: Float[Array, " B"]
    key: Float[Array, "B r+2"]
    energies: Float[Array, "B groups"]


class _Nearest(NamedTuple):
    """The nearest points of a search, and the largest energy of any that it passed over though above the floor."""

    rows: Int[Array, "B m"]
    closeness: Float[Array, "B m"]  # -|x - alpha y|^2, -inf where there is no point
    missed: Float[Array, " B"]


@custom_vmap
@jax.jit
def _nearest(model: Truncated, centered: Array, alpha: Array, reach: Array) -> tuple[Array, Array, Array]:
    """Rows and squared distances (B, m) of the candidates, rising, inf where there is none; b (B,) of all others.

    reach: how much farther than the nearest a squared distance still matters.
    """
    query = _query(model, centered, alpha)
    everything = jnp.full(len(centered), -jnp.inf, centered.dtype)
    ceiling = -_search(model, query, everything, *FIRST, 1).closeness[:, 0]
    square = jnp.sum(centered**2, axis=1)
    square, rounding = (1 - model.slack) * square, 8 * jnp.finfo(square.dtype).eps * square
    floor = (square - (1 + model.slack) * ceiling - reach) / 2 - rounding
    nearest = _search(model, query, floor, *NARROW, model.candidates)
    nearest = _widened(model, query, floor, nearest)
    beyond = square - 2 * jnp.maximum(floor, nearest.missed)
    beyond = jnp.minimum(beyond, -(1 - model.slack) * nearest.closeness[:, -1])
    return nearest.rows, -nearest.closeness, beyond


@_nearest.def_vmap
def _(size, in_batched, model, *queries):
    """All batches as one; other models, one after the other."""

    def whole(leaf, batched):
        return leaf if batched else jnp.broadcast_to(leaf, (size, *leaf.shape))

    queries = jax.tree.map(whole, queries, tuple(in_batched[1:]))
    if any(jax.tree.leaves(in_batched[0])):
        models = jax.tree.map(whole, model, in_batched[0])
        answers = jax.lax.map(lambda each: _nearest(*each), (models, *queries))
    else:
        answers = _nearest(model, *(leaf.reshape(-1, *leaf.shape[2:]) for leaf in queries))
        answers = jax.tree.map(lambda leaf: leaf.reshape(size, -1, *leaf.shape[1:]), answers)
    return answers, (True, True, True)


def _query(model: Truncated, centered: Array, alpha: Array) -> _Query:
    along = dot(centered, model.basis)
    rest = jnp.linalg.norm(centered - dot(along, model.basis.T), axis=1)
    scale = alpha[:, None]
    key = jnp.concatenate([scale * along, scale * rest[:, None], scale**2], axis=1)
    coarse = _coarse(key)

    def add(largest, keys):
        return jnp.maximum(largest, dot(keys, coarse.T)), None

    none = jnp.full((model.keys.shape[1], len(key)), -jnp.inf, key.dtype)
    return _Query(centered, alpha, key, jax.lax.scan(add, none, model.keys, unroll=4)[0].T)


def _search(model: Truncated, query: _Query, floor: Array, groups: int, points: int, candidates: int) -> _Nearest:
    """Look at the groups of most energy, at most so many, and in these at the points of most energy above the floor."""

    def energies(group, key):
        return jnp.where(model.rows[group] < 0, -jnp.inf, dot(model.fine[group], key))

    def closeness(row, centered, alpha):
        return -jnp.sum((centered - alpha * model.full.offsets[row]) ** 2)

    # the groups, and the energies of all their points
    group, wanted, missed_group = _leading(query.energies, floor, max(groups, candidates))
    energy = _where(wanted, energies, group, query.key).reshape(len(floor), -1)
    rows = model.rows[group].reshape(energy.shape)

    # the points, and their distances
    order, wanted, missed_point = _leading(energy, floor, max(points, candidates))
    rows = jnp.take_along_axis(rows, order, axis=1)
    near = _where(wanted, closeness, rows, query.centered, query.alpha)

    # the nearest of them
    near, order = jax.lax.top_k(near, candidates)
    return _Nearest(jnp.take_along_axis(rows, order, axis=1), near, jnp.maximum(missed_group, missed_point))


def _widened(model: Truncated, query: _Query, floor: Array, nearest: _Nearest) -> _Nearest:
    """The same search again for those that missed something, unless they are too many."""
    many = -(-len(floor) // SAMPLES_PER_WIDE)
    missed = jnp.sum(nearest.missed > floor)

    def wide():
        again = jax.lax.top_k(nearest.missed - floor, many)[1]
        wider = _search(model, jax.tree.map(lambda leaf: leaf[again], query), floor[again], *WIDE, model.candidates)
        return jax.tree.map(lambda before, after: before.at[again].set(after), nearest, wider)

    return jax.lax.cond((missed > 0) & (missed <= many), wide, lambda: nearest)


def _leading(energies: Array, floor: Array, most: int) -> tuple[Array, Array, Array]:
    """Places of the largest above the floor, at most so many, whether each is one, and what any other can have."""
    most = min(most, energies.shape[1])
    # without the barrier a slice of the result turns it into a sort of everything on the CPU
    leading = jax.lax.top_k(jnp.where(energies >= floor[:, None], energies, -jnp.inf), most)
    values, order = jax.lax.optimization_barrier(leading)
    missed = jnp.full_like(floor, -jnp.inf) if most == energies.shape[1] else values[:, -1]
    return order, values > -jnp.inf, missed


def _where(wanted: Bool[Array, "B n"], function: Callable, items: Int[Array, "B n"], *queries: Array) -> Array:
    """function(item, *its sample's queries) where wanted, -inf elsewhere: computed in blocks of wanted ones alone."""
    size, each = wanted.size, wanted.shape[1]
    places = jnp.nonzero(wanted.reshape(-1), size=size + BLOCK_ITEMS, fill_value=size)[0]
    shape = jax.eval_shape(function, items[0, 0], *(query[0] for query in queries)).shape

    def block(k, values):
        place = jax.lax.dynamic_slice(places, (k * BLOCK_ITEMS,), (BLOCK_ITEMS,))
        answers = jax.vmap(function)(items.reshape(-1)[place], *(query[place // each] for query in queries))
        return values.at[place].set(answers, mode="drop")

    none = jnp.full((size, *shape), -jnp.inf, queries[0].dtype)
    return jax.lax.fori_loop(0, -(-jnp.sum(wanted) // BLOCK_ITEMS), block, none).reshape(*wanted.shape, *shape)


def _coarse(keys: Array) -> Array:
    """Keys with half the directions: the others go into the norm of the rest."""
    rank = (keys.shape[-1] - 2) // 2
    rest = jnp.linalg.norm(keys[..., rank:-1], axis=-1, keepdims=True)
    return jnp.concatenate([keys[..., :rank], rest, keys[..., -1:]], axis=-1)


def _groups(along: np.ndarray) -> np.ndarray:
    """Indices (GROUP_POINTS, groups) of points that lie close together in each column, -1 in empty places."""

    def halved(members: np.ndarray) -> list[np.ndarray]:
        if len(members) <= GROUP_POINTS:
            return [members]
        half = -(-len(members) // (2 * GROUP_POINTS)) * GROUP_POINTS
        values = along[members]
        widest = values[:, np.argmax(np.var(values, axis=0))]
        first, second = np.split(members[np.argpartition(widest, half - 1)], [half])
        return halved(first) + halved(second)

    order = np.concatenate(halved(np.arange(len(along))))
    return np.pad(order, (0, -len(order) % GROUP_POINTS), constant_values=-1).reshape(-1, GROUP_POINTS)


def _principal_directions(offsets: np.ndarray, rank: int) -> np.ndarray:
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
            f"full: expected a gd.Empirical on one device, got {described(full)}. Build gd.Empirical(points) without "
            "devices."
        )
    weights = np.asarray(full.log_weights)
    if np.ptp(weights[np.isfinite(weights)]) > 1e-5:
        raise ValueError("full: expected equal log_weights, got different ones. Leave them out of gd.Empirical.")
    check_above_0(tolerance, "tolerance", "It is in data units; 1e-6 is usual.")
    check_count(candidates, "candidates", "16 suits most.")
