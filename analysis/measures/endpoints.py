"""Where samplers end, step by step on the host: a network is compiled once, whatever the samplers, grids and budgets.

A sampler that asks the model once a step, at the state it starts from, is told the answer: only its own arithmetic is
compiled for it. Any other (Heun, or a SwitchAt with it) is compiled together with the network, once for all its grids.
"""

from collections.abc import Iterator
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import gaussdiff as gd
from analysis.measures.paths import Paths
from gaussdiff.design.error import spectrum
from training.evaluation import explain

FINE = 64  # steps of DPM-Solver++(3M) that stand for the flow: within .001 on the digits


@final
class _Told(gd.Denoiser):
    """The model that gives one answer, x0 (*event)."""

    x0: Float[Array, "*event"]

    def denoise(self, x: Float[Array, "*event"], level: gd.NoiseLevel) -> Float[Array, "*event"]:
        return self.x0


def ends(sampler: gd.Sampler, model: gd.Denoiser, starts: Array, levels: gd.NoiseLevel) -> np.ndarray:
    """Where the starts (B, *event) at levels[0] end: (B, *event)."""
    *_, (x, _) = _walk(sampler, model, starts, levels)
    return np.asarray(x)


def path(sampler: gd.Sampler, model: gd.Denoiser, starts: Array, levels: gd.NoiseLevel) -> Paths:
    """All states and denoised images on the way, as gd.sample gives them."""
    steps = [(np.asarray(x), np.asarray(x0)) for x, x0 in _walk(sampler, model, starts, levels)]
    states = [np.asarray(starts), *(x for x, _ in steps)]
    return Paths(np.asarray(levels.sigma), np.stack(states, 1), np.stack([x0 for _, x0 in steps], 1))


def fine(model: gd.Denoiser, starts: Array, sigma_max: float) -> np.ndarray:
    """The ends of the model's own flow: FINE steps from sigma_max, far more than what is compared with them."""
    return ends(gd.DPMSolverPP3M(), model, starts, gd.grids.karras(FINE, sigma_max=sigma_max))


def between(levels: gd.NoiseLevel, i: int) -> Array:
    """The log-SNR halfway from level i to the next: a switch there is that at level i, whatever is rounded how."""
    return (levels[i].log_snr + levels[i + 1].log_snr) / 2


def apart(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The squared distance of each end from its true one, a mean over entries, in squared data units: (B,)."""
    difference = (found.astype(np.float64) - true).reshape(len(found), -1)
    return np.mean(difference**2, axis=1)


def root_mean(squares: np.ndarray) -> float:
    """The root mean square distance over paths, of what `apart` gives."""
    return float(np.sqrt(np.mean(squares)))


def gaussian_error(sampler: gd.Sampler, levels: gd.NoiseLevel, gaussian: gd.Gaussian) -> float:
    """gd.wasserstein2 of a sampler without GaussianExact, by two paths on the modes in place of one program a grid.

    A sampler is affine on a Gaussian: where 0 and sigma_max end says its mean and its gain.
    """
    law, counts = (jax.tree.map(np.asarray, part) for part in spectrum(gaussian))
    start = jnp.stack([jnp.zeros_like(law.mean), jnp.full_like(law.mean, levels.sigma[0])])
    mean, end = ends(sampler, gd.Diagonal(*map(jnp.asarray, law)), start, levels).astype(np.float64)
    spread = np.abs(end - mean) - np.sqrt(law.variance)
    return float(np.sqrt((counts * spread**2).sum() + ((mean - law.mean) ** 2).sum()))


def _walk(sampler: gd.Sampler, model: gd.Denoiser, x: Array, levels: gd.NoiseLevel) -> Iterator[tuple[Array, Array]]:
    """The states after each step, and the denoised images it started from."""
    state = jax.vmap(sampler.init, (0, None))(x, levels)
    for i in range(len(levels) - 1):
        if sampler.asks_at_start:
            x, state, x0 = _told_step(sampler, explain.denoise(model, x, levels[i]), x, state, levels[i], levels[i + 1])
        else:
            x, state, x0 = _step(sampler, model, x, state, levels[i], levels[i + 1])
        yield x, x0


@eqx.filter_jit
def _told_step(sampler, x0, x, state, level, next_level):
    return jax.vmap(lambda x0, x, state: _one(sampler, _Told(x0), x, state, level, next_level))(x0, x, state)


@eqx.filter_jit
def _step(sampler, model, x, state, level, next_level):
    return jax.vmap(lambda x, state: _one(sampler, model, x, state, level, next_level))(x, state)


def _one(sampler, model, x, state, level, next_level):
    made = sampler.step(model, x, state, level, next_level, jnp.zeros((0, *x.shape), x.dtype))
    return made.x, made.state, made.denoised
