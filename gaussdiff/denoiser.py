"""One question defines a diffusion model: given x at a noise level, what is E[x0 | x]?

`Denoiser.denoise` answers it. Gaussians, mixtures, data sets and trained networks are all Denoisers, and nothing that
takes one asks which kind it got. The score, the noise, v and the velocity follow from the answer.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff import conversions
from gaussdiff.numerics import concrete, floating
from gaussdiff.schedules import NoiseLevel, Schedule, check_level, check_nonzero, check_schedule

Event = Float[Array, "*event"]
Network = Callable[[Array, Array], Array]


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


def check_model(model) -> None:
    """TypeError unless `model` is a Denoiser."""
    if not isinstance(model, Denoiser):
        raise TypeError(
            f"model: expected a gd.Denoiser, got {type(model).__name__}. Wrap a network: gd.Preconditioned(network), "
            "gd.FromNoisePrediction(network), gd.FromVPrediction(network) or gd.FromScore(network)."
        )


def check_sample(x, shape: tuple[int, ...] | None = None, argument: str = "x") -> Array:
    """x as a floating array; ValueError unless it has the given shape."""
    x = floating(x)
    if shape is not None and x.shape != shape:
        batched = x.shape[-len(shape) :] == shape if shape else x.ndim > 0
        cure = "For a batch use jax.vmap(..., in_axes=(0, None))." if batched else "Reshape it to one sample."
        raise ValueError(f"{argument}: expected one sample of shape {shape}, got {x.shape}. {cure}")
    return x


def check_key(key) -> None:
    """TypeError unless `key` is a key of jax.random, of the new or the old style."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32):
        raise TypeError(f"key: expected a key of jax.random, got {type(key).__name__}. Write jax.random.key(seed).")


def noise(model: Denoiser, x, level: NoiseLevel) -> Event:
    """The noise in x (*event) as the model sees it: (x - alpha x0) / sigma, of a Distribution as -sigma score.

    TypeError unless model is a Denoiser, ValueError for an array of levels.
    """
    if isinstance(model, Distribution):
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
    x = check_sample(x)
    return conversions.velocity_from_x0(model.denoise(x, schedule(t)), x, schedule, t)


def _convert(conversion, model: Denoiser, x, level: NoiseLevel) -> Event:
    check_model(model)
    check_level(level)
    x = check_sample(x)
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
    return level.sigma * jax.random.normal(key, shape, level.sigma.dtype)


class NetworkDenoiser(Denoiser):
    """A denoiser around a network(x, level or time); TypeError where that is not callable."""

    network: eqx.AbstractVar[Callable]

    def __check_init__(self):
        if not callable(self.network):
            raise TypeError(
                f"network: expected a callable that gives an array of x's shape, got {type(self.network).__name__}. "
                "A flax module goes in as a pytree that merges and calls it."
            )


class Preconditioned(NetworkDenoiser):
    """A raw network made a denoiser of unit-scale inputs and outputs, in any (alpha, sigma) frame.

    x0 = c_skip x + c_out network(c_in x, c_noise),  with  s^2 = sigma^2 + alpha^2 sigma_data^2,
    c_skip = alpha sigma_data^2 / s^2,  c_out = sigma sigma_data / s,  c_in = 1 / s,  c_noise = log(sigma / alpha) / 4.

    network: any callable pytree, (x of the event shape, c_noise ()) -> array of x's shape. sigma_data: the data's
    standard deviation per entry. c_noise is held to |log(sigma / alpha)| <= 16, so that both ends of a schedule stay
    finite. Karras et al., arXiv 2206.00364, table 1, which is the case alpha = 1. TypeError where the network is not
    callable.
    """

    network: Network
    sigma_data: Float[Array, ""]

    def __init__(self, network: Network, sigma_data=0.5):
        self.network, self.sigma_data = network, floating(sigma_data)
        if concrete(self.sigma_data) and not 0 < float(self.sigma_data) < float("inf"):
            raise ValueError(f"sigma_data: expected > 0, got {self.sigma_data}. Use the data's standard deviation.")

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        check_level(level)
        x = check_sample(x)
        scale = jnp.hypot(level.sigma, level.alpha * self.sigma_data)
        c_skip = level.alpha * (self.sigma_data / scale) ** 2
        c_out = level.sigma * self.sigma_data / scale
        c_noise = jnp.clip(-level.log_snr / 2, -16, 16) / 4
        output = _call(self.network, (x / scale).astype(x.dtype), c_noise.astype(x.dtype))
        return (c_skip * x + c_out * output).astype(x.dtype)


class FromNoisePrediction(NetworkDenoiser):
    """A network(x, level) that predicts the noise, as a denoiser: x0 = (x - sigma noise) / alpha.

    At alpha = 0 the noise says nothing of x0 and denoise raises ValueError: predict v or x0 there.
    Ho et al., arXiv 2006.11239, eq. 4 solved for x0. TypeError where the network is not callable.
    """

    network: Callable[[Array, NoiseLevel], Array]

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        level = with_signal(level, "noise")
        return conversions.x0_from_noise(_call(self.network, x, level), x, level)


class FromScore(NetworkDenoiser):
    """A network(x, level) that predicts the score, as a denoiser: x0 = (x + sigma^2 score) / alpha.

    Tweedie's formula (Efron 2011, eq. 2.8). ValueError at alpha = 0, TypeError where the network is not callable.
    """

    network: Callable[[Array, NoiseLevel], Array]

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        level = with_signal(level, "score")
        return conversions.x0_from_score(_call(self.network, x, level), x, level)


class FromVPrediction(NetworkDenoiser):
    """A network(x, level) that predicts v = alpha noise - sigma x0, as a denoiser, at every level.

    x0 = (alpha x - sigma v) / (alpha^2 + sigma^2). Salimans & Ho, arXiv 2202.00512. TypeError where the network is not
    callable.
    """

    network: Callable[[Array, NoiseLevel], Array]

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        return conversions.x0_from_v(_call(self.network, x, level), x, level)


class FromVelocity(NetworkDenoiser):
    """A network(x, t) trained to the velocity of a schedule (flow matching), as a denoiser in any frame.

    The sample is carried to the schedule's own frame at the same log_snr, where x0 follows from the velocity:
    x0 = (sigma velocity - sigma' x) / (sigma alpha' - sigma' alpha). ValueError where sigma = 0, TypeError where the
    network is not callable.
    """

    network: Network
    schedule: Schedule

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        t = self.schedule.time_at(level.log_snr)
        own = self.schedule(t)
        scale = jnp.hypot(own.alpha, own.sigma) / jnp.hypot(level.alpha, level.sigma)
        y = (scale * x).astype(x.dtype)
        return conversions.x0_from_velocity(_call(self.network, y, t), y, self.schedule, t)


def with_signal(level: NoiseLevel, kind: str) -> NoiseLevel:
    """The level; ValueError, inside jit a failure at run time, where alpha = 0 and a `kind` prediction has no x0."""
    cure = "Use a network that predicts v or x0 there."
    message = f"level: a {kind} prediction needs alpha > 0, got alpha = 0. {cure}"
    if concrete(level.alpha):
        check_nonzero(f"x0 from a {kind} prediction", level.alpha, "alpha", cure)
        return level
    return eqx.tree_at(lambda lv: lv.alpha, level, eqx.error_if(level.alpha, level.alpha == 0, message))


def _call(network, x: Array, condition) -> Array:
    output = network(x, condition)
    if jnp.shape(output) != x.shape:
        raise ValueError(
            f"network: expected an output of shape {x.shape}, got {jnp.shape(output)}. Check its last layer."
        )
    return output
