"""The table of everything: a new schedule, distribution, sampler, grid or level is one line here.

Each distribution stands beside its `Law`, the same thing written as a dense mixture of normals in NumPy, whose answers
are computed from the definitions with 60 digits and more: no eigenvectors, no softmax, no care for cancellation.
"""

import functools
import itertools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import gaussdiff as gd
from gaussdiff.conversions import score_from_x0


def over(table: dict, name: str = "case"):
    """pytest.mark.parametrize over the entries of a table, with its keys as ids; an entry's tests run side by side."""
    return pytest.mark.parametrize(name, list(table.values()), ids=list(table), scope="module")


def exhaustive(*values):
    """A parameter that only `make test-all` runs."""
    return pytest.param(*values, marks=(pytest.mark.exhaustive, pytest.mark.slow))


def cast(tree, dtype=jnp.float32):
    """Every floating leaf in another dtype: what a user gets without x64."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, tree)


def stack(levels: dict[str, gd.NoiseLevel]) -> gd.NoiseLevel:
    """A table of levels as one NoiseLevel of arrays."""
    return gd.NoiseLevel(*(jnp.stack([getattr(lv, name) for lv in levels.values()]) for name in ("alpha", "sigma")))


@functools.partial(jax.jit, static_argnums=0)
def everywhere(function, model, x, levels: gd.NoiseLevel):
    """function(model, x, level) for x of shape (levels, count, *event), with one compilation."""

    def at_level(x, level):
        return jax.vmap(lambda one: function(model, one, level))(x)

    return jax.vmap(at_level)(x, levels)


def answers(model: gd.Distribution, x, level: gd.NoiseLevel) -> dict:
    """What a distribution says of one x at a level."""
    return {"denoise": model.denoise(x, level), "log_prob": model.log_prob(x, level)}


def answers_and_derivatives(model: gd.Distribution, x, level: gd.NoiseLevel) -> dict:
    """The same with the score by three roads, and the gradients in x, in the level and in every parameter."""

    def power(model, x):
        x0 = model.denoise(x, level)
        return jnp.sum(x0**2), x0

    of_power, x0 = jax.grad(power, (0, 1), has_aux=True)(model, x)
    log_prob, (of_model, of_x, of_level) = jax.value_and_grad(
        lambda model, x, level: model.log_prob(x, level), (0, 1, 2)
    )(model, x, level)
    return {
        "denoise": x0,
        "log_prob": log_prob,
        "score": level.sigma * model.score(x, level),
        "tweedie": level.sigma * score_from_x0(x0, x, level),
        "gradient": level.sigma * of_x,
        "rate": level.sigma * of_level.sigma,
        "jacobian": jax.jacfwd(model.denoise)(x, level),
        "gradients": jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves((of_power, of_model, of_x))]),
    }


class Law(NamedTuple):
    """sum_i weights_i N(means_i, factors_i factors_i^T) over flat vectors: (K,), (K, D), (K, D, m)."""

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.weights @ self.means

    @property
    def cov(self) -> np.ndarray:
        away = self.means - self.mean
        covs = self.factors @ self.factors.swapaxes(1, 2)
        return np.einsum("k,kij->ij", self.weights, covs + away[:, :, None] * away[:, None, :])

    def singular(self) -> bool:
        """Whether it has no density."""
        return self.factors.shape[2] < self.means.shape[1]

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Clean samples (count, D) by NumPy."""
        which = rng.choice(len(self.weights), count, p=self.weights)
        white = rng.normal(size=(count, self.factors.shape[2]))
        return self.means[which] + np.einsum("nij,nj->ni", self.factors[which], white)

    def noisy(self, level: gd.NoiseLevel, seed: int = 0, count: int = 3) -> np.ndarray:
        rng = np.random.default_rng(seed)
        x0 = self.draw(rng, count)
        return float(level.alpha) * x0 + float(level.sigma) * rng.normal(size=x0.shape)

    def log_prob(self, x: np.ndarray, level: gd.NoiseLevel) -> float:
        joint, _, _ = self._posteriors(x, level)
        return float(mpmath.log(sum(joint)))

    def denoise(self, x: np.ndarray, level: gd.NoiseLevel) -> np.ndarray:
        joint, means, _ = self._posteriors(x, level)
        total = sum((p * m for p, m in zip(joint, means, strict=True)), mpmath.zeros(len(x), 1)) / sum(joint)
        return np.array(total.tolist(), dtype=float).ravel()

    def posterior_cov(self, x: np.ndarray, level: gd.NoiseLevel) -> np.ndarray:
        """Cov[x0 | x] by the law of total covariance."""
        joint, means, covs = self._posteriors(x, level)
        size, total = len(x), sum(joint)
        mean = sum((p * m for p, m in zip(joint, means, strict=True)), mpmath.zeros(size, 1)) / total
        spread = mpmath.zeros(size, size)
        for p, m, c in zip(joint, means, covs, strict=True):
            spread += p / total * (c + (m - mean) * (m - mean).T)
        return np.array(spread.tolist(), dtype=float)

    def _posteriors(self, x, level):
        """Joint densities pi_i N_i(x), posterior means and covariances of x0 given x and the component.

        sigma = 0 is taken as the limit: 1e-60 with 400 digits.
        """
        with mpmath.workdps(400):
            alpha, sigma = mpmath.mpf(float(level.alpha)), mpmath.mpf(float(level.sigma)) or mpmath.mpf("1e-60")
            x = mpmath.matrix(x.tolist())
            joint, means, covs = [], [], []
            for weight, mean, factor in zip(self.weights, self.means, self.factors, strict=True):
                mean, cov = mpmath.matrix(mean.tolist()), mpmath.zeros(len(mean))
                for column in factor.T:
                    column = mpmath.matrix(column.tolist())
                    cov += column * column.T
                total = alpha**2 * cov + sigma**2 * mpmath.eye(len(mean))
                inverse, centered = mpmath.inverse(total), x - alpha * mean
                power = (centered.T * inverse * centered)[0]
                scale = (2 * mpmath.pi) ** len(mean) * mpmath.det(total)
                joint.append(weight * mpmath.exp(-power / 2) / mpmath.sqrt(scale))
                means.append(mean + alpha * cov * inverse * centered)
                covs.append(cov - alpha**2 * cov * inverse * cov)
            return joint, means, covs


