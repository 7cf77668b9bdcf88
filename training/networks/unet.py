"""A U-Net for one image (H, W, C): residual blocks down through coarser and coarser images and back up.

    network(x, c_noise, condition, key) -> array of x's shape

Each resolution has its own width; the way up reads, beside its own image, the one of the same size from the way down.
The output starts at zero, so a preconditioned network starts as the best constant-times-x denoiser.
"""

from itertools import pairwise

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from training.config import Config
from training.networks.blocks import Block, Embedding, GroupNorm, conv, keys, recomputed
from training.networks.condition import Condition, beside, channels_seen, large, small


class Stage(nnx.Module):
    """The residual blocks of one resolution on one way; on the way up each also reads an image from the way down."""

    def __init__(self, widths: list[int], c_out: int, width: int, attend: bool, config: Config, *, rngs: nnx.Rngs):
        self.remat = config.remat
        self.blocks = nnx.data([Block(c_in, c_out, width, attend, config, rngs=rngs) for c_in in widths])

    def __call__(
        self, x: Array, embedding: Array, key: PRNGKeyArray | None, skips: list[Array] | None = None
    ) -> list[Array]:
        outputs = []
        for block, k in zip(self.blocks, keys(key, len(self.blocks)), strict=True):
            x = x if skips is None else jnp.concatenate([x, skips.pop()], axis=-1)
            x = recomputed(block, self.remat)(x, embedding, k)
            outputs.append(x)
        return outputs


class UNet(nnx.Module):
    """The network of `config` for images of `shape` = (H, W, C); `classes` is the number of labels, or None."""

    def __init__(self, shape: tuple[int, ...], classes: int | None, config: Config, *, rngs: nnx.Rngs):
        check_sizes(shape, config)
        widths = [config.channels * mult for mult in config.channel_mult]
        attend = [shape[0] >> i in config.attention for i in range(len(widths))]
        width, n = 4 * config.channels, config.blocks
        self.embedding = Embedding(width, classes, config, rngs=rngs)
        self.stem = conv(channels_seen(shape, config), widths[0], config, rngs=rngs)
        down, up = [], []
        for i, c in enumerate(widths):
            below = widths[max(i - 1, 0)]
            down.append(Stage([below] + [c] * (n - 1), c, width, attend[i], config, rngs=rngs))
            up.append(Stage([2 * c] * n, c, width, attend[i], config, rngs=rngs))
        self.down, self.up = nnx.data(down), nnx.data(up)
        c = widths[-1]
        self.middle = Stage([c], c, width, attend[-1], config, rngs=rngs)
        self.smooth = nnx.data([conv(b, a, config, rngs=rngs) for a, b in pairwise(widths)])
        self.norm = GroupNorm(widths[0], config.groups, rngs=rngs)
        self.out = conv(widths[0], shape[-1], config, zero=True, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "h w c"],
        c_noise: Float[Array, ""],
        condition: Condition,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "h w c"]:
        embedding = self.embedding(c_noise, condition.label)
        k_middle, *k_stages = keys(key, 1 + 2 * len(self.down))
        h, skips = self.stem(beside(x, condition)), []
        for i, stage in enumerate(self.down):
            skips.append(stage(h if i == 0 else small(h, 2), embedding, k_stages.pop()))
            h = skips[-1][-1]
        h = self.middle(h, embedding, k_middle)[-1]
        for i in reversed(range(len(skips))):
            h = self.up[i](h, embedding, k_stages.pop(), skips[i])[-1]
            if i > 0:
                h = self.smooth[i - 1](large(h, 2))
        return self.out(nnx.silu(self.norm(h))).astype(x.dtype)


def check_sizes(shape: tuple[int, ...], config: Config) -> None:
    """Raise ValueError, with the cure, where images of `shape` do not fit the network of `config`."""
    if len(shape) != 3:
        raise ValueError(f"network: a U-Net expects images (H, W, C), got samples of shape {shape}; use --network mlp")
    factor = 2 ** (len(config.channel_mult) - 1)
    if shape[0] % factor or shape[1] % factor:
        raise ValueError(
            f"channel_mult: {len(config.channel_mult)} resolutions expect sides divisible by {factor}, got images "
            f"{shape[0]} x {shape[1]}; give --channel-mult fewer entries or pad the images"
        )
    for width in {config.channels * mult for mult in config.channel_mult}:
        if width % config.groups:
            raise ValueError(
                f"groups: expected a divisor of every width, got {config.groups} groups for {width} channels; "
                "change --groups or --channels"
            )
    heights = [shape[0] >> i for i in range(len(config.channel_mult))]
    if missing := sorted(set(config.attention) - set(heights)):
        raise ValueError(f"attention: expected heights among {heights}, got {missing}; change --attention")
