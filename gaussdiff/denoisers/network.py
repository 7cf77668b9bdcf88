"""Networks as denoisers: what a network may predict, and the x0 that follows, x0 = skip x + gain output.

With x = alpha x0 + sigma noise an output a x0 + b noise is one linear equation for x0, whose solution is

    skip = b / (alpha b - sigma a),    gain = -sigma / (alpha b - sigma a)

so that an error of the output is |gain| times as large in x0. The table, with r^2 = alpha^2 + sigma^2 and
s^2 = sigma^2 + alpha^2 sigma_data^2, is of outputs whose size depends on no frame:

    prediction  output                                               skip                      gain
    x0          x0                                                   0                         1
    noise       noise                                                1 / alpha                 -sigma / alpha
    score       sigma score = -noise                                 1 / alpha                 sigma / alpha
    v           (alpha noise - sigma x0) / r                         alpha / r^2               -sigma / r
    flow        noise - x0                                           1 / (alpha + sigma)       -sigma / (alpha + sigma)
    edm         (sigma x0 / sigma_data - alpha sigma_data noise) / s alpha sigma_data^2 / s^2  sigma sigma_data / s

noise: Ho et al., arXiv 2006.11239; score: Song & Ermon, arXiv 1907.05600, eq. 5; v: Salimans & Ho, arXiv 2202.00512;
flow, the velocity of the straight path: Lipman et al., arXiv 2210.02747; edm: Karras et al., arXiv 2206.00364, table 1.
The velocity of another schedule, alpha' x0 + sigma' noise, has skip and gain by the same solution, in its own frame.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gaussdiff.denoiser import Denoiser, Event, check_sample
from gaussdiff.numerics.arrays import concrete
from gaussdiff.numerics.checks import check_above_0
from gaussdiff.numerics.kinds import described
from gaussdiff.schedules import SIGNAL_CURE, NoiseLevel, Schedule, check_level, check_nonzero, check_schedule, rates

Network = Callable[[Array, Array], Array]
LevelNetwork = Callable[[Array, NoiseLevel], Array]
Coefficients = tuple[ArrayLike, ArrayLike]


def _x0(level: NoiseLevel, sigma_data: ArrayLike) -> Coefficients:
    return 0.0, 1.0


def _noise(level: NoiseLevel, sigma_data: ArrayLike) -> Coefficients:
    return 1 / level.alpha, -level.sigma / level.alpha


def _score(level: NoiseLevel, sigma_data: ArrayLike) -> Coefficients:
    return 1 / level.alpha, level.sigma / level.alpha


def _v(level: NoiseLevel, sigma_data: ArrayLike) -> Coefficients:
    r = jnp.hypot(level.alpha, level.sigma)
    return level.alpha / r**2, -level.sigma / r


def _flow(level: NoiseLevel, sigma_data: ArrayLike) -> Coefficients:
    total = level.alpha + level.sigma
    return 1 / total, -level.sigma / total


def _edm(level: NoiseLevel, sigma_data: ArrayLike) -> Coefficients:
    s = jnp.hypot(level.sigma, level.alpha * sigma_data)
    return level.alpha * (sigma_data / s) ** 2, level.sigma * sigma_data / s


PREDICTIONS: dict[str, Callable[[NoiseLevel, ArrayLike], Coefficients]] = {
    "x0": _x0,
    "noise": _noise,
    "score": _score,
    "v": _v,
    "flow": _flow,
    "edm": _edm,
}


def coefficients(prediction: str, level: NoiseLevel, sigma_data: ArrayLike = 0.5) -> Coefficients:
    """skip and gain of a row of the table at a level; sigma_data matters to "edm" alone.

    ValueError, inside jit a failure at run time, where alpha = 0 and the output says nothing of x0: "noise" and
    "score". TypeError for anything but a NoiseLevel.
    """
    check_level(level)
    if prediction in ("noise", "score"):
        level = _with_signal(level, prediction)
    return PREDICTIONS[prediction](level, sigma_data)


def error_weight(prediction: str, level: NoiseLevel, sigma_data: ArrayLike) -> Array:
    """1 / gain^2: what makes the squared error of x0 that of the network's output."""
    return 1 / jnp.square(PREDICTIONS[prediction](level, sigma_data)[1])


def unit_input(x: Event, level: NoiseLevel, sigma_data: ArrayLike) -> tuple[Event, Float[Array, ""]]:
    """c_in x = x / s, of unit variance, and c_noise = log(sigma / alpha) / 4: what a preconditioned network takes.

    c_noise is clipped to |log(sigma / alpha)| <= 16, so that both ends of a schedule stay finite. Karras et al.,
    arXiv 2206.00364, table 1.
    """
    s = jnp.hypot(level.sigma, level.alpha * sigma_data)
    return (x / s).astype(x.dtype), jnp.clip(-level.log_snr / 2, -16, 16) / 4


class NetworkDenoiser(Denoiser):
    """A denoiser around a network: x0 = skip x + gain output; TypeError where the network is not callable."""

    network: eqx.AbstractVar[Callable]

    def __check_init__(self):
        if not callable(self.network) or isinstance(self.network, type):
            raise TypeError(
                f"network: expected a callable that gives an array of x's shape, got {described(self.network)}. "
                "A flax module goes in as a pytree that merges and calls it."
            )

    @abc.abstractmethod
    def _predict(self, x: Event, level: NoiseLevel) -> tuple[ArrayLike, ArrayLike, Event]:
        """skip, gain, and the network's output in the units of the table."""

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        check_level(level)
        x = check_sample(x)
        skip, gain, output = self._predict(x, level)
        return jnp.asarray(skip * x + gain * output, x.dtype)


