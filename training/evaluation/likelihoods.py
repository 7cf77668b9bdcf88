"""How likely samples are to a denoiser, in nats, bounded from below in two ways.

    flow    log p_s(y) - log q(y | x) + log P(x | y),    y = x + s noise ~ q,  p_s the law that the flow carries to y
    chain   gd.integrate.elbo, of DDPM's chain down to the same level s

P(x | y) is the mass of x's bin under N(denoise(y), s^2) for data that come in bins, such as bytes, and so both bound
the logarithm of a probability: their mean is never above it, whatever s. For other data it is the density there, and
both bound a log density.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray

import gaussdiff as gd
from training import devices
from training.data.dataset import spread

SIGMA_MIN = 0.01  # of data without bins
TOLERANCE = 1e-4  # of the flow, on nats per number
BATCH = 32  # solves at a time


@dataclass(frozen=True)
class Convention:
    """What is bounded: in how many bins from -1 to 1 the data come (None: a density), the last level and the first."""

    bins: int | None
    sigma_min: float
    sigma_max: float

    @classmethod
    def of(cls, x: np.ndarray, sigma_max: float) -> "Convention":
        """Read the bins off the data; s is a quarter of the gap between two, or 0.01 without bins.

        ValueError for a sigma_max that is not above s.
        """
        bins = count_bins(x)
        sigma_min = SIGMA_MIN if bins is None else 0.5 / (bins - 1)
        if sigma_max <= sigma_min:
            raise ValueError(
                f"sigma_max: expected a run to noise above {sigma_min:.3g}, where its data have a likelihood, got "
                f"{sigma_max:g}; leave likelihoods out with --likelihoods 0"
            )
        return cls(bins, sigma_min, sigma_max)


@dataclass(frozen=True)
class Likelihood:
    """A mean over n samples, in nats per sample and bits per number, with its standard error over samples and noise.

    Bits are -nats / (D log 2): of a bin where the data have bins, and otherwise of the density, in bins of width 1.
    """

    name: str
    nats: float
    error: float
    bits_per_dim: float
    bits_error: float
    n: int


@dataclass(frozen=True)
class Unsolved:
    """In the place of a Likelihood that could not be measured: why, and what to do."""

    name: str
    failed: str


def count_bins(x: np.ndarray, most: int = 513) -> int | None:
    """In how many even values from -1 to 1 the entries of x come; None where they do not, or come in more.

    The gap is the least among the values of 2,000 samples.
    """
    values = np.unique(x[spread(len(x), 2000)]).astype(np.float64)
    if len(values) < 2 or values[0] < -1 or values[-1] > 1:
        return None
    gap = np.diff(values).min()
    places, bins = (values + 1) / gap, round(2 / gap) + 1
    even = np.allclose(np.append(places, 2 / gap), np.append(places, 2 / gap).round(), atol=0.01)
    return bins if bins <= most and even else None


def measure(
    model: gd.Denoiser, x: np.ndarray, convention: Convention, *, probes: int | None, steps: int, seed: int = 0
) -> list[Likelihood | Unsolved]:
    """Bound the mean log likelihood of x (N, *event) by the flow, with that many probes, and by a chain of `steps`.

    Where the flow of a sample cannot be solved, its row says so; the chain is there all the same.
    """
    keys = jax.random.split(jax.random.key(seed), len(x))
    inputs, ends = (model, jnp.asarray(x), keys), (convention.sigma_min, convention.sigma_max)
    levels = gd.grids.uniform_log_snr(steps, *ends, final_zero=False)
    chain = _summary("chain", chain_bounds(*inputs, levels, convention.bins), x[0].size)
    try:
        flow = _summary("flow", flow_bounds(*inputs, jnp.asarray(ends, x.dtype), convention.bins, probes), x[0].size)
    except RuntimeError as error:
        if "stopped short" not in str(error):
            raise
        flow = Unsolved(
            "flow",
            "the probability flow of a sample could not be solved, as it can where the network is finite and smooth; "
            "train for longer, take other --weights, or leave likelihoods out with --likelihoods 0",
        )
    return [flow, chain]


@eqx.filter_jit
def flow_bounds(
    model: gd.Denoiser,
    x: Float[Array, "n *event"],
    keys: PRNGKeyArray,
    ends: Float[Array, "2"],
    bins: int | None = None,
    probes: int | None = None,
) -> Float[Array, " n"]:
    """The bound of each sample by the flow, from one y, between the least and the largest sigma in `ends`.

    Exact traces, or that many probes for each.
    """
    sigma, sigma_max = ends
    level = gd.NoiseLevel(1.0, sigma)

    def one(inputs: tuple[Array, PRNGKeyArray]) -> Array:
        x, (noise_key, probe_key) = inputs[0], jax.random.split(inputs[1])
        y = gd.add_noise(noise_key, x, level)
        density = gd.log_likelihood(
            model,
            gd.VarianceExploding(),
            y,
            start=sigma,
            end=sigma_max,
            rtol=TOLERANCE,
            atol=TOLERANCE,
            probes=probes,
            key=probe_key,
        )
        return density.value - _normal(y, x, sigma) + decoded(x, model.denoise(y, level), sigma, bins)

    return devices.map_spread(one, (x, keys), BATCH)


@eqx.filter_jit
def chain_bounds(
    model: gd.Denoiser,
    x: Float[Array, "n *event"],
    keys: PRNGKeyArray,
    levels: gd.NoiseLevel,
    bins: int | None = None,
) -> Float[Array, " n"]:
    """The bound of each sample by DDPM's chain, from one noisy x at each level."""
    return devices.map_spread(
        lambda one: gd.integrate.elbo(model, one[0], levels, one[1], bins=bins).value, (x, keys), BATCH
    )


def decoded(x: Array, mean: Array, sigma: Array, bins: int | None) -> Float[Array, ""]:
    """log P of x's bin under N(mean, sigma^2 I), or the log density there."""
    return _normal(x, mean, sigma) if bins is None else gd.integrate.discretized_log_prob(x, mean, sigma, bins)


def _normal(x: Array, mean: Array, sigma: Array) -> Float[Array, ""]:
    return gd.Gaussian.isotropic(mean, jnp.square(sigma)).log_prob(x)


def _summary(name: str, bounds: Array, size: int) -> Likelihood:
    nats = np.asarray(bounds, np.float64)
    mean, error = float(nats.mean()), float(nats.std(ddof=1) / np.sqrt(len(nats)))
    bits = gd.bits_per_dim(mean, size, levels=1, width=1.0)
    return Likelihood(name, mean, error, bits, error / (size * np.log(2)), len(nats))
