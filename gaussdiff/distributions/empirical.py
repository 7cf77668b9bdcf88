"""The data set itself as a distribution: a mixture with one component N(y_i, bandwidth^2 I) per point.

With S^2 = alpha^2 bandwidth^2 + sigma^2, w = softmax_i(log pi_i - |x - alpha y_i|^2 / 2 S^2) and y = sum_i w_i y_i,

    denoise = y + (alpha bandwidth^2 / S^2) (x - alpha y)
    Cov[x0 | x] = (sigma^2 / S^2)^2 sum_i w_i (y_i - y)(y_i - y)^T + (bandwidth^2 sigma^2 / S^2) I
    alpha y - x = S^2 grad log p(x)        a step of mean shift

which at bandwidth 0 is the ideal denoiser of the training set, the one that memorises. The sums are streamed over
chunks of points with a running softmax, so that a batch of B samples needs memory O(B chunk), whatever the number of
points.

The points are stored as offsets from their mean, and |x|^2, common to all, is dropped: the exponents are then
alpha y . x - alpha^2 |y|^2 / 2, linear in x and one matrix product. Where points stand close together far from the
mean, these lose digits. So the exponents of the leading points are computed again, relative to the first of them:

    alpha (y_k - y_1) . (x - alpha (y_k + y_1) / 2) / S^2

whose rounding is that of x itself. The answers have full accuracy where the leading points carry the mass.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.distributions.mixture import normalize_log_weights
from gaussdiff.numerics.arrays import concrete, dot, floating, host, safe_divide, safe_sqrt
from gaussdiff.numerics.checks import (
    check_at_least_0,
    check_chunk,
    check_count,
    check_key,
    check_samples,
    shape_of_samples,
)
from gaussdiff.numerics.kinds import described
from gaussdiff.numerics.softmax import Part
from gaussdiff.schedules import NoiseLevel, check_level, clean

LEADING_POINTS = 16  # whose exponents are computed again to more digits


class Posterior(eqx.Module):
    """The posterior of a data set given one noisy x: the denoised sample, and the points that it comes from.

    x0: E[x0 | x], (*event). log_prob: log density of x in nats. entropy: that of the responsibilities w_i, in nats.
    participation: 1 / sum_i w_i^2, from 1 to N. variance: trace of Cov[x0 | x], in squared data units.
    indices, weights, distances: (k,), the likeliest points first, their w_i and |x - alpha y_i|; with equal
    log_weights the first is the nearest neighbour.
    """

    x0: Event
    log_prob: Float[Array, ""]
    entropy: Float[Array, ""]
    participation: Float[Array, ""]
    variance: Float[Array, ""]
    indices: Int[Array, " k"]
    weights: Float[Array, " k"]
    distances: Float[Array, " k"]

    @property
    def neighbours(self) -> Float[Array, ""]:
        """How many points the answer comes from: exp(entropy), from 1 to N."""
        return jnp.exp(self.entropy)


class DataSet(Distribution):
    """A distribution of equal kernels N(y_i, bandwidth^2 I) around points, however these are stored."""

    mean: eqx.AbstractVar[Float[Array, "*event"]]
    bandwidth: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def _fold(self, part: Callable, empty, merge: Callable, query) -> Any:
        """`part(query, offsets, half_norms, log_weights, indices)` of each chunk of points, merged."""

    @abc.abstractmethod
    def _rows(self, indices: Int[Array, " m"]) -> tuple[Float[Array, "m D"], Float[Array, " m"]]:
        """Offsets from the mean, and log weights, of some points."""

    @abc.abstractmethod
    def _radius(self) -> Float[Array, ""]:
        """The largest distance of a point from the mean, or more."""

    @abc.abstractmethod
    def _draw(self, key: PRNGKeyArray) -> Int[Array, ""]:
        """The index of a point, drawn by weight."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mean.shape

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        x = check_sample(x, self.shape)
        return self._denoised(x, self._softmax(x, level), level)

    def log_prob(self, x: Event, level: NoiseLevel | None = None) -> Float[Array, ""]:
        """log density in nats of x at a level; at S = 0, where there is none, the log weight of the nearest point."""
        level = clean() if level is None else level
        return self._log_prob(self._softmax(check_sample(x, self.shape), level))

    def score(self, x: Event, level: NoiseLevel) -> Event:
        """grad log p(x) = sum_i w_i (alpha y_i - x) / S^2, of x's shape; 0 at S = 0, where there is no density."""
        x = check_sample(x, self.shape)
        softmax = self._softmax(x, level)
        rest = softmax.rest.mass * softmax.query[0] - level.alpha * softmax.rest.weighted
        away = (dot(softmax.weights, softmax.residuals) + rest).reshape(self.shape)
        width = safe_sqrt(softmax.variance)
        return -safe_divide(safe_divide(away, width), width).astype(x.dtype)

    def sample(self, key: PRNGKeyArray) -> Event:
        check_key(key)
        which, within = jax.random.split(key)
        point = self._rows(self._draw(which)[None])[0][0].reshape(self.shape)
        return self.mean + point + self.bandwidth * jax.random.normal(within, self.shape, self.mean.dtype)

    def mean_shift(self, x: Event, level: NoiseLevel) -> Event:
        """alpha sum_i w_i y_i - x = S^2 grad log p(x): at alpha = 1 the step of mean shift with a kernel of width S.

        Comaniciu & Meer 2002, equation 17, for the Gaussian kernel; at bandwidth 0 it is alpha denoise - x.
        """
        x = check_sample(x, self.shape)
        softmax = self._softmax(x, level)
        return (level.alpha * (self.mean + softmax.point.reshape(self.shape)) - x).astype(x.dtype)

    def posterior(self, x: Event, level: NoiseLevel, neighbours: int = 1) -> Posterior:
        """The posterior given x, from one pass over the points; `neighbours` is the number k of points that it names.

        At S = 0 the responsibilities are the limit, all on the nearest point. Where there are fewer than k points the
        last names have weight 0. ValueError unless k >= 1.
        """
        check_count(neighbours, "neighbours", "It counts the points named.")
        x = check_sample(x, self.shape)
        softmax = self._softmax(x, level, max(LEADING_POINTS, neighbours))
        gain = safe_divide(level.sigma**2, softmax.variance, 1.0)
        inner = x.size * self.bandwidth**2 * safe_divide(level.sigma**2, softmax.variance)
        weights, order = jax.lax.top_k(softmax.weights, neighbours)
        return Posterior(
            self._denoised(x, softmax, level),
            self._log_prob(softmax),
            softmax.entropy(),
            1 / softmax.square,
            gain**2 * softmax.variance_of_points() + inner,
            softmax.indices[order],
            weights,
            jnp.linalg.norm(softmax.residuals[order], axis=1),
        )

    def covariance_product(self, x: Event, level: NoiseLevel, v: Event) -> Event:
        """Cov[x0 | x] v for v of x's shape, in one more pass over the points; at S = 0 of the limit."""
        x, v = check_sample(x, self.shape), check_sample(v, self.shape, "v")
        softmax = self._softmax(x, level)
        query = (softmax.query, softmax.point, v.reshape(-1), softmax.indices, softmax.log_total)

        def part(query, offsets, half_norms, log_weights, indices):
            exponents, point, v, leading, log_total = query
            weights = jnp.exp(_exponents(exponents, offsets, half_norms, log_weights) - log_total)
            weights = jnp.where(jnp.any(indices[:, None] == leading[None], axis=1), 0, weights)
            weights = weights * (dot(offsets, v) - dot(point, v))
            return dot(weights, offsets) - jnp.sum(weights) * point

        rest = self._fold(part, jnp.zeros_like(softmax.point), jnp.add, query)
        away = softmax.points - softmax.point[None]
        product = rest + dot(softmax.weights * dot(away, v.reshape(-1)), away)
        gain, inner = (safe_divide(level.sigma**2, softmax.variance, otherwise) for otherwise in (1.0, 0.0))
        return (gain**2 * product.reshape(self.shape) + self.bandwidth**2 * inner * v).astype(v.dtype)

    def _denoised(self, x, softmax: "_Softmax", level: NoiseLevel) -> Event:
        point = self.mean + softmax.point.reshape(self.shape)
        pull = safe_divide(level.alpha * self.bandwidth**2, softmax.variance)
        return (point + pull * (x - level.alpha * point)).astype(x.dtype)

    def _log_prob(self, softmax: "_Softmax") -> Float[Array, ""]:
        # The distance to the likeliest point is taken directly, for its digits; the softmax adds the rest.
        best = jnp.argmax(softmax.weights)
        has_density = softmax.variance > 0
        variance = jnp.where(has_density, softmax.variance, 1)
        nearest = softmax.residuals[best]
        kernel = -(jnp.sum(nearest**2) / variance + nearest.size * jnp.log(2 * jnp.pi * variance)) / 2
        return softmax.log_weights[best] - jnp.log(softmax.weights[best]) + jnp.where(has_density, kernel, 0)

    def _softmax(self, x, level: NoiseLevel, leading: int = LEADING_POINTS) -> "_Softmax":
        """The softmax over all points, with the exponents of the leading ones computed again."""
        check_level(level)
        centered = (x - level.alpha * self.mean).reshape(-1)
        variance = level.alpha**2 * self.bandwidth**2 + level.sigma**2
        smallest = _resolved(centered, self._radius(), level.alpha)
        width = jnp.where(variance < smallest, smallest, variance)  # no maximum: see softmax.py
        query = (centered, level.alpha, width)

        def part(query, offsets, half_norms, log_weights, indices):
            return Part.of(_exponents(query, offsets, half_norms, log_weights), offsets, half_norms, indices, leading)

        empty = Part.empty(centered.size, leading, jnp.result_type(centered, width, self.mean))
        total = self._fold(part, empty, Part.merge, query)
        points, log_weights = self._rows(total.indices)
        return _refined(total, points, log_weights, query, variance)


