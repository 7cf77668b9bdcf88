"""Where samplers end, and how far from the flow they follow."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import gaussdiff as gd
from analysis.measures.paths import Paths, follow
from analysis.measures.stepwise import steps
from gaussdiff.design.error import spectrum

MODES = 128  # of a Gaussian are carried at a time
FINE = 64  # steps of DPM-Solver++(3M) that stand for the flow: within .001 on the digits


def ends(sampler: gd.Sampler, model: gd.Denoiser, starts: Array | np.ndarray, levels: gd.NoiseLevel) -> np.ndarray:
    """Where the starts (B, *event) at levels[0] end: (B, *event)."""
    *_, (x, _) = steps(sampler, model, starts, levels)
    return x


def path(sampler: gd.Sampler, model: gd.Denoiser, starts: Array, levels: gd.NoiseLevel) -> Paths:
    """All states and denoised images on the way, as gd.sample gives them."""
    return follow({"": model}, sampler, starts, levels)[""]


def fine(model: gd.Denoiser, starts: Array, sigma_max: float) -> np.ndarray:
    """The ends of the model's own flow: FINE steps from sigma_max, far more than what is compared with them."""
    return ends(gd.DPMSolverPP3M(), model, starts, gd.grids.karras(FINE, sigma_max=sigma_max))


def between(levels: gd.NoiseLevel, i: int) -> Array:
    """The log-SNR halfway from level i to the next: a switch there is that at level i, whatever is rounded how."""
    return (levels[i].log_snr + levels[i + 1].log_snr) / 2


def squared_distances(ends: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The squared distance of each end from its true one, a mean over entries, in squared data units: (B,)."""
    difference = (ends.astype(np.float64) - true).reshape(len(ends), -1)
    return np.mean(difference**2, axis=1)


def root_mean(squares: np.ndarray) -> float:
    """The root mean square distance over paths, of what `squared_distances` gives."""
    return float(np.sqrt(np.mean(squares)))


def _filled(values: Array) -> np.ndarray:
    return np.pad(np.asarray(values), (0, -len(values) % MODES))


def gaussian_error(sampler: gd.Sampler, levels: gd.NoiseLevel, gaussian: gd.Gaussian) -> float:
    """gd.wasserstein2 of a sampler without GaussianExact, by two paths on the modes in place of one program a grid.

    A sampler is affine on a Gaussian: where 0 and sigma_max end says its mean and its gain.
    """
    # filled up with modes that count nothing, so that one program serves Gaussians of any rank
    law, counts = (jax.tree.map(_filled, part) for part in spectrum(gaussian))
    start = jnp.stack([jnp.zeros_like(law.mean), jnp.full_like(law.mean, levels.sigma[0])])
    mean, end = ends(sampler, gd.Diagonal(*map(jnp.asarray, law)), start, levels).astype(np.float64)
    excess = np.abs(end - mean) - np.sqrt(law.variance)  # of the standard deviations
    return float(np.sqrt((counts * excess**2).sum() + ((mean - law.mean) ** 2).sum()))
