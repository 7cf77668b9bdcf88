"""What a denoiser is conditioned on beside the noisy sample: a class label, a small version of the image."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from training.config import Config


class Condition(NamedTuple):
    """label: () int32 in [0, classes], where `classes` stands for "no label". image: as x, zeros for "no image".

    None in a network that was not made for it.
    """

    label: Int[Array, ""] | None = None
    image: Float[Array, "h w c"] | None = None


def small(image: Float[Array, "h w c"], factor: int) -> Float[Array, "h/factor w/factor c"]:
    """Average each square of factor x factor pixels."""
    h, w, c = image.shape
    return image.reshape(h // factor, factor, w // factor, factor, c).mean((1, 3))


def large(image: Float[Array, "h w c"], factor: int) -> Float[Array, "factor*h factor*w c"]:
    """Repeat each pixel as a square of factor x factor pixels."""
    return image.repeat(factor, 0).repeat(factor, 1)


def beside(x: Float[Array, "h w c"], condition: Condition) -> Float[Array, "h w d"]:
    """x, with the channels of the image that the network is conditioned on, if there is one."""
    return x if condition.image is None else jnp.concatenate([x, condition.image], axis=-1)


def channels_seen(shape: tuple[int, ...], config: Config) -> int:
    """How many channels `beside` gives: twice those of the images where they are to be sharpened."""
    return shape[-1] * (2 if config.super_resolution > 1 else 1)
