"""How well a denoiser does on samples it was not trained on.

error(sigma) = mean over samples of |D(x0 + sigma noise, sigma) - x0|^2 / D
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray

import gaussdiff as gd
from training import devices
from training.config import Config
from training.data.dataset import Rows, spread

SIGMA_LOW, SIGMA_HIGH = 0.02, 20.0  # below, there is no noise to remove, and above no signal to restore
MINIMAL_RANGE = 10.0  # ratio of the largest sigma of a table to the smallest, at least


@eqx.filter_jit
def errors(
    model: gd.Denoiser, x0: Float[Array, "n *event"], sigmas: Float[Array, " levels"], key: PRNGKeyArray
) -> Float[Array, "levels n"]:
    """Each sample's squared error per entry of the clean estimate at each sigma, in squared data units."""

    def one(sigma: Array, key: Array) -> Array:
        def sample_error(args: tuple[Array, Array]) -> Array:
            return gd.losses.denoising_loss(model, args[0], gd.NoiseLevel(1.0, sigma), args[1])

        return devices.map_spread(sample_error, (x0, jax.random.split(key, len(x0))))

    return jax.lax.map(lambda args: one(*args), (sigmas, jax.random.split(key, len(sigmas))))


def table(
    model: gd.Denoiser, gaussian: gd.Gaussian, train: Rows, held_out: Rows, config: Config, most: int = 1000
) -> dict[str, Any]:
    """The number of samples of each split, at most `most`, and "rows", one for each noise scale.

    The scales are 13, even in log sigma, from 0.02 to 20 within config.sigma_min and config.sigma_max; all between
    these two where hardly any of that lies within.

    A row: sigma; the mean errors of the model on `train` and on `held_out`, and of the Gaussian, the best affine
    denoiser of the data that it was fitted to, on the same noisy held-out samples, each as [mean, standard error]; and
    the held-out EDM loss, which is 1, for data of mean 0, where the model is no better than the best constant times x.
    A held-out error above the training error is memory of the training set.
    """
    sigmas = jnp.geomspace(*_ends(config), 13, dtype=jnp.float32)
    parts = [jnp.asarray(x[spread(len(x), most)]) for x in (train, held_out)]
    asked = {"train": (model, parts[0]), "held_out": (model, parts[1]), "gaussian": (gaussian, parts[1])}
    key = jax.random.key(0)
    measured = {name: np.asarray(errors(one, x, sigmas, key), np.float64) for name, (one, x) in asked.items()}
    weigh = partial(gd.losses.edm_weight, sigma_data=config.data_scale)
    rows = []
    for i, sigma in enumerate(sigmas.tolist()):
        loss = float(measured["held_out"][i].mean() * weigh(gd.NoiseLevel(1.0, sigma)))
        rows.append({"sigma": sigma, **{name: _mean(each[i]) for name, each in measured.items()}, "loss": loss})
    return {"samples": {"train": len(parts[0]), "held_out": len(parts[1])}, "rows": rows}


def _ends(config: Config) -> tuple[float, float]:
    """The least and the largest sigma of the table."""
    low, high = max(SIGMA_LOW, config.sigma_min), min(SIGMA_HIGH, config.sigma_max)
    return (low, high) if high >= MINIMAL_RANGE * low else (config.sigma_min, config.sigma_max)


def _mean(errors: np.ndarray) -> list[float | None]:
    """The mean over samples and its standard error, which one sample does not tell."""
    spread = float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else None
    return [float(errors.mean()), spread]
