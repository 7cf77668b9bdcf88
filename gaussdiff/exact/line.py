"""Laws whose probability flow is known sample by sample though they are not Gaussian: those that live on lines.

In one dimension the flow is monotone and carries one marginal into the other, so it keeps quantiles,

    x' = F'^-1(F(x)),   F(x) = sum_k pi_k Phi(z_k),   z_k = (x - alpha m_k) / S_k,   S_k^2 = alpha^2 v_k + sigma^2

for a mixture of normals N(m_k, v_k); a prime marks the other level. A product of such laws moves coordinate by
coordinate. A mixture with one isotropic covariance and means on a line is such a law along the line, times a Gaussian.

F(x) itself rounds to 0 or 1 in the tails and stands still in a gap between two clusters. So the equation is sorted into
sums of positive terms, component k by the tail that x lies in, z_k <= 0 (low) or z_k > 0 (high):

    sum_low pi_k Phi(z'_k) + sum_high pi_k Phi(-z_k)  =  sum_low pi_k Phi(z_k) + sum_high pi_k Phi(-z'_k)

and solved for x' in logarithms. Each component alone would carry x to alpha' m_k + S'_k z_k, and x' lies between the
smallest and the largest of these: the bracket.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.distributions.empirical import Empirical
from gaussdiff.distributions.mixture import GaussianMixture
from gaussdiff.distributions.separable import Separable
from gaussdiff.exact.flow import marginal_std
from gaussdiff.numerics.arrays import concrete, dot, safe_divide
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.schedules import NoiseLevel, check_level, clean

Parts = tuple[Float[Array, " K"], Float[Array, "K D"], Float[Array, "K D"]]


def log_cdf(model: Distribution, x, level: NoiseLevel | None = None) -> Float[Array, " 2"]:
    """log F(x) and log(1 - F(x)) of a law of one coordinate at a level, each with its digits in either tail.

    log sum_k pi_k Phi(+-z_k), z_k = (x - alpha m_k) / S_k. x: one sample, of size 1; the clean law by default. At a
    step of F, where S_k = 0, half of it is counted. ValueError for more than one coordinate.
    """
    level = clean() if level is None else level
    check_level(level)
    log_weights, means, variances = _scalar_parts(model)
    x = check_sample(x, model.shape).reshape(())
    z = _standardize(x, means, variances, level)
    return jnp.stack([jax.nn.logsumexp(log_weights + log_ndtr(side * z)) for side in (1.0, -1.0)])


def scalar_flow(model: Distribution, x, level: NoiseLevel, next_level: NoiseLevel) -> Event:
    """The exact probability-flow solution of a law of one coordinate, from x at level to next_level; both directions.

    x' = F'^-1(F(x)). model: a mixture, or a data set with or without bandwidth, of D = 1; x: of its shape. At sigma = 0
    a data set has steps: x on a point starts in the middle of its step, and x' lands on a point. Differentiable in x,
    the levels and the parameters, by the implicit function theorem (dx'/dx = p(x) / p'(x')). ValueError for D > 1.
    """
    check_level(level)
    check_level(next_level, "next_level")
    parts, x = _scalar_parts(model), check_sample(x, model.shape)
    return _line_flow(x.reshape(()), *parts, level, next_level).reshape(x.shape).astype(x.dtype)


def separable_flow(model: Separable, x, level: NoiseLevel, next_level: NoiseLevel) -> Event:
    """The exact probability-flow solution of a product of one-dimensional laws, x (*event), coordinate by coordinate.

    x'_d = F'_d^-1(F_d(x_d)), as in scalar_flow. ValueError for an x of another shape.
    """
    check_level(level)
    check_level(next_level, "next_level")
    cure = "Make one of means and variances: gd.Separable(means, variances)."
    check_kind(model, Separable, "model", "a gd.Separable", cure)
    x = check_sample(x, model.shape)
    moved = jax.vmap(lambda x, parts: _line_flow(x, *parts, level, next_level))(x.reshape(-1), model.coordinates())
    return moved.reshape(x.shape).astype(x.dtype)


def collinear_flow(model: Distribution, x, level: NoiseLevel, next_level: NoiseLevel) -> Event:
    """The exact probability-flow solution of a mixture whose means lie on a line, with one isotropic covariance v I.

    With the line c + a d, |d| = 1, through the means: a moves as in scalar_flow, and across it all is one Gaussian,
    x'_perp = alpha' c_perp + (S'/S) (x_perp - alpha c_perp). A data set on a line is such a mixture. ValueError where
    the means leave the line, or the covariances differ or are not isotropic, beyond rounding (inside jit unchecked).
    """
    check_level(level)
    check_level(next_level, "next_level")
    log_weights, means, variances = _parts(model)
    x = check_sample(x, model.shape)
    center = jnp.sum(jnp.exp(log_weights)[:, None] * means, 0)
    offsets = jnp.where(jnp.isfinite(log_weights)[:, None], means - center[None], 0)
    farthest = offsets[jnp.argmax(jnp.sum(offsets**2, 1))]
    length = jnp.linalg.norm(jnp.where(jnp.any(farthest != 0), farthest, 1))
    direction = jnp.where(jnp.any(farthest != 0), farthest, 1) / length
    places, variance = dot(offsets, direction), variances[0, 0]
    if concrete(log_weights, means, variances):
        _check_collinear(offsets - places[:, None] * direction[None], offsets, variances, np.isfinite(log_weights))
    centered = (x.reshape(-1) - level.alpha * center).astype(jnp.result_type(x, center))
    along = dot(direction, centered)
    growth = safe_divide(marginal_std(variance, next_level), marginal_std(variance, level), 1.0)
    moved = _line_flow(along, log_weights, places, jnp.full_like(places, variance), level, next_level)
    end = next_level.alpha * center + growth * (centered - along * direction) + moved * direction
    return end.reshape(x.shape).astype(x.dtype)


def _parts(model: Distribution) -> Parts:
    """log weights (K,), means (K, D) and variances (K, D), those of the eigenvectors."""
    if isinstance(model, Empirical):
        means = model.mean.reshape(1, -1) + model.offsets
        return model.log_weights, means, jnp.full_like(means, model.bandwidth**2)
    if isinstance(model, GaussianMixture):
        variances = jax.vmap(lambda component: component.variances)(model.components)
        return model.log_weights, model.components.mean.reshape(len(model.log_weights), -1), variances
    raise TypeError(
        f"model: expected a gd.GaussianMixture or gd.Empirical, got {described(model)}. For one Gaussian use "
        "gd.gaussian_flow, for a product gd.exact.separable_flow."
    )


def _scalar_parts(model) -> tuple[Array, Array, Array]:
    log_weights, means, variances = _parts(model)
    if means.shape[1] != 1:
        raise ValueError(
            f"model: expected one coordinate, got the event shape {model.shape}. gd.exact.separable_flow and "
            "gd.exact.collinear_flow know some laws of more."
        )
    return log_weights, means[:, 0], variances[:, 0]


def _check_collinear(across: Array, offsets: Array, variances: Array, weighted: np.ndarray) -> None:
    tolerance = float(jnp.finfo(offsets.dtype).eps) ** 0.5
    away, reach = (float(jnp.abs(part).max()) for part in (across, offsets))
    if away > tolerance * reach:
        raise ValueError(f"model: expected means on one line, got one {away:.3g} away from it. No flow is known then.")
    widths = np.asarray(variances)[weighted]
    if widths.max() - widths.min() > tolerance * widths.max():
        raise ValueError(
            f"model: expected one isotropic covariance in all components, got variances {widths.min():.3g} to "
            f"{widths.max():.3g}. No flow is known then."
        )


def _standardize(x: Array, means: Array, variances: Array, level: NoiseLevel) -> Array:
    """z_k, clipped to the range whose squares are finite; a component without width is a step of F."""
    widths, centered = marginal_std(variances, level), x - level.alpha * means
    bound = jnp.finfo(centered.dtype).eps ** -0.75
    return jnp.clip(safe_divide(centered, widths), -bound, bound) + jnp.where(widths > 0, 0, bound * jnp.sign(centered))


@jax.jit
def _line_flow(
    x: Array, log_weights: Array, means: Array, variances: Array, level: NoiseLevel, next_level: NoiseLevel
) -> Array:
    """x' = F'^-1(F(x)) of a mixture on a line, as the file head writes the equation."""
    x = x.astype(jnp.result_type(x, means))
    weighted = jnp.isfinite(log_weights)

    # each component by the tail that x lies in
    z = _standardize(x, means, variances, level)
    low = z <= 0
    before = log_weights + log_ndtr(-jnp.abs(z))

    def excess(y: Array) -> Array:
        """The logarithm of the left side over the right: rising in y, 0 at the solution."""
        next_z = _standardize(y, means, variances, next_level)
        after = log_weights + log_ndtr(jnp.where(low, next_z, -next_z))
        terms, other_terms = jnp.where(low, after, before), jnp.where(low, before, after)
        return jax.nn.logsumexp(terms) - jax.nn.logsumexp(other_terms)

    # the bracket: where each component alone would carry x, alpha' m + (S'/S) (x - alpha m)
    growth = safe_divide(marginal_std(variances, next_level), marginal_std(variances, level), 1.0)
    alone = next_level.alpha * means + growth * (x - level.alpha * means)
    ends = (jnp.min(alone, where=weighted, initial=jnp.inf), jnp.max(alone, where=weighted, initial=-jnp.inf))

    # the root, with its derivative by the implicit function theorem
    root = jax.lax.custom_root(
        excess,
        sum(ends) / 2,
        lambda f, _: _bracketed_root(f, *jax.lax.stop_gradient(ends)),
        lambda slope, value: safe_divide(value, slope(jnp.ones_like(value))),
    )
    # so far out that logarithms of weights do not count: the component of the nearest tail leads, at either level
    far = jnp.min(jnp.abs(z), where=weighted, initial=jnp.inf) > jnp.finfo(x.dtype).eps ** -0.5
    return jnp.where(far, _tail_flow(x, means, variances, weighted, level, next_level), root)


def _tail_flow(x, means, variances, weighted, level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """x' = max_k (alpha' m_k + S'_k min_j z_j) in the upper tail, and its mirror image in the lower."""
    widths, next_widths = (marginal_std(variances, lv) for lv in (level, next_level))
    centered = x - level.alpha * means
    side = jnp.where(jnp.min(centered, where=weighted, initial=jnp.inf) > 0, 1, -1).astype(x.dtype)
    z = jnp.min(safe_divide(side * centered, widths, jnp.inf), where=weighted, initial=jnp.inf)
    z = jnp.where(jnp.isfinite(z), z, 0)
    return side * jnp.max(side * next_level.alpha * means + next_widths * z, where=weighted, initial=-jnp.inf)


def _bracketed_root(f, low: Array, high: Array) -> Array:
    """The root of a rising f in [low, high]: Newton's step where it stays inside, halving otherwise and every third."""
    eps = jnp.finfo(low.dtype).eps

    def unfinished(state):
        low, high, _, moved, count = state
        scale = jnp.maximum(jnp.abs(low), jnp.abs(high))
        return (count < 200) & (high - low > eps * scale) & (moved > eps / 4 * scale)

    def step(state):
        low, high, y, _, count = state
        value, slope = jax.jvp(f, (y,), (jnp.ones_like(y),))
        low, high = jnp.where(value <= 0, y, low), jnp.where(value >= 0, y, high)
        newton = y - safe_divide(value, slope, jnp.inf)
        inside = (newton > low) & (newton < high) & (count % 3 != 2)
        # an exact root has closed the bracket
        following = jnp.where(inside, newton, low + (high - low) / 2)
        return low, high, following, jnp.abs(following - y), count + 1

    start = (low, high, low + (high - low) / 2, jnp.full_like(low, jnp.inf), jnp.array(0))
    return jax.lax.while_loop(unfinished, step, start)[2]
