"""The loss of one training example: a weight for each noise level times the squared error of the clean estimate.

    loss = weight(level) |D(x, level) - x0|^2 / D

    output      the error of what the network predicts           x0    1
    noise       snr                                              v     snr + 1
    edm         snr + 1 / sigma_data^2                           min-snr   min(snr, gamma)
    likelihood  snr |d log snr / du|, u as in objective/levels.py: the bound on the likelihood, whatever levels
                are drawn (Song et al., arXiv 2101.09258; Kingma & Gao, arXiv 2303.00848, eq. 9)

with snr = alpha^2 / sigma^2. Uncertainty weighting learns s(level) and minimises  loss / exp(s) + s,  so that every
level counts alike however hard it is (Karras et al., arXiv 2312.02696, eq. 22).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

import gaussdiff as gd
from gaussdiff.denoisers.network import error_weight
from training.config import Config
from training.objective import levels

WAVES = 32


def weighted_error(config: Config, model: gd.Denoiser, x0: Array, u: Array, key: PRNGKeyArray) -> Float[Array, ""]:
    """The loss of one clean sample at the quantile u of the training levels, with the noise of `key`."""
    return gd.losses.denoising_loss(model, x0, levels.at(config, u), key, lambda _: weight(config, u))


def weight(config: Config, u: Float[Array, ""]) -> Float[Array, ""]:
    """The weight of the squared error of x0 at the quantile u of the training levels."""
    level, sigma_data = levels.at(config, u), config.data_scale
    weights = {
        "output": lambda: error_weight(config.objective, level, sigma_data),
        "x0": lambda: jnp.ones_like(level.sigma),
        "noise": lambda: gd.losses.noise_weight(level),
        "v": lambda: gd.losses.noise_weight(level) + 1,
        "edm": lambda: gd.losses.edm_weight(level, sigma_data),
        "min-snr": lambda: gd.losses.min_snr_weight(level, config.min_snr),
        "likelihood": lambda: gd.losses.noise_weight(level) * _spread(config, u),
    }
    return weights[config.weighting]()


def _spread(config: Config, u: Array) -> Array:
    """|d log snr / du|: one over the density of the training levels in log snr."""
    return jnp.abs(jax.jvp(lambda u: levels.at(config, u).log_snr, (u,), (jnp.ones_like(u),))[1])


def initial_uncertainty() -> dict[str, Array]:
    """The weights of s(level), which starts at 0: every level is believed to be as hard."""
    return {"waves": jnp.zeros(2 * WAVES, jnp.float32), "bias": jnp.zeros((), jnp.float32)}


def uncertainty(params: dict[str, Array], u: Float[Array, ""]) -> Float[Array, ""]:
    """s at the quantile u of the training levels: a trigonometric series of period 2."""
    angle = jnp.pi * u * jnp.arange(1, WAVES + 1)
    return params["bias"] + params["waves"] @ jnp.concatenate([jnp.cos(angle), jnp.sin(angle)])