class Case(NamedTuple):
    """A gaussdiff distribution and the dense law that it stands for."""

    model: gd.Distribution
    law: Law

    def x(self, level: gd.NoiseLevel, seed: int = 0, count: int = 3) -> jax.Array:
        """Noisy samples (count, *event) of the law at a level, drawn by NumPy."""
        return jnp.asarray(self.law.noisy(level, seed, count).reshape(count, *self.model.shape))

    def answers(self, dtype=jnp.float64, x=None, function=answers) -> dict[str, np.ndarray]:
        """`function` at every level for x (levels, count, *event), by default those that `self.x` gives."""
        x = jnp.stack([self.x(level) for level in LEVELS.values()]) if x is None else x
        found = everywhere(function, *cast((self.model, x, stack(LEVELS)), dtype))
        return {name: np.array(value).reshape(*value.shape[:2], -1) for name, value in found.items()}

    def truth(self, question: str, at) -> np.ndarray:
        """What the dense law says of the same x at the levels named: (levels, count, ...)."""
        ask, levels = getattr(self.law, question), [LEVELS[name] for name in at]
        return np.array([[np.ravel(ask(np.asarray(x).ravel(), lv)) for x in self.x(lv)] for lv in levels])


_rng = np.random.default_rng(7)


def _modes(size: int, rank: int, residual: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Falling variances (r,), their directions (D, r), and the factor (D, m) of the covariance with that residual."""
    basis, _ = np.linalg.qr(_rng.normal(size=(size, size)))
    lam = np.sort(_rng.uniform(0.2, 3.0, rank))[::-1]
    modes, rest = basis[:, :rank] * np.sqrt(lam), basis[:, rank:] * np.sqrt(residual)
    return lam, basis[:, :rank], np.concatenate([modes, rest], axis=1) if residual else modes


def _gaussian(shape, rank: int | None = None, residual: float = 0.0) -> Case:
    mean = _rng.normal(size=shape)
    lam, vectors, factor = _modes(mean.size, mean.size if rank is None else rank, residual)
    model = gd.Gaussian.from_moments(mean, factor @ factor.T) if rank is None else None
    return Case(model or gd.Gaussian(mean, lam, vectors, residual), Law(np.ones(1), mean.reshape(1, -1), factor[None]))


def _isotropic(shape, variance: float) -> Case:
    mean = _rng.normal(size=shape)
    factor = np.sqrt(variance) * np.eye(mean.size)[:, : mean.size if variance else 0]
    return Case(gd.Gaussian.isotropic(mean, variance), Law(np.ones(1), mean.reshape(1, -1), factor[None]))


def _mixture(shape, weights, rank: int | None = None, residual: float = 0.0) -> Case:
    cases = [_gaussian(shape, rank, residual) for _ in weights]
    weights = np.array(weights)
    with np.errstate(divide="ignore"):
        model = gd.GaussianMixture(np.log(weights), [case.model for case in cases])
    return Case(model, Law(weights, *(np.concatenate([case.law[i] for case in cases]) for i in (1, 2))))


def _empirical(shape, count: int, bandwidth: float, chunk: int, weights=None, kind=gd.Empirical) -> Case:
    points = 2 * _rng.normal(size=(count, *shape))
    log_weights = None if weights is None else np.log(weights)
    weights = np.full(count, 1 / count) if weights is None else np.array(weights)
    flat = points.reshape(count, -1)
    factor = bandwidth * np.eye(flat.shape[1])[:, : flat.shape[1] if bandwidth else 0]
    law = Law(weights, flat, np.broadcast_to(factor, (count, *factor.shape)))
    return Case(kind(points, bandwidth, log_weights, chunk), law)


def _separable(shape, weights) -> Case:
    """The product of one mixture per coordinate; its law has a component for each combination of theirs."""
    means, variances = 2 * _rng.normal(size=(*shape, len(weights))), _rng.uniform(0.1, 1.0, (*shape, len(weights)))
    model = gd.Separable(means, variances, np.broadcast_to(np.log(weights), means.shape))
    flat, widths = (value.reshape(-1, len(weights)) for value in (means, np.sqrt(variances)))
    chosen = np.array(list(itertools.product(range(len(weights)), repeat=len(flat))))  # (combinations, D)
    rows = np.arange(len(flat))
    factors = widths[rows, chosen][:, :, None] * np.eye(len(flat))
    law = Law(np.array(weights)[chosen].prod(1), flat[rows, chosen], factors)
    return Case(model, law)


def along(sampler: gd.Sampler, model, starts, grids: list[gd.NoiseLevel], noise) -> tuple[jax.Array, jax.Array]:
    """Ends (grids, *event) and denoised values (grids, most, *event) of one path on each grid.

    noise: (most, draws or more, *event) for the longest grid that is allowed, of which a grid takes the first. One
    compilation for all: grids are filled up with their last level, and a path that is done stands still. A sampler that
    asks for the grid's length sees `most` steps.
    """
    most = len(noise)
    fill = lambda *leaves: np.stack([np.pad(leaf, (0, most + 1 - len(leaf)), "edge") for leaf in leaves])  # noqa: E731
    levels, steps = jax.tree.map(fill, *grids), jnp.array([len(levels) - 1 for levels in grids])
    return _along(sampler, model, jnp.asarray(starts), levels, steps, jnp.asarray(noise))


@jax.jit
def _along(sampler, model, starts, levels, steps, noise):
    noise = noise[:, : sampler.draws()]

    @jax.vmap
    def path(x, levels, steps):
        def body(carry, inputs):
            i, level, next_level, noise = inputs
            step = sampler.step(model, *carry, level, next_level, noise)
            carry = jax.tree.map(lambda new, old: jnp.where(i < steps, new, old), (step.x, step.state), carry)
            return carry, jnp.where(i < steps, step.denoised, 0)

        (end, _), denoised = jax.lax.scan(
            body, (x, sampler.init(x, levels)), (jnp.arange(len(noise)), levels[:-1], levels[1:], noise)
        )
        return end, denoised

    return path(starts, levels, steps)


GAUSSIANS = {
    "gaussian_full": _gaussian((3,)),
    "gaussian_image": _gaussian((2, 2, 1)),
    "gaussian_scalar": _gaussian((1,)),
    "gaussian_low_rank": _gaussian((3,), rank=1, residual=0.3),
    "gaussian_low_rank_image": _gaussian((2, 2, 1), rank=2, residual=0.1),
    "gaussian_singular": _gaussian((3,), rank=2),
    "gaussian_isotropic": _isotropic((3,), 0.7),
    "gaussian_point": _isotropic((3,), 0.0),
}
DISTRIBUTIONS = GAUSSIANS | {
    "mixture_full": _mixture((3,), (0.2, 0.5, 0.3)),
    "mixture_image": _mixture((2, 2, 1), (0.6, 0.4)),
    "mixture_scalar": _mixture((1,), (0.6, 0.4)),
    "mixture_low_rank": _mixture((3,), (0.3, 0.7), rank=1, residual=0.2),
    "mixture_zero_weight": _mixture((3,), (0.4, 0.0, 0.6)),
    "mixture_singular": _mixture((3,), (0.5, 0.5), rank=2),
    "empirical": _empirical((3,), 7, 0.0, 1000),
    "empirical_image_chunked": _empirical((2, 2, 1), 7, 0.0, 3),
    "empirical_scalar": _empirical((1,), 5, 0.0, 2),
    "empirical_smooth": _empirical((3,), 7, 0.4, 4),
    "empirical_weighted": _empirical((3,), 4, 0.0, 3, (0.1, 0.2, 0.3, 0.4)),
    "streamed": _empirical((3,), 7, 0.4, 3, kind=gd.Streamed),
    "separable": _separable((2, 1), (0.3, 0.7)),
}

SCHEDULES = {
    "variance_preserving": gd.VariancePreserving(),
    "cosine": gd.Cosine(),
    "sub_variance_preserving": gd.SubVariancePreserving(),
    "variance_exploding": gd.VarianceExploding(),
    "rectified_flow": gd.RectifiedFlow(),
    "discrete_betas": gd.DiscreteBetas(np.linspace(1e-4, 0.02, 1000)),
}

LEVELS = {
    "pure_noise": gd.NoiseLevel(0.0, 1.0),
    "clean": gd.NoiseLevel(1.0, 0.0),
    "variance_preserving": gd.NoiseLevel(0.8, 0.6),
    "sub_variance_preserving": gd.NoiseLevel(0.8, 0.36),
    "exploding": gd.NoiseLevel(1.0, 3.0),
    "shrunk": gd.NoiseLevel(1e-3, 2e-3),
    "faint": gd.NoiseLevel(1e-6, 1.0),
    "tiny": gd.NoiseLevel(1.0, 1e-6),
    "huge": gd.NoiseLevel(1.0, 1e6),
}
NOISY = {name: level for name, level in LEVELS.items() if level.sigma > 0}
BOTH = {name: level for name, level in NOISY.items() if level.alpha > 0}

# n -> n+1 levels
BETAS = gd.DiscreteBetas(np.linspace(1e-4, 0.02, 1000))
SPACINGS = gd.grids.leading, gd.grids.trailing, gd.grids.linspace

# steps: a few for `make test`, more for `make test-all`
LENGTHS = 1, 2, 3, 5, 18, 40
SWEEP = *LENGTHS, 4, 6, 7, 8, 9, 10, 13, 27, 33, 39

GRIDS = {
    "karras": gd.grids.karras,
    "karras_to_sigma_min": lambda n: gd.grids.karras(n, final_zero=False),
    "karras_rho_1": lambda n: gd.grids.karras(n, 0.1, 5.0, rho=1.0),
    "uniform_log_snr": gd.grids.uniform_log_snr,
    "uniform_log_snr_to_sigma_min": lambda n: gd.grids.uniform_log_snr(n, final_zero=False),
    "uniform_angles": lambda n: gd.grids.uniform_angles(n, 0.3),
    "uniform_angles_to_sigma_min": lambda n: gd.grids.uniform_angles(n, 0.3, final_zero=False),
    **{make.__name__: lambda n, make=make: make(BETAS, n) for make in SPACINGS},
    **{f"{make.__name__}_to_row_1": lambda n, make=make: make(BETAS, n, final_zero=False) for make in SPACINGS},
    **{f"quadratic_time_{name}": lambda n, s=s: gd.grids.quadratic_time(s, n) for name, s in SCHEDULES.items()},
    **{f"time_{name}": lambda n, s=s: gd.grids.uniform_time(s, n) for name, s in SCHEDULES.items()},
    **{f"karras_in_{name}": lambda n, s=s: gd.reframe(gd.grids.karras(n), s) for name, s in SCHEDULES.items()},
}


@functools.cache
def grids(*lengths: int) -> dict[str, list[gd.NoiseLevel]]:
    """Every grid of the table in each of these numbers of steps, made by one program."""
    return jax.jit(lambda: {name: [levels_of(n) for n in lengths] for name, levels_of in GRIDS.items()})()


# the law that samplers are tried on
GAUSSIAN, MIXTURE = DISTRIBUTIONS["gaussian_full"], DISTRIBUTIONS["mixture_full"]

SAMPLERS = {
    "euler": gd.Euler(),
    "ddim": gd.DDIM(),
    "ddim_half": gd.DDIM(0.5),
    "ddim_ancestral": gd.DDIM(1.0),
    "heun": gd.Heun(),
    "dpmpp_2m": gd.DPMSolverPP2M(),
    "dpm_2": gd.DPMSolver2(),
    "dpm_2_heun": gd.DPMSolver2(1.0),
    "dpm_3": gd.DPMSolver3(),
    "dpmpp_2s": gd.DPMSolverPP2S(),
    "dpmpp_3m": gd.DPMSolverPP3M(),
    "adams_bashforth": gd.AdamsBashforth(),
    "ipndm": gd.IPNDM(),
    "deis": gd.DEIS(),
    "unipc": gd.UniPC(),
    "unipc_2_bh1": gd.UniPC(2, "bh1"),
    "linear_multistep": gd.LinearMultistep([0.4, -0.1]),
    "afs": gd.AFS(gd.Heun()),
    "ancestral": gd.Ancestral(0.5),
    "exponential_sde": gd.ExponentialSDE(0.7),
    "dpmpp_sde": gd.DPMSolverPPSDE(),
    "dpmpp_2m_sde": gd.DPMSolverPP2MSDE(),
    "edm": gd.EDMStochastic(),
    "euler_maruyama": gd.EulerMaruyama(),
    "langevin": gd.AnnealedLangevin(4, 0.5),
    "predictor_corrector": gd.PredictorCorrector(gd.Ancestral()),
    "gaussian_exact": gd.GaussianExact(GAUSSIAN.model),
    "switch": gd.SwitchAt(gd.GaussianExact(GAUSSIAN.model), gd.Heun(), 0.0),
}
DETERMINISTIC = {name: sampler for name, sampler in SAMPLERS.items() if not sampler.draws()}
