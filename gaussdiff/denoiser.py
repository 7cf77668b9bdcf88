"""One question defines a diffusion model: given x at a noise level, what is E[x0 | x]?

`Denoiser.denoise` answers it. Gaussians, mixtures, data sets and trained networks are all Denoisers, and nothing that
takes one asks which kind it got. The score, the noise, v and the velocity follow from the answer.
"""

import abc

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff import conversions
from gaussdiff.numerics.arrays import floating
from gaussdiff.numerics.checks import check_key, check_number, check_shape
from gaussdiff.numerics.kinds import check_kind
from gaussdiff.schedules import NoiseLevel, Schedule, check_level, check_nonzero, check_schedule

Event = Float[Array, "*event"]


class Denoiser(eqx.Module):
    """Anything that estimates the clean sample: denoise(x, level) -> E[x0 | x], one sample x of any shape."""

    @abc.abstractmethod
    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        """E[x0 | x = alpha x0 + sigma noise], of x's shape and dtype. Use jax.vmap for a batch."""


class Distribution(Denoiser):
    """A Denoiser whose law is known: it also has an event shape, a density at every noise level, and samples."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""

    @abc.abstractmethod
    def log_prob(self, x: Event, level: NoiseLevel | None = None) -> Float[Array, ""]:
        """log density in nats of x = alpha x0 + sigma noise, (*event); without a level, of the clean law."""

    @abc.abstractmethod
    def score(self, x: Event, level: NoiseLevel) -> Event:
        """grad log p(x) of x's shape, in 1 / data units, by no small difference of large numbers.

        Finite at every level: where the law has no density, it is the gradient along its support.
        """

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray) -> Event:
        """One clean sample x0, (*event)."""


def check_model(model, argument: str = "model") -> None:
    """TypeError unless `model` is a Denoiser."""
    check_kind(
        model,
        Denoiser,
        argument,
        "a gd.Denoiser",
        "Wrap a network: gd.Preconditioned(network), gd.FromNoisePrediction(network), gd.FromVPrediction(network) or "
        "gd.FromScore(network); and look whether arguments are swapped.",
    )


def check_distribution(model, argument: str = "model") -> None:
    """TypeError unless `model` is a Distribution."""
    cure = "Fit one to samples: gd.Gaussian.from_samples, gd.GaussianMixture.from_samples or gd.Empirical."
    check_kind(model, Distribution, argument, "a gd.Distribution", cure)


def check_sample(x, shape: tuple[int, ...] | None = None, argument: str = "x") -> Array:
    """x as a floating array; ValueError unless it has the given shape."""
    x = floating(x, argument)
    if shape is not None and x.shape != shape:
        batched = x.shape[-len(shape) :] == shape if shape else x.ndim > 0
        cure = "For a batch use jax.vmap(..., in_axes=(0, None))." if batched else "Reshape it to one sample."
        raise ValueError(f"{argument}: expected one sample of shape {shape}, got {x.shape}. {cure}")
    return x


def check_event(model: Denoiser, x) -> Array:
    """x as a floating array; ValueError unless it is one sample of the model, where that is a Distribution."""
    return check_sample(x, model.shape if isinstance(model, Distribution) else None)


def noise(model: Denoiser, x, level: NoiseLevel) -> Event:
    """The noise in x (*event) as the model sees it: (x - alpha x0) / sigma, of a Distribution as -sigma score.

    TypeError unless model is a Denoiser, ValueError for an array of levels.
    """
    if isinstance(model, Distribution):
        check_level(level)
        x = check_sample(x)
        return (-level.sigma * model.score(x, level)).astype(x.dtype)
    return _convert(conversions.noise_from_x0, model, x, level)


def score(model: Denoiser, x, level: NoiseLevel) -> Event:
    """The gradient of log p(x): (alpha x0 - x) / sigma^2 (Tweedie). ValueError at sigma = 0.

    x: (*event); in 1 / data units. At small sigma that difference loses its digits, so a Distribution is asked for its
    own `score`. TypeError unless model is a Denoiser. Efron 2011, eq. 2.8.
    """
    if isinstance(model, Distribution):
        check_level(level)
        check_nonzero("the score", level.sigma, "sigma", "For the clean law call model.score(x, level).")
        return model.score(x, level)
    return _convert(conversions.score_from_x0, model, x, level)


def v_prediction(model: Denoiser, x, level: NoiseLevel) -> Event:
    """v = alpha noise - sigma x0, of the shape of x (*event).

    TypeError unless model is a Denoiser, ValueError for an array of levels. Salimans & Ho, arXiv 2202.00512.
    """
    return _convert(conversions.v_from_x0, model, x, level)


def velocity(model: Denoiser, schedule: Schedule, x, t) -> Event:
    """dx/dt of the probability flow under a schedule: alpha' x0 + sigma' noise. ValueError where sigma = 0.

    x: (*event), t: (); in data units per unit of t. TypeError for a model or schedule of another kind. Song et al.,
    arXiv 2011.13456, eq. 13.
    """
    check_model(model)
    check_schedule(schedule)
    x, t = check_event(model, x), check_number(t, "t", conversions.ONE_TIME)
    return conversions.velocity_from_x0(model.denoise(x, schedule(t)), x, schedule, t)


def _convert(conversion, model: Denoiser, x, level: NoiseLevel) -> Event:
    check_model(model)
    check_level(level)
    x = check_event(model, x)
    return conversion(model.denoise(x, level), x, level)


def add_noise(key: PRNGKeyArray, x0, level: NoiseLevel) -> Event:
    """x = alpha x0 + sigma noise with fresh noise, of the shape and dtype of x0 (*event).

    ValueError for an array of levels.
    """
    check_level(level)
    check_key(key)
    x0 = check_sample(x0, argument="x0")
    return (level.alpha * x0 + level.sigma * jax.random.normal(key, x0.shape, x0.dtype)).astype(x0.dtype)


def sample_prior(key: PRNGKeyArray, shape: tuple[int, ...], level: NoiseLevel) -> Event:
    """x ~ N(0, sigma^2 I) of the given shape: where sampling starts; the true marginal where alpha = 0.

    ValueError for an array of levels.
    """
    check_level(level)
    check_key(key)
    return level.sigma * jax.random.normal(key, check_shape(shape), level.sigma.dtype)
