"""The Gaussian, where everything is known.

x0 ~ N(mu, Sigma),  Sigma = U diag(lam) U^T + residual (I - U U^T),  U of shape (D, r) with orthonormal columns.  At a
level (alpha, sigma) every mode k has standard deviation S_k = sqrt(alpha^2 lam_k + sigma^2), and with xt = x - alpha
mu:

    denoise    mu + U diag(alpha lam / S^2) U^T xt, and alpha residual / S_res^2 on the rest of xt   (the Wiener filter)
    score      -U diag(1 / S^2) U^T xt, and -1 / S_res^2 on the rest of xt
    log_prob   -1/2 [sum_k log S_k^2 + (u_k . xt)^2 / S_k^2, the same for the D - r residual directions, + D log 2 pi]

Every map here is diagonal in U: O(D r), never a D x D inverse.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.numerics.arrays import centered, concrete, device, dot, floating, host, safe_divide, safe_sqrt
from gaussdiff.numerics.checks import check_at_least_0, check_key, check_rank, shape_of_samples
from gaussdiff.numerics.eigen import leading_modes, positive_eigh, principal, row_blocks
from gaussdiff.numerics.kinds import check_kind
from gaussdiff.progress import Progress
from gaussdiff.schedules import NoiseLevel, check_level, clean

Law = TypeVar("Law", bound=Distribution)


class Gaussian(Distribution):
    """N(mean, U diag(eigvals) U^T + residual (I - U U^T)): full (r = D), low rank, or isotropic (r = 0).

    mean: (*event). eigvals: (r,), variances >= 0. eigvecs: U, (D, r) with D = prod(event), orthonormal columns.
    residual: (), variance >= 0 of each direction outside U. ValueError for wrong shapes, NaN, negative variances or
    columns that are not orthonormal. Make one with from_moments, from_samples or isotropic.
    """

    mean: Float[Array, "*event"]
    eigvals: Float[Array, " r"]
    eigvecs: Float[Array, "D r"]
    residual: Float[Array, ""]

    def __init__(self, mean, eigvals, eigvecs, residual: ArrayLike = 0.0):
        self.mean = floating(mean, "mean")
        self.eigvals, self.eigvecs = floating(eigvals, "eigvals"), floating(eigvecs, "eigvecs")
        self.residual = floating(residual, "residual").astype(self.eigvals.dtype)
        _check_shapes(self)
        if concrete(self.mean, self.eigvals, self.eigvecs, self.residual):
            _check_values(self)

    @classmethod
    def from_moments(cls, mean, cov, rank: int | None = None) -> "Gaussian":
        """The Gaussian with this mean (*event) and covariance (D, D), by a float64 eigendecomposition on the host.

        rank: keep that many modes and share the remaining variance equally, so that the total variance stays (Tipping &
        Bishop 1999, eq. 8). ValueError for NaN, wrong shapes, a covariance that is not symmetric or has negative
        eigenvalues beyond rounding, or a rank outside 1..D.
        """
        center, matrix = host(mean, "mean"), host(cov, "cov")
        _check_covariance(matrix, center.size)
        return cls._from_eigh(mean, *positive_eigh(matrix), rank)

    @classmethod
    def from_samples(cls, x, rank: int | None = None, progress: Progress | None = None) -> "Gaussian":
        """The maximum-likelihood Gaussian of samples x (N, *event): mean and covariance (over N), in float64.

        rank as in from_moments. A rank well below N and D, both large: by randomised subspace iteration, block by block
        of rows and without a D x D matrix (arXiv 0909.4061); progress(done, total) is then called. ValueError
        for NaN or fewer than 2 samples, and for samples that are all equal (write Gaussian.isotropic(mean, 0.)).

        >>> points = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
        >>> gaussian = gd.Gaussian.from_samples(points)
        >>> [round(float(variance), 3) for variance in gaussian.eigvals]
        [4.5, 0.5]
        """
        count, *event = shape_of_samples(x)
        size = math.prod(event)
        rank = None if rank is None else check_rank(rank, size)
        if rank is not None and min(count, size) > max(4 * rank, 1024):
            return cls._from_blocks(x, rank, progress)
        samples = host(x, "x")
        rows = centered(samples).reshape(len(samples), -1)
        _check_variance(rows.any())
        return cls._from_eigh(device(samples.mean(0), x), *principal(rows), rank)

    @classmethod
    def _from_blocks(cls, x, rank: int, progress: Progress | None) -> "Gaussian":
        x = x if isinstance(x, np.ndarray) else np.asarray(x)
        blocks = row_blocks(x)
        mean = np.sum([host(block, "x").sum(0) for block in blocks], axis=0) / len(x)
        _check_variance(any((block != x[:1]).any() for block in blocks))
        lam, vectors, total = leading_modes(blocks, mean.reshape(-1), rank, progress=progress)
        return cls.from_modes(device(mean, x[:1]), lam, vectors, total)

    @classmethod
    def from_modes(cls, mean, eigvals: np.ndarray, eigvecs: np.ndarray, total: float) -> "Gaussian":
        """The Gaussian of mean (*event), some modes (r,), (D, r), and the total variance, the rest spread equally.

        residual = (total - sum eigvals) / (D - r), and 0 where that difference is no more than rounding.
        """
        eigvals, eigvecs = host(eigvals, "eigvals"), host(eigvecs, "eigvecs")
        if eigvecs.ndim != 2 or eigvals.shape != eigvecs.shape[1:]:
            raise ValueError(
                f"eigvals, eigvecs: expected shapes (r,) and (D, r), got {eigvals.shape} and {eigvecs.shape}. Column "
                "k of eigvecs belongs to eigvals[k]."
            )
        check_at_least_0(total, "total", "It is the sum of all variances.")
        total = float(total)  # in float64, whatever JAX's default
        size, rank = eigvecs.shape
        rest = total - eigvals.sum()
        rest = rest if rest > size * np.finfo(np.float64).eps * total else 0.0  # or it is rounding
        residual = np.float64(rest / max(size - rank, 1))
        mean = floating(mean, "mean")
        return cls(mean, device(eigvals, mean), device(eigvecs, mean), device(residual, mean))

    @classmethod
    def isotropic(cls, mean, variance) -> "Gaussian":
        """N(mean, variance I), with mean of shape (*event) and a variance >= 0; ValueError for another variance."""
        mean = floating(mean, "mean")
        variance = check_at_least_0(variance, "variance", "It is the square of the standard deviation.")
        return cls(mean, jnp.zeros(0, mean.dtype), jnp.zeros((mean.size, 0), mean.dtype), variance)

    @classmethod
    def _from_eigh(cls, mean, eigvals: np.ndarray, eigvecs: np.ndarray, rank: int | None) -> "Gaussian":
        """eigvals in decreasing order with their eigvecs (D, m); whatever lies beyond the m columns has variance 0."""
        size = len(eigvecs)
        rank = check_rank(eigvecs.shape[1] if rank is None else rank, size)
        residual = eigvals[rank:].sum() / max(size - rank, 1)
        leading, vectors = eigvals[:rank], eigvecs[:, :rank]
        return cls(floating(mean), device(leading, mean), device(vectors, mean), device(residual, mean))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mean.shape

    @property
    def rank(self) -> int:
        """The number r of modes with a variance of their own."""
        return self.eigvals.shape[-1]

    @property
    def variances(self) -> Float[Array, " D"]:
        """All variances (D,), the residual one repeated."""
        return jnp.concatenate([self.eigvals, jnp.full(self.mean.size - self.rank, self.residual)])

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        x, centered = self.center(x, level)
        gains, residual_gain = (wiener(lam, level) for lam in (self.eigvals, self.residual))
        x0 = self.mean + self.spectral_map(gains, residual_gain, centered).reshape(self.shape)
        return x0.astype(x.dtype)

    def log_prob(self, x: Event, level: NoiseLevel | None = None) -> Float[Array, ""]:
        """log N(x; alpha mu, alpha^2 Sigma + sigma^2 I) in nats, of one sample x (*event); the clean law by default.

        At sigma = 0 a direction of zero variance does not count: the density of a degenerate normal on its support.
        """
        level = clean() if level is None else level
        _, centered = self.center(x, level)
        coefficients, rest = self.coefficients(centered), self.mean.size - self.rank
        rest_power = jnp.sum((centered - dot(self.eigvecs, coefficients)) ** 2)
        modes = log_normal(coefficients**2, 1, level.alpha**2 * self.eigvals + level.sigma**2)
        residual = log_normal(rest_power, rest, level.alpha**2 * self.residual + level.sigma**2)
        return jnp.sum(modes) + (residual if rest else 0)

    def score(self, x: Event, level: NoiseLevel) -> Event:
        x, centered = self.center(x, level)
        gains, residual_gain = (precision(lam, level) for lam in (self.eigvals, self.residual))
        return -self.spectral_map(gains, residual_gain, centered).reshape(self.shape).astype(x.dtype)

    def sample(self, key: PRNGKeyArray) -> Event:
        check_key(key)
        white = jax.random.normal(key, (self.mean.size,), self.mean.dtype)
        x0 = self.spectral_map(safe_sqrt(self.eigvals), safe_sqrt(self.residual), white)
        return self.mean + x0.reshape(self.shape)

    def coefficients(self, v: Float[Array, " D"]) -> Float[Array, " r"]:
        """U^T v: the coordinates (r,) of v (D,) along the modes."""
        return dot(self.eigvecs.T, v)

    def expand(self, coefficients: Float[Array, " r"]) -> Float[Array, " D"]:
        """U c: the vector (D,) with these coordinates (r,) along the modes."""
        return dot(self.eigvecs, coefficients)

    def spectral_map(self, gains: Float[Array, " r"], residual_gain, v: Float[Array, " D"]) -> Float[Array, " D"]:
        """U diag(gains) U^T v + residual_gain (v - U U^T v): any function of Sigma, applied to v of shape (D,)."""
        coefficients = self.coefficients(v)
        if self.rank == self.mean.size:  # nothing is outside U but rounding, which must not be amplified
            return dot(self.eigvecs, gains * coefficients)
        return dot(self.eigvecs, (gains - residual_gain) * coefficients) + residual_gain * v

    def center(self, x, level: NoiseLevel) -> tuple[Array, Float[Array, " D"]]:
        """x checked as one sample (*event), and x - alpha mu as a vector (D,); ValueError for another shape."""
        check_level(level)
        x = check_sample(x, self.shape)
        return x, (x - level.alpha * self.mean).reshape(-1)


def check_gaussian(gaussian, argument: str = "gaussian") -> None:
    """TypeError unless `gaussian` is a Gaussian."""
    cure = "Fit one: gd.Gaussian.from_samples(points). Of a gd.Diagonal take its as_gaussian()."
    check_kind(gaussian, Gaussian, argument, "a gd.Gaussian", cure)


def wiener(variance: Array, level: NoiseLevel) -> Array:
    """alpha lam / (alpha^2 lam + sigma^2), 0 for a mode without variance."""
    return safe_divide(level.alpha * variance, level.alpha**2 * variance + level.sigma**2)


def precision(variance: Array, level: NoiseLevel) -> Array:
    """1 / (alpha^2 lam + sigma^2), 0 for a mode without variance."""
    return safe_divide(jnp.ones_like(variance), level.alpha**2 * variance + level.sigma**2)


def log_normal(power: Array, count: int, variance: Array) -> Array:
    """log density of `count` coordinates of one variance with summed squares `power`; 0 where the variance is 0.

    An exponent that would overflow counts as the largest of which a million can be added, so that even far-away
    densities stay finite and can be compared.
    """
    flat = variance == 0  # and not variance <= 0: what is negative or NaN has to show
    variance = jnp.where(flat, 1, variance)
    return jnp.where(flat, 0, -(bounded(power / variance) + count * jnp.log(2 * jnp.pi * variance)) / 2)


def bounded(exponent: Array) -> Array:
    """The exponent clipped to numbers of which a million can be added."""
    most = jnp.finfo(exponent.dtype).max / 2**20
    return jnp.clip(exponent, -most, most)


def _check_variance(differ) -> None:
    if not differ:
        raise ValueError("x: expected samples that differ, got N equal ones. Write gd.Gaussian.isotropic(mean, 0.).")


def _check_covariance(cov: np.ndarray, size: int) -> None:
    if cov.shape != (size, size):
        raise ValueError(
            f"cov: expected shape {(size, size)} to match the mean, got {cov.shape}. Flatten the event axes."
        )
    asymmetry, scale = np.abs(cov - cov.T).max(initial=0), np.abs(cov).max(initial=0)
    if asymmetry > 1e-5 * scale:
        raise ValueError(
            f"cov: expected a symmetric matrix, got entries that differ by {asymmetry:g} across the diagonal. "
            "Use (cov + cov.T) / 2 if that is rounding."
        )


def _check_shapes(g: Gaussian) -> None:
    size = g.mean.size
    if g.eigvals.ndim != 1 or g.eigvecs.shape != (size, g.eigvals.size) or g.residual.shape != ():
        raise ValueError(
            f"eigvals, eigvecs, residual: expected shapes (r,), ({size}, r) and () for mean {g.mean.shape}, got "
            f"{g.eigvals.shape}, {g.eigvecs.shape} and {g.residual.shape}. gd.Gaussian.from_moments builds them."
        )


def _check_values(g: Gaussian) -> None:
    for name, value in (("mean", g.mean), ("eigvals", g.eigvals), ("eigvecs", g.eigvecs), ("residual", g.residual)):
        low = host(value, name).min(initial=0)
        if name in ("eigvals", "residual") and low < 0:
            raise ValueError(
                f"{name}: expected variances >= 0, got {low:g}. Square roots of them are standard deviations."
            )
    vectors = np.asarray(g.eigvecs)
    error = np.abs(vectors.T @ vectors - np.eye(g.rank)).max(initial=0)
    if error > 1e-2:
        raise ValueError(
            f"eigvecs: expected orthonormal columns, got a Gram matrix {error:.2g} away from the identity. "
            "gd.Gaussian.from_moments orthonormalises for you."
        )


def stack(gaussians: Sequence[Law]) -> Law:
    """Gaussians of one shape and rank as one pytree with a leading axis, to be used under vmap."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *gaussians)


def group_gaussian(like, members: np.ndarray, rank: int) -> Gaussian:
    """The Gaussian of samples (n, *event) with exactly `rank` modes, some of variance 0 where n is too small for them.

    The variance beyond the modes is shared equally by the directions outside them. Leaves in the dtype of `like`.
    """
    mean = members.mean(0)
    lam, vectors = principal(centered(members).reshape(len(members), -1))
    missing = rank - vectors.shape[1]
    if missing > 0:
        filling = np.random.default_rng(0).normal(size=(len(vectors), missing))
        vectors = np.concatenate([vectors, np.linalg.qr(np.concatenate([vectors, filling], 1))[0][:, -missing:]], 1)
        lam = np.concatenate([lam, np.zeros(missing)])
    return Gaussian.from_modes(device(mean, like[:1]), lam[:rank], vectors[:, :rank], float(lam.sum()))
