"""How a gradient moves the weights: learning rate, AdamW, and averages of the weights; step n counts from 1.

g <- g min(1, clip / |g|)                                                       |g| over all weights together
m <- 0.9 m + 0.1 g,    v <- 0.99 v + 0.01 g^2,    m' = m / (1 - 0.9^n),    v' = v / (1 - 0.99^n)
params <- params - rate(n) (m' / (sqrt(v') + 1e-8) + weight_decay params)       Loshchilov & Hutter, 1711.05101
rate(n) = learning_rate min(n / warmup, fall(n)),    full = warmup + hold
fall = sqrt(full / n) | (1 + cos(pi (n - full) / (steps - full))) / 2 | 1       after `full` steps, before them 1
ema <- ema + (1 - min(d, n / (9 + n))) (params - ema),    d = 2^(-batch / half_life)
"""

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
    """rate(count + 1): rises over `warmup` steps, stays for `hold`, then falls as `decay` says."""
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
    """d, the weight of the old average after one step; half_life in images."""
    return 0.5 ** (config.batch / half_life)


def average(ema: Params, params: Params, step: Int[Array, ""], decay: float) -> Params:
    """The next average after `step` updates; with d alone it would remember the initial weights for long."""
    n = step.astype(jnp.float32)
    rate = 1 - jnp.minimum(decay, (1 + n) / (10 + n))
    return jax.tree.map(lambda old, new: old + rate * (new - old), ema, params)
