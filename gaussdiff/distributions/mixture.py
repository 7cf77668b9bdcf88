"""Mixtures of Gaussians: the denoiser is the mean of the components' denoisers, weighted by their responsibilities.

    denoise = sum_i w_i D_i,   score = sum_i w_i s_i,   w = softmax_i(log pi_i + log N_i(x))

with D_i and s_i the denoiser and score of component i, and C_i = alpha^2 Sigma_i + sigma^2 I:

    d denoise / dx   sum_i w_i (alpha Sigma_i C_i^-1 + D_i (s_i - s)^T)
    d score / dx     sum_i w_i (-C_i^-1 + (s_i - s)(s_i - s)^T)
    Cov[x0 | x]      sum_i w_i (sigma^2 Sigma_i C_i^-1 + (D_i - D)(D_i - D)^T)

Sums of squares of differences, where the same matrices by Tweedie's formula would be small differences of large ones.
The softmax of log densities is never replaced by the gradient of log(sum(exp)), which loses all digits far from the
data. Every component is given by its modes: coordinates c = U^T (x - alpha mean), and the residual of x outside them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.gaussian import (
    Gaussian,
    bounded,
    group_gaussian,
    log_normal,
    precision,
    stack,
    wiener,
)
from gaussdiff.numerics.arrays import concrete, dot, floating, host, safe_divide
from gaussdiff.numerics.checks import check_count, check_key, check_rank, check_samples
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.numerics.kmeans import k_means
from gaussdiff.progress import Progress
from gaussdiff.schedules import NoiseLevel, Schedule, check_level, clean, rates

BLOCK_NUMBERS = 2**19  # in a block of components: 2 MB in float32, the cache of a core


class GaussianMixture(Distribution):
    """sum_i exp(log_weights_i) N(mean_i, Sigma_i), with K components of one event shape and one rank.

    log_weights: (K,), normalised here, -inf for a weight of 0. components: a Gaussian or a Diagonal whose leaves have a
    leading axis K, or a list of K of one kind; Gaussians of rank 0 are isotropic. ValueError for wrong shapes, NaN, or
    weights that are all 0.
    """

    log_weights: Float[Array, " K"]
    components: Gaussian | Diagonal

    def __init__(self, log_weights, components: Gaussian | Diagonal | Sequence[Gaussian | Diagonal]):
        self.components = _stacked(components)
        self.log_weights = normalize_log_weights(log_weights, len(self.components.eigvals))

    @classmethod
    def from_samples(
        cls, x, components: int, rank: int | None = None, *, key: PRNGKeyArray, progress: Progress | None = None
    ) -> "GaussianMixture":
        """One Gaussian per k-means cluster of samples x (N, *event): the clusters' weights, means and covariances.

        Fitted in float64 on the host; k-means starts from k-means++ drawn with `key`. rank as in Gaussian.from_moments.
        It is a fit by itself, and with a rank the start of expectation_maximization. progress(done, total) is called
        after each iteration. ValueError for NaN, fewer than 2 samples per component, or more components than distinct
        samples.

        >>> points = np.array([[-5.1], [-4.9], [4.9], [5.1]])
        >>> mixture = gd.GaussianMixture.from_samples(points, 2, key=jax.random.key(0))
        >>> sorted(round(float(mean), 2) for mean in mixture.components.mean[:, 0])
        [-5.0, 5.0]
        """
        samples = host(x, "x")
        check_samples(samples.shape)
        cure = "Give more samples or fewer components."
        components = check_count(components, "components", cure, most=len(samples) // 2, symbol="N/2")
        check_key(key)
        rng = np.random.default_rng(np.asarray(jax.random.bits(key, (4,))))
        labels = k_means(samples.reshape(len(samples), -1), components, rng, progress=progress)
        return cls._from_groups(x, samples, labels, rank)

    @classmethod
    def from_labels(cls, x, labels, rank: int | None = None) -> "GaussianMixture":
        """One Gaussian per class of samples x (N, *event): components in the order of the sorted labels (N,).

        The components' weights are the fractions of the classes. rank as in Gaussian.from_moments. ValueError for NaN,
        labels of another length, or a class with fewer than 2 samples.
        """
        samples, classes = host(x, "x"), np.asarray(labels)
        check_samples(samples.shape)
        if classes.shape != samples.shape[:1] or classes.dtype == object:
            raise ValueError(
                f"labels: expected one for each of x {samples.shape}, got {described(labels)}. Pass an array (N,) of "
                "numbers or names."
            )
        if np.issubdtype(classes.dtype, np.floating) and np.isnan(classes).any():
            raise ValueError("labels: expected a class for each of x, got NaN. Remove the samples without a label.")
        names, indices, counts = np.unique(classes, return_inverse=True, return_counts=True)
        if not len(names) or counts.min() < 2:
            few = names[counts < 2]
            raise ValueError(
                f"labels: expected at least 2 samples of each class, got fewer of {few}. Remove these classes."
            )
        return cls._from_groups(x, samples, indices, rank)

    @classmethod
    def _from_groups(cls, x, samples: np.ndarray, labels: np.ndarray, rank: int | None) -> "GaussianMixture":
        size = samples[0].size
        modes = size if rank is None else check_rank(rank, size)
        counts = np.bincount(labels)
        fits = [group_gaussian(x, samples[labels == i], modes) for i in range(len(counts))]
        return cls(jnp.log(jnp.asarray(counts / len(samples), fits[0].mean.dtype)), fits)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.components.mean.shape[1:]

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        x, coordinates = self._coordinates(x, level)
        w = self._responsibilities(x, coordinates, level)
        means = dot(w, self.components.mean.reshape(len(w), -1))
        return (means + self._weighted_map(w, coordinates, wiener, level)).reshape(self.shape).astype(x.dtype)

    def responsibilities(self, x: Event, level: NoiseLevel) -> Float[Array, " K"]:
        """w_i = P(component i | x) = softmax_i(log pi_i + log N_i), (K,); at sigma = 0 the limit, even of flat ones."""
        x, coordinates = self._coordinates(x, level)
        return self._responsibilities(x, coordinates, level)

    def log_prob(self, x: Event, level: NoiseLevel | None = None) -> Float[Array, ""]:
        """log sum_i pi_i N_i(x; alpha mean_i, alpha^2 Sigma_i + sigma^2 I) in nats; the clean law by default."""
        level = clean() if level is None else level
        _, coordinates = self._coordinates(x, level)
        return jax.nn.logsumexp(self._log_joint(coordinates, level))

    def sample(self, key: PRNGKeyArray) -> Event:
        check_key(key)
        which, within = jax.random.split(key)
        index = jax.random.categorical(which, self.log_weights)
        return jax.tree.map(lambda leaf: leaf[index], self.components).sample(within)

    def posterior_covariance(self, x: Event, level: NoiseLevel, v: Event) -> Event:
        """Cov[x0 | x] v = sum_i w_i (sigma^2 Sigma_i C_i^-1 v + (D_i - D) (D_i - D).v), for v of x's shape.

        In squared data units times v's. Finite at every level: at alpha = 0 the clean law's covariance, at sigma = 0
        that of the components between which x does not distinguish. ValueError for a v of another shape.
        """
        views = self._views(x, level)
        v = check_sample(v, self.shape, "v")
        between = dot(views.w * dot(views.denoised, v.reshape(-1)), views.denoised)
        return (self._mean_map(views.w, _posterior_variance, level, v) + between.reshape(self.shape)).astype(v.dtype)

    def posterior_variance(self, x: Event, level: NoiseLevel) -> Float[Array, ""]:
        """tr Cov[x0 | x] = sum_i w_i (tr(sigma^2 Sigma_i C_i^-1) + |D_i - D|^2), in squared data units."""
        views = self._views(x, level)
        return dot(views.w, self._traces(_posterior_variance, level) + jnp.sum(views.denoised**2, 1))

    def score(self, x: Event, level: NoiseLevel) -> Event:
        """grad log p(x) = -sum_i w_i C_i^-1 (x - alpha mean_i), of x's shape; finite at sigma = 0 too.

        Directions of zero variance at sigma = 0 do not count: it is the gradient along the support.
        """
        x, coordinates = self._coordinates(x, level)
        w = self._responsibilities(x, coordinates, level)
        return -self._weighted_map(w, coordinates, precision, level).reshape(self.shape).astype(x.dtype)

    def score_jacobian(self, x: Event, level: NoiseLevel, v: Event) -> Event:
        """The Hessian of log p(x) applied to v: sum_i w_i (-C_i^-1 v + (s_i - s) (s_i - s).v), of x's shape.

        In v's units / squared data units. ValueError for a v of another shape.
        """
        views = self._views(x, level)
        v = check_sample(v, self.shape, "v")
        between = dot(views.w * dot(views.scores, v.reshape(-1)), views.scores)
        return (between.reshape(self.shape) - self._mean_map(views.w, precision, level, v)).astype(v.dtype)

    def score_divergence(self, x: Event, level: NoiseLevel) -> Float[Array, ""]:
        """The Laplacian of log p(x): sum_i w_i (|s_i - s|^2 - tr C_i^-1), in 1 / squared data units."""
        views = self._views(x, level)
        return dot(views.w, jnp.sum(views.scores**2, 1) - self._traces(precision, level))

    def denoise_divergence(self, x: Event, level: NoiseLevel) -> Float[Array, ""]:
        """tr(d denoise / dx) = sum_i w_i (tr(alpha Sigma_i C_i^-1) + (D_i - D).(s_i - s))."""
        views = self._views(x, level)
        return dot(views.w, self._traces(wiener, level) + jnp.sum(views.denoised * views.scores, 1))

    def velocity_divergence(self, schedule: Schedule, x: Event, t) -> Float[Array, ""]:
        """The divergence of the probability flow's drift, per unit of t: alpha' tr(dD/dx) - sigma' sigma tr(ds/dx).

        Minus its integral along the flow is the change of log density (Song et al., arXiv 2011.13456, eq. 39).
        """
        level, rate = rates(schedule, t)
        views = self._views(x, level)
        both = rate.alpha * views.denoised - rate.sigma * level.sigma * views.scores
        traces = rate.alpha * self._traces(wiener, level) + rate.sigma * level.sigma * self._traces(precision, level)
        return dot(views.w, traces + jnp.sum(both * views.scores, 1))

    def _coordinates(self, x, level: NoiseLevel) -> tuple[Array, "_Coordinates"]:
        """x as an array, and its coordinates in every component.

        Of a batch, U^T x is one matrix product for a block of components: so the means are projected separately from x,
        both from a common origin so that neither loses digits to an offset. The residual of x outside the modes is
        subtracted before it is squared, since |x|^2 - |U^T x|^2 would have few of its digits; block by block, so that a
        batch of B needs memory O(B D block) for it and not O(B D K).
        """
        check_level(level)
        x = check_sample(x, self.shape)
        g = self.components
        means = g.mean.reshape(len(self.log_weights), -1)
        origin = jax.lax.stop_gradient(dot(jnp.exp(self.log_weights), means))
        means = means - origin[None]
        flat = x.reshape(-1) - level.alpha * origin
        full = g.rank == flat.size

        def project(component: Gaussian | Diagonal, mean: Array) -> tuple[Array, Array]:
            """The coordinates of x - alpha mean along the modes, and the square of its residual."""
            modes = component.coefficients(flat) - level.alpha * component.coefficients(mean)
            residual = flat[:0] if full else flat - level.alpha * mean - component.expand(modes)
            return modes, jnp.sum(residual**2)

        modes, residual_square = _over_blocks(project, g, means)
        return x, _Coordinates(flat, means, modes, residual_square, flat.size - g.rank)

    def _log_joint(self, coordinates: "_Coordinates", level: NoiseLevel) -> Float[Array, " K"]:
        """log pi_i N_i(x)."""
        g, outside = self.components, coordinates.outside
        modes = log_normal(coordinates.modes**2, 1, level.alpha**2 * g.eigvals + level.sigma**2)
        residual = log_normal(coordinates.residual_square, outside, level.alpha**2 * g.residual + level.sigma**2)
        return self.log_weights + jnp.sum(modes, 1) + (residual if outside else 0)

    def _responsibilities(self, x: Array, coordinates: "_Coordinates", level: NoiseLevel) -> Float[Array, " K"]:
        """softmax_i(log pi_i N_i(x)), each logarithm less that of the leading component, without common terms."""
        g, means, outside = self.components, coordinates.means, coordinates.outside

        # sigma no smaller than what x resolves, (machine epsilon)^2 of the largest entry. Components flat at sigma = 0
        # have no density to compare; just above 0 they do, and any two distances that differ in x at all already differ
        # by more than 1 / epsilon in the exponent, so that the softmax equals its limit
        scale = jnp.max(jnp.abs(x), initial=0) + level.alpha * jnp.max(jnp.abs(g.mean), initial=0)
        smallest = jax.lax.stop_gradient(jnp.finfo(x.dtype).eps ** 2 * scale).astype(level.sigma.dtype)
        level = eqx.tree_at(lambda lv: lv.sigma, level, jnp.maximum(level.sigma, smallest))
        leading = jnp.argmax(self._log_joint(coordinates, level))

        # T, the largest of all variances: the common term |x|^2 / T outweighs every difference far from the data
        largest = jnp.maximum(jnp.max(g.eigvals, axis=1, initial=0), g.residual if outside else 0)
        largest = jnp.max(largest, where=self.log_weights > -jnp.inf, initial=0)
        total = level.alpha**2 * largest + level.sigma**2

        # in c^2 / S^2 = c^2 / T + c^2 alpha^2 (lam_max - lam) / (S^2 T) the second term, and the log determinant
        def excess(squares: Array, variance: Array, count: int) -> Array:
            own = level.alpha**2 * variance + level.sigma**2
            ratio = safe_divide(safe_divide(level.alpha**2 * (largest - variance), own), total)
            return bounded(bounded(squares) * ratio) + count * jnp.log(jnp.where(own > 0, own, 1))

        powers = jnp.sum(excess(coordinates.modes**2, g.eigvals, 1), 1)
        powers += excess(coordinates.residual_square, g.residual, outside) if outside else 0

        # of the first term only differences of means remain: |x - alpha m_i|^2 - |x - alpha m_leading|^2, over T
        difference = means[leading][None] - means
        middle = 2 * coordinates.x[None] - level.alpha * (means + means[leading][None])
        powers += bounded(safe_divide(level.alpha * jnp.sum(difference * middle, 1), total))

        exponents = self.log_weights - powers / 2
        return jax.nn.softmax(exponents - exponents[leading])

    def _weighted_map(self, w: Array, coordinates: "_Coordinates", function, level: NoiseLevel) -> Float[Array, " D"]:
        """sum_i w_i function(Sigma_i) (x - alpha mean_i): of a batch, one matrix product for all components."""
        g = self.components
        gains, residual_gains = function(g.eigvals, level), function(g.residual, level)
        # nothing is outside the modes of a full component but rounding, which must not be amplified
        full = not coordinates.outside
        outside = jnp.zeros_like(w) if full else w * residual_gains
        modes = w[:, None] * (gains if full else gains - residual_gains[:, None]) * coordinates.modes

        # sum_i U_i modes_i, block by block: the transpose of the products that take x to its coordinates
        def project(v: Array) -> Array:
            return _over_blocks(lambda h: h.coefficients(v).astype(modes.dtype), g)

        (expanded,) = jax.linear_transpose(project, jnp.zeros(g.mean[0].size, modes.dtype))(modes)
        return expanded + (jnp.sum(outside) * coordinates.x - level.alpha * dot(outside, coordinates.means))

    def _views(self, x, level: NoiseLevel) -> "_Views":
        """Denoised vectors and scores of all components, from their means."""
        x, coordinates = self._coordinates(x, level)
        w = self._responsibilities(x, coordinates, level)
        centered = coordinates.x[None] - level.alpha * coordinates.means

        def map_each(function):
            gains, residual = function(self.components.eigvals, level), function(self.components.residual, level)
            return jax.vmap(lambda h, g, r, v: h.spectral_map(g, r, v))(self.components, gains, residual, centered)

        denoised, scores = coordinates.means + map_each(wiener), -map_each(precision)
        return _Views(w, denoised - dot(w, denoised)[None], scores - dot(w, scores)[None])

    def _mean_map(self, w: Array, function, level: NoiseLevel, v: Array) -> Array:
        """sum_i w_i function(Sigma_i) v."""
        g = self.components
        gains, residual = function(g.eigvals, level), function(g.residual, level)
        mapped = jax.vmap(lambda h, gain, rest: h.spectral_map(gain, rest, v.reshape(-1)))(g, gains, residual)
        return dot(w, mapped).reshape(self.shape)

    def _traces(self, function, level: NoiseLevel) -> Float[Array, " K"]:
        """tr function(Sigma_i) of every component."""
        g = self.components
        outside = g.mean[0].size - g.rank
        return jnp.sum(function(g.eigvals, level), 1) + (outside * function(g.residual, level) if outside else 0)


def _stacked(components: Gaussian | Diagonal | Sequence[Gaussian | Diagonal]) -> Gaussian | Diagonal:
    """The components as one law with a leading axis; ValueError where they do not fit together."""
    if not isinstance(components, Gaussian | Diagonal):
        check_kind(components, list | tuple, "components", "a list of Gaussians", "Write [gaussian, other].")
        for i, part in enumerate(components):
            cure = "Make it with gd.Gaussian.from_moments or gd.Diagonal."
            check_kind(part, Gaussian | Diagonal, f"components[{i}]", "a gd.Gaussian or gd.Diagonal", cure)
        kinds = sorted({(type(part).__name__, part.shape, part.rank) for part in components})
        if len(kinds) != 1:
            raise ValueError(
                f"components: expected at least one, all of one shape and rank and kind, got {kinds}. Fit "
                "them with the same rank, or write each as a full gd.Gaussian."
            )
        return stack(components)
    if components.eigvals.ndim != 2:
        raise ValueError(
            f"components: expected a leading axis K on every leaf, got eigvals of shape {components.eigvals.shape}. "
            "Give a list of Gaussians."
        )
    return components


class _Coordinates(NamedTuple):
    """x and the means from a common origin; x - alpha mean along every component's modes, and the rest of it squared.

    outside: how many directions there are beyond the modes.
    """

    x: Float[Array, " D"]
    means: Float[Array, "K D"]
    modes: Float[Array, "K r"]
    residual_square: Float[Array, " K"]
    outside: int


class _Views(NamedTuple):
    """Responsibilities, D_i - D and s_i - s."""

    w: Float[Array, " K"]
    denoised: Float[Array, "K D"]
    scores: Float[Array, "K D"]


def _over_blocks(function, components: Gaussian | Diagonal, *others):
    """jax.vmap(function)(components, *others), as many components at a time as fit in a core's cache."""
    leaves = jax.tree.leaves(components)
    block = max(1, BLOCK_NUMBERS * len(leaves[0]) // sum(leaf.size for leaf in leaves))
    if block >= len(leaves[0]) or components.rank == 0:  # jax.lax.map fails where results have no entries
        return jax.vmap(function)(components, *others)
    return jax.lax.map(lambda each: function(*each), (components, *others), batch_size=block)


def _posterior_variance(variance: Array, level: NoiseLevel) -> Array:
    """sigma^2 lam / (alpha^2 lam + sigma^2): the posterior variance of a mode."""
    return variance * safe_divide(level.sigma**2, level.alpha**2 * variance + level.sigma**2)


def normalize_log_weights(log_weights, count: int) -> Float[Array, " K"]:
    """log weights with logsumexp 0; ValueError for a wrong shape, NaN, +inf, or no weight above 0."""
    log_weights = floating(log_weights, "log_weights")
    if log_weights.shape != (count,):
        raise ValueError(
            f"log_weights: expected shape ({count},), got {log_weights.shape}. Give one logarithm for each component."
        )
    if concrete(log_weights):
        values = np.asarray(log_weights)
        if np.isnan(values).any() or not np.isfinite(values.max(initial=-np.inf)):
            raise ValueError(
                f"log_weights: expected logarithms, at least one above -inf, got {values}. Take jnp.log of weights."
            )
    return log_weights - jax.nn.logsumexp(log_weights)
