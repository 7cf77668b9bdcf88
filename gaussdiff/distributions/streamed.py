"""A data set larger than memory as a distribution: its points stay in a file and come past in chunks.

Every answer is `Empirical`'s, from the same sums. What differs is where a chunk comes from: a callback reads rows of
the NumPy array, which may map a file, while the compiled program runs. The callback's argument is the number of the
first row, the same for all of a batch, so that one pass over the file serves a whole vmapped batch. Nothing of JAX runs
inside the callback, since on a CPU a computation that waits for the program that it is called from hangs.

`jax.pure_callback`, since rows are a function of their number: reverse mode may then read a chunk a second time rather
than keep it, which JAX refuses for `io_callback`. The file must not change.
"""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gaussdiff.distributions.empirical import DataSet, check_bandwidth
from gaussdiff.distributions.mixture import normalize_log_weights
from gaussdiff.numerics.arrays import check_real, device, floating, host
from gaussdiff.numerics.checks import check_chunk
from gaussdiff.numerics.kinds import described
from gaussdiff.progress import Progress

BLOCK_NUMBERS = 2**20  # numbers in float64 at a time: what fits in a processor's cache


class Streamed(DataSet):
    """An `Empirical` whose points (N, *row) stay in a NumPy array, such as np.load(path, mmap_mode="r").

    transform: from rows as stored to points, (n, *row) -> (n, *event), row by row; a JAX function that runs on the
    device, such as `lambda images: images / 127.5 - 1` for bytes. Without it integers become floats. Two passes in
    float64 at construction find the mean and the norms, with progress(done, total) after each block of rows; every
    question after that is one pass for a whole batch. Memory is O(batch chunk), and two numbers for each point; reverse
    mode reads the file twice and keeps one running sum, of the size of the batch, for each chunk.

    The array and the transform are static, compared by identity: a jitted function compiles again for another array,
    and keeps it alive. Gradients in x, level, bandwidth and log_weights are exact; the points have none. ValueError as
    for Empirical, and for a transform that loses rows; TypeError for points that are no NumPy array.
    """

    half_norms: Float[Array, " N"]
    mean: Float[Array, "*event"]
    log_weights: Float[Array, " N"]
    bandwidth: Float[Array, ""]
    chunk: int = eqx.field(static=True)
    source: "_Source" = eqx.field(static=True)

    def __init__(
        self,
        points: np.ndarray,
        bandwidth=0.0,
        log_weights=None,
        chunk: int = 1000,
        transform: Callable[[Array], Array] | None = None,
        progress: Progress | None = None,
    ):
        _check_points(points)
        if transform is not None and not callable(transform):
            raise TypeError(
                f"transform: expected a function of rows (n, *row), got {described(transform)}. Leave it out where "
                "the rows are the points."
            )
        check_chunk(chunk)
        bandwidth = check_bandwidth(bandwidth)
        self.chunk = min(chunk, len(points))
        self.source = _Source(points, transform)
        _check_transform(self.source)
        self.mean, self.half_norms = _centered(self.source, progress)
        self.bandwidth = jnp.asarray(bandwidth, self.mean.dtype)
        log_weights = jnp.zeros(len(points), self.mean.dtype) if log_weights is None else log_weights
        self.log_weights = normalize_log_weights(log_weights, len(points))

    def _fold(self, part: Callable, empty, merge: Callable, query):
        @jax.checkpoint  # reverse mode reads a chunk again instead of keeping all of them
        def add(total, first):
            return merge(total, part(query, *self._chunk(first))), None

        return jax.lax.scan(add, empty, jnp.arange(0, len(self.half_norms), self.chunk))[0]

    def _chunk(self, first: Int[Array, ""]):
        """Always a whole chunk: the last begins early, and rows that the one before had are given weight 0."""
        start = jnp.minimum(first, len(self.half_norms) - self.chunk)
        indices = start + jnp.arange(self.chunk)
        rows = jax.pure_callback(self.source.between, self.source.like(self.chunk), start, start + self.chunk)
        log_weights = jnp.where(indices >= first, self.log_weights[indices], -jnp.inf)
        return self._offsets(rows), self.half_norms[indices], log_weights, indices

    def _rows(self, indices):
        like = self.source.like(len(indices))
        rows = jax.pure_callback(self.source.at, like, indices, vmap_method="expand_dims")
        return self._offsets(rows), self.log_weights[indices]

    def _offsets(self, rows: Array) -> Float[Array, "n D"]:
        points = self.source.points_of(rows).astype(self.mean.dtype)
        return (points - self.mean[None]).reshape(len(rows), -1)

    def _radius(self):
        return jnp.sqrt(2 * jnp.max(self.half_norms))

    def _draw(self, key: PRNGKeyArray):
        return jax.random.categorical(key, self.log_weights)


class _Source:
    """Rows of an array on the host, in a dtype that JAX has. Two are equal that read the same array the same way."""

    def __init__(self, array: np.ndarray, transform: Callable[[Array], Array] | None):
        self.array, self.transform = array, transform
        self.dtype = jax.dtypes.canonicalize_dtype(array.dtype.newbyteorder("="))

    def __eq__(self, other) -> bool:
        return isinstance(other, _Source) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return id(self.array), self.transform, self.dtype

    def like(self, count: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *self.array.shape[1:]), self.dtype)

    def between(self, start, stop) -> np.ndarray:
        return np.asarray(self.array[int(start) : int(stop)], self.dtype)

    def at(self, indices) -> np.ndarray:
        return np.asarray(self.array[np.asarray(indices)], self.dtype)

    def points_of(self, rows) -> Float[Array, "n *event"]:
        return floating(rows if self.transform is None else self.transform(jnp.asarray(rows)))


def _centered(source: _Source, progress: Progress | None) -> tuple[Array, Array]:
    """The mean of the points and |y - mean|^2 / 2 of each, in two passes in float64; ValueError where one is NaN."""
    count = len(source.array)
    rows = max(BLOCK_NUMBERS * count // max(source.array.size, 1), 1)
    starts = range(0, count, rows)

    def read(before: int):
        for done, start in enumerate(starts, before + 1):
            yield host(source.points_of(source.between(start, start + rows)), "points")
            if progress:
                progress(done, 2 * len(starts))

    total = functools.reduce(np.add, (points.sum(axis=0) for points in read(0)))
    mean = device(total / count, source.points_of(source.between(0, 1)))
    center = host(mean, "mean")
    squares = [((points - center) ** 2).reshape(len(points), -1).sum(axis=1) for points in read(len(starts))]
    return mean, device(np.concatenate(squares) / 2, mean)


def _check_points(points) -> None:
    if not isinstance(points, np.ndarray):
        raise TypeError(
            f"points: expected a NumPy array, such as np.load(path, mmap_mode='r'), got {described(points)}. "
            "gd.Empirical takes what is in memory."
        )
    check_real(points, points, "points")
    if not (points.ndim and len(points)):
        raise ValueError(f"points: expected shape (N, *row) with N >= 1, got {points.shape}. Stack the samples.")


def _check_transform(source: _Source) -> None:
    rows = source.like(len(source.array))
    shape = jax.eval_shape(source.points_of, rows).shape
    if shape[:1] != rows.shape[:1]:
        raise ValueError(
            f"transform: expected rows (n, *row) to points (n, *event), got {rows.shape} to {shape}. Keep axis 0."
        )
