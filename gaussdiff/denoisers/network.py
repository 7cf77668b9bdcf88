"""Networks as denoisers: what a network predicts, and the x0 that follows."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff import conversions
from gaussdiff.denoiser import Denoiser, Event, check_sample
from gaussdiff.numerics.arrays import concrete, floating
from gaussdiff.schedules import NoiseLevel, Schedule, check_level, check_nonzero

Network = Callable[[Array, Array], Array]


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
