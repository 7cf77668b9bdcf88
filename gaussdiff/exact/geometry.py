"""The geometry of paths: how they turn, the plane they lie in, their Gram matrix and spectrum, and their distances.

With signal and noise scaled to constant power a Gaussian's path is nearly a rotation from its noise to its sample; the
expected Gram matrix of a path, E<x_t, x_s> = alpha_t alpha_s |mu|^2 + sum_k S_t S_s, follows from the spectrum alone.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.denoiser import Event
from gaussdiff.distributions.gaussian import Gaussian, check_gaussian
from gaussdiff.exact.flow import each_variance
from gaussdiff.exact.modes import marginal_std, rotation_residual
from gaussdiff.numerics.arrays import dot, floating, safe_divide, safe_sqrt
from gaussdiff.numerics.checks import check_count, check_each_at_least_0, check_finite, check_fraction, check_samples
from gaussdiff.schedules import NoiseLevel, check_levels

SPECTRUM = "Its entries are variances, such as path_spectrum gives."


class Rotation(NamedTuple):
    """A path as a turn from noise to data: x0, noise (*event); path + residual (n+1, *event) is the true path."""

    x0: Float[Array, "*event"]
    noise: Float[Array, "*event"]
    path: Float[Array, "points *event"]
    residual: Float[Array, "points *event"]


def gaussian_rotation(gaussian: Gaussian, x, levels: NoiseLevel) -> Rotation:
    """The rotation alpha_t x0 + sigma_t noise near the path through x (*event) at levels[0], and what it leaves out.

    With z = U^T (x - alpha mu) / S, conserved: x0 = mu + U diag(sqrt(lam)) z is the path's clean end, noise = U z its
    end at alpha = 0 and sigma = 1, and the exact residual is U diag(S_t - alpha_t sqrt(lam) - sigma_t) z, the same for
    the directions outside U. So path + residual is gaussian_path. levels: (n+1,), in any order.

    ValueError for an x that is not one sample, or levels that are not an array of two or more. Wang & Vastola, arXiv
    2303.02490, section 3.
    """
    check_gaussian(gaussian)
    check_levels(levels)
    x, centered = gaussian.center(x, levels[0])
    inverse = each_variance(gaussian, lambda lam: safe_divide(jnp.ones_like(lam), marginal_std(lam, levels[0])))
    white = gaussian.spectral_map(*inverse, centered)
    noise = white.reshape(gaussian.shape)
    x0 = gaussian.mean + gaussian.spectral_map(*each_variance(gaussian, safe_sqrt), white).reshape(gaussian.shape)
    over = (-1, *(1 for _ in gaussian.shape))
    path = levels.alpha.reshape(over) * x0[None] + levels.sigma.reshape(over) * noise[None]

    def residual_at(level: NoiseLevel) -> Event:
        return gaussian.spectral_map(*each_variance(gaussian, lambda lam: rotation_residual(lam, level)), white)

    residual = jax.vmap(residual_at)(levels).reshape(path.shape)
    return Rotation(*(part.astype(x.dtype) for part in (x0, noise, path, residual)))


class Plane(NamedTuple):
    """origin (*event), orthonormal axes (m, *event), coordinates on them (n+1, m), fractions of the squares (m,)."""

    origin: Float[Array, "*event"]
    axes: Float[Array, "m *event"]
    coordinates: Float[Array, "points m"]
    shares: Float[Array, " m"]


def best_plane(path: Float[Array, "points *event"], dimensions: int = 2, centered: bool = False) -> Plane:
    """The plane nearest to a path (n+1, *event) in summed squares: origin + coordinates @ axes, by singular vectors.

    Through 0, as the plane of a rotation is, or through the path's mean where `centered` (its principal components).
    dimensions: m, from 1 to the lesser of n+1 and D. shares: of the summed squares about the origin, falling; what is
    missing from 1 lies outside. The path is SVD'd itself, not its Gram matrix, so that small axes keep their digits.
    ValueError for a number of dimensions out of range. Eckart & Young 1936.
    """
    path = _path(path)
    flat = path.reshape(len(path), -1)
    check_count(dimensions, "dimensions", f"A path of shape {path.shape} spans no more.", most=min(flat.shape))
    origin = jnp.mean(flat, 0) if centered else jnp.zeros(flat.shape[1], flat.dtype)
    u, singular, vt = jnp.linalg.svd(flat - origin[None], full_matrices=False)
    shares = safe_divide(singular**2, jnp.sum(singular**2))
    leading = slice(dimensions)
    coordinates, axes = u[:, leading] * singular[None, leading], vt[leading].reshape(dimensions, *path.shape[1:])
    return Plane(origin.reshape(path.shape[1:]), axes, coordinates, shares[leading])


def gram_matrix(gaussian: Gaussian, levels: NoiseLevel) -> Float[Array, "points points"]:
    """The expected Gram matrix E <x_t, x_s> of paths through the levels (n+1,), in squared data units.

    alpha_t alpha_s |mu|^2 + sum_k S_t(lam_k) S_s(lam_k) + (D - r) S_t(residual) S_s(residual), over paths whose start
    is drawn from the marginal. Norms, angles and distances of states follow from it. ValueError for levels that are
    not an array of two or more. A consequence of arXiv 2303.02490, section 3.
    """
    features = _features(gaussian, levels)
    return dot(features, features.T)


def path_spectrum(gaussian: Gaussian, levels: NoiseLevel, centered: bool = True) -> Float[Array, " points"]:
    """Principal-component variances of paths through the levels (n+1,): eigenvalues of gram_matrix / (n+1), falling.

    In squared data units; their sum is the mean of |x_t|^2, or of |x_t - path mean|^2 where `centered`. For one path in
    many dimensions its own spectrum is close to this expectation. They come from singular values of the table of S,
    not of its square, so that small ones keep their digits. ValueError as for gram_matrix.
    """
    features = _features(gaussian, levels)
    if centered:
        features = features - jnp.mean(features, 0, keepdims=True)
    singular = jnp.linalg.svd(features, compute_uv=False)
    return jnp.zeros(len(levels), features.dtype).at[: len(singular)].set(singular**2 / len(levels))


def participation_ratio(spectrum: Float[Array, " points"]) -> Float[Array, ""]:
    """How many equal components a spectrum (n,) amounts to: (sum w)^2 / sum w^2, from 1 to n; 0 for a spectrum of 0."""
    spectrum = check_each_at_least_0(spectrum, "spectrum", SPECTRUM)
    weights = safe_divide(spectrum, jnp.sum(spectrum))
    return safe_divide(jnp.sum(weights) ** 2, jnp.sum(weights**2))


def components_for_share(spectrum: Float[Array, " points"], share=0.99) -> Array:
    """The least number of components, largest first, whose sum is the fraction `share` of that of a spectrum (n,).

    ValueError unless 0 < share <= 1. At share = 1, the number of components above 0 by rounding.
    """
    spectrum = check_each_at_least_0(spectrum, "spectrum", SPECTRUM)
    share = check_fraction(share, "share", "0.99 is the usual choice.", "(0, 1]")
    decreasing = jnp.sort(spectrum)[::-1]
    # the sum beyond the first k, from the small end, so that the tail has its digits
    tails = jnp.append(jnp.cumsum(decreasing[::-1])[::-1], 0)
    return jnp.argmax(tails <= (1 - share) * tails[0])


def _features(gaussian: Gaussian, levels: NoiseLevel) -> Float[Array, "points columns"]:
    """A table whose rows have the expected Gram matrix: S_t of the modes, of the residual directions, and the mean."""
    check_gaussian(gaussian)
    check_levels(levels)
    rest = gaussian.mean.size - gaussian.rank
    modes, residual = each_variance(gaussian, lambda lam: jax.vmap(lambda level: marginal_std(lam, level))(levels))
    mean = levels.alpha * jnp.linalg.norm(gaussian.mean.reshape(-1))
    return jnp.concatenate([modes, math.sqrt(rest) * residual[:, None], mean[:, None]], axis=1)


def path_distance(a: Float[Array, "steps *event"], b: Float[Array, "steps *event"]) -> Float[Array, " steps"]:
    """Root mean square difference per entry of two paths at each step, in data units: sqrt(mean (a - b)^2).

    a, b: (n, *event), the answer (n,). ValueError for different shapes.
    """
    a, b = _path(a, "a"), _path(b, "b")
    if a.shape != b.shape:
        raise ValueError(
            f"a, b: expected paths of one shape, got {a.shape} and {b.shape}. Use the same levels for both."
        )
    return safe_sqrt(jnp.mean((a - b).reshape(len(a), -1) ** 2, axis=1))


def chord_deviation(path: Float[Array, "steps *event"]) -> Float[Array, " steps"]:
    """Distance of each state from the line between the path's ends: |d - (d . u) u|.

    path: (n, *event), d = path - end, u the unit chord. In data units (Euclidean norm); 0 along a straight path. Chen
    et al., arXiv 2305.19947.
    """
    path = _path(path)
    flat = path.reshape(len(path), -1)
    away = flat - flat[-1:]
    chord = away[0]
    along = away @ chord / jnp.maximum(chord @ chord, jnp.finfo(path.dtype).tiny)
    return jnp.linalg.norm(away - jnp.outer(along, chord), axis=1)


def _path(path, argument: str = "path") -> Float[Array, "points *event"]:
    path = floating(path, argument)
    check_samples(path.shape, argument, least=1)
    check_finite(path, argument, "A path of gd.sample has its states in .x.")
    return path
