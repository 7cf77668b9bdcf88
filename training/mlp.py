"""A residual MLP for one vector (D,), with the U-Net's interface: network(x, c_noise, condition, key) -> (D,)."""

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from .blocks import Embedding
from .condition import Condition
from .config import Config


class Layer(nnx.Module):
    """Residual layer: norm scaled and shifted by the embedding, then two linear maps, the second from zero."""

    def __init__(self, channels: int, width: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(channels, dtype=jnp.float32, rngs=rngs)
        self.modulate = nnx.Linear(width, 2 * channels, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.hidden = nnx.Linear(channels, 2 * channels, rngs=rngs)
        self.out = nnx.Linear(2 * channels, channels, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Float[Array, " c"], embedding: Float[Array, " width"]) -> Float[Array, " c"]:
        scale, shift = jnp.split(self.modulate(nnx.silu(embedding)), 2)
        return x + self.out(nnx.silu(self.hidden(self.norm(x) * (1 + scale) + shift)))


class MLP(nnx.Module):
    """The network of `config` for vectors of `shape` = (D,); `classes` is the number of labels, or None."""

    def __init__(self, shape: tuple[int, ...], classes: int | None, config: Config, *, rngs: nnx.Rngs):
        c, width = config.channels, 2 * config.channels
        self.embedding = Embedding(width, classes, rngs=rngs)
        self.stem = nnx.Linear(shape[0], c, rngs=rngs)
        self.layers = nnx.data([Layer(c, width, rngs=rngs) for _ in range(config.blocks)])
        self.out = nnx.Linear(c, shape[0], kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, " d"],
        c_noise: Float[Array, ""],
        condition: Condition,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " d"]:
        embedding = self.embedding(c_noise, condition.label)
        h = self.stem(x)
        for layer in self.layers:
            h = layer(h, embedding)
        return self.out(nnx.silu(h))
