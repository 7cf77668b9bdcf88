"""A residual MLP for one vector (D,), with the U-Net's interface: network(x, c_noise, condition, key) -> (D,)."""

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from training.config import Config
from training.networks.blocks import Embedding, drop, keys, linear, recomputed
from training.networks.condition import Condition


class Layer(nnx.Module):
    """Residual layer: norm scaled and shifted by the embedding, then two linear maps, the second from zero."""

    def __init__(self, width: int, config: Config, *, rngs: nnx.Rngs):
        c = config.channels
        self.dropout = config.dropout
        self.norm = nnx.LayerNorm(c, dtype=jnp.float32, rngs=rngs)
        self.modulate = linear(width, 2 * c, config, zero=True, rngs=rngs)
        self.hidden = linear(c, 2 * c, config, rngs=rngs)
        self.out = linear(2 * c, c, config, zero=True, rngs=rngs)

    def __call__(
        self, x: Float[Array, " c"], embedding: Float[Array, " width"], key: PRNGKeyArray | None
    ) -> Float[Array, " c"]:
        scale, shift = jnp.split(self.modulate(embedding), 2)
        h = nnx.silu(self.hidden(self.norm(x) * (1 + scale) + shift))
        return x + self.out(drop(h, self.dropout, key))


class MLP(nnx.Module):
    """The network of `config` for vectors of `shape` = (D,); `classes` is the number of labels, or None."""

    def __init__(self, shape: tuple[int, ...], classes: int | None, config: Config, *, rngs: nnx.Rngs):
        if len(shape) != 1:
            raise ValueError(
                f"network: an MLP expects vectors (D,), got samples of shape {shape}; use --network unet or dit"
            )
        self.remat = config.remat
        c, width = config.channels, 2 * config.channels
        self.embedding = Embedding(width, classes, config, rngs=rngs)
        self.stem = linear(shape[0], c, config, rngs=rngs)
        self.layers = nnx.data([Layer(width, config, rngs=rngs) for _ in range(config.blocks)])
        self.out = linear(c, shape[0], config, zero=True, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, " d"],
        c_noise: Float[Array, ""],
        condition: Condition,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " d"]:
        embedding = self.embedding(c_noise, condition.label)
        h = self.stem(x)
        for layer, k in zip(self.layers, keys(key, len(self.layers)), strict=True):
            h = recomputed(layer, self.remat)(h, embedding, k)
        return self.out(nnx.silu(h)).astype(x.dtype)
