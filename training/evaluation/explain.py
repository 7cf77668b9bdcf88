"""How much of a network's output its closed-form twins explain: it shows how long a network is just a Gaussian.

    explained = 1 - sum |network - twin|^2 / sum |network - mean(network)|^2        gd.metrics.explained_variance

over held-out samples noised to one level, x = x0 + sigma noise, of the denoised samples and of the scores
(denoised - x) / sigma^2.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

import gaussdiff as gd
from training.data.dataset import Rows, spread

SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)  # noise scales, in standard deviations of the data
EVALUATED = 256  # held-out samples that are compared
FITTED = 10_000  # training samples, evenly spread, that the twins are fitted to
WIDEST = 1024  # numbers in a sample beyond which the Gaussian keeps its leading directions alone
RANK = 256  # the number of those directions
TWINS = ("isotropic", "gaussian", "data_set")

Parts = dict[str, dict[str, float]]


def isotropic(samples: np.ndarray) -> gd.Gaussian:
    """The Gaussian that knows only the mean and the total variance: the baseline every other twin must beat."""
    mean = samples.mean(0, dtype=np.float64)
    return gd.Gaussian.isotropic(mean.astype(samples.dtype), float(((samples - mean) ** 2).mean()))


def fit(train: np.ndarray | Rows) -> dict[str, gd.Denoiser]:
    """Fit the twins to at most FITTED samples (N, *event): isotropic Gaussian, Gaussian, and the data set itself."""
    samples = train[spread(len(train), FITTED)]
    rank = RANK if samples[0].size > WIDEST else None
    return {
        "isotropic": isotropic(samples),
        "gaussian": gd.Gaussian.from_samples(samples, rank=rank),
        "data_set": gd.Empirical(samples),
    }


@eqx.filter_jit
def denoise(model: gd.Denoiser, x: Float[Array, "n *event"], level: gd.NoiseLevel) -> Float[Array, "n *event"]:
    """The denoised samples at one level."""
    return jax.vmap(model.denoise, in_axes=(0, None))(x, level)


def compare(x0: ArrayLike, x: ArrayLike, sigma: float, denoised: Mapping[str, ArrayLike]) -> Parts:
    """What each twin explains of the network at one noise scale.

    x0: clean samples (n, *event); x: the same with noise; denoised: {name: (n, *event)} of "network" and the twins.
    Returns "denoiser" and "score", each {twin: explained variance}, and "error" {model: root mean square error of the
    denoised sample against the true one}, in data units.
    """
    clean, noisy = np.asarray(x0), np.asarray(x)
    outputs = {name: np.asarray(output) for name, output in denoised.items()}
    scores = {name: (output - noisy) / sigma**2 for name, output in outputs.items()}
    twins = [name for name in outputs if name != "network"]
    explained = gd.metrics.explained_variance
    return {
        "denoiser": {name: explained(outputs["network"], outputs[name]) for name in twins},
        "score": {name: explained(scores["network"], scores[name]) for name in twins},
        "error": {name: float(np.sqrt(np.mean((output - clean) ** 2))) for name, output in outputs.items()},
    }


def gaussian_fraction(explained: Mapping[str, Any]) -> float:
    """The fraction of the denoised samples' variance that the Gaussian explains at sigma = the data's deviation."""
    return explained["denoiser"]["gaussian"][len(explained["sigma"]) // 2]


class Explainer:
    """Compares networks, one after the other, with twins that are fitted once, on noisy held-out samples drawn once."""

    def __init__(self, train: np.ndarray | Rows, held_out: np.ndarray | Rows, sigma_data: float):
        twins = fit(train)
        self.x0 = jnp.asarray(held_out[spread(len(held_out), EVALUATED)])
        self.sigmas = [float(np.float32(sigma_data * scale)) for scale in SCALES]
        keys = jax.random.split(jax.random.key(0), len(self.x0))
        noised = jax.vmap(gd.add_noise, in_axes=(0, 0, None))
        self.x = [np.asarray(noised(keys, self.x0, gd.NoiseLevel(1.0, sigma))) for sigma in self.sigmas]
        self.twins = [{name: self._outputs(twin, i) for name, twin in twins.items()} for i in range(len(SCALES))]

    def __call__(self, network: gd.Denoiser) -> dict:
        """What `compare` returns at every noise scale, as lists for JSON, and the scales as "sigma"."""
        rows = [
            compare(self.x0, self.x[i], sigma, {"network": self._outputs(network, i), **self.twins[i]})
            for i, sigma in enumerate(self.sigmas)
        ]
        parts = {
            part: {name: [round(row[part][name], 5) for row in rows] for name in names}
            for part, names in rows[0].items()
        }
        return {"sigma": self.sigmas, **parts}

    def _outputs(self, model: gd.Denoiser, i: int) -> np.ndarray:
        return np.asarray(denoise(model, jnp.asarray(self.x[i]), gd.NoiseLevel(1.0, self.sigmas[i])))
