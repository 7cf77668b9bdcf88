"""How a linear denoiser learns: gradient flow at each noise level, mode by mode, in closed form.

The loss is E|D(x) - x0|^2 at one level, with Gaussian data, x = alpha x0 + sigma noise centred and S^2 = alpha^2 lam +
sigma^2 the second moment of a mode. The learning rate eta multiplies the gradient, tau is the time of the flow (the
number of steps of gradient descent, where they are small), w the gain of a mode in D, w* = alpha lam / S^2 its optimum:

    one layer       D = W x           w = w* + (w0 - w*) exp(-2 eta tau S^2)
    two layers      D = P P^T x       w = w0 / (e^-c + 8 eta tau S^2 w0 (1 - e^-c) / c),   c = 8 eta alpha lam tau
    preconditioned  Karras et al.'s with F = W x, W = 0 at first, loss of F:
                    w = w* + (c_skip - w*) exp(-2 eta tau rho),   rho = S^2 / (alpha^2 sigma_data^2 + sigma^2)

Sampling with what was learned at time tau, the probability flow in the frame alpha = 1 obeys d log x / d log sigma =
1 - w(sigma). Integrated, with a = sigma'^2 and b = sigma^2 its ends and Ein(z) the integral of (1 - e^-t) / t to z,

    one layer       log gain = [Ein(e (lam + a)) - Ein(e (lam + b)) + (1 - w0) e^(-e lam) J] / 2,   e = 2 eta tau,
                    J = log(a / b) - Ein(e a) + Ein(e b)
    two layers      log gain = [A (1 - w0) / C log(a / b) + w0 / C log((C + B a) / (C + B b))] / 2,   A = e^-c,
                    B = 8 eta tau w0 (1 - e^-c) / c,   C = A + B lam
    preconditioned  log gain = [log((a + sigma_data^2) / (b + sigma_data^2)) + Ein(e rho_a) - Ein(e rho_b)] / 2

The exponential integrals of the published form, Ei(-z) = log z + gamma - Ein(z), are infinite at tau = 0; Ein is not.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import exp1
from jaxtyping import Array, Float

from gaussdiff.distributions.gaussian import Gaussian, check_gaussian
from gaussdiff.exact.modes import check_variances
from gaussdiff.numerics.arrays import concrete, device, floating, host, safe_divide
from gaussdiff.numerics.checks import (
    check_above_0,
    check_at_least_0,
    check_each_at_least_0,
    check_finite_number,
    check_fraction,
    or_nan,
)
from gaussdiff.numerics.kinds import check_kind
from gaussdiff.schedules import NoiseLevel, check_level

Modes = Float[Array, "*k"]


class Learning(eqx.Module):
    """How the gain of each mode in a linear denoiser moves while it is trained, and what that model generates."""

    @abc.abstractmethod
    def weight(self, variances, level: NoiseLevel, time) -> Modes:
        """w: the gain of modes of clean variances lam (*k) in D at the level, after the time tau = steps of descent.

        ValueError for an array of levels.
        """

    @abc.abstractmethod
    def log_gain(self, variances, sigma, next_sigma, time) -> Modes:
        """log of what the probability flow multiplies a mode by, from sigma to next_sigma (alpha = 1), as trained.

        d log x / d log sigma = 1 - w(sigma). variances: lam (*k), in squared data units, sigmas in data units. At
        next_sigma = 0 it is -inf where the mode has not been learned.
        """


class OneLayer(Learning):
    """D = W x from W = start I, each noise level trained by itself with learning rate `rate` (eta).

    w = w* + (start - w*) exp(-2 eta tau S^2). ValueError unless rate > 0. Wang & Pehlevan, arXiv 2503.03206, with the
    sign of its integral and of its lemma 4.1 put right.
    """

    rate: Float[Array, ""]
    start: Float[Array, ""]

    def __init__(self, rate, start=0.0):
        self.rate, self.start = _rate(rate), check_finite_number(start, "start", "0 is the usual start.")

    def weight(self, variances, level: NoiseLevel, time) -> Modes:
        time = _duration(time)
        optimum, power = _optimum(check_variances(variances), level)
        return optimum + (self.start - optimum) * jnp.exp(-2 * self.rate * time * power)

    def weight_after(self, variances, level: NoiseLevel, steps) -> Modes:
        """w after `steps` of plain gradient descent: the exponential becomes (1 - 2 eta S^2)^steps.

        It converges only for eta < 1 / S^2 of the largest mode.
        """
        optimum, power = _optimum(check_variances(variances), level)
        return optimum + (self.start - optimum) * _power(1 - 2 * self.rate * power, steps)

    def log_gain(self, variances, sigma, next_sigma, time) -> Modes:
        time = _duration(time)
        lam, (a, b), speed = check_variances(variances), _squares(sigma, next_sigma), 2 * self.rate * time
        # the part of the way to the optimum: Ein(e (lam + a)) - Ein(e (lam + b))
        learned = ein(speed * (lam + a)) - ein(speed * (lam + b))
        # what is still to be learned, (1 - w0) e^(-e lam) J; 0 times the infinite J of next_sigma = 0 is 0
        remaining = (1 - self.start) * jnp.exp(-speed * lam)
        unlearned = jnp.where(remaining == 0, 0, remaining * (jnp.log(a / b) - ein(speed * a) + ein(speed * b)))
        return (learned + unlearned) / 2

    def time_to_learn(self, variances, level: NoiseLevel, fraction=0.5) -> Modes:
        """The time tau = -log(1 - fraction) / (2 eta S^2) at which w has gone that fraction of its way to w*.

        variances: lam (*k). ValueError unless 0 < fraction < 1.
        """
        _, power = _optimum(check_variances(variances), level)
        return -jnp.log1p(-_fraction(fraction)) / (2 * self.rate * power)


class TwoLayers(Learning):
    """D = P P^T x from P P^T = start I, each noise level trained by itself with learning rate `rate` (eta).

    w = start / (e^-c + 8 eta tau S^2 start (1 - e^-c) / c), c = 8 eta alpha lam tau. It learns nothing from start = 0.
    ValueError unless rate > 0 and start >= 0. Wang & Pehlevan, arXiv 2503.03206 (symmetric two-layer network).
    """

    rate: Float[Array, ""]
    start: Float[Array, ""]

    def __init__(self, rate, start=0.01):
        self.rate = _rate(rate)
        self.start = check_at_least_0(start, "start", "P P^T has no negative eigenvalue.")

    def weight(self, variances, level: NoiseLevel, time) -> Modes:
        time = _duration(time)
        lam = check_variances(variances)
        _, power = _optimum(lam, level)
        decay, growth = self._logistic(level.alpha * lam, time)
        return self.start / (decay + growth * power)

    def log_gain(self, variances, sigma, next_sigma, time) -> Modes:
        time = _duration(time)
        lam, (a, b) = check_variances(variances), _squares(sigma, next_sigma)
        decay, growth = self._logistic(lam, time)  # A and B
        total = decay + growth * lam  # C
        remaining = decay * (1 - self.start) / total
        # 0 times the infinite log(a / b) of next_sigma = 0 is 0
        unlearned = jnp.where(remaining == 0, 0, remaining * jnp.log(a / b))
        learned = self.start / total * jnp.log((total + growth * a) / (total + growth * b))
        return (unlearned + learned) / 2

    def time_to_learn(self, variances, level: NoiseLevel, fraction=0.5) -> Modes:
        """The time tau = log(fraction (w* - w0) / (w0 (1 - fraction))) / (8 eta alpha lam) at which w = fraction w*.

        variances: lam (*k). Negative where it starts beyond that; infinite for a mode without variance. ValueError
        unless 0 < fraction < 1.
        """
        lam, fraction = check_variances(variances), _fraction(fraction)
        optimum, _ = _optimum(lam, level)
        odds = fraction * (optimum - self.start) / (self.start * (1 - fraction))
        return jnp.where(lam > 0, safe_divide(jnp.log(odds), 8 * self.rate * level.alpha * lam), jnp.inf)

    def _logistic(self, cross: Array, time) -> tuple[Array, Array]:
        """e^-c and 8 eta tau w0 (1 - e^-c) / c, whose limit at c = 0 is 8 eta tau w0."""
        time = 8 * self.rate * time
        exponent = cross * time
        return jnp.exp(-exponent), time * self.start * safe_divide(-jnp.expm1(-exponent), exponent, 1.0)


class PreconditionedLayer(Learning):
    """The preconditioned D = c_skip x + c_out F with a linear F, 0 at first, trained on the loss of F at every level.

    w = w* + (c_skip - w*) exp(-2 eta tau rho). rate: eta. sigma_data: as in Preconditioned. The generated variance then
    moves one way only, over a wide range of sigma from sigma_data^2 to lam. Of a small mode it is within a factor 2 of
    lam at tau = 0.2 sigma_data^2 / (eta lam), as lam^-1, like that of the plain layer; half of the way, in log
    variance, at 0.28 sigma_data / (eta sqrt(lam)). ValueError unless rate and sigma_data are above 0. Preconditioning
    of Karras et al., arXiv 2206.00364, table 1; Wang & Pehlevan, arXiv 2503.03206.
    """

    rate: Float[Array, ""]
    sigma_data: Float[Array, ""]

    def __init__(self, rate, sigma_data=0.5):
        self.rate = _rate(rate)
        self.sigma_data = check_above_0(sigma_data, "sigma_data", "Use the data's standard deviation.")

    def weight(self, variances, level: NoiseLevel, time) -> Modes:
        time = _duration(time)
        optimum, power = _optimum(check_variances(variances), level)
        scale = level.alpha**2 * self.sigma_data**2 + level.sigma**2
        skip = level.alpha * self.sigma_data**2 / scale
        return optimum + (skip - optimum) * jnp.exp(-2 * self.rate * time * power / scale)

    def log_gain(self, variances, sigma, next_sigma, time) -> Modes:
        time = _duration(time)
        lam, (a, b), speed = check_variances(variances), _squares(sigma, next_sigma), 2 * self.rate * time
        scales = (a + self.sigma_data**2, b + self.sigma_data**2)
        after, before = (ein(speed * (lam + end) / scale) for end, scale in zip((a, b), scales, strict=True))
        return (jnp.log(scales[0] / scales[1]) + after - before) / 2

    def time_to_learn(self, variances, level: NoiseLevel, fraction=0.5) -> Modes:
        """The time tau = -log(1 - fraction) / (2 eta rho) at which w has gone that fraction of its way to w*.

        variances: lam (*k). ValueError unless 0 < fraction < 1.
        """
        _, power = _optimum(check_variances(variances), level)
        scale = level.alpha**2 * self.sigma_data**2 + level.sigma**2
        return -jnp.log1p(-_fraction(fraction)) * scale / (2 * self.rate * power)


def generated_variance(learning: Learning, variances, sigma_max, sigma_min, time) -> Modes:
    """sigma_max^2 gain^2: the variance of each mode in samples, drawn from N(0, sigma_max^2) and taken to sigma_min.

    In the frame alpha = 1, along the probability flow of the denoiser as it is at time tau; it tends to
    sigma_max^2 (lam + sigma_min^2) / (lam + sigma_max^2). variances: lam (*k), in squared data units, sigmas in data
    units. Wang & Pehlevan, arXiv 2503.03206.
    """
    check_kind(learning, Learning, "learning", "a gd.Learning", "Make one, such as gd.OneLayer(rate=1e-3).")
    sigma_max = check_each_at_least_0(sigma_max, "sigma_max", "EDM starts at 80.")
    sigma_min = check_each_at_least_0(sigma_min, "sigma_min", "0 is the clean end.")
    return jnp.square(sigma_max) * jnp.exp(2 * learning.log_gain(variances, sigma_max, sigma_min, time))


class AffineLearning(eqx.Module):
    """D = W x + b under gradient flow at one level, for data with a mean: all of W and b, not mode by mode.

    The input is augmented by a 1. Its second moment M = [[alpha^2 Sigma + sigma^2 + m m^T, m], [m^T, 1]], m = alpha mu,
    has eigenvectors V and eigenvalues S^2, and [W b] = optimum + (start - optimum) V diag(exp(-2 eta tau S^2)) V^T.
    Make one with from_gaussian.
    """

    optimum: Float[Array, "D D+1"]
    gap: Float[Array, "D D+1"]
    vectors: Float[Array, "D+1 D+1"]
    rates: Float[Array, " D+1"]

    @classmethod
    def from_gaussian(cls, gaussian: Gaussian, level: NoiseLevel, rate, weight=None, bias=None) -> "AffineLearning":
        """For data of this Gaussian, from W = weight (D, D) and b = bias (D,), 0 by default; float64 on the host.

        ValueError unless rate > 0, for NaN, or for an array of levels.
        """
        check_gaussian(gaussian)
        check_level(level)
        _rate(rate)
        alpha, sigma, size = float(level.alpha), float(level.sigma), gaussian.mean.size
        vectors, mean = host(gaussian.eigvecs, "gaussian"), host(gaussian.mean, "gaussian").ravel()
        eigvals, residual = host(gaussian.eigvals, "gaussian"), float(gaussian.residual)
        cov = (vectors * (eigvals - residual)) @ vectors.T + residual * np.eye(size)
        gain = (vectors * (_ratio(alpha, eigvals, sigma) - _ratio(alpha, residual, sigma))) @ vectors.T
        gain += _ratio(alpha, residual, sigma) * np.eye(size)
        optimum = np.column_stack([gain, mean - gain @ (alpha * mean)])
        noisy = alpha**2 * cov + sigma**2 * np.eye(size) + alpha**2 * np.outer(mean, mean)
        power, basis = np.linalg.eigh(np.block([[noisy, alpha * mean[:, None]], [alpha * mean[None], np.ones((1, 1))]]))
        weight = np.zeros((size, size)) if weight is None else host(weight, "weight")
        bias = np.zeros(size) if bias is None else host(bias, "bias")
        if weight.shape != (size, size) or bias.shape != (size,):
            raise ValueError(
                f"weight, bias: expected shapes ({size}, {size}) and ({size},), got {weight.shape} and {bias.shape}. "
                "Leave them out to start from 0."
            )
        gap = (np.column_stack([weight, bias]) - optimum) @ basis
        rates = 2 * float(rate) * np.maximum(power, 0)
        return cls(*(device(value, gaussian.mean) for value in (optimum, gap, basis, rates)))

    def at(self, time) -> tuple[Float[Array, "D D"], Float[Array, " D"]]:
        """W (D, D) and b (D,) at time tau of the gradient flow."""
        time = _duration(time)
        return self._with(jnp.exp(-self.rates * time))

    def after(self, steps) -> tuple[Float[Array, "D D"], Float[Array, " D"]]:
        """W (D, D) and b (D,) after `steps` of gradient descent, which converges only for eta < 1 / (largest S^2)."""
        return self._with(_power(1 - self.rates, steps))

    def _with(self, decay: Array) -> tuple[Array, Array]:
        both = self.optimum + jnp.matmul(self.gap * decay[None], self.vectors.T, precision="highest")
        return both[:, :-1], both[:, -1]


def _ratio(alpha: float, variance, sigma: float):
    power = alpha**2 * np.asarray(variance) + sigma**2
    return np.divide(alpha * np.asarray(variance), power, out=np.zeros_like(power), where=power > 0)


@jax.custom_jvp
def ein(z) -> Float[Array, "..."]:
    """The entire exponential integral Ein(z), that of (1 - e^-t) / t from 0 to z, for z >= 0.

    Its power series sum_k (-1)^(k+1) z^k / (k k!) below 1, E1(z) + log z + gamma above.
    Abramowitz & Stegun, 5.1.39 and 5.1.40.
    """
    z = floating(z)
    small, series, term = jnp.minimum(z, 1), jnp.zeros_like(z), -jnp.ones_like(z)
    for k in range(1, 20):
        term = -term * small / k
        series = series + term / k
    large = jnp.maximum(z, 1).astype(z.dtype)  # not weakly typed, as a Python number is: exp1 of jax 0.7 fails at that
    return jnp.where(z < 1, series, exp1(large) + jnp.log(large) + np.euler_gamma)


@ein.defjvp
def _ein_jvp(primals, tangents):
    (z,), (step,) = primals, tangents
    z = floating(z)
    return ein(z), safe_divide(-jnp.expm1(-z), z, 1.0) * step


def _optimum(lam: Array, level: NoiseLevel) -> tuple[Array, Array]:
    """w* and S^2."""
    check_level(level)
    power = level.alpha**2 * lam + level.sigma**2
    return safe_divide(level.alpha * lam, power), power


def _squares(sigma, next_sigma) -> tuple[Array, Array]:
    """a and b, the squares at the end and at the start."""
    cure = "It is a noise scale in data units."
    next_sigma, sigma = (
        check_each_at_least_0(value, name, cure) for name, value in (("next_sigma", next_sigma), ("sigma", sigma))
    )
    return jnp.square(next_sigma), jnp.square(sigma)


def _duration(time, argument: str = "time") -> Array:
    number = floating(time, argument)
    if not concrete(number):
        return or_nan(number, number >= 0)
    if not (np.asarray(number) >= 0).all():
        raise ValueError(f"{argument}: expected >= 0, got {np.asarray(number)}. It counts the steps of descent.")
    return number


def _power(factor: Array, steps) -> Array:
    """factor^steps, of a factor of either sign; NaN inside jit where steps < 0. ValueError for steps < 0."""
    number = _duration(steps, "steps")
    return or_nan(factor ** jnp.asarray(steps), number >= 0)


def _rate(rate) -> Array:
    return check_above_0(rate, "rate", "It is the learning rate eta; 1e-3 is a start.")


def _fraction(fraction) -> Array:
    return check_fraction(fraction, "fraction", "One half is the usual choice.", "(0, 1)")
