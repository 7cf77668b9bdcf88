"""What a sampler does to a Gaussian, exactly: its gain for each mode, the law that it generates, and its error.

On a Gaussian every denoised value is linear in x, so a sampler of linear steps is too, and modes do not mix:

    c' = m + g(lam) c + sum_i b_i(lam) z_i

with z_i the noise of its steps. g, b and m come from the sampler itself, run once on a diagonal Gaussian. From the
prior N(0, sigma^2 I) it generates the variance v = (g sigma)^2 + sum_i b_i^2, to be compared with lam:

    W2^2 = sum_k (sqrt v_k - sqrt lam_k)^2 + |mean error|^2
    KL(data | generated) = 1/2 sum_k (lam_k / v_k - 1 - log(lam_k / v_k) + (mean error)_k^2 / v_k)

A sampler that clips or thresholds is not linear, and has no place here.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.exact.modes import check_variances, marginal_std
from gaussdiff.numerics.arrays import device, dot, safe_divide, safe_sqrt
from gaussdiff.numerics.kinds import check_kind
from gaussdiff.samplers import GaussianExact, Sampler
from gaussdiff.samplers.base import check_grid, check_sampler
from gaussdiff.samplers.sample import follow, quiet
from gaussdiff.schedules import NoiseLevel, check_level, clean


class SolverError(eqx.Module):
    """W2 distances in data units, each (): of a sampler's law from the data, and its three causes alone.

    start: of the prior N(0, sigma^2 I) for the true marginal, carried exactly. truncation: of ending above sigma = 0,
    from the true marginal. discretisation: of the sampler's steps beside the exact flow, with the same start and end.
    total is at most their sum, the triangle inequality.
    """

    total: Float[Array, ""]
    start: Float[Array, ""]
    truncation: Float[Array, ""]
    discretisation: Float[Array, ""]


class Modes(NamedTuple):
    """Means and variances (K,) of independent coordinates."""

    mean: Float[Array, " K"]
    variance: Float[Array, " K"]


class Spectrum(NamedTuple):
    """A Gaussian in the coordinates of its modes: all that the error of a sampler depends on, whatever the event shape.

    data: the coordinates; counts (K,): how many directions of the event have each variance.
    """

    data: Modes
    counts: Float[Array, " K"]


Law = Gaussian | Diagonal | Spectrum


def transfer(sampler: Sampler, levels: NoiseLevel, variances) -> Float[Array, " K"]:
    """The gain g(lam) of a whole path on modes of these variances (K,): c at the end is g c, plus its noise.

    The exact flow has S'/S. A GaussianExact inside the sampler stands for the flow of the same law. TypeError for
    anything but a sampler and a grid of levels, ValueError for variances that are not (K,) and >= 0.
    """
    return _linear(sampler, levels, _centered(variances))[1]


def injected_variance(sampler: Sampler, levels: NoiseLevel, variances) -> Float[Array, " K"]:
    """sum_i b_i(lam)^2 (K,): the variance at the end that the noise of the steps adds; 0 for a deterministic sampler.

    Arguments and errors as `transfer`.
    """
    return _linear(sampler, levels, _centered(variances))[0].variance


def generated(sampler: Sampler, levels: NoiseLevel, gaussian: Gaussian) -> Gaussian:
    """The exact law of a sampler's ends from x ~ N(0, sigma^2 I) at levels[0], on data of the law `gaussian`.

    Of the same modes, so of the event shape and rank of `gaussian`. TypeError for anything but a sampler, a grid of
    levels and a Gaussian.
    """
    made, residual = generated_modes(sampler, levels, spectrum(gaussian).data), _mean_residual(gaussian)
    # the last coordinate is along the residual of the mean, of unit length
    flat = gaussian.expand(made.mean[:-1]) + safe_divide(made.mean[-1], safe_sqrt(dot(residual, residual))) * residual
    return eqx.tree_at(
        lambda g: [g.mean, g.eigvals, g.residual],
        gaussian,
        [flat.reshape(gaussian.shape), made.variance[:-1], made.variance[-1]],
    )


def wasserstein2(
    sampler: Sampler, levels: NoiseLevel, gaussian: Law, level: NoiseLevel | None = None
) -> Float[Array, ""]:
    """The 2-Wasserstein distance of what a sampler generates from the data, in data units; O(D r) and n steps.

    Differentiable in the levels and in the sampler's parameters. level: the law is compared with that of the data at
    this level, the clean law by default. Errors as `generated`.
    """
    data, counts = spectrum(gaussian)
    _check_path(sampler, levels, level)
    return _distance(generated_modes(sampler, levels, data), _at(data, level), counts)


def kl_divergence(
    sampler: Sampler, levels: NoiseLevel, gaussian: Law, level: NoiseLevel | None = None
) -> Float[Array, ""]:
    """KL(data | generated) in nats: what it costs to describe the data by the law that a sampler generates.

    A direction in which both have variance 0 counts nothing; +inf where only one of them has. Arguments as
    `wasserstein2`.
    """
    data, counts = spectrum(gaussian)
    _check_path(sampler, levels, level)
    return _divergence(_at(data, level), generated_modes(sampler, levels, data), counts, levels.sigma[0])


def relative_error(sampler: Sampler, levels: NoiseLevel, gaussian: Law) -> Float[Array, ""]:
    """sqrt(mean_k (sqrt(v_k / lam_k) - 1)^2) over the directions of variance lam_k > 0: every mode counts alike.

    Means do not count. Errors as `generated`.
    """
    data, counts = spectrum(gaussian)
    _check_path(sampler, levels)
    ratio = safe_divide(generated_modes(sampler, levels, data).variance, data.variance)
    counts = jnp.where(data.variance > 0, counts, 0)
    return safe_sqrt(jnp.sum(counts * (safe_sqrt(ratio) - 1) ** 2) / jnp.maximum(jnp.sum(counts), 1))


def solver_error(sampler: Sampler, levels: NoiseLevel, gaussian: Law) -> SolverError:
    """The error of a sampler on a Gaussian by cause: start, truncation, discretisation. Errors as `generated`."""
    law = spectrum(gaussian)
    _check_path(sampler, levels)
    return compare(generated_modes(sampler, levels, law.data), levels[0], levels[-1], law)[0]


def compare(made: Modes, start: NoiseLevel, end: NoiseLevel, law: Spectrum) -> tuple[SolverError, Float[Array, ""]]:
    """The parts of W2, and KL(data | made), of what a sampler made between two levels of data of this spectrum."""
    data, counts = law
    error = SolverError(
        total=_distance(made, data, counts),
        start=_distance(_carried(data, start, clean()), data, counts),
        truncation=_distance(_at(data, end), data, counts),
        discretisation=_distance(made, _carried(data, start, end), counts),
    )
    return error, _divergence(data, made, counts, start.sigma)


def spectrum(gaussian: Law) -> Spectrum:
    """The Gaussian in the coordinates of its modes; the last is along the residual of its mean.

    A Spectrum is its own. TypeError for anything but these or a Diagonal.
    """
    if isinstance(gaussian, Spectrum):
        return gaussian
    cure = "Fit one: gd.Gaussian.from_samples(points)."
    check_kind(gaussian, Gaussian | Diagonal, "gaussian", "a gd.Gaussian or gd.Diagonal", cure)
    residual = _mean_residual(gaussian)
    mean = jnp.append(gaussian.coefficients(gaussian.mean.reshape(-1)), safe_sqrt(dot(residual, residual)))
    counts = jnp.append(jnp.ones_like(gaussian.eigvals), gaussian.mean.size - gaussian.rank)
    return Spectrum(Modes(mean, jnp.append(gaussian.eigvals, gaussian.residual)), counts)


def grouped(law: Spectrum) -> Spectrum:
    """The spectrum with one mode for each variance, which has the same errors: those of means add up in squares."""
    variance, group = np.unique(np.asarray(law.data.variance), return_inverse=True)
    squares, counts = (np.bincount(group, np.asarray(v, float)) for v in (law.data.mean**2, law.counts))
    mean, counts = (device(v, law.counts) for v in (np.sqrt(squares), counts))
    return Spectrum(Modes(mean, device(variance, law.counts)), counts)


def generated_modes(sampler: Sampler, levels: NoiseLevel, data: Modes) -> Modes:
    """`generated` in the coordinates of the modes."""
    end, gain = _linear(sampler, levels, Diagonal(data.mean, data.variance))
    return Modes(end.mean, (gain * levels.sigma[0]) ** 2 + end.variance)


def _distance(a: Modes, b: Modes, counts: Array) -> Float[Array, ""]:
    """W2 of two laws with the same modes."""
    stds = counts * (safe_sqrt(a.variance) - safe_sqrt(b.variance)) ** 2
    return safe_sqrt(jnp.sum(stds) + jnp.sum((a.mean - b.mean) ** 2))


def _divergence(target: Modes, made: Modes, counts: Array, start: Array) -> Float[Array, ""]:
    """KL(target | made) of two laws with the same modes; start: the sigma at which the steps began."""
    # a variance that should be 0 ends as the rounding of the start
    rounding = (16 * jnp.finfo(made.variance.dtype).eps * start) ** 2
    variance = jnp.where((target.variance == 0) & (made.variance <= rounding), 0, made.variance)
    shift = (made.mean - target.mean) ** 2

    # directions of variance 0 in both count nothing here
    ratio = safe_divide(target.variance, variance, 1.0)
    # log1p, since the laws of good samplers differ by little
    each = ratio - 1 - jnp.log1p(jnp.where(ratio > 0, ratio - 1, 0))
    total = (jnp.sum(counts * each) + jnp.sum(safe_divide(shift, variance))) / 2

    # +inf where one law alone has variance 0, or both have it at different means
    infinite = ((variance == 0) != (target.variance == 0)) | ((variance == 0) & (shift > rounding))
    return jnp.where(jnp.any(infinite & (counts > 0)), jnp.inf, total)


def _check_path(sampler, levels, level: NoiseLevel | None = None) -> None:
    check_sampler(sampler)
    check_grid(levels)
    sampler.check_steps(len(levels) - 1)
    if level is not None:
        check_level(level)


def _linear(sampler: Sampler, levels: NoiseLevel, law: Diagonal) -> tuple[Modes, Float[Array, " K"]]:
    """Where the origin ends, with the variance that the noise adds to it, and the gain."""
    _check_path(sampler, levels)
    sampler = _on_modes(sampler, law)
    origin = jnp.zeros_like(law.mean)
    silence = quiet(sampler, origin, levels)

    def end(x: Array, noise: Array) -> Array:
        return follow(sampler, law, x, levels, noise).x[-1]

    mean, gain = jax.jvp(lambda x: end(x, silence), (origin,), (jnp.ones_like(origin),))
    if not silence.size:
        return Modes(mean, jnp.zeros_like(mean)), gain
    # coordinates do not mix, so the gradient of their sum is every coordinate's own
    strengths = jax.grad(lambda noise: jnp.sum(end(origin, noise)))(silence)
    return Modes(mean, jnp.sum(strengths**2, (0, 1))), gain


def _on_modes(sampler: Sampler, law: Diagonal) -> Sampler:
    """The same sampler, where every closed-form step in it is that of the law."""
    own = Gaussian(law.mean, law.eigvals, jnp.eye(law.rank, dtype=law.mean.dtype))

    def is_exact(node) -> bool:
        return isinstance(node, GaussianExact)

    return jax.tree.map(lambda node: GaussianExact(own) if is_exact(node) else node, sampler, is_leaf=is_exact)


def _at(data: Modes, level: NoiseLevel | None) -> Modes:
    """The law at a level, clean by default."""
    if level is None:
        return data
    return Modes(level.alpha * data.mean, marginal_std(data.variance, level) ** 2)


def _carried(data: Modes, level: NoiseLevel, next_level: NoiseLevel) -> Modes:
    """What the exact flow makes of the prior N(0, sigma^2 I)."""
    growth = safe_divide(marginal_std(data.variance, next_level), marginal_std(data.variance, level), 1.0)
    mean = next_level.alpha * data.mean - growth * level.alpha * data.mean
    return Modes(mean, (growth * level.sigma) ** 2)


def _mean_residual(basis: Gaussian | Diagonal) -> Float[Array, " D"]:
    """The mean minus its projection on the modes; 0 where there are D of them, since it would be rounding alone."""
    flat = basis.mean.reshape(-1)
    return flat - basis.expand(basis.coefficients(flat)) if basis.rank < flat.size else jnp.zeros_like(flat)


def _centered(variances) -> Diagonal:
    variances = check_variances(variances)
    if variances.ndim != 1:
        raise ValueError(f"variances: expected shape (K,), got {variances.shape}. Use jax.vmap for a stack.")
    return Diagonal(jnp.zeros_like(variances), variances)
