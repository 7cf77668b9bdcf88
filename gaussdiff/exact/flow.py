"""What a Gaussian does along the probability flow and its stochastic relatives, in closed form.

From level r to level t every mode is scaled by  psi(lam) = S_t(lam) / S_r(lam),  S(lam) = sqrt(alpha^2 lam + sigma^2):

    x_t = alpha_t mu + sum_k psi(lam_k) c_k u_k + psi(residual) x_perp,    c_k = u_k . (x_r - alpha_r mu)

for every schedule and in both directions, since z_k = c_k / S_k is conserved. That makes it the optimal transport
between two marginals, and everything below follows: a path is one projection, a table of S, and one product back.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.denoiser import Distribution, Event, check_sample
from gaussdiff.distributions.gaussian import Gaussian, check_gaussian
from gaussdiff.exact.modes import commitment, marginal_std
from gaussdiff.numerics.arrays import concrete, dot, safe_divide, safe_sqrt
from gaussdiff.numerics.checks import check_at_least_0
from gaussdiff.schedules import NoiseLevel, check_level, check_levels, clean
from gaussdiff.trajectory import Trajectory


def gaussian_flow(gaussian: Gaussian, x, level: NoiseLevel, next_level: NoiseLevel) -> Event:
    """The exact probability-flow solution at next_level, from x (*event) at level; any pair, both directions.

    x' = alpha' mu + U diag(S'/S) U^T (x - alpha mu), and the same for the residual. A mode with S = 0 at the start
    is nothing but rounding and stays as it is. ValueError for an x that is not one sample. Wang & Vastola, arXiv
    2303.02490, section 3.

    >>> gaussian = gd.Gaussian.isotropic(np.zeros(2), variance=1.0)
    >>> x0 = gd.gaussian_flow(gaussian, np.array([10.0, 0.0]), gd.NoiseLevel(1.0, 10.0), gd.NoiseLevel(1.0, 0.0))
    >>> [round(float(entry), 3) for entry in x0]
    [0.995, 0.0]
    """
    check_gaussian(gaussian)
    check_level(next_level, "next_level")
    x, centered = gaussian.center(x, level)
    gains, residual_gain = each_variance(gaussian, lambda lam: _growth(lam, level, next_level))
    moved = gaussian.spectral_map(gains, residual_gain, centered).reshape(gaussian.shape)
    return (next_level.alpha * gaussian.mean + moved).astype(x.dtype)


def gaussian_path(gaussian: Gaussian, x, levels: NoiseLevel) -> Trajectory:
    """The exact path from x (*event) at levels[0] through all `levels` (n+1,), with its denoised images.

    x_t = alpha_t mu + U diag(S_t / S_0) c and denoised_t = mu + U diag(f_t sqrt(lam) / S_0) c, with c = U^T (x_0 -
    alpha_0 mu) and the commitment f; the same for the residual. One projection, then one product back for
    all states and one for all denoised images.

    Returns the Trajectory: x (n+1, *event), denoised (n, *event). levels: in any order. ValueError for an x that is not
    one sample, or levels that are not an array of two or more. Wang & Vastola, arXiv 2303.02490, section 3.
    """
    check_gaussian(gaussian)
    check_levels(levels)
    x, centered = gaussian.center(x, levels[0])
    coefficients = gaussian.coefficients(centered)

    def along(gain: Callable[[Array, NoiseLevel, NoiseLevel], Array], levels: NoiseLevel, scale: Array) -> Array:
        """scale mu + U diag(gain) c at every level: (points, *event)."""
        modes, residual = each_variance(gaussian, lambda lam: jax.vmap(lambda level: gain(lam, start, level))(levels))
        flat = scale[:, None] * gaussian.mean.reshape(1, -1)
        if gaussian.rank == gaussian.mean.size:  # as in Gaussian.spectral_map
            flat += dot(modes * coefficients[None], gaussian.eigvecs.T)
        else:
            residual = residual[:, None]
            flat += dot((modes - residual) * coefficients[None], gaussian.eigvecs.T) + residual * centered[None]
        return flat.reshape(len(levels), *gaussian.shape).astype(x.dtype)

    start, asked = levels[0], levels[:-1]
    # two products, so that what is not asked for is not computed
    return Trajectory(
        levels, along(_growth, levels, levels.alpha), along(_denoised_gain, asked, jnp.ones_like(asked.alpha))
    )


class SpectralMap(eqx.Module):
    """The symmetric matrix U diag(gains) U^T + residual_gain (I - U U^T), stored as its r modes.

    eigvecs: U, (D, r) with orthonormal columns. gains: (r,). residual_gain: (). shape: that of an event, of D entries.
    O(D r) to apply; `dense` writes all D x D entries out.
    """

    eigvecs: Float[Array, "D r"]
    gains: Float[Array, " r"]
    residual_gain: Float[Array, ""]
    shape: tuple[int, ...] = eqx.field(static=True)

    def matvec(self, v) -> Event:
        """The matrix applied to v (*event). ValueError for any other shape."""
        v = check_sample(v, self.shape, "v")
        return self._as_gaussian().spectral_map(self.gains, self.residual_gain, v.reshape(-1)).reshape(self.shape)

    def squared(self) -> "SpectralMap":
        """The matrix times itself: of a covariance factor, the covariance."""
        return SpectralMap(self.eigvecs, self.gains**2, self.residual_gain**2, self.shape)

    def trace(self) -> Float[Array, ""]:
        """sum_k gains_k + (D - r) residual_gain."""
        size, rank = self.eigvecs.shape
        return jnp.sum(self.gains) + (size - rank) * self.residual_gain

    def dense(self) -> Float[Array, "D D"]:
        """All entries, for small D."""
        units = jnp.eye(len(self.eigvecs), dtype=self.eigvecs.dtype)
        return jax.vmap(lambda v: self.matvec(v.reshape(self.shape)).reshape(-1))(units)

    def _as_gaussian(self) -> Gaussian:
        """Its spectral_map is the one this needs."""
        mean = jnp.zeros(self.shape, self.gains.dtype)
        return _with(Gaussian.isotropic(mean, 0.0), eigvals=self.gains, eigvecs=self.eigvecs)


def gaussian_transition(
    gaussian: Gaussian, x, level: NoiseLevel, next_level: NoiseLevel, eta
) -> tuple[Event, SpectralMap]:
    """The exact law of the reverse SDE at next_level, given x (*event) at level: N(mean, factor factor^T).

    mean = alpha' mu + U diag(g) U^T (x - alpha mu),  g = (S'/S) r^(eta^2),  r = (alpha S') / (alpha' S),
    factor = U diag(S' sqrt(1 - r^(2 eta^2))) U^T, symmetric, and both the same for the residual.

    eta >= 0: 0 is the probability flow (factor 0), 1 the reverse of the noising itself, that is the posterior q(x' | x)
    of DDPM; in between and beyond, dy = -(1 + eta^2) s score ds + eta sqrt(2 s) dw with y = x / alpha and s = sigma /
    alpha. A sample is `mean + factor.matvec(white)` for white noise (*event); factor.squared() is the covariance. From
    alpha = 0 with eta > 0 all of x is forgotten and the law is the marginal.

    next_level: of at most the noise of level. ValueError for more noise, a negative eta, or an x that is not one
    sample. Song et al., arXiv 2011.13456, eq. 6; Karras et al., arXiv 2206.00364, eq. 6.
    """
    check_gaussian(gaussian)
    check_level(next_level, "next_level")
    x, centered = gaussian.center(x, level)
    power = jnp.square(check_eta(eta))
    _check_falling(level, next_level)
    growth = each_variance(gaussian, lambda lam: _growth(lam, level, next_level))
    decay = each_variance(gaussian, lambda lam: _decay(lam, power, level, next_level))
    stds = each_variance(gaussian, lambda lam: _added_std(lam, power, level, next_level))
    gains, residual_gain = (g * d for g, d in zip(growth, decay, strict=True))
    moved = gaussian.spectral_map(gains, residual_gain, centered).reshape(gaussian.shape)
    factor = SpectralMap(gaussian.eigvecs, *stds, gaussian.shape)
    return (next_level.alpha * gaussian.mean + moved).astype(x.dtype), factor


def gaussian_perturbation(gaussian: Gaussian, delta, level: NoiseLevel, next_level: NoiseLevel) -> tuple[Event, Event]:
    """What a change delta (*event) of x at level becomes at next_level: in the state, and in its denoised image.

    state = U diag(S'/S) U^T delta,  denoised = U diag(f' sqrt(lam) / S) U^T delta with the commitment f' at next_level,
    and the same for the residual. Exact for changes of any size, both directions. At the clean end both gains are
    sqrt(lam) / S, 0 off the data's own subspace. ValueError for a delta that is not one sample. Wang & Vastola, arXiv
    2303.02490, section 3.
    """
    check_gaussian(gaussian)
    check_level(level)
    check_level(next_level, "next_level")
    delta = check_sample(delta, gaussian.shape, "delta")

    def moved(gain: Callable[[Array, NoiseLevel, NoiseLevel], Array]) -> Event:
        gains = each_variance(gaussian, lambda lam: gain(lam, level, next_level))
        return gaussian.spectral_map(*gains, delta.reshape(-1)).reshape(gaussian.shape).astype(delta.dtype)

    return moved(_growth), moved(_denoised_gain)


def gaussian_marginal(gaussian: Gaussian, level: NoiseLevel) -> Gaussian:
    """The law of x = alpha x0 + sigma noise at a level, as a Gaussian: N(alpha mu, alpha^2 Sigma + sigma^2 I).

    In the same modes, with residual alpha^2 residual + sigma^2. ValueError for an array of levels. Song et al.,
    arXiv 2011.13456, eq. 29.
    """
    check_gaussian(gaussian)
    check_level(level)
    eigvals, residual = each_variance(gaussian, lambda lam: marginal_std(lam, level) ** 2)
    return _with(gaussian, mean=level.alpha * gaussian.mean, eigvals=eigvals, residual=residual)


def flow_from_prior(gaussian: Gaussian, level: NoiseLevel, next_level: NoiseLevel | None = None) -> Gaussian:
    """The law that the exact flow makes of the prior N(0, sigma^2 I) at `level`: what a perfect solver generates.

    Variance of a mode (S' sigma / S)^2, at the clean end lam sigma^2 / (alpha^2 lam + sigma^2); mean alpha' mu -
    alpha U diag(S'/S) U^T mu. next_level: clean by default. Its distance from gaussian_marginal(gaussian, next_level),
    by gaussian_w2 or gaussian_kl, is the start error of a finite prior; 0 where alpha = 0. ValueError for arrays of
    levels. A consequence of arXiv 2303.02490, section 3.
    """
    check_gaussian(gaussian)
    check_level(level)
    next_level = clean() if next_level is None else next_level
    mean = gaussian_flow(gaussian, jnp.zeros_like(gaussian.mean), level, next_level)
    eigvals, residual = each_variance(gaussian, lambda lam: (_growth(lam, level, next_level) * level.sigma) ** 2)
    return _with(gaussian, mean=mean, eigvals=eigvals, residual=residual)


def flow_log_det(gaussian: Gaussian, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, ""]:
    """log |det dx'/dx| of gaussian_flow, in nats: sum_k log(S_k'/S_k) + (D - r) log(S_res'/S_res).

    The integral of the divergence along the flow, with its sign, in closed form. -inf where next_level flattens a mode
    (sigma' = 0 and lam = 0); +inf where it is flat at level and not at next_level. ValueError for arrays of levels.
    """
    check_gaussian(gaussian)
    check_level(level)
    check_level(next_level, "next_level")
    stds = [each_variance(gaussian, lambda lam, lv=lv: marginal_std(lam, lv)) for lv in (level, next_level)]
    rest = gaussian.mean.size - gaussian.rank
    modes, residual = (_log_ratio(after, before) for before, after in zip(*stds, strict=True))
    return jnp.sum(modes) + (rest * residual if rest else 0)


def flow_log_likelihood(
    gaussian: Gaussian, x, level: NoiseLevel, prior_level: NoiseLevel, prior: Distribution | None = None
) -> Float[Array, ""]:
    """log density in nats of x (*event) at level, by carrying it to prior_level: log prior(x') + log |det dx'/dx|.

    prior: the law at prior_level, the Gaussian's own marginal by default, which gives log_prob back exactly; with
    Gaussian.isotropic(0, sigma^2) it is what a perfect ODE likelihood reports for a finite prior, the density of
    flow_from_prior. At sigma = 0 with a mode of zero variance there is no density and the answer is +inf; log_prob
    then gives that on the support. Song et al., arXiv 2011.13456, eq. 39.
    """
    check_level(prior_level, "prior_level")
    moved = gaussian_flow(gaussian, x, level, prior_level)
    prior = gaussian_marginal(gaussian, prior_level) if prior is None else prior
    return prior.log_prob(moved) + flow_log_det(gaussian, level, prior_level)


def each_variance(gaussian: Gaussian, function: Callable[[Array], Array]) -> tuple[Array, Array]:
    """The function of the variances of the modes, and of the residual."""
    return function(gaussian.eigvals), function(gaussian.residual)


def _with(gaussian: Gaussian, **fields: Array) -> Gaussian:
    """The same Gaussian with other leaves, unchecked: they come from one that was."""
    names = tuple(fields)
    return eqx.tree_at(lambda g: [getattr(g, name) for name in names], gaussian, list(fields.values()))


def _growth(variance: Array, level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """S'/S: what the flow does to a coordinate of the state."""
    return safe_divide(marginal_std(variance, next_level), marginal_std(variance, level), otherwise=1.0)


def _denoised_gain(variance: Array, level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """alpha' lam / (S S') = f' sqrt(lam) / S: from a state's coordinate to that of a later denoised image."""
    return safe_divide(commitment(variance, next_level) * safe_sqrt(variance), marginal_std(variance, level))


def _log_ratio(after: Array, before: Array) -> Array:
    """log(after / before), 0 where they are equal, both 0 included."""
    same = after == before
    return jnp.log(jnp.where(same, 1, after)) - jnp.log(jnp.where(same, 1, before))


def _decay(variance: Array, power: Array, level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """r^power, r = (alpha S') / (alpha' S) <= 1, with 0^0 = 1."""
    log_r, forgotten = _log_contraction(variance, level, next_level)
    return jnp.where(forgotten, jnp.where(power > 0, 0.0, 1.0), jnp.exp(power * log_r))


def _added_std(variance: Array, power: Array, level: NoiseLevel, next_level: NoiseLevel) -> Array:
    """S' sqrt(1 - r^(2 power))."""
    log_r, forgotten = _log_contraction(variance, level, next_level)
    fraction = jnp.where(forgotten, jnp.where(power > 0, 1.0, 0.0), -jnp.expm1(2 * power * log_r))
    return marginal_std(variance, next_level) * safe_sqrt(fraction)


def _log_contraction(variance: Array, level: NoiseLevel, next_level: NoiseLevel) -> tuple[Array, Array]:
    """log r, and whether r = 0 (where it stands at 0 instead).

    1 - r^2 = (alpha'^2 sigma^2 - alpha^2 sigma'^2) / (alpha' S)^2, in which lam has cancelled: a short step, where r is
    close to 1, keeps all digits. In a long one r itself does.
    """
    std, next_std = marginal_std(variance, level), marginal_std(variance, next_level)
    r = safe_divide(level.alpha * next_std, next_level.alpha * std, otherwise=1.0)
    far, near = level.sigma * next_level.alpha, level.alpha * next_level.sigma
    drop = safe_divide(far - near, next_level.alpha * std) * safe_divide(far + near, next_level.alpha * std)
    short, forgotten = drop < 0.5, r == 0
    log_short = jnp.log1p(-jnp.where(short, jnp.maximum(drop, 0), 0)) / 2
    log_long = jnp.log(jnp.where(short | forgotten, 1, r))
    return jnp.where(short, log_short, log_long), forgotten


def check_eta(eta) -> Array:
    """Return eta as an array; ValueError unless it is finite and >= 0."""
    return check_at_least_0(eta, "eta", "0 is the probability flow, 1 the reverse SDE.")


def _check_falling(level: NoiseLevel, next_level: NoiseLevel) -> None:
    if concrete(level, next_level):
        alpha, sigma = (np.float64(value) for value in (level.alpha, level.sigma))
        next_alpha, next_sigma = (np.float64(value) for value in (next_level.alpha, next_level.sigma))
        if next_sigma * alpha > sigma * next_alpha:
            raise ValueError(
                f"next_level: expected at most the noise of level, got sigma/alpha {next_sigma:g}/{next_alpha:g} after "
                f"{sigma:g}/{alpha:g}. The reverse SDE runs from noise to data; swap the two."
            )
