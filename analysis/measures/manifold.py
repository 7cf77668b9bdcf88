"""Tools for the manifold of samples that a denoiser knows: variations, walks, interpolations, retrieval, maps.

For any gd.Denoiser, learned or not, in the frame alpha = 1; arrays in, arrays out. docs/manifold.md shows each in use.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

import gaussdiff as gd
from analysis.measures.paths import half_levels
from analysis.measures.stepwise import denoised, derivatives, posteriors
from gaussdiff.numerics.checks import check_count

DENSE = 128  # entries of a sample whose covariance is cheaper by its columns than by a search


class Variations(NamedTuple):
    """denoised (B, *event); variances (B, k), falling; directions (B, k, *event), each of unit length."""

    denoised: Float[Array, "B *event"]
    variances: Float[Array, "B k"]
    directions: Float[Array, "B k *event"]


def principal_variations(
    model: gd.Denoiser, x: Float[Array, "B *event"], level: gd.NoiseLevel, count: int, key: PRNGKeyArray
) -> Variations:
    """What of each image is not decided yet: the leading axes of Cov[x0 | x], without its matrix.

    Of a Gaussian they are its principal components at every level, with variances lam sigma^2 / (lam + sigma^2).
    Up to D = DENSE by all columns of the covariance, beyond that to 3 % of the largest variance
    (gd.PosteriorCovariance.top); errors as there. Manor & Michaeli, arXiv 2309.13598, algorithm 1.
    """
    if x[0].size > DENSE:
        return _searched(model, x, level, count, key)
    gd.posterior_covariance(model, x[0], level)  # its errors
    check_count(count, "count", "There are no more directions than entries.", most=x[0].size, symbol="D")
    each = zip(*(_of_columns(model, one, level, count) for one in np.asarray(x)), strict=True)
    return Variations(*(jnp.asarray(np.stack(parts)) for parts in each))


def _of_columns(
    model: gd.Denoiser, x: np.ndarray, level: gd.NoiseLevel, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`principal_variations` of one x: a step to sigma = 0 ends at the denoised image, and its derivative is D's."""
    alpha, sigma = np.asarray(level.alpha), np.asarray(level.sigma)
    to_clean = gd.NoiseLevel(np.stack([alpha, np.ones_like(alpha)]), np.stack([sigma, np.zeros_like(sigma)]))
    basis = np.eye(x.size).reshape(x.size, *x.shape)
    image, columns = derivatives(gd.DPMSolverPP2M(), model, x, to_clean, basis)
    covariance = (sigma**2 / alpha * columns.reshape(x.size, -1)).astype(x.dtype)
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return image, values[::-1][:count], vectors.T[::-1][:count].reshape(count, *x.shape)


@eqx.filter_jit
def _searched(
    model: gd.Denoiser, x: Float[Array, "B *event"], level: gd.NoiseLevel, count: int, key: PRNGKeyArray
) -> Variations:
    """`principal_variations` by products with the covariance."""

    def one(x: Array) -> Variations:
        variances, directions = gd.posterior_covariance(model, x, level).top(count, key, tolerance=0.03)
        return Variations(model.denoise(x, level), variances, directions)

    return jax.vmap(one)(x)


def principal_share(directions: Float[np.ndarray, "*lead D"], basis: np.ndarray) -> np.ndarray:
    """How much of unit vectors (..., D) lies in the span of the orthonormal columns of basis (D, m): |U^T v|^2, (...).

    1 inside, m / D on average for a random direction.
    """
    return np.sum((directions @ basis) ** 2, axis=-1)


