"""A transformer for one image (H, W, C), with the U-Net's interface: Peebles & Xie, arXiv 2212.09748 (adaLN-Zero).

Squares of patch x patch pixels become tokens, which know their place by sines and cosines; every layer scales, shifts
and gates what it adds by the noise level and the label, from zero, so it starts as the identity.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from training.config import Config
from training.networks.blocks import Attention, Embedding, drop, keys, linear, recomputed
from training.networks.condition import Condition, beside, channels_seen


class Layer(nnx.Module):
    """Attention, then two linear maps of each token; each reads its input normed, scaled and shifted, and is gated."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        c = config.channels
        self.dropout = config.dropout
        self.modulate = linear(c, 6 * c, config, zero=True, rngs=rngs)
        self.attention = Attention(c, config, zero=False, rngs=rngs)
        self.hidden = linear(c, 4 * c, config, rngs=rngs)
        self.out = linear(4 * c, c, config, rngs=rngs)

    def __call__(
        self, x: Float[Array, "n c"], embedding: Float[Array, " c"], key: PRNGKeyArray | None
    ) -> Float[Array, "n c"]:
        scale1, shift1, gate1, scale2, shift2, gate2 = jnp.split(self.modulate(embedding)[None], 6, axis=-1)
        x = x + gate1 * self.attention(normed(x) * (1 + scale1) + shift1)
        h = nnx.gelu(self.hidden(normed(x) * (1 + scale2) + shift2))
        return x + gate2 * self.out(drop(h, self.dropout, key))


class DiT(nnx.Module):
    """The network of `config` for images of `shape` = (H, W, C); `classes` is the number of labels, or None."""

    def __init__(self, shape: tuple[int, ...], classes: int | None, config: Config, *, rngs: nnx.Rngs):
        check_sizes(shape, config)
        c, area = config.channels, config.patch**2
        self.patch, self.remat = config.patch, config.remat
        self.embedding = Embedding(c, classes, config, rngs=rngs)
        self.stem = linear(area * channels_seen(shape, config), c, config, rngs=rngs)
        self.layers = nnx.data([Layer(config, rngs=rngs) for _ in range(config.blocks)])
        self.modulate = linear(c, 2 * c, config, zero=True, rngs=rngs)
        self.out = linear(c, area * shape[-1], config, zero=True, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "h w c"],
        c_noise: Float[Array, ""],
        condition: Condition,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "h w c"]:
        embedding = self.embedding(c_noise, condition.label)
        h = self.stem(tokens(beside(x, condition), self.patch))
        rows, columns = x.shape[0] // self.patch, x.shape[1] // self.patch
        h = h + places(rows, columns, h.shape[-1]).astype(h.dtype)
        for layer, k in zip(self.layers, keys(key, len(self.layers)), strict=True):
            h = recomputed(layer, self.remat)(h, embedding, k)
        scale, shift = jnp.split(self.modulate(embedding)[None], 2, axis=-1)
        return pixels(self.out(normed(h) * (1 + scale) + shift), x.shape, self.patch).astype(x.dtype)


def normed(x: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Each token with mean 0 and variance 1, in float32."""
    x = x.astype(jnp.float32)
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6)


def tokens(image: Float[Array, "h w c"], patch: int) -> Float[Array, "n patch*patch*c"]:
    """Cut an image into its squares of patch x patch pixels, row by row."""
    h, w, c = image.shape
    return image.reshape(h // patch, patch, w // patch, patch, c).swapaxes(1, 2).reshape(-1, patch * patch * c)


def pixels(tokens: Float[Array, "n patch*patch*c"], shape: tuple[int, ...], patch: int) -> Float[Array, "h w c"]:
    """Lay the squares of `tokens` side by side again as an image of `shape`."""
    h, w, c = shape
    return tokens.reshape(h // patch, w // patch, patch, patch, c).swapaxes(1, 2).reshape(shape)


def places(rows: int, columns: int, channels: int) -> np.ndarray:
    """Where each token is, (rows * columns, channels) float32: half the channels encode its row, half its column.

    In each half, cos and sin of the place at channels / 4 frequencies from 1 towards 1/10000; Vaswani et al.,
    arXiv 1706.03762, section 3.5.
    """
    waves = 10_000.0 ** (-np.arange(channels // 4) / (channels // 4))
    angles = np.indices((rows, columns)).reshape(2, -1).T[..., None] * waves
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=-1).reshape(-1, channels).astype(np.float32)


def check_sizes(shape: tuple[int, ...], config: Config) -> None:
    """Raise ValueError, with the cure, where images of `shape` do not fit the transformer of `config`."""
    if len(shape) != 3:
        raise ValueError(
            f"network: a transformer expects images (H, W, C), got samples of shape {shape}; use --network mlp"
        )
    if shape[0] % config.patch or shape[1] % config.patch:
        raise ValueError(
            f"patch: expected a divisor of both sides, got {config.patch} for images {shape[0]} x {shape[1]}; "
            "change --patch or pad the images"
        )
    if config.channels % 4:
        raise ValueError(f"channels: a transformer expects a multiple of 4, got {config.channels}; change --channels")