class _Softmax(NamedTuple):
    """Responsibilities: those of the leading points one by one, of all others as sums; all are fractions of 1."""

    query: tuple
    variance: Float[Array, ""]
    point: Float[Array, " D"]
    indices: Int[Array, " m"]
    points: Float[Array, "m D"]
    residuals: Float[Array, "m D"]
    log_weights: Float[Array, " m"]
    weights: Float[Array, " m"]
    log_total: Float[Array, ""]  # a coarse exponent less this is the logarithm of a fraction
    rest: Part
    square: Float[Array, ""]

    def entropy(self) -> Float[Array, ""]:
        """-sum_i w_i log w_i."""
        positive = self.weights > 0
        leading = jnp.sum(jnp.where(positive, self.weights * jnp.log(jnp.where(positive, self.weights, 1)), 0))
        shift = self.rest.largest - self.log_total
        return jnp.maximum(-leading - self.rest.tilt - shift * self.rest.mass, 0)

    def variance_of_points(self) -> Float[Array, ""]:
        """sum_i w_i |y_i - y|^2."""
        away = self.points - self.point[None]
        rest = 2 * (self.rest.power - dot(self.rest.weighted, self.point)) + self.rest.mass * dot(
            self.point, self.point
        )
        return jnp.sum(self.weights * jnp.sum(away**2, axis=1)) + jnp.maximum(rest, 0)


