"""The patch-wise twin (gd.LocalScore), whose patch at each noise scale is the one that is nearest to the network."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import gaussdiff as gd
from analysis.measures.probes import Probes, ask, squared_residuals

SIZES = (3, 5, 7)  # pixels on an edge
AFFORDED = 5_000_000  # products for one answer: N H W (H + W)


class PatchSize(eqx.Module):
    """Of the sizes (m,), the one whose noise scale sigma / alpha is nearest, in log."""

    log_sigma: Float[Array, " m"]
    sizes: Float[Array, " m"]

    def __call__(self, level: gd.NoiseLevel) -> Float[Array, ""]:
        return self.sizes[jnp.argmin(jnp.abs(self.log_sigma + level.log_snr / 2))]


@dataclass(frozen=True)
class Fit:
    """The denoiser, the sizes that were chosen (m,), and its answers (m, N, *event) to the probes it was chosen on."""

    model: gd.LocalScore
    sizes: np.ndarray
    beliefs: np.ndarray


def too_expensive(images: np.ndarray) -> str:
    """Why there are no patches of so many images (N, H, W, C), in a sentence; empty where there are."""
    products = images.size // images.shape[-1] * sum(images.shape[1:3])
    if products <= AFFORDED:
        return ""
    return f"Patches are not measured: an answer takes {products:,} products, and {AFFORDED:,} are allowed."


def fit(images: np.ndarray, probes: Probes) -> Fit | None:
    """Of images (N, H, W, C), the size of least error against the network at each noise scale of the probes."""
    if too_expensive(images):
        return None
    sizes = np.array([size for size in SIZES if size <= max(images.shape[1:3])] or [1])
    answers = np.stack([ask(gd.LocalScore(images, jnp.asarray(size)), probes.noisy, probes.sigma) for size in sizes])
    best = np.argmin([squared_residuals(probes, answer).sum(1) for answer in answers], axis=0)
    choice = PatchSize(jnp.log(jnp.asarray(probes.sigma)), jnp.asarray(sizes[best], float))
    return Fit(gd.LocalScore(images, choice), sizes[best], answers[best, np.arange(len(best))])