def walk(origin: np.ndarray, direction: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """origin + steps_i direction, (m, *event): a straight walk from an image (*event) along a direction."""
    return origin + np.multiply.outer(steps, direction)


def redenoise(
    model: gd.Denoiser, images: Float[np.ndarray, "m *event"], noise: Float[np.ndarray, "*event"], level: gd.NoiseLevel
) -> Float[np.ndarray, "m *event"]:
    """D(image + sigma noise) with one noise for all images: what the model makes of images that it would not make."""
    alpha, sigma = np.asarray(level.alpha), np.asarray(level.sigma)
    return denoised(model, alpha * np.asarray(images) + sigma * np.asarray(noise), level)


def linear(a: np.ndarray, b: np.ndarray, fraction: float) -> np.ndarray:
    """(1 - fraction) a + fraction b: of two independent noises one that is too short, by 1 / sqrt(2) half way."""
    return (1 - fraction) * a + fraction * b


def spherical(a: np.ndarray, b: np.ndarray, fraction: float) -> np.ndarray:
    """The point at `fraction` of the angle between a and b (..., *event), all entries as one vector; lengths mixed.

    (sin((1 - fraction) w) a / |a| + sin(fraction w) b / |b|) / sin w, times the length in between; linear where the
    angle w is 0. ValueError for opposite directions, between which there is no one arc. Shoemake 1985.
    """
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if not all(lengths):
        raise ValueError("a, b: expected noises above 0 in length, got 0, which has no direction. Draw them again.")
    first, second = a / lengths[0], b / lengths[1]
    angle = 2 * np.arctan2(np.linalg.norm(first - second), np.linalg.norm(first + second))
    if np.pi - angle < 1e-6:
        raise ValueError("a, b: expected directions that are not opposite, got an angle of pi. Go through a third.")
    if angle < 1e-6:
        return linear(a, b, fraction)
    length = (1 - fraction) * lengths[0] + fraction * lengths[1]
    return length * (np.sin((1 - fraction) * angle) * first + np.sin(fraction * angle) * second) / np.sin(angle)


def rescaled(a: np.ndarray, b: np.ndarray, fraction: float) -> np.ndarray:
    """linear / sqrt((1 - fraction)^2 + fraction^2): of two independent noises one of the same law."""
    return linear(a, b, fraction) / np.hypot(1 - fraction, fraction)


class Retrieval(NamedTuple):
    """What a data set recognises in states: the likeliest point, its weight, and how many points share the answer."""

    likeliest: Int[np.ndarray, "B points"]
    weight: Float[np.ndarray, "B points"]
    neighbours: Float[np.ndarray, "B points"]


def retrieve(data_set: gd.Empirical, states: Float[np.ndarray, "B points *event"], levels: gd.NoiseLevel) -> Retrieval:
    """The softmax weights of the data set's denoiser at the states of B paths through the levels (points,).

    w_i proportional to exp(-|x - alpha y_i|^2 / 2 sigma^2); neighbours: exp of their entropy, from 1 to N.
    """

    at_each = [posteriors(data_set, np.asarray(states[:, i]), level) for i, level in enumerate(levels)]
    each = [(one.indices[:, 0], one.weights[:, 0], np.exp(one.entropy)) for one in at_each]
    return Retrieval(*(np.stack(parts, 1) for parts in zip(*each, strict=True)))


def perturbation_maps(
    model: gd.Denoiser,
    sampler: gd.Sampler,
    x: Float[Array, "*event"],
    levels: gd.NoiseLevel,
    directions: Float[Array, "k *event"],
) -> Float[np.ndarray, "k *event"]:
    """How the image at levels[-1] changes per unit of a small change of x at levels[0] along each direction.

    J v of the map that the sampler makes, by forward derivatives through all of its steps. Of a Gaussian and a fine
    grid it is gd.exact.gaussian_perturbation. To start later on a grid, give a slice of it.
    """
    return derivatives(sampler, model, x, levels, np.asarray(directions))[1]


def emergence_map(
    denoised: np.ndarray, final: np.ndarray, origin: np.ndarray, sigma: np.ndarray, least: float = 0.1
) -> np.ndarray:
    """The noise scale at which each entry of one image committed: from then on it is over half way to its final value.

    denoised: (n, *event) along one path, final: (*event) its end, origin: (*event) where it came from, the mean of the
    data; sigma: (n,) or more. Entries may be pixels or coefficients of components, of which those of a Gaussian commit
    at gd.emergence. NaN for those whose way is below `least` of the longest, which have nothing to commit to, and for
    those that never settle on the grid.
    """
    way = final - origin
    moving = (way != 0) & (np.abs(way) >= least * np.abs(way).max())
    progress = (denoised - origin) / np.where(moving, way, 1)
    levels = half_levels(progress.reshape(len(progress), -1), sigma).reshape(final.shape)
    return np.where(moving, levels, np.nan)


def thinned(levels: gd.NoiseLevel, steps: int) -> gd.NoiseLevel:
    """A grid (n+1,) with at most `steps` of its steps, evenly chosen, and both its ends."""
    count = len(levels) - 1
    return levels[np.linspace(0, count, min(steps, count) + 1).round().astype(int)]