def _refined(total: Part, points: Array, log_weights: Array, query, variance) -> _Softmax:
    centered, alpha, width = query
    present = total.leading > -jnp.inf
    middle = centered[None] - alpha * (points + points[:1]) / 2
    exponents = alpha * jnp.sum((points - points[:1]) * middle, axis=1) / width + (log_weights - log_weights[0])
    exponents = jnp.where(present, exponents, -jnp.inf)
    largest = jax.lax.stop_gradient(jnp.max(exponents))
    weights = jnp.exp(exponents - largest)
    rest = total.without_leading(points)
    # Exponents here are relative to the first point's, and the sums to the same number, a constant to derivatives.
    first = total.leading[0] - jax.lax.stop_gradient(total.leading[0])  # 0, but for its derivative
    scale = jnp.exp(-largest - first)  # at most 1: the exponent of the first is 0
    mass = jnp.sum(weights) + scale * rest.mass
    fraction = scale / mass
    rest = rest._replace(
        mass=fraction * rest.mass,
        weighted=fraction * rest.weighted,
        power=fraction * rest.power,
        square=fraction**2 * rest.square,
        tilt=fraction * rest.tilt,
    )
    weights = weights / mass
    return _Softmax(
        query,
        variance,
        rest.weighted + dot(weights, points),
        total.indices,
        points,
        centered[None] - alpha * points,
        log_weights,
        weights,
        total.largest + first + largest + jnp.log(mass),
        rest,
        rest.square + jnp.sum(weights**2),
    )


