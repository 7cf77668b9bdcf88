"""Samples with noise at sixteen scales, what the network makes of them, and how much of that a twin explains.

    explained = 1 - sum |network - twin|^2 / sum |network - mean(network)|^2        training.evaluation.explain.compare

of the denoised samples, or of the scores (denoised - x) / sigma^2. A score is mostly the noise, which any model sees,
so even the isotropic Gaussian explains nearly all of it at large noise. What remains beyond that,

    gain = 1 - sum |network - twin|^2 / sum |network - isotropic|^2,

is the same number for scores and for denoised samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

import gaussdiff as gd
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.noise import normal
from analysis.measures.stepwise import denoised
from training.data.dataset import spread
from training.evaluation import explain

SIGMAS = np.geomspace(0.01, 80, 16)


@dataclass(frozen=True)
class Probes:
    """sigma: (m,). clean: (N, *event). noisy: (m, N, *event), the same noise at every scale. network: its answers."""

    sigma: np.ndarray
    clean: np.ndarray
    noisy: np.ndarray
    network: np.ndarray

    def first(self, count: int) -> "Probes":
        """The first samples alone."""
        return Probes(self.sigma, self.clean[:count], self.noisy[:, :count], self.network[:, :count])

    def scales(self, mask: np.ndarray | slice) -> "Probes":
        """Some noise scales alone."""
        return Probes(self.sigma[mask], self.clean, self.noisy[mask], self.network[mask])

    def by(self, network: gd.Denoiser) -> "Probes":
        """The same samples and noise, answered by another network."""
        return Probes(self.sigma, self.clean, self.noisy, ask(network, self.noisy, self.sigma))


def probe(network: gd.Denoiser, samples: np.ndarray, count: int, key: PRNGKeyArray) -> Probes:
    """At most `count` of the samples (N, *event), evenly spread and then shuffled, at SIGMAS."""
    chosen, noise = jax.random.split(key)
    clean = samples[np.asarray(jax.random.permutation(chosen, spread(len(samples), count)))]
    noise = normal(noise, clean.shape, clean.dtype)
    scales = SIGMAS.astype(clean.dtype).reshape(-1, *(1 for _ in clean.shape))
    noisy = clean + scales * noise
    return Probes(SIGMAS, clean, noisy, ask(network, noisy, SIGMAS))


def ask(model: gd.Denoiser, noisy: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """The denoised samples (m, N, *event), by the program that paths are followed by."""
    levels = (gd.NoiseLevel(1.0, scale) for scale in sigma)
    return np.stack([denoised(model, x, level) for x, level in zip(noisy, levels, strict=True)])


def explained(probes: Probes, beliefs: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """What twins, of answers (m, N, *event), explain: "denoiser" and "score" {twin: (m,)}, "error" {model: (m,)}."""
    rows = []
    for i, sigma in enumerate(probes.sigma):
        answers = {"network": probes.network[i], **{name: belief[i] for name, belief in beliefs.items()}}
        rows.append(explain.compare(probes.clean, probes.noisy[i], float(sigma), answers))
    return {part: {name: np.array([row[part][name] for row in rows]) for name in rows[0][part]} for part in rows[0]}


def squares(difference: np.ndarray) -> np.ndarray:
    """Summed over the entries of every sample: (m, N, *event) -> (m, N)."""
    return (difference.astype(np.float64) ** 2).sum(tuple(range(2, difference.ndim)))


def squared_residuals(probes: Probes, belief: np.ndarray) -> np.ndarray:
    """|network - twin|^2 of every sample at every scale (m, N), in squared data units."""
    return squares(probes.network.astype(np.float64) - belief)


def to_explain(probes: Probes, part: str) -> np.ndarray:
    """|network - mean(network)|^2 of every sample (m, N), of its "denoiser" or, times sigma^4, of its "score"."""
    answers = probes.network.astype(np.float64) - (probes.noisy if part == "score" else 0)
    return squares(answers - answers.mean(1, keepdims=True))


def fraction_explained(residuals: np.ndarray, whole: np.ndarray) -> Interval:
    """1 - sum residuals / sum whole of samples (N,), with its interval."""
    return interval(lambda a, b: 1 - a.sum() / b.sum(), residuals, whole)
