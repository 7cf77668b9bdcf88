"""Pieces of the networks, each for one sample: no batch axis, vmap outside.

Weights and norms are float32; convolutions and linear maps round their inputs to `config.dtype`, and so do activations.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from training.config import Config

# Made once: flax 0.11 keeps them in the graph definition, which is to be equal for equal settings.
ZERO, RANDOM = nnx.initializers.zeros, nnx.initializers.lecun_normal()


def linear(c_in: int, c_out: int, config: Config, *, zero: bool = False, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear map of the last axis; `zero`: it starts at zero."""
    return nnx.Linear(
        c_in, c_out, dtype=config.dtype, kernel_init=ZERO if zero else RANDOM, dot_general=_product, rngs=rngs
    )


def _product(x: Float[Array, "*n c"], kernel: Float[Array, "c d"], _, precision: Any = None, **__) -> Array:
    # A convolution without space. Its batch axes, those of vmap too, are one, so the gradient for the kernel sums over
    # one axis; that of jnp.matmul sums over several, for which XLA lays out both factors again (CPU: twice the time).
    flat = x.reshape(-1, x.shape[-1])
    y = jax.lax.conv_general_dilated(flat, kernel, (), (), dimension_numbers=("NC", "IO", "NC"), precision=precision)
    return y.reshape(*x.shape[:-1], -1)


def conv(c_in: int, c_out: int, config: Config, *, zero: bool = False, rngs: nnx.Rngs) -> nnx.Conv:
    """A 3x3 convolution; `zero`: it starts at zero, so that a residual block starts as the identity."""
    return nnx.Conv(c_in, c_out, (3, 3), dtype=config.dtype, kernel_init=ZERO if zero else RANDOM, rngs=rngs)