class Empirical(DataSet):
    """A data set (N, *event) as a distribution, optionally smoothed by a Gaussian kernel of that `bandwidth`.

    log_weights: (N,), equal by default. chunk: how many points are compared with a batch at a time. devices: the points
    are spread over them, and every device is asked for its part of each answer. ValueError for NaN, an empty set, a
    negative bandwidth, or weights of the wrong shape.

    >>> data = gd.Empirical(np.array([[0.0], [1.0]]))
    >>> posterior = data.posterior(jnp.array([0.9]), gd.NoiseLevel(1.0, 0.1))
    >>> round(float(posterior.x0[0]), 3), int(posterior.indices[0])
    (1.0, 1)
    """

    offsets: Float[Array, "rows D"]
    half_norms: Float[Array, " rows"]
    mean: Float[Array, "*event"]
    log_weights: Float[Array, " rows"]
    bandwidth: Float[Array, ""]
    chunk: int = eqx.field(static=True)
    mesh: Mesh | None = eqx.field(static=True)

    def __init__(
        self,
        points,
        bandwidth=0.0,
        log_weights=None,
        chunk: int = 1000,
        devices: Sequence | None = None,
    ):
        # for many devices the points stay on the host until they are split
        if devices:
            shape_of_samples(points, "points", least=1)
            points = np.asarray(floating(points[:1]).dtype.type(0) + points)
        else:
            points = floating(points, "points")
        count = len(points) if points.ndim else 0
        if not count:
            raise ValueError(f"points: expected shape (N, *event) with N >= 1, got {points.shape}. Stack the samples.")
        chunk = check_chunk(chunk)
        if concrete(points):
            host(points, "points")
        bandwidth = check_bandwidth(bandwidth)
        self.chunk = min(chunk, count)
        self.mean = _mean(points)
        self.bandwidth = jnp.asarray(bandwidth, points.dtype)
        self.mesh = Mesh(np.array(devices), "points") if devices else None
        log_weights = jnp.zeros(count, points.dtype) if log_weights is None else log_weights
        # Whole chunks only, as many on each device: the rows added have weight 0.
        padding = -count % (self.chunk * (len(devices) if devices else 1))
        log_weights = jnp.pad(normalize_log_weights(log_weights, count), (0, padding), constant_values=-jnp.inf)
        numpy = np if devices else jnp
        mean = np.asarray(self.mean) if devices else self.mean
        offsets = numpy.pad((points - mean[None]).reshape(count, -1), ((0, padding), (0, 0)))
        half_norms = numpy.sum(offsets**2, axis=1) / 2
        if self.mesh is not None:
            rows = NamedSharding(self.mesh, PartitionSpec("points"))
            offsets, half_norms, log_weights = jax.device_put((offsets, half_norms, log_weights), rows)
        self.offsets, self.half_norms, self.log_weights = map(jnp.asarray, (offsets, half_norms, log_weights))

    @classmethod
    def from_labels(cls, points, labels, classes: int | None = None, bandwidth=0.0, chunk: int = 1000) -> "Empirical":
        """One data set per class, stacked: leaves have a leading axis `classes`, to be used under jax.vmap or indexed.

        points (N, *event), labels (N,) integers from 0; classes: max(labels) + 1 by default. Smaller classes are
        filled up with points of weight 0. `jax.tree.map(lambda leaf: leaf[k], stack)` is class k alone. ValueError for
        labels of another shape or range, or a class without points.
        """
        points, given, labels = np.asarray(floating(points, "points")), labels, np.asarray(labels)
        check_samples(points.shape, "points", least=1)
        if labels.shape != points.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"labels: expected {len(points)} integers, one for each point, got {described(given)}. Integer class "
                "numbers count from 0."
            )
        cure = "It is the number of classes; leave it out for max(labels) + 1."
        classes = int(labels.max()) + 1 if classes is None else check_count(classes, "classes", cure)
        counts = np.bincount(labels, minlength=classes) if labels.min() >= 0 else np.zeros(0, int)
        if len(counts) != classes or not counts.all():
            raise ValueError(
                f"labels: expected every class from 0 to {classes - 1} and no other, got counts {counts.tolist()} from "
                f"labels {labels.min()} to {labels.max()}. Number the classes without gaps."
            )
        most = int(counts.max())
        sets = []
        for k, count in enumerate(counts):
            members = points[labels == k]
            padded = np.concatenate([members, np.broadcast_to(members[:1], (most - count, *members.shape[1:]))])
            weights = np.where(np.arange(most) < count, 0.0, -np.inf)
            sets.append(cls(padded, bandwidth, jnp.asarray(weights, points.dtype), chunk))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)

    def _fold(self, part: Callable, empty, merge: Callable, query):
        rows = (self.offsets, self.half_norms, self.log_weights, jnp.arange(len(self.offsets)))

        def over_chunks(query, empty, rows):
            chunks = jax.tree.map(lambda leaf: leaf.reshape(-1, self.chunk, *leaf.shape[1:]), rows)

            @jax.checkpoint  # reverse mode recomputes a chunk instead of keeping all of them
            def add(total, chunk):
                return merge(total, part(query, *chunk)), None

            return jax.lax.scan(add, empty, chunks)[0]

        if self.mesh is None:
            return over_chunks(query, empty, rows)

        def on_each(query, empty, rows):
            return jax.tree.map(lambda leaf: leaf[None], over_chunks(query, empty, rows))

        split, whole = PartitionSpec("points"), PartitionSpec()
        parts = jax.shard_map(
            on_each, mesh=self.mesh, in_specs=(whole, whole, split), out_specs=split, check_vma=False
        )(query, empty, rows)
        return jax.lax.scan(lambda total, one: (merge(total, one), None), empty, parts)[0]

    def _rows(self, indices):
        return self.offsets[indices], self.log_weights[indices]

    def _radius(self):
        return jnp.sqrt(2 * jnp.max(self.half_norms))

    def _draw(self, key: PRNGKeyArray):
        return jax.random.categorical(key, self.log_weights)


def _exponents(query, offsets: Array, half_norms: Array, log_weights: Array) -> Float[Array, " n"]:
    centered, alpha, width = query
    return (alpha * dot(offsets, centered) - alpha**2 * half_norms) / width + log_weights


def _resolved(x: Array, radius: Array, alpha: Array) -> Array:
    """The smallest S^2 that matters: exponents that differ at all differ by more than 1 / epsilon there."""
    scale = jnp.max(jnp.abs(x), initial=0) + alpha * radius
    smallest = (jnp.finfo(x.dtype).eps ** 2 * scale) ** 2
    return jax.lax.stop_gradient(jnp.maximum(smallest, jnp.finfo(x.dtype).tiny))


def _mean(points) -> Array:
    if concrete(points):
        return jnp.asarray(np.mean(np.asarray(points), axis=0, dtype=np.float64), points.dtype)
    return jnp.mean(points, axis=0)


def check_bandwidth(bandwidth) -> Array:
    """Return the bandwidth as an array; ValueError unless it is finite and >= 0."""
    return check_at_least_0(bandwidth, "bandwidth", "It is in data units; 0 is the bare data set.")
