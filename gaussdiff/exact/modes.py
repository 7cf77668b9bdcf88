"""What happens to one mode of a Gaussian, as functions of its clean variance lam alone.

At a level a mode has the standard deviation  S = sqrt(alpha^2 lam + sigma^2)  and the signal-to-noise ratio
snr = alpha^2 lam / sigma^2. In the denoised image it has reached the fraction

    f = alpha sqrt(lam) / S = sqrt(snr / (1 + snr))

of its final value, whatever the start and the schedule: large variances commit first, the outline before the details.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.numerics.arrays import concrete, safe_divide, safe_sqrt
from gaussdiff.numerics.checks import check_each_at_least_0, check_fraction, or_nan
from gaussdiff.schedules import NoiseLevel, check_level


def marginal_std(variances, level: NoiseLevel) -> Float[Array, "*k"]:
    """The standard deviation S = sqrt(alpha^2 lam + sigma^2), in data units, of a mode of clean variance lam.

    variances: lam (*k), in squared data units. Without overflow or underflow of the squares. ValueError for an
    array of levels. Song et al., arXiv 2011.13456, eq. 29.
    """
    check_level(level)
    signal = level.alpha * _root(check_variances(variances))
    positive = (signal > 0) | (level.sigma > 0)  # hypot has no gradient at (0, 0)
    return jnp.where(positive, jnp.hypot(jnp.where(positive, signal, 1), level.sigma), 0)


def commitment(variances, level: NoiseLevel) -> Float[Array, "*k"]:
    """The fraction f = alpha sqrt(lam) / S in [0, 1] of its final value that a mode has in the denoised image.

    variances: lam (*k). f does not depend on the start, and f^2 is the fraction of the mode's variance that x resolves:
    Var[x0_k | x] = lam (1 - f^2). 0 for lam = 0. ValueError for an array of levels. Wang & Vastola, arXiv 2303.02490.
    """
    check_level(level)
    variances = check_variances(variances)
    return safe_divide(level.alpha * _root(variances), marginal_std(variances, level))


def commitment_speed(variances, level: NoiseLevel) -> Float[Array, "*k"]:
    """How fast a mode commits, -df / dlog(sigma / alpha) = f (1 - f^2) = f sigma^2 / S^2, per unit of log noise scale.

    variances: lam (*k). The peak, 2 / sqrt(27), is at (sigma / alpha)^2 = 2 lam; 0 for lam = 0, alpha = 0 or sigma = 0.
    ValueError for an array of levels. A consequence of arXiv 2303.02490, section 3.
    """
    check_level(level)
    variances = check_variances(variances)
    hidden = safe_divide(level.sigma, marginal_std(variances, level))
    return commitment(variances, level) * hidden**2


def emergence(variances, fraction=0.5) -> Float[Array, "*k"]:
    """The noise scale sigma / alpha = sqrt(lam (fraction^-2 - 1)) at which a mode reaches that fraction of its end.

    variances: lam (*k) in squared data units. ValueError unless 0 < fraction <= 1. At 1/2 it is sqrt(3 lam).
    A consequence of arXiv 2303.02490, section 3.
    """
    fraction = check_fraction(fraction, "fraction", "One half is the usual choice.", "(0, 1]")
    return safe_sqrt(check_variances(variances) * (1 / jnp.square(fraction) - 1))


def information(variances, level: NoiseLevel) -> Float[Array, "*k"]:
    """The mutual information of x and a mode, in nats: log(1 + snr) / 2, with snr = alpha^2 lam / sigma^2.

    variances: lam (*k). Their sum over all modes is the mutual information of x0 and x (the Gaussian channel, Shannon
    1948). 0 for lam = 0; +inf at sigma = 0 for lam > 0, where x determines a real number. ValueError for an array of
    levels.
    """
    check_level(level)
    signal = level.alpha * _root(check_variances(variances))
    sigma = jnp.where(signal > 0, level.sigma, 1)  # a mode without signal has no information, at sigma = 0 too
    weak = signal < sigma
    ratio = safe_divide(jnp.where(weak, signal, sigma), jnp.where(weak, sigma, signal))  # <= 1, its square at most lost
    strong = jnp.log(jnp.where(weak, 1, signal)) - jnp.log(jnp.where(weak, 1, sigma))
    return jnp.log1p(ratio**2) / 2 + strong


def rotation_residual(variances, level: NoiseLevel) -> Float[Array, "*k"]:
    """The residual of a mode after the rotation alpha x_0 + sigma noise: S - alpha sqrt(lam) - sigma, in data units.

    variances: lam (*k). For a path that is one standard deviation out along the mode; the residual of any path is the
    sum of this times z_k u_k (gaussian_rotation). Never positive, and never more than sigma or alpha sqrt(lam); as a
    fraction of S the worst mode is alpha sqrt(lam) = sigma, which loses (sqrt 2 - 1) S = (2 - sqrt 2) sigma.
    ValueError for an array of levels. Wang & Vastola, arXiv 2303.02490, section 3.
    """
    check_level(level)
    variances = check_variances(variances)
    signal, std = level.alpha * _root(variances), marginal_std(variances, level)
    # S^2 - (a + b)^2 = -2 a b: no cancellation where one of them is small
    return -2 * signal * safe_divide(level.sigma, std + signal + level.sigma)


def check_variances(variances) -> Array:
    """Return variances as an array; ValueError unless every one is finite and >= 0."""
    return check_each_at_least_0(variances, "variances", "They are squares of standard deviations.")


def _root(variances: Array) -> Array:
    """sqrt(variances), and NaN for the NaN that a negative one is inside jit."""
    root = safe_sqrt(variances)
    return root if concrete(variances) else or_nan(root, variances >= 0)
