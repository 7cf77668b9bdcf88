"""How far one Gaussian is from another: relative entropy, optimal transport and the Frechet distance, in closed form.

    KL(a | b) = 1/2 [tr(Cb^-1 Ca) - D + d^T Cb^-1 d + log det Cb - log det Ca],      d = mu_a - mu_b
    W2(a, b)^2 = |d|^2 + tr(Ca + Cb - 2 (Ca^1/2 Cb Ca^1/2)^1/2)

Neither needs a D x D matrix.  KL is a sum over the overlaps of the modes of the two, since Cb^-1 is known in b's own
modes.  W2 happens in the joint span of the two sets of modes, at most r_a + r_b wide; outside it both are isotropic.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.distributions.gaussian import Gaussian, check_gaussian
from gaussdiff.numerics.arrays import dot, safe_divide, safe_sqrt


def gaussian_kl(a: Gaussian, b: Gaussian) -> Float[Array, ""]:
    """KL(a | b) = E_a [log a - log b] in nats, of two Gaussians of one event shape; O(D r_a r_b).

    Where variances are exactly 0, a density exists only on a subspace: the value is that of the two laws there if they
    have the same one, and +inf if not, which is the definition (a has mass where b has none, or a is flat where b is
    not). Subspaces count as the same where they agree to 16 D roundings of the dtype. ValueError for different event
    shapes, TypeError for anything but Gaussians. Kullback & Leibler 1951; Rasmussen & Williams 2006, eq. A.23.
    """
    _check_pair(a, b)
    size = a.mean.size
    rest_a, rest_b = size - a.rank, size - b.rank
    away = (a.mean - b.mean).reshape(-1)
    outside = _outside(b, a.eigvecs)  # of a's modes (D, r_a)
    leaks = jnp.sum(outside**2, 0)
    overlaps = dot(b.eigvecs.T, a.eigvecs) ** 2
    # directions outside a, within b's modes and outside b
    missing = jnp.sum(_outside(a, b.eigvecs) ** 2, 0)
    both = jnp.maximum(rest_b - jnp.sum(leaks), 0) if rest_b else jnp.zeros(())

    variance_in_b = dot(overlaps, a.eigvals) + missing * a.residual
    variance_outside = jnp.sum(leaks * a.eigvals) + both * a.residual
    mean_in_b = b.coefficients(away) ** 2
    mean_outside = jnp.sum(_outside(b, away[:, None]) ** 2) if rest_b else jnp.zeros(())

    tolerance = (16 * size * jnp.finfo(a.eigvals.dtype).eps) ** 2
    power = jnp.sum(safe_divide(variance_in_b + mean_in_b, b.eigvals)) + (
        safe_divide(variance_outside + mean_outside, b.residual) if rest_b else 0
    )
    largest = jnp.maximum(jnp.max(a.eigvals, initial=0), a.residual)
    means = jnp.sum(a.mean**2) + jnp.sum(b.mean**2)
    limit = tolerance * jnp.maximum(largest, means)
    spilt = jnp.any((b.eigvals == 0) & (variance_in_b + mean_in_b > limit))
    if rest_b:
        spilt |= (b.residual == 0) & (variance_outside + mean_outside > limit)
    ranks, log_dets = zip(*(_support(g, rest) for g, rest in ((a, rest_a), (b, rest_b))), strict=True)
    value = jnp.maximum(power - ranks[1] + log_dets[1] - log_dets[0], 0) / 2
    return jnp.where(spilt | (ranks[0] != ranks[1]), jnp.inf, value)


def gaussian_w2(a: Gaussian, b: Gaussian) -> Float[Array, ""]:
    """The 2-Wasserstein distance in data units, sqrt of gaussian_frechet: the least root mean square move from a to b.

    Finite for singular covariances too. ValueError for different event shapes, TypeError for anything but Gaussians.
    Gelbrich 1990; Olkin & Pukelsheim 1982.
    """
    return safe_sqrt(gaussian_frechet(a, b))


def gaussian_frechet(a: Gaussian, b: Gaussian) -> Float[Array, ""]:
    """The squared distance |d|^2 + tr(Ca + Cb - 2 (Ca Cb)^1/2), in squared data units: FID's formula on these laws.

    Written as |d|^2 + |Ca^1/2 - Cb^1/2 R|^2, with R the rotation that makes it least, from one singular value
    decomposition, so that close laws do not cancel: the error of the distance is a rounding of the standard deviations,
    not its square root. O(D (r_a + r_b)^2 + (r_a + r_b)^3), with r_a + r_b at most D. Finite for singular covariances.
    ValueError for different event shapes, TypeError for anything but Gaussians. Dowson & Landau 1982; Heusel et al.,
    arXiv 1706.08500, eq. 6.
    """
    _check_pair(a, b)
    size = a.mean.size
    width = min(size, a.rank + b.rank)
    span = _span(a, b, width)
    root_a, root_b = (_root(g, span) for g in (a, b))
    u, _, vt = jnp.linalg.svd(dot(root_b, root_a), full_matrices=False)
    rotated = dot(root_b, dot(u, vt))
    inside = jnp.sum((root_a - rotated) ** 2)
    outside = (size - width) * (safe_sqrt(a.residual) - safe_sqrt(b.residual)) ** 2
    return jnp.sum((a.mean - b.mean) ** 2) + inside + outside


def _span(a: Gaussian, b: Gaussian, width: int) -> Float[Array, "D m"]:
    """Orthonormal columns whose span holds the modes of both; all of space where they are as many as it has."""
    if width == a.mean.size:
        return jnp.eye(width, dtype=a.eigvecs.dtype)
    return jnp.linalg.qr(jnp.concatenate([a.eigvecs, b.eigvecs], axis=1))[0]


def _root(g: Gaussian, span: Float[Array, "D m"]) -> Float[Array, "m m"]:
    """The symmetric square root of the covariance, within a span that holds the modes."""
    modes, width = dot(span.T, g.eigvecs), span.shape[1]
    if g.rank == g.mean.size:
        return dot(modes * safe_sqrt(g.eigvals)[None], modes.T)
    rest = jnp.eye(width, dtype=modes.dtype) - dot(modes, modes.T)
    return dot(modes * safe_sqrt(g.eigvals)[None], modes.T) + safe_sqrt(g.residual) * rest


def _outside(g: Gaussian, columns: Float[Array, "D n"]) -> Float[Array, "D n"]:
    """The residual of the columns outside the modes of g; 0 where the modes are complete."""
    if g.rank == g.mean.size:
        return jnp.zeros_like(columns)
    return columns - dot(g.eigvecs, dot(g.eigvecs.T, columns))


def _support(g: Gaussian, rest: int) -> tuple[Array, Array]:
    """The number of directions with variance, and the log determinant over them."""
    positive, residual_positive = g.eigvals > 0, (g.residual > 0) if rest else jnp.array(False)
    log_det = jnp.sum(jnp.log(jnp.where(positive, g.eigvals, 1)))
    log_det += rest * jnp.log(jnp.where(residual_positive, g.residual, 1))
    return jnp.sum(positive) + rest * residual_positive, log_det


def _check_pair(a: Gaussian, b: Gaussian) -> None:
    for name, g in (("a", a), ("b", b)):
        check_gaussian(g, name)
    if a.shape != b.shape:
        raise ValueError(
            f"a, b: expected Gaussians of one event shape, got {a.shape} and {b.shape}. Reshape the means."
        )
