"""Measurements on models, noise and grids: pure functions from Denoisers to NumPy arrays.

`models` maps a name to a Denoiser; "network" is the one that was learned, the others are its twins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import gaussdiff as gd
from analysis.measures.crossing import crossing
from analysis.measures.stepwise import denoised, steps
from training.evaluation import explain

Models = Mapping[str, gd.Denoiser]
Curves = dict[str, np.ndarray]


@dataclass(frozen=True)
class Paths:
    """One model's paths from B starts, on the host: sigma (n+1,), x (B, n+1, *event), denoised (B, n, *event)."""

    sigma: np.ndarray
    x: np.ndarray
    denoised: np.ndarray

    @property
    def samples(self) -> np.ndarray:
        """Where the paths end: (B, *event)."""
        return self.x[:, -1]


def follow(
    models: Models, sampler: gd.Sampler, starts: Float[Array, "batch *event"], levels: gd.NoiseLevel
) -> dict[str, Paths]:
    """Carry the same starts down the same grid with the same sampler (alpha = 1): Paths for each model."""
    return {name: _followed(sampler, model, starts, levels) for name, model in models.items()}


def _followed(sampler: gd.Sampler, model: gd.Denoiser, starts: Array, levels: gd.NoiseLevel) -> Paths:
    states, beliefs = zip(*steps(sampler, model, starts, levels), strict=True)
    return Paths(np.asarray(levels.sigma), np.stack([np.asarray(starts), *states], 1), np.stack(beliefs, 1))


def explained_variance(models: Models, images: np.ndarray, sigmas: np.ndarray, key: PRNGKeyArray) -> dict[str, Curves]:
    """What each twin explains of the network on noised images (N, *event), at each noise scale (m,), alpha = 1.

    Returns "denoiser" and "score", each {twin: (m,)} explained variances of the network's output by the twin's, and
    "error" {model: (m,)}, the root mean square error of the denoised image against the true one, in data units.
    """
    rows = [_compare_at(models, images, gd.NoiseLevel(1.0, sigma), key) for sigma in sigmas]
    return {part: {name: np.array([row[part][name] for row in rows]) for name in rows[0][part]} for part in rows[0]}


def _compare_at(models: Models, images: np.ndarray, level: gd.NoiseLevel, key: PRNGKeyArray) -> explain.Parts:
    x0 = jnp.asarray(images)
    x = jax.vmap(gd.add_noise, in_axes=(0, 0, None))(jax.random.split(key, len(images)), x0, level)
    answers = {name: denoised(model, np.asarray(x), level) for name, model in models.items()}
    return explain.compare(x0, x, float(level.sigma), answers)


def distance_to_network(paths: Mapping[str, Paths]) -> dict[str, Curves]:
    """Root mean square distance per entry of each twin's path to the network's, over all starts, at each level.

    Returns "state" {twin: (n+1,)} and "denoised" {twin: (n,)}, in data units.
    """
    network = paths["network"]
    twins = {name: path for name, path in paths.items() if name != "network"}
    return {
        "state": {name: _rms(path.x - network.x) for name, path in twins.items()},
        "denoised": {name: _rms(path.denoised - network.denoised) for name, path in twins.items()},
    }


def _rms(difference: np.ndarray) -> np.ndarray:
    """Over samples and entries, for each step: (batch, steps, *event) -> (steps,)."""
    return np.sqrt(np.mean(difference.astype(np.float64) ** 2, axis=(0, *range(2, difference.ndim))))


def leading_modes(gaussian: gd.Gaussian) -> int:
    """How many principal components hold at least a thousandth of the largest variance, 40 at the most."""
    variances = np.asarray(gaussian.eigvals, np.float64)
    return min(40, int((variances > 1e-3 * variances[0]).sum()))


def commitment_levels(paths: Mapping[str, Paths], gaussian: gd.Gaussian, modes: int) -> Curves:
    """The noise scale at which each principal component of the data has half of its final value: {model: (modes,)}.

    A component's progress at a level is the regression, over the starts, of its coefficient in the denoised image on
    that in the final sample; for an exact Gaussian flow that is gd.commitment, one half at sqrt(3 variance). NaN
    where a component never crosses one half within the grid.
    """
    return {name: half_levels(progress(*committing(path, gaussian, modes)), path.sigma) for name, path in paths.items()}


def committing(path: Paths, gaussian: gd.Gaussian, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Each path's part in the regression: denoised times final coefficient (B, n, modes), final squared (B, modes)."""
    basis = np.asarray(gaussian.eigvecs, np.float64)[:, :modes]
    coefficients = partial(_coefficients, basis, np.asarray(gaussian.mean, np.float64))
    final = coefficients(path.samples)
    return coefficients(path.denoised) * final[:, None], final**2


def progress(products: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """The fraction of the final coefficient that is present in the denoised image, (n, modes), from `committing`."""
    return products.sum(0) / squares.sum(0)


def half_levels(progress: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """The noise scale (modes,) after which each curve (n, modes) stays above one half; NaN where it never does."""
    log_sigma = np.log(sigma[: len(progress)].astype(np.float64))
    return np.array([np.exp(crossing(log_sigma, curve, last=True)) for curve in progress.T])


def _coefficients(basis: np.ndarray, mean: np.ndarray, images: np.ndarray) -> np.ndarray:
    return (images - mean).reshape(*images.shape[: images.ndim - mean.ndim], -1) @ basis


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays, over the entries where both are finite; equal ones share their rank.

    NaN for fewer than 3 such entries, or where one array is constant.
    """
    both = np.isfinite(a) & np.isfinite(b)
    first, second = (_ranks(np.asarray(values)[both]) for values in (a, b))
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """How many values are smaller, and half of those that are equal."""
    smaller = (values[None] < values[:, None]).sum(1)
    return smaller + (values[None] == values[:, None]).sum(1) / 2
