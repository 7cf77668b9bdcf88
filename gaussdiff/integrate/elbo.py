"""The evidence lower bound of DDPM: how likely a sampler's own chain makes a sample, bounded from below.

The chain starts from N(0, sigma^2 I) at the first level, goes down the levels as gd.Ancestral(v) does, and ends in a
decoder. Every part but the last is a KL divergence of isotropic Gaussians, in nats; with snr = (alpha / sigma)^2, s the
level after t, x0' = denoise(x, level_t), and D numbers in a sample,

    prior      KL(q(x | x0) | N(0, sigma^2 I)) = snr |x0|^2 / 2                                       at the first level
    step t     (snr_s - snr_t) |x0 - x0'|^2 / (2 w) + D (1 / w - 1 + log w) / 2,   w = ((snr_s + 1) / (snr_t + 1))^v
    decoder    -log N(x0; x0', I / snr), or of the mass of the bin around x0                          at the last level

w is the variance of the chain's step over that of q(x_s | x_t, x0). With x drawn once at each level the sum is a random
number whose mean is at most log p(x0). Ho et al., arXiv 2006.11239, eq. 5; Kingma et al., arXiv 2107.00630, eq. 13.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, add_noise, check_event, check_key, check_model, check_sample
from gaussdiff.numerics.arrays import concrete
from gaussdiff.numerics.checks import check_above_0, check_count, check_fraction
from gaussdiff.samplers.base import check_grid
from gaussdiff.schedules import NoiseLevel


class EvidenceBound(eqx.Module):
    """The parts of the bound in nats: what each costs. Their sum with a minus sign bounds log p from below, on average.

    prior: (), of the first level. steps: (n,), one for each step of the grid. decoder: (), from the last level to data.
    """

    prior: Float[Array, ""]
    steps: Float[Array, " n"]
    decoder: Float[Array, ""]

    @property
    def value(self) -> Float[Array, ""]:
        """-(prior + sum of steps + decoder), in nats; gd.bits_per_dim converts it."""
        return -(self.prior + jnp.sum(self.steps) + self.decoder)


def elbo(model: Denoiser, x, levels: NoiseLevel, key: PRNGKeyArray, *, v=0.0, bins: int | None = None) -> EvidenceBound:
    """One unbiased draw of the bound on log p(x) of gd.Ancestral(v) on `levels`, for one clean x (*event).

    levels: (n+1,) from noise to data, the last with sigma > 0, as gd.grids.karras(n, final_zero=False); n + 1 calls of
    the model, each at x noised afresh. bins: None bounds the density of x; a number bounds the probability of the bin
    around x, as discretized_log_prob has it. v: 0 for the variance of q(x_s | x_t, x0), 1 for beta. For data of a
    density the gap falls to 0 as the levels grow dense and the last sigma small. Source and formulas at the head of
    this file.

    ValueError for levels that do not fall or end at sigma = 0, TypeError unless model is a Denoiser.
    """
    check_model(model)
    check_key(key)
    check_grid(levels)
    x, v = check_event(model, x), check_fraction(v, "v", "0 is the posterior's variance, 1 that of beta.")
    if concrete(levels) and np.asarray(levels.sigma)[-1] == 0:
        raise ValueError(
            "levels: expected a last level with sigma > 0, got 0. Build the grid with final_zero=False, that of a "
            "schedule with an end > 0, or leave the last level out: levels[:-1]."
        )

    mean, errors = _visit(model, x, levels, key)
    snr = jnp.exp(levels.log_snr)
    log_w = v * (jnp.log1p(snr[1:]) - jnp.log1p(snr[:-1]))
    steps = (snr[1:] - snr[:-1]) * errors[:-1] * jnp.exp(-log_w) / 2 + x.size * (jnp.expm1(-log_w) + log_w) / 2
    std = jnp.exp(-levels[-1].log_snr / 2)
    log_prob = _normal_log_prob(x, mean, std) if bins is None else discretized_log_prob(x, mean, std, bins)
    parts = snr[0] * jnp.sum(x**2) / 2, steps, -log_prob
    return EvidenceBound(*(part.astype(x.dtype) for part in parts))


@eqx.filter_jit
def _visit(model: Denoiser, x: Array, levels: NoiseLevel, key: PRNGKeyArray) -> tuple[Array, Array]:
    """The clean estimate at the last level, and |x0 - x0'|^2 at each."""

    def visit(_, inputs: tuple[NoiseLevel, Array]) -> tuple[Array, Array]:
        level, key = inputs
        mean = model.denoise(add_noise(key, x, level), level).astype(x.dtype)
        return mean, jnp.sum((x - mean) ** 2)

    return jax.lax.scan(visit, jnp.zeros_like(x), (levels, jax.random.split(key, len(levels))))


def discretized_log_prob(x, mean, std, bins: int) -> Float[Array, ""]:
    """log P in nats of numbers x (*event) that come in `bins` even values from -1 to 1, under N(mean, std^2).

    sum over entries of log of the mass within half a gap, h / 2 = 1 / (bins - 1), of the value; the outer two reach to
    infinity, so that the masses add up to 1. x: values; mean (*event) and std () in the same units. 256 bins are bytes
    scaled as x / 127.5 - 1. ValueError unless bins is at least 2. Ho et al., arXiv 2006.11239, eq. 13.
    """
    bins = check_count(bins, "bins", "Bytes have 256.", least=2)
    std = check_above_0(std, "std", "It is in the units of x.")
    x, mean, half = check_sample(x), check_sample(mean, jnp.shape(x), "mean"), 1 / (bins - 1)
    low = jnp.where(x < half - 1, -jnp.inf, (x - half - mean) / std)
    high = jnp.where(x > 1 - half, jnp.inf, (x + half - mean) / std)
    # the interval or its mirror image, whichever lies below 0, where the logarithms are accurate
    mirrored = low + high > 0
    low, high = jnp.where(mirrored, -high, low), jnp.where(mirrored, -low, high)
    return jnp.sum(log_ndtr(high) + jnp.log(-jnp.expm1(log_ndtr(low) - log_ndtr(high))))


def _normal_log_prob(x: Array, mean: Array, std: Array) -> Float[Array, ""]:
    return -jnp.sum(((x - mean) / std) ** 2 + math.log(2 * math.pi) + 2 * jnp.log(std)) / 2
