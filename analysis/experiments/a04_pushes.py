"""Pushes of a state on the way: along which directions, how large, and what becomes of them in the sample.

A push is counted in standard deviations of the Gaussian's noisy marginal along its direction; its end on the Gaussian
is exact for every size (gd.exact.gaussian_perturbation).
"""

import jax
import numpy as np
from jaxtyping import Array

import gaussdiff as gd
from analysis.harness.setting import Setting
from analysis.measures import endpoints
from analysis.measures.noise import normal

COMPONENTS, RANDOM = (0, 1, 2, 10, 45), 2  # directions: principal components, and at random
AMOUNTS = np.array([-10.0, -5.0, 5.0, 10.0])  # standard deviations of the noisy marginal along the direction
SOLVER, STEPS = gd.DPMSolverPP2M(), 16  # from the push to the end: on Gaussians as near as Heun's, of half the calls


def directions(setting: Setting) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and unit vectors (P, *event): components of some variance, then random ones."""
    gaussian = setting.gaussian
    rank = int((np.asarray(gaussian.eigvals) > 1e-6 * float(gaussian.eigvals[0])).sum())
    chosen = [k for k in COMPONENTS if k < rank]
    random = normal(setting.key("perturbation"), (RANDOM, gaussian.mean.size))
    flat = np.concatenate([np.asarray(gaussian.eigvecs).T[chosen], random])
    units = (flat / np.linalg.norm(flat, axis=1, keepdims=True)).reshape(-1, *gaussian.shape)
    names = [f"component {k + 1}" for k in chosen] + [f"random direction {i + 1}" for i in range(RANDOM)]
    return tuple(names), units


def predicted(gaussian: gd.Gaussian, units: np.ndarray, level: gd.NoiseLevel) -> tuple[np.ndarray, np.ndarray]:
    """Pushes of all amounts along all directions (P A, *event), and what becomes of them in the sample."""
    stds, ends = _closed_form(gaussian, units, level)
    amounts = np.expand_dims(np.asarray(stds)[:, None] * AMOUNTS, tuple(range(2, 1 + units.ndim)))
    both = (amounts * np.asarray(part)[:, None] for part in (units, ends))
    pushes, changes = (part.reshape(-1, *gaussian.shape) for part in both)
    return pushes, changes


@jax.jit
def _closed_form(gaussian: gd.Gaussian, units: Array, level: gd.NoiseLevel) -> tuple[Array, Array]:
    """Standard deviations (P,) of the noisy marginal along unit directions, and a unit push's end (P, *event)."""
    marginal, clean = gd.exact.gaussian_marginal(gaussian, level), gd.NoiseLevel(1.0, 0.0)

    def one(unit: Array) -> tuple[Array, Array]:
        covariance = marginal.spectral_map(marginal.eigvals, marginal.residual, unit.reshape(-1))
        return (unit.reshape(-1) @ covariance) ** 0.5, gd.exact.gaussian_perturbation(gaussian, unit, level, clean)[0]

    return jax.vmap(one)(units)


def ends(model: gd.Denoiser, states: np.ndarray, pushes: np.ndarray, levels: gd.NoiseLevel) -> np.ndarray:
    """The ends (S, 1 + M, *event) of states (S, *event) at levels[0]: as they are, and with M pushes (M, *event)."""
    moves = np.concatenate([np.zeros_like(pushes[:1]), pushes]).astype(states.dtype)
    together = (states[:, None] + moves).reshape(-1, *states.shape[1:])
    return endpoints.ends(SOLVER, model, together, levels).astype(np.float64).reshape(len(states), *moves.shape)


def remaining(setting: Setting, step: int) -> gd.NoiseLevel:
    """A grid of STEPS steps from the level of a step to the end."""
    return gd.grids.karras(STEPS, float(setting.sigma[-2]), float(setting.sigma[step]))
