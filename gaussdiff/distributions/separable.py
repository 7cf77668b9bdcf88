"""Products of mixtures of normals, one for each coordinate: laws whose flow is known coordinate by coordinate.

    p(x) = prod_d sum_k pi_dk N(x_d; alpha m_dk, alpha^2 v_dk + sigma^2)

Denoiser, score and density are those of mixtures on a line (distributions/mixture.py), the flow is exact/line.py's.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.distributions.mixture import GaussianMixture, normalize_log_weights
from gaussdiff.numerics.arrays import concrete, floating, host
from gaussdiff.numerics.checks import check_key
from gaussdiff.schedules import NoiseLevel, check_level, clean


class Separable(Distribution):
    """A product of mixtures of normals, one for each coordinate d: prod_d sum_k pi_dk N(x_d; means_dk, variances_dk).

    means: (*event, K). variances: (*event, K), >= 0. log_weights: (*event, K), normalised here over K, equal by
    default. ValueError for shapes that differ, NaN, negative variances, or a coordinate without any weight.
    """

    log_weights: Float[Array, "*event K"]
    means: Float[Array, "*event K"]
    variances: Float[Array, "*event K"]

    def __init__(self, means, variances, log_weights=None):
        self.means, self.variances = floating(means, "means"), floating(variances, "variances")
        log_weights = jnp.zeros_like(self.means) if log_weights is None else floating(log_weights, "log_weights")
        shapes = {value.shape for value in (self.means, self.variances, log_weights)}
        if len(shapes) != 1 or not self.means.ndim:
            raise ValueError(
                f"means, variances, log_weights: expected one shape (*event, K), got {sorted(shapes)}. Use "
                "jnp.broadcast_to where coordinates share theirs."
            )
        if concrete(self.means, self.variances) and (
            host(self.means, "means").size != host(self.variances, "variances").size or (self.variances < 0).any()
        ):
            raise ValueError(f"variances: expected >= 0, got {self.variances.min():g}. These are squared widths.")
        count = self.means.shape[-1]
        rows = [normalize_log_weights(row, count) for row in log_weights.reshape(-1, count)]
        self.log_weights = jnp.stack(rows).reshape(self.means.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.means.shape[:-1]

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        check_level(level)
        x = check_sample(x, self.shape)
        x0 = self._each(lambda law, x: law.denoise(x[None], level)[0], x.reshape(-1))
        return x0.reshape(self.shape).astype(x.dtype)

    def log_prob(self, x: Event, level: NoiseLevel | None = None) -> Float[Array, ""]:
        """The sum over coordinates of x (*event) of their log densities, in nats; the clean law by default."""
        level = clean() if level is None else level
        check_level(level)
        x = check_sample(x, self.shape).reshape(-1)
        return jnp.sum(self._each(lambda law, x: law.log_prob(x[None], level), x))

    def score(self, x: Event, level: NoiseLevel) -> Event:
        check_level(level)
        x = check_sample(x, self.shape)
        slopes = self._each(lambda law, x: law.score(x[None], level)[0], x.reshape(-1))
        return slopes.reshape(self.shape).astype(x.dtype)

    def sample(self, key: PRNGKeyArray) -> Event:
        check_key(key)
        keys = jax.random.split(key, math.prod(self.shape))
        return self._each(lambda law, key: law.sample(key)[0], keys).reshape(self.shape)

    def _each(self, function, values: Array) -> Array:
        """function(one-dimensional mixture, value) at each of the D coordinates, in the order of values (D, ...)."""
        return jax.vmap(lambda parts, value: function(_on_line(*parts), value))(self.coordinates(), values)

    def coordinates(self) -> tuple[Float[Array, "D K"], Float[Array, "D K"], Float[Array, "D K"]]:
        """Log weights, means and variances of the D one-dimensional mixtures, one row for each coordinate."""
        log_weights, means, variances = (
            leaf.reshape(-1, leaf.shape[-1]) for leaf in (self.log_weights, self.means, self.variances)
        )
        return log_weights, means, variances


def _on_line(log_weights: Array, means: Array, variances: Array) -> GaussianMixture:
    normal = jax.vmap(lambda mean, variance: Gaussian(mean[None], variance[None], jnp.ones((1, 1), mean.dtype)))
    return GaussianMixture(log_weights, normal(means, variances))
