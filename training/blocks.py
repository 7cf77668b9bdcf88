"""Pieces of the networks, each for one sample: no batch axis, vmap outside. Weights and arithmetic are float32."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int


def zero_conv(c_in: int, c_out: int, rngs: nnx.Rngs) -> nnx.Conv:
    """Return a 3x3 convolution that starts at zero, so that a residual block starts as the identity."""
    return nnx.Conv(c_in, c_out, (3, 3), kernel_init=nnx.initializers.zeros, rngs=rngs)


class GroupNorm(nnx.Module):
    """Group norm of one image (H, W, C), with the statistics in float32 and two-pass variance (no cancellation)."""

    def __init__(self, channels: int, groups: int, *, rngs: nnx.Rngs):
        self.norm = nnx.GroupNorm(channels, groups, use_fast_variance=False, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        # nnx.GroupNorm takes the first axis for the batch.
        return self.norm(x[None])[0]


class Embedding(nnx.Module):
    """A noise level, and a class label where the network has any, as one vector of `width` numbers.

    The level enters as cos and sin of c_noise at frequencies 1/4 .. 16: c_noise = log(sigma) / 4 runs over about
    [-1.6, 1.1], so the slowest is monotone in the level and the fastest tells neighbouring training levels apart.
    Label `classes` stands for "no label".
    """

    def __init__(self, width: int, classes: int | None, *, rngs: nnx.Rngs):
        self.waves = max(1, width // 4)
        self.hidden = nnx.Linear(2 * self.waves, width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.label = None if classes is None else nnx.Embed(classes + 1, width, rngs=rngs)

    def __call__(self, c_noise: Float[Array, ""], label: Int[Array, ""] | None) -> Float[Array, " width"]:
        angle = c_noise * jnp.geomspace(0.25, 16.0, self.waves, dtype=jnp.float32)
        h = self.out(nnx.silu(self.hidden(jnp.concatenate([jnp.cos(angle), jnp.sin(angle)]))))
        return h if self.label is None else h + self.label(jnp.asarray(label))


class Attention(nnx.Module):
    """Self-attention over the pixels of one image, heads of at most 32 channels, added to its input."""

    def __init__(self, channels: int, groups: int, *, rngs: nnx.Rngs):
        self.heads = max(1, channels // 32) if channels % 32 == 0 else 1
        self.norm = GroupNorm(channels, groups, rngs=rngs)
        self.qkv = nnx.Linear(channels, 3 * channels, rngs=rngs)
        self.out = nnx.Linear(channels, channels, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        h, w, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(h * w, 3, self.heads, c // self.heads)
        mixed = jax.nn.dot_product_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2])
        return x + self.out(mixed.reshape(h, w, c))


class Block(nnx.Module):
    """Residual block: norm, conv, norm scaled and shifted by the embedding, conv; then attention where asked."""

    def __init__(self, c_in: int, c_out: int, width: int, groups: int, attend: bool, *, rngs: nnx.Rngs):
        self.norm1 = GroupNorm(c_in, groups, rngs=rngs)
        self.conv1 = nnx.Conv(c_in, c_out, (3, 3), rngs=rngs)
        self.modulate = nnx.Linear(width, 2 * c_out, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.norm2 = GroupNorm(c_out, groups, rngs=rngs)
        self.conv2 = zero_conv(c_out, c_out, rngs)
        self.project = None if c_in == c_out else nnx.Conv(c_in, c_out, (1, 1), rngs=rngs)
        self.attention = Attention(c_out, groups, rngs=rngs) if attend else None

    def __call__(self, x: Float[Array, "h w c"], embedding: Float[Array, " width"]) -> Float[Array, "h w d"]:
        scale, shift = jnp.split(self.modulate(nnx.silu(embedding))[None, None], 2, axis=-1)
        h = self.conv1(nnx.silu(self.norm1(x)))
        h = self.conv2(nnx.silu(self.norm2(h) * (1 + scale) + shift))
        h = h + (x if self.project is None else self.project(x))
        return h if self.attention is None else self.attention(h)