def keys(key: PRNGKeyArray | None, count: int) -> list[PRNGKeyArray] | list[None]:
    """One key of the dropout for each of `count` blocks, or as many None."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def drop(x: Array, rate: float, key: PRNGKeyArray | None) -> Array:
    """Set a fraction `rate` of the numbers to 0 and scale the others by 1 / (1 - rate); without a key, leave all."""
    if key is None or rate == 0:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def recomputed(block: Callable[..., Array], remat: bool) -> Callable[..., Array]:
    """`block`, whose activations, with `remat`, are computed again on the way back instead of stored."""
    return jax.checkpoint(lambda *args: block(*args)) if remat else block


class GroupNorm(nnx.Module):
    """Group norm of one image (H, W, C): each group of channels to mean 0 and variance 1, then scaled and shifted.

    In float32, whatever comes in, and with the variance about the mean (no cancellation); Wu & He, arXiv 1803.08494.
    """

    def __init__(self, channels: int, groups: int, *, rngs: nnx.Rngs):
        self.groups = groups
        self.scale = nnx.Param(nnx.initializers.ones(rngs.params(), (channels,), jnp.float32))
        self.bias = nnx.Param(nnx.initializers.zeros(rngs.params(), (channels,), jnp.float32))

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        x = x.astype(jnp.float32)
        centred = x - self._mean(x)
        gain = jax.lax.rsqrt(self._mean(jnp.square(centred)) + 1e-6) * self.scale[None, None]
        return centred * gain + self.bias[None, None]

    def _mean(self, x: Float[Array, "h w c"]) -> Float[Array, "1 1 c"]:
        # Over the pixels first: a sum that keeps the last axis is one of vectors; straight over the groups it is not,
        # and the way back took four times as long (CPU).
        means = x.mean((0, 1)).reshape(self.groups, -1).mean(1)
        return means.repeat(x.shape[-1] // self.groups)[None, None]


class Embedding(nnx.Module):
    """A noise level, and a class label where the network has any, as one activated vector of `width` numbers.

    The level enters as cos and sin of c_noise times `frequencies`. Label `classes` stands for "no label".
    """

    def __init__(self, width: int, classes: int | None, config: Config, *, rngs: nnx.Rngs):
        self.kind, self.waves = config.time_embedding, max(1, width // 4)
        self.hidden = linear(2 * self.waves, width, config, rngs=rngs)
        self.out = linear(width, width, config, rngs=rngs)
        self.label = None if classes is None else nnx.Embed(classes + 1, width, rngs=rngs)

    def __call__(self, c_noise: Float[Array, ""], label: Int[Array, ""] | None) -> Float[Array, " width"]:
        angle = c_noise * frequencies(self.kind, self.waves)
        h = self.out(nnx.silu(self.hidden(jnp.concatenate([jnp.cos(angle), jnp.sin(angle)]))))
        return nnx.silu(h if self.label is None else h + self.label(jnp.asarray(label)))


def frequencies(kind: str, count: int) -> np.ndarray:
    """The frequencies (count,) float32 at which a network sees c_noise, never trained.

    "sinusoidal": from 1/4 to 16 in equal ratios. c_noise = log(sigma) / 4 runs over about [-1.6, 1.1], so the slowest
    is monotone in the level and the fastest distinguishes neighbouring training levels. "fourier": random, from
    N(0, 16^2); Tancik et al., arXiv 2006.10739, section 4.
    """
    if kind == "sinusoidal":
        return np.geomspace(0.25, 16.0, count, dtype=np.float32)
    # A trained network needs the same ones for ever: of NumPy's generators this alone is frozen.
    return 16 * np.random.RandomState(0).standard_normal(count).astype(np.float32)


class Attention(nnx.Module):
    """Self-attention over tokens (N, C), heads of 32 channels where these divide the width, else one."""

    def __init__(self, channels: int, config: Config, *, zero: bool, rngs: nnx.Rngs):
        self.heads = channels // 32 if channels % 32 == 0 else 1
        self.qkv = linear(channels, 3 * channels, config, rngs=rngs)
        self.out = linear(channels, channels, config, zero=zero, rngs=rngs)

    def __call__(self, x: Float[Array, "n c"]) -> Float[Array, "n c"]:
        n, c = x.shape
        qkv = self.qkv(x).reshape(n, 3, self.heads, c // self.heads)
        return self.out(jax.nn.dot_product_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2]).reshape(n, c))


class PixelAttention(nnx.Module):
    """Self-attention over the pixels of one image, after a norm, added to its input; from zero."""

    def __init__(self, channels: int, config: Config, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(channels, config.groups, rngs=rngs)
        self.attention = Attention(channels, config, zero=True, rngs=rngs)

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        return x + self.attention(self.norm(x).reshape(-1, x.shape[-1])).reshape(x.shape)


class Block(nnx.Module):
    """Residual block: norm, conv, norm scaled and shifted by the embedding, dropout, conv; attention where asked."""

    def __init__(self, c_in: int, c_out: int, width: int, attend: bool, config: Config, *, rngs: nnx.Rngs):
        self.dropout = config.dropout
        self.norm1 = GroupNorm(c_in, config.groups, rngs=rngs)
        self.conv1 = conv(c_in, c_out, config, rngs=rngs)
        self.modulate = linear(width, 2 * c_out, config, zero=True, rngs=rngs)
        self.norm2 = GroupNorm(c_out, config.groups, rngs=rngs)
        self.conv2 = conv(c_out, c_out, config, zero=True, rngs=rngs)
        self.project = None if c_in == c_out else linear(c_in, c_out, config, rngs=rngs)
        self.attention = PixelAttention(c_out, config, rngs=rngs) if attend else None

    def __call__(
        self, x: Float[Array, "h w c"], embedding: Float[Array, " width"], key: PRNGKeyArray | None
    ) -> Float[Array, "h w d"]:
        scale, shift = jnp.split(self.modulate(embedding)[None, None], 2, axis=-1)
        h = self.conv1(nnx.silu(self.norm1(x)))
        h = drop(nnx.silu(self.norm2(h) * (1 + scale) + shift), self.dropout, key)
        h = self.conv2(h) + (x if self.project is None else self.project(x))
        return h if self.attention is None else self.attention(h)
