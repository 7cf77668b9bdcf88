"""How a gradient moves the weights: learning rate, AdamW, and the average of the weights."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Int

from training.config import Config
from training.networks.params import Params


def learning_rate(config: Config, count: ArrayLike) -> Array:
    """Rise over `warmup` steps, stay for `hold`, then fall: as 1/sqrt(step), as a cosine to 0 at `steps`, or not."""
    step = jnp.asarray(count, jnp.float32) + 1
    full = max(1, config.warmup + config.hold)
    late = jnp.clip((step - full) / max(1, config.steps - full), 0, 1)
    falls = {
        "root": jnp.sqrt(full / jnp.maximum(step, full)),
        "cosine": (1 + jnp.cos(jnp.pi * late)) / 2,
        "constant": jnp.ones(()),
    }
    return config.learning_rate * jnp.minimum(step / max(1, config.warmup), falls[config.decay])


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on gradients whose global norm is clipped."""
    adam = optax.adamw(partial(learning_rate, config), b2=0.99, weight_decay=config.weight_decay)
    return optax.chain(optax.clip_by_global_norm(config.clip), adam)


def decay_of(config: Config, half_life: float) -> float:
    """d = 2^(-batch / half_life), the weight of the old average after one step; half_life in images."""
    return 0.5 ** (config.batch / half_life)


def average(ema: Params, params: Params, step: Int[Array, ""], decay: float) -> Params:
    """ema + (1 - min(d, (1 + n) / (10 + n))) (params - ema) after n = `step` updates: early on it follows faster."""
    n = step.astype(jnp.float32)
    rate = 1 - jnp.minimum(decay, (1 + n) / (10 + n))
    return jax.tree.map(lambda old, new: old + rate * (new - old), ema, params)
