"""Means and covariances of samples that come in batches: one pass, in float64, in any order.

Two sets with counts a, b, means m_a, m_b and scatters M = sum (x - m)(x - m)^T merge into (Chan, Golub & LeVeque 1983)

    mean = m_a + (b / n) d,   M = M_a + M_b + (a b / n) d d^T,   d = m_b - m_a,  n = a + b
"""

import dataclasses
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from gaussdiff.distributions.gaussian import Gaussian, check_gaussian
from gaussdiff.numerics.arrays import centered, device, floating, host
from gaussdiff.numerics.checks import check_fraction, check_rank, check_samples
from gaussdiff.numerics.eigen import positive_eigh
from gaussdiff.numerics.kinds import described
from gaussdiff.progress import Progress


@dataclasses.dataclass(frozen=True)
class Moments:
    """The moments of `count` samples: their mean (*event), and the scatter (D, D), sum (x - mean)(x - mean)^T.

    `a + b` are the moments of both sets together, so that moments of batches can be computed separately and merged.
    Host float64; D x D numbers. ValueError for event shapes that differ. Chan, Golub & LeVeque 1983.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, x) -> "Moments":
        """Of samples x (N, *event), N >= 1. ValueError for NaN or no samples."""
        samples = host(x, "x")
        check_samples(samples.shape, least=1)
        rows = centered(samples).reshape(len(samples), -1)
        return cls(len(samples), samples.mean(0), rows.T @ rows)

    @classmethod
    def from_batches(cls, batches: Iterable, progress: Progress | None = None, total: int = 0) -> "Moments":
        """Of all samples of any iterable of batches (n, *event), in one pass. ValueError where there are none.

        progress(done, total) is called after each batch; total: how many there are, where that is known.
        """
        moments = None
        if not isinstance(batches, Iterable) or isinstance(batches, str | dict):
            raise TypeError(
                f"batches: expected an iterable of arrays (n, *event), got {described(batches)}. Of one array take "
                "gd.Moments.of(x)."
            )
        for done, batch in enumerate(batches, 1):
            moments = cls.of(batch) if moments is None else moments + cls.of(batch)
            if progress:
                progress(done, total)
        if moments is None:
            raise ValueError(
                "batches: expected at least one batch (n, *event), got none. Make the iterator anew: it may be used up."
            )
        return moments

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets together. ValueError for unlike event shapes."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments: expected one event shape, got {self.mean.shape} and {other.mean.shape}. Reshape one."
            )
        count, difference = self.count + other.count, other.mean - self.mean
        across = np.outer(difference, difference) * (self.count * other.count / count)
        return Moments(count, self.mean + difference * (other.count / count), self.scatter + other.scatter + across)

    @property
    def cov(self) -> np.ndarray:
        """The covariance (D, D), over count."""
        return self.scatter / self.count

    def gaussian(self, rank: int | None = None, dtype=None) -> Gaussian:
        """The maximum-likelihood Gaussian; rank as in Gaussian.from_moments, dtype JAX's default float.

        ValueError for fewer than 2 samples, or samples that are all equal.
        """
        if self.count < 2 or not self.scatter.any():
            raise ValueError(
                f"x: expected 2 or more samples that differ, got {self.count} without variance. Write "
                "gd.Gaussian.isotropic(mean, 0.)."
            )
        lam, vectors = positive_eigh(self.cov)
        rank = len(lam) if rank is None else check_rank(rank, len(lam))
        like = floating(jnp.zeros((), dtype or float))
        return Gaussian.from_modes(device(self.mean, like), lam[:rank], vectors[:, :rank], float(lam.sum()))


def ledoit_wolf(x) -> float:
    """The shrinkage in [0, 1] of least expected error for the covariance of samples x (N, *event), to use in `shrink`.

    min(b, d) / d with d = |S - m I|^2, m = tr S / D, b = (sum_n |x_n x_n^T - S|^2) / N^2, for centred x_n and S their
    covariance over N. Through the smaller of N and D. ValueError for NaN or fewer than 2 samples. Ledoit & Wolf 2004,
    A well-conditioned estimator for large-dimensional covariance matrices, section 3.
    """
    samples = host(x, "x")
    check_samples(samples.shape)
    flat = centered(samples).reshape(len(samples), -1)
    count, size = flat.shape
    gram = (flat.T @ flat if size < count else flat @ flat.T) / count
    power, trace = (gram**2).sum(), np.trace(gram)
    spread = (((flat**2).sum(1) ** 2).sum() / count - power) / count
    distance = power - trace**2 / size
    return float(np.clip(spread / distance, 0, 1)) if distance > 1e-14 * power else 0.0


def shrink(gaussian: Gaussian, shrinkage: float) -> Gaussian:
    """The Gaussian with covariance (1 - shrinkage) Sigma + shrinkage (tr Sigma / D) I: same modes, same total variance.

    ValueError unless 0 <= shrinkage <= 1. Ledoit & Wolf 2004, section 2.
    """
    check_gaussian(gaussian)
    amount = check_fraction(shrinkage, "shrinkage", "gd.fitting.ledoit_wolf(x) estimates it.")
    even = jnp.mean(gaussian.variances)
    mixed = ((1 - amount) * lam + amount * even for lam in (gaussian.eigvals, gaussian.residual))
    eigvals, residual = mixed
    return Gaussian(gaussian.mean, eigvals, gaussian.eigvecs, residual)
