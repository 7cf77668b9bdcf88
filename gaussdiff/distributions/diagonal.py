"""The Gaussian whose entries are independent: N(mean, diag(variances)), in O(D) where a full one costs O(D^2).

It is the Gaussian of modes U = I, which is never written down: coordinates along the modes are the entries themselves.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.distributions.gaussian import Gaussian, log_normal, precision, wiener
from gaussdiff.numerics.arrays import centered, concrete, device, floating, host, safe_sqrt
from gaussdiff.numerics.checks import check_key, check_samples
from gaussdiff.schedules import NoiseLevel, check_level, clean


class Diagonal(Distribution):
    """N(mean, diag(variances)): every entry has its own variance.

    mean, variances: (*event), variances >= 0. ValueError for unequal shapes, NaN or negative variances.
    """

    mean: Float[Array, "*event"]
    eigvals: Float[Array, " D"]

    def __init__(self, mean, variances):
        self.mean = floating(mean, "mean")
        variances = floating(variances, "variances").astype(self.mean.dtype)
        if variances.shape != self.mean.shape:
            raise ValueError(
                f"variances: expected the mean's shape {self.mean.shape}, got {variances.shape}. Each entry "
                "has its own."
            )
        self.eigvals = variances.reshape(-1)
        if concrete(self.mean, variances):
            host(self.mean, "mean")
            low = host(variances, "variances").min(initial=0)
            if low < 0:
                raise ValueError(
                    f"variances: expected >= 0, got {low:g}. Square roots of them are standard deviations."
                )

    @classmethod
    def from_samples(cls, x) -> "Diagonal":
        """The mean and the variance (over N) of each entry of samples x (N, *event). ValueError for NaN or N < 2."""
        samples = host(x, "x")
        check_samples(samples.shape)
        return cls(device(samples.mean(0), x), device((centered(samples) ** 2).mean(0), x))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mean.shape

    @property
    def rank(self) -> int:
        """D: every direction is a mode."""
        return self.eigvals.shape[-1]

    @property
    def residual(self) -> Float[Array, "*stack"]:
        """The variance of directions outside the modes, of which there are none: 0, for each of a stack."""
        return jnp.zeros(self.eigvals.shape[:-1], self.eigvals.dtype)

    @property
    def variances(self) -> Float[Array, "*event"]:
        """The variance of each entry, in the event's shape."""
        return self.eigvals.reshape(self.shape)

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        check_level(level)
        x = check_sample(x, self.shape)
        return (self.mean + wiener(self.variances, level) * (x - level.alpha * self.mean)).astype(x.dtype)

    def log_prob(self, x: Event, level: NoiseLevel | None = None) -> Float[Array, ""]:
        """log N(x; alpha mu, alpha^2 diag(variances) + sigma^2 I) in nats; entries of variance 0 do not count."""
        level = clean() if level is None else level
        check_level(level)
        centered = check_sample(x, self.shape) - level.alpha * self.mean
        return jnp.sum(log_normal(centered**2, 1, level.alpha**2 * self.variances + level.sigma**2))

    def score(self, x: Event, level: NoiseLevel) -> Event:
        check_level(level)
        x = check_sample(x, self.shape)
        return (-precision(self.variances, level) * (x - level.alpha * self.mean)).astype(x.dtype)

    def sample(self, key: PRNGKeyArray) -> Event:
        check_key(key)
        return self.mean + safe_sqrt(self.variances) * jax.random.normal(key, self.shape, self.mean.dtype)

    def coefficients(self, v: Float[Array, " D"]) -> Float[Array, " D"]:
        """v (D,) itself: the modes are the entries."""
        return v

    def expand(self, coefficients: Float[Array, " D"]) -> Float[Array, " D"]:
        """The vector (D,) with these entries: itself."""
        return coefficients

    def spectral_map(self, gains: Float[Array, " D"], residual_gain, v: Float[Array, " D"]) -> Float[Array, " D"]:
        """gains * v: any function of the covariance, applied to v of shape (D,); residual_gain has no direction."""
        return gains * v

    def as_gaussian(self) -> Gaussian:
        """The same law with its modes written down: D x D numbers."""
        order = np.argsort(-np.asarray(self.eigvals), kind="stable")
        vectors = jnp.eye(self.rank, dtype=self.mean.dtype)[:, order]
        return Gaussian(self.mean, self.eigvals[order], vectors)
