"""Laws conditioned on an observation y = A x0 + observation_std noise: a Gaussian stays one, a mixture stays one.

With T = U diag(sqrt(lam)) and the singular values A T = P diag(b) V^T, in the coordinates x0 = mean + T z, z ~ N(0, I),

    mean'  = mean + T V diag(b / (b^2 + s^2)) P^T (y - A mean)            s = observation_std
    Sigma' = F F^T,  F = T V diag(s / sqrt(b^2 + s^2))                    b = 0 on the rest of V
    log p(y) = log N(y; A mean, P diag(b^2) P^T + s^2 I)                  the evidence, by which a mixture is reweighted

F is a product and its variances are squared singular values, so that nothing is subtracted and s = 0 is a case like
any other. Bishop, Pattern Recognition and Machine Learning (2006), eqs. 2.113 to 2.117. Two steps: `observe` decomposes
once on the host in float64; `Observed.posterior(y)` is linear in y and can be jitted, mapped and differentiated.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.denoiser import Distribution
from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.gaussian import Gaussian, stack
from gaussdiff.distributions.mixture import GaussianMixture
from gaussdiff.numerics.arrays import device, dot, floating, host
from gaussdiff.numerics.checks import check_count, check_shape
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.schedules import NoiseLevel

LAWS = Gaussian | Diagonal | GaussianMixture
FIT = "Fit one: gd.Gaussian.from_samples(points) or gd.GaussianMixture.from_samples(points, components, key=key)."


class Observed(eqx.Module):
    """A law and a linear instrument, decomposed: for every reading y (m,) it has the posterior and the evidence.

    Make one with `observe`. Leaves have a leading axis K, one for each component; a Gaussian is a mixture of one.
    """

    log_weights: Float[Array, " K"]
    means: Float[Array, "K *event"]
    posteriors: Gaussian
    gains: Float[Array, "K D p"]
    predictive: Gaussian
    scales: Float[Array, " m"]
    noise: Float[Array, ""]
    is_mixture: bool = eqx.field(static=True)

    def posterior(self, y) -> Gaussian | GaussianMixture:
        """The law of x0 given y (m,): a Gaussian of a Gaussian, a mixture of a mixture, its weights times the evidence.

        Its .sample draws from the posterior and its .denoise is the exact conditional denoiser. ValueError for a y of
        another shape.
        """
        y = self._scaled(y)

        def mean(mean, gain, predictive):
            coefficients = predictive.coefficients(y - predictive.mean)
            return mean + dot(gain, coefficients).reshape(mean.shape)

        means = jax.vmap(mean)(self.means, self.gains, self.predictive)
        components = eqx.tree_at(lambda g: g.mean, self.posteriors, means)
        if self.is_mixture:
            return GaussianMixture(self.log_weights + self._log_evidences(y), components)
        return jax.tree.map(lambda leaf: leaf[0], components)

    def log_evidence(self, y) -> Float[Array, ""]:
        """log p(y) in nats, y (m,). At observation_std = 0 a direction that A x0 cannot take does not count.

        ValueError for a y of another shape.
        """
        y = self._scaled(y)
        return jax.nn.logsumexp(self.log_weights + self._log_evidences(y)) - jnp.sum(jnp.log(self.scales))

    def _scaled(self, y) -> Float[Array, " m"]:
        y = floating(y, "y")
        if y.shape != self.scales.shape:
            raise ValueError(
                f"y: expected shape {self.scales.shape}, a reading of each row of matrix, got {y.shape}. For many "
                "readings use jax.vmap."
            )
        return y / self.scales

    def _log_evidences(self, y: Array) -> Float[Array, " K"]:
        return jax.vmap(lambda g: g.log_prob(y, NoiseLevel(jnp.ones_like(self.noise), self.noise)))(self.predictive)


def observe(model: Gaussian | Diagonal | GaussianMixture, matrix, observation_std) -> Observed:
    """Prepare y = matrix x0 + observation_std noise for any reading y: one decomposition per component, on the host.

    matrix: A, (m, D), see masking, block_average and convolution. observation_std: () >= 0, or (m,) > 0 for each row.
    The posterior's form: pure low rank (residual 0) keeps its rank r; with a residual above 0 the posterior has rank
    min(r + m, D) and the same residual; full stays full; diagonal and isotropic components become such Gaussians.

    ValueError for NaN, wrong shapes, a negative std; and where observation_std = 0 and a component of a mixture has no
    variance in an observed direction, since such components have no densities to compare. TypeError for other models.
    Bishop 2006, eqs. 2.113 to 2.117.
    """
    check_kind(model, LAWS, "model", "a gd.Gaussian, gd.Diagonal or gd.GaussianMixture", FIT)
    is_mixture = isinstance(model, GaussianMixture)
    parts = _components(model)
    rows, std = host(matrix, "matrix"), host(observation_std, "observation_std")
    _check_instrument(rows, std, parts[0].mean.size)
    scales = np.broadcast_to(std, len(rows)) if std.ndim else np.ones(len(rows))
    noise = np.float64(1.0 if std.ndim else std)
    outside = max(float(part.residual) for part in parts) > 0
    conditioned = [_condition(part, rows / scales[:, None], float(noise), outside) for part in parts]
    posteriors, gains, predictive = (list(column) for column in zip(*conditioned, strict=True))
    if is_mixture and noise == 0 and any(len(rows) > p.rank or not p.eigvals.all() for p in predictive):
        raise ValueError(
            "observation_std: expected > 0, got 0 where a component has no variance in an observed direction. Its "
            "evidence is then 0 or infinite: give the observation a small std, or the components a residual."
        )
    like = parts[0].mean
    return Observed(
        model.log_weights if isinstance(model, GaussianMixture) else jnp.zeros(1, like.dtype),
        jnp.stack([part.mean for part in parts]),
        stack(posteriors),
        jnp.stack(gains),
        stack(predictive),
        device(scales, like),
        device(noise, like),
        is_mixture,
    )


def condition(model: Gaussian | Diagonal | GaussianMixture, matrix, y, observation_std) -> Gaussian | GaussianMixture:
    """The law of x0 given y = matrix x0 + observation_std noise, y of shape (m,). The rest as in `observe`."""
    return observe(model, matrix, observation_std).posterior(y)


def multiply(model: Gaussian | Diagonal | GaussianMixture, likelihood: Gaussian | Diagonal) -> Distribution:
    """The law proportional to p(x0) N(x0; likelihood.mean, likelihood's covariance): both beliefs at once.

    It is the posterior given that likelihood.mean was read with A = I and that covariance, whitened: D x D numbers.
    ValueError where the likelihood has a direction of zero variance, or another shape.
    """
    check_kind(model, LAWS, "model", "a gd.Gaussian, gd.Diagonal or gd.GaussianMixture", FIT)
    check_kind(likelihood, Gaussian | Diagonal, "likelihood", "a gd.Gaussian or gd.Diagonal", FIT)
    g = _components(likelihood)[0]
    if g.shape != _components(model)[0].shape:
        raise ValueError(f"likelihood: expected the model's event shape, got {g.shape}. Reshape its mean.")
    lam, residual = host(g.eigvals, "likelihood"), float(g.residual)
    if min(lam.min(initial=np.inf), residual if g.rank < g.mean.size else np.inf) <= 0:
        raise ValueError("likelihood: expected every variance > 0, got 0. Condition on the flat directions instead.")
    vectors = host(g.eigvecs, "likelihood")
    rest = 0.0 if g.rank == g.mean.size else residual**-0.5
    whiten = (vectors * (lam**-0.5 - rest)) @ vectors.T + rest * np.eye(g.mean.size)
    reading = device(whiten @ host(g.mean, "likelihood").reshape(-1), g.mean)
    return condition(model, whiten, reading, 1.0)


def masking(mask) -> np.ndarray:
    """The matrix (m, D) that reads the m entries of x0 where mask (*event) is True: in-painting fills in the others."""
    floating(mask, "mask")
    given, mask = mask, np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(
            f"mask: expected True where x0 is read and False elsewhere, got {described(given)}. Compare, as in "
            "mask > 0."
        )
    return np.eye(mask.size)[mask.reshape(-1)]


def block_average(shape: tuple[int, ...], factor: int) -> np.ndarray:
    """The matrix (m, D) of means over factor x factor pixels of an image (H, W) or (H, W, C): its low resolution.

    m = (H / factor) (W / factor) C, row-major. ValueError unless factor divides H and W.
    """
    height, width, *_ = shape = _image(shape)
    check_count(factor, "factor", "It is the edge of a block in pixels.")
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f"factor: expected a divisor of {height} and {width}, got {factor}. Crop the image.")
    rows, columns = (np.kron(np.eye(n // factor), np.full(factor, 1 / factor)) for n in (height, width))
    return np.kron(np.kron(rows, columns), np.eye(int(np.prod(shape[2:]))))


def convolution(shape: tuple[int, ...], kernel) -> np.ndarray:
    """The matrix (D, D) that blurs an image (H, W) or (H, W, C) with an odd kernel (h, w), zero outside the image.

    y[i, j] = sum_ab kernel[a, b] x[i + h//2 - a, j + w//2 - b]. ValueError unless h and w are odd.
    """
    kernel = host(kernel, "kernel")
    if kernel.ndim != 2 or not all(n % 2 for n in kernel.shape):
        raise ValueError(f"kernel: expected odd sides (h, w), got shape {kernel.shape}. Pad it with zeros.")
    height, width, *_ = shape = _image(shape)
    shifts = [
        [np.eye(n, k=side // 2 - i) for i in range(side)] for n, side in zip((height, width), kernel.shape, strict=True)
    ]
    matrix = sum(k * np.kron(shifts[0][a], shifts[1][b]) for (a, b), k in np.ndenumerate(kernel))
    return np.kron(matrix, np.eye(int(np.prod(shape[2:]))))


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = check_shape(shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"shape: expected that of an image, (H, W) or (H, W, C), got {shape}. Vectors have no pixels.")
    return shape


def _components(model) -> list[Gaussian]:
    if isinstance(model, GaussianMixture):
        parts = [jax.tree.map(lambda leaf, i=i: leaf[i], model.components) for i in range(len(model.log_weights))]
    else:
        parts = [model]
    return [part.as_gaussian() if isinstance(part, Diagonal) else part for part in parts]


def _condition(g: Gaussian, rows: np.ndarray, std: float, outside: bool) -> tuple[Gaussian, Array, Gaussian]:
    """The posterior with the prior's mean, the gain (D, p), and the predictive law of A x0."""
    # T = U diag(sqrt(lam)), U widened by the rows of A where these see directions outside the modes
    basis, lam = host(g.eigvecs, "eigvecs"), host(g.eigvals, "eigvals")
    if outside and g.rank < g.mean.size:
        wider = np.linalg.qr(np.concatenate([basis, rows.T], 1))[0][:, g.rank :]
        wider = np.linalg.qr(wider - basis @ (basis.T @ wider))[0]
        basis = np.concatenate([basis, wider], 1)
        lam = np.concatenate([lam, np.full(wider.shape[1], float(g.residual))])
    root = np.sqrt(lam)

    # A T = P diag(b) V^T, with 0 for what is rounding
    p, b, vt = np.linalg.svd((rows @ basis) * root, full_matrices=True)
    b = np.where(b > np.finfo(float).eps * max(rows.shape[0], len(lam)) * b.max(initial=0), b, 0)
    variance = b**2 + std**2
    positive = np.where(variance > 0, variance, 1)

    # Sigma' = F F^T, F = T V diag(s / sqrt(b^2 + s^2)): its variances are the squared singular values of F
    factor = np.ones(len(lam))
    factor[: len(b)] = np.where(variance > 0, std / np.sqrt(positive), 1)
    turned, stds, _ = np.linalg.svd((root[:, None] * vt.T) * factor)
    posterior = Gaussian(g.mean, device(stds**2, g.mean), device(basis @ turned, g.mean), g.residual)

    # the gain T V diag(b / (b^2 + s^2)), which takes P^T (y - A mean) to mean' - mean
    gain = basis @ ((root[:, None] * vt.T[:, : len(b)]) * np.where(variance > 0, b / positive, 0))

    # the law of A x0, N(A mean, P diag(b^2) P^T)
    center = device(rows @ host(g.mean, "mean").reshape(-1), g.mean)
    predictive = Gaussian(center, device(b**2, g.mean), device(p[:, : len(b)], g.mean))
    return posterior, device(gain, g.mean), predictive


def _check_instrument(matrix: np.ndarray, std: np.ndarray, size: int) -> None:
    if matrix.ndim != 2 or matrix.shape[1] != size or not len(matrix):
        raise ValueError(
            f"matrix: expected shape (m, {size}), a row for each reading, got {matrix.shape}. Its columns "
            "are the entries of x0."
        )
    if std.ndim > 1 or (std.ndim == 1 and (len(std) != len(matrix) or std.min() <= 0)) or std.min() < 0:
        raise ValueError(
            f"observation_std: expected a number >= 0 or ({len(matrix)},) numbers > 0, got shape {std.shape}, lowest "
            f"{std.min():g}. It is in the units of y."
        )
