"""How well a denoiser does on samples it was not trained on.

error(sigma) = mean over samples of |D(x0 + sigma noise, sigma) - x0|^2 / D
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

import gaussdiff as gd

from . import devices
from .config import Config
from .data import Rows, spread


@eqx.filter_jit
def errors(
    model: gd.Denoiser, x0: Float[Array, "n *event"], sigmas: Float[Array, " levels"], key: PRNGKeyArray
) -> Float[Array, " levels"]:
    """Return the mean squared error per entry of the clean estimate at each sigma, in squared data units."""

    def one(sigma: Array, key: Array) -> Array:
        def sample_error(args: tuple[Array, Array]) -> Array:
            return gd.losses.denoising_loss(model, args[0], gd.NoiseLevel(1.0, sigma), args[1])

        return devices.map_spread(sample_error, (x0, jax.random.split(key, len(x0)))).mean()

    return jax.lax.map(lambda args: one(*args), (sigmas, jax.random.split(key, len(sigmas))))


def table(model: gd.Denoiser, train: Rows, held_out: Rows, config: Config, most: int = 1000) -> list[dict]:
    """Return one row per noise level: sigma, the error on at most `most` samples of each part, the held-out EDM loss.

    A held-out error above the training error is memory of the training set. `loss` is 1, for data of
    mean 0, where the model is no better than the best constant times x.
    """
    sigmas = jnp.geomspace(0.02, 20.0, 13, dtype=jnp.float32)
    parts = [errors(model, jnp.asarray(x[spread(len(x), most)]), sigmas, jax.random.key(0)) for x in (train, held_out)]
    rows = zip(sigmas.tolist(), parts[0].tolist(), parts[1].tolist(), strict=True)
    weigh = partial(gd.losses.edm_weight, sigma_data=config.data_scale)
    return [
        {"sigma": s, "train": a, "held_out": b, "loss": b * float(weigh(gd.NoiseLevel(1.0, s)))} for s, a, b in rows
    ]
