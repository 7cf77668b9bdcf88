"""The Gaussian denoiser fitted to N samples, on average over data sets.

The Wiener filter of a sample covariance C = X^T X / N of N centred samples averages, at level (alpha, sigma), to that
of the true covariance Sigma with more noise: in the frame alpha = 1 and for large N and D,

    E[C (C + sigma^2)^-1]  ~  Sigma (Sigma + kappa)^-1,   kappa = sigma^2 + (kappa / N) tr[Sigma (Sigma + kappa)^-1]

so small data shrink every mode further. In any frame the same holds with alpha^2 C and alpha^2 Sigma.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.denoiser import Denoiser, Event, check_sample
from gaussdiff.distributions.gaussian import Gaussian, check_gaussian
from gaussdiff.numerics.arrays import concrete, floating, safe_divide
from gaussdiff.numerics.checks import check_each_at_least_0, or_nan
from gaussdiff.schedules import NoiseLevel, check_level


def effective_noise(variances, level: NoiseLevel, count) -> Float[Array, ""]:
    """kappa: the noise variance at which the true covariance filters as `count` samples do on average at the level.

    The positive root of kappa = sigma^2 + (kappa / N) sum_k alpha^2 lam_k / (alpha^2 lam_k + kappa), N = count. It
    tends to sigma^2 as N grows; at sigma = 0 it is 0 as long as N is at least the number of modes with variance, and
    positive below, where C lacks rank. variances: lam (D,), all of them, in squared data units; count: N > 0. The
    samples are centred by the true mean; centred by their own, write N - 1 for N and scale the variances by (N - 1)/N.
    ValueError for other shapes or signs. Atanasov et al., arXiv 2405.00592; Bach, arXiv 2303.01372.
    """
    check_level(level)
    variances, count = _checked(variances, count)
    return _kappa(level.alpha**2 * variances, level.sigma**2, count.astype(variances.dtype))


def expected_gain(variances, level: NoiseLevel, count) -> Float[Array, " D"]:
    """The gain alpha lam / (alpha^2 lam + kappa) of each mode in the denoiser averaged over data sets of `count`.

    kappa is effective_noise. Exact for N, D to infinity; at finite N the error of each gain is of order 1/N times its
    own distance from 0 and from 1 / alpha. Arguments, errors and sources as there.
    """
    variances, count = _checked(variances, count)
    kappa = effective_noise(variances, level, count)
    return safe_divide(level.alpha * variances, level.alpha**2 * variances + kappa)


class FiniteDataDenoiser(Denoiser):
    """The average denoiser of Gaussians fitted to `count` samples of `gaussian` each, with the mean known to them.

    mu + U diag(gain) U^T (x - alpha mu), where gain is expected_gain. At count = inf it is the Gaussian's own denoiser.
    ValueError unless count > 0. Sources as for effective_noise.
    """

    gaussian: Gaussian
    count: Float[Array, ""]

    def __init__(self, gaussian: Gaussian, count):
        check_gaussian(gaussian)
        self.gaussian, (_, self.count) = gaussian, _checked(gaussian.variances, count)

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        check_level(level)
        law = self.gaussian
        x = check_sample(x, law.shape)
        kappa = effective_noise(law.variances, level, self.count)
        gain, residual_gain = (
            safe_divide(level.alpha * lam, level.alpha**2 * lam + kappa) for lam in (law.eigvals, law.residual)
        )
        centered = (x - level.alpha * law.mean).reshape(-1)
        return (law.mean + law.spectral_map(gain, residual_gain, centered).reshape(law.shape)).astype(x.dtype)


def _checked(variances, count) -> tuple[Array, Array]:
    variances, count = check_each_at_least_0(variances, "variances", "Square deviations."), floating(count, "count")
    if variances.ndim != 1 or count.ndim:
        raise ValueError(
            f"variances, count: expected shapes (D,) and (), got {variances.shape} and {count.shape}. Use jax.vmap."
        )
    if not concrete(count):
        return variances, or_nan(count, count > 0)
    if not float(count) > 0:
        raise ValueError(f"count: expected a number of samples above 0, got {float(count):g}. inf is the law itself.")
    return variances, count


def _kappa(variances: Array, noise: Array, count: Array) -> Array:
    """The root of the convex excess(kappa) by Newton's method from above, where it falls without overshooting."""

    def excess(kappa):
        fraction = safe_divide(variances, variances + kappa)
        return kappa * _degrees_beyond(variances, kappa, count) - noise, 1 - jnp.sum(fraction**2) / count

    def falls(state):
        kappa, before, steps = state
        return (steps < 400) & (kappa < before)

    def newton(state):
        kappa, _, steps = state
        value, slope = excess(kappa)
        return jnp.maximum(kappa - safe_divide(value, slope), noise), kappa, steps + 1

    def solve(_, start):
        return jax.lax.while_loop(falls, newton, (start, jnp.array(jnp.inf, start.dtype), jnp.array(0)))[0]

    start = jax.lax.stop_gradient(noise + jnp.sum(variances) / count)
    root = jax.lax.custom_root(
        lambda kappa: excess(kappa)[0], start, solve, lambda slope, y: safe_divide(y, slope(jnp.ones_like(y)))
    )
    enough = jnp.sum(variances > 0) <= count
    return jnp.where((noise == 0) & enough, 0, root)


def _degrees_beyond(variances: Array, kappa: Array, count: Array) -> Array:
    """1 - sum_k lam_k / (lam_k + kappa) / N, with the terms close to 1 counted as whole numbers."""
    large = variances > kappa
    rest = safe_divide(jnp.where(large, -kappa, variances), variances + kappa)
    return (1 - jnp.sum(large) / count) - jnp.sum(rest) / count
