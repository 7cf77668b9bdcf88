"""Denoisers whose answers are clipped to the range of the data.

    Clipped        x0 cut off at low and high
    Thresholded    x0 shrunk about the middle of the range until a fraction of its entries fits in, then cut off

Samplers take the noise from x and x0, so that clipping x0 changes the noise to match.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.denoiser import Denoiser, Event, check_model, check_sample
from gaussdiff.numerics.arrays import concrete
from gaussdiff.numerics.checks import check_fraction, check_number, or_nan
from gaussdiff.schedules import NoiseLevel


class Clipped(Denoiser):
    """Another denoiser with its answer clipped to [low, high], entry by entry: static thresholding.

    Only a Denoiser even where the model is a Distribution, as no law has this denoiser, and not linear, so that
    `transfer` and `generated` do not hold. TypeError unless model is a Denoiser, ValueError unless low < high. Saharia
    et al., arXiv 2205.11487, section 2.3.
    """

    model: Denoiser
    low: Float[Array, ""]
    high: Float[Array, ""]

    def __init__(self, model: Denoiser, low=-1.0, high=1.0):
        check_model(model)
        self.model, (self.low, self.high) = model, _check_range(low, high)

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        x = check_sample(x)
        return jnp.clip(self.model.denoise(x, level), self.low, self.high).astype(x.dtype)


class Thresholded(Denoiser):
    """Another denoiser with dynamic thresholding: answers that leave [low, high] are shrunk back, not only cut off.

    With u = (x0 - middle) / half of the range and s = max(1, the quantile of |u| over the entries of the sample), it is
    middle + half clip(u, -s, s) / s. Else as Clipped. ValueError unless low < high and quantile is in [0, 1]. Saharia
    et al., arXiv 2205.11487, section 2.3.
    """

    model: Denoiser
    quantile: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]

    def __init__(self, model: Denoiser, quantile=0.995, low=-1.0, high=1.0):
        check_model(model)
        self.model, (self.low, self.high) = model, _check_range(low, high)
        self.quantile = check_fraction(quantile, "quantile", "0.995 is the usual one.")

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        x = check_sample(x)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        u = (self.model.denoise(x, level) - middle) / half
        s = jnp.maximum(jnp.quantile(jnp.abs(u), self.quantile.astype(u.dtype)), 1)
        return (middle + half * jnp.clip(u, -s, s) / s).astype(x.dtype)


def _check_range(low, high) -> tuple[Array, Array]:
    cure = "Give the range of the data."
    low, high = check_number(low, "low", cure), check_number(high, "high", cure)
    if not concrete(low, high):
        return or_nan(low, low < high), high
    if not float(low) < float(high):
        raise ValueError(f"low, high: expected low < high, got {float(low):g} and {float(high):g}. {cure}")
    return low, high