class Preconditioned(NetworkDenoiser):
    """A raw network made a denoiser of unit-scale inputs and outputs, in any (alpha, sigma) frame.

    x0 = c_skip x + c_out network(c_in x, c_noise),  with  s^2 = sigma^2 + alpha^2 sigma_data^2,
    c_skip = alpha sigma_data^2 / s^2,  c_out = sigma sigma_data / s,  c_in = 1 / s,  c_noise = log(sigma / alpha) / 4.

    network: any callable pytree, (x of the event shape, c_noise ()) -> array of x's shape. sigma_data: the data's
    standard deviation per entry. c_noise is clipped to |log(sigma / alpha)| <= 16, so that both ends of a schedule stay
    finite. Karras et al., arXiv 2206.00364, table 1, which is the case alpha = 1. TypeError where the network is not
    callable, ValueError unless sigma_data > 0.
    """

    network: Network
    sigma_data: Float[Array, ""]

    def __init__(self, network: Network, sigma_data=0.5):
        self.network = network
        self.sigma_data = check_above_0(sigma_data, "sigma_data", "Use the data's standard deviation.")

    def _predict(self, x: Event, level: NoiseLevel) -> tuple[ArrayLike, ArrayLike, Event]:
        scaled, c_noise = unit_input(x, level, self.sigma_data)
        output = _ask(self.network, scaled, c_noise.astype(x.dtype))
        return *coefficients("edm", level, self.sigma_data), output


class FromNoisePrediction(NetworkDenoiser):
    """A network(x, level) that predicts the noise, as a denoiser: x0 = (x - sigma noise) / alpha.

    At alpha = 0 the noise says nothing of x0 and denoise raises ValueError, inside jit a failure at run time: predict v
    or x0 there, or start at the next level.
    Ho et al., arXiv 2006.11239, eq. 4 solved for x0. TypeError where the network is not callable.
    """

    network: LevelNetwork

    def _predict(self, x: Event, level: NoiseLevel) -> tuple[ArrayLike, ArrayLike, Event]:
        return *coefficients("noise", level), _ask(self.network, x, level)


class FromScore(NetworkDenoiser):
    """A network(x, level) that predicts the score, as a denoiser: x0 = (x + sigma^2 score) / alpha.

    Tweedie's formula (Efron 2011, eq. 2.8). ValueError at alpha = 0, TypeError where the network is not callable.
    """

    network: LevelNetwork

    def _predict(self, x: Event, level: NoiseLevel) -> tuple[ArrayLike, ArrayLike, Event]:
        return *coefficients("score", level), level.sigma * _ask(self.network, x, level)


class FromVPrediction(NetworkDenoiser):
    """A network(x, level) that predicts v = alpha noise - sigma x0, as a denoiser, at every level.

    x0 = (alpha x - sigma v) / (alpha^2 + sigma^2). Salimans & Ho, arXiv 2202.00512. TypeError where the network is not
    callable.
    """

    network: LevelNetwork

    def _predict(self, x: Event, level: NoiseLevel) -> tuple[ArrayLike, ArrayLike, Event]:
        return *coefficients("v", level), _ask(self.network, x, level) / jnp.hypot(level.alpha, level.sigma)


class FromVelocity(NetworkDenoiser):
    """A network(x, t) trained to the velocity of a schedule (flow matching), as a denoiser in any frame.

    The sample is carried to the schedule's own frame at the same log_snr, where x0 follows from the velocity:
    x0 = (sigma velocity - sigma' x) / (sigma alpha' - sigma' alpha). ValueError where sigma = 0, TypeError where the
    network is not callable.
    """

    network: Network
    schedule: Schedule

    def __check_init__(self):
        check_schedule(self.schedule)

    def _predict(self, x: Event, level: NoiseLevel) -> tuple[ArrayLike, ArrayLike, Event]:
        t = self.schedule.time_at(level.log_snr)
        own, rate = rates(self.schedule, t)
        check_nonzero("x0 from a velocity", own.sigma, "sigma", "There x0 = x / alpha.")
        scale = jnp.hypot(own.alpha, own.sigma) / jnp.hypot(level.alpha, level.sigma)
        determinant = own.alpha * rate.sigma - own.sigma * rate.alpha
        output = _ask(self.network, (scale * x).astype(x.dtype), t)
        return scale * rate.sigma / determinant, -own.sigma / determinant, output


def _with_signal(level: NoiseLevel, prediction: str) -> NoiseLevel:
    """The level; ValueError, inside jit a failure at run time, where alpha = 0."""
    if concrete(level.alpha):
        check_nonzero(f"x0 from a {prediction} prediction", level.alpha, "alpha", SIGNAL_CURE)
        return level
    message = f"level: a {prediction} prediction needs alpha > 0, got alpha = 0. {SIGNAL_CURE}"
    return eqx.tree_at(lambda lv: lv.alpha, level, eqx.error_if(level.alpha, level.alpha == 0, message))


def _ask(network: Callable, x: Array, condition) -> Array:
    """network(x, condition); ValueError where it gives another shape than x's."""
    output = network(x, condition)
    if jnp.shape(output) != x.shape:
        raise ValueError(
            f"network: expected an output of shape {x.shape}, got {jnp.shape(output)}. Check its last layer."
        )
    return output
