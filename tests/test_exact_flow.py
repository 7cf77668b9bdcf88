"""Everything that a Gaussian does in closed form: against dense linear algebra, ODE solves, autodiff and simulation."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo
from scipy.integrate import solve_ivp

import gaussdiff as gd

NOISE, CLEAN = gd.NoiseLevel(0.0, 1.0), gd.NoiseLevel(1.0, 0.0)
# falling noise, through several frames, from alpha = 0 to sigma = 0
LEVELS = gd.NoiseLevel(
    jnp.array([0.0, 1e-6, 1.0, 0.3, 1.0, 0.8, 2.0, 1.0]), jnp.array([1.0, 1.0, 80.0, 0.9, 1.5, 0.6, 0.02, 0.0])
)
WITHIN = gd.NoiseLevel(jnp.array([0.1, 0.5, 1.0, 0.9]), jnp.array([1.0, 0.9, 0.8, 0.1]))
STEPS = {
    "exploding": (gd.NoiseLevel(1.0, 3.0), gd.NoiseLevel(1.0, 0.4)),
    "preserving": (gd.NoiseLevel(0.6, 0.8), gd.NoiseLevel(0.8, 0.6)),
    "between_frames": (gd.NoiseLevel(0.2, 1.0), gd.NoiseLevel(3.0, 0.5)),
    "short": (gd.NoiseLevel(1.0, 0.7), gd.NoiseLevel(1.0, 0.7 - 1e-7)),
    "long": (gd.NoiseLevel(1.0, 1e4), gd.NoiseLevel(1.0, 1e-4)),
    "to_clean": (gd.NoiseLevel(0.8, 0.6), CLEAN),
    "from_noise": (NOISE, gd.NoiseLevel(0.8, 0.6)),
    "whole": (NOISE, CLEAN),
    "none": (gd.NoiseLevel(0.8, 0.6), gd.NoiseLevel(0.8, 0.6)),
}
path = eqx.filter_jit(gd.exact.gaussian_path)
flow = eqx.filter_jit(gd.gaussian_flow)
transition = eqx.filter_jit(gd.gaussian_transition)


def dense(case) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of the dense law."""
    return case.law.means[0], case.law.factors[0] @ case.law.factors[0].T


def marginal_cov(case, level) -> np.ndarray:
    cov = dense(case)[1]
    return float(level.alpha) ** 2 * cov + float(level.sigma) ** 2 * np.eye(len(cov))


# full, of low rank with a residual, singular, and a point
LAWS = {name: zoo.GAUSSIANS[f"gaussian_{name}"] for name in ("full", "low_rank_image", "singular", "point")}
ETAS = jnp.array([0.0, 0.2, 1.0, 2.0])


def jacobian(function, shape) -> jax.Array:
    """The matrix (D, D) of an affine function of one sample."""
    return jax.jacfwd(lambda flat: function(flat.reshape(shape)).ravel())(jnp.zeros(int(np.prod(shape))))


@eqx.filter_jit
def _transitions(model, xs, starts, ends):
    def one(x, start, end, eta):
        law = lambda x: gd.gaussian_transition(model, x, start, end, eta)  # noqa: E731
        gain = jacobian(lambda x: law(x)[0], model.shape)
        factor = law(x)[1]
        return law(x)[0], law(start.alpha * model.mean)[0], gain, factor.dense(), factor.squared().dense()

    over_etas = jax.vmap(one, (None, None, None, 0))
    return jax.vmap(over_etas, (0, 0, 0, None))(xs, starts, ends, ETAS)


@functools.cache
def transitions(name: str) -> dict:
    """By step: x, and over ETAS the mean, the mean from the marginal's mean, gain, factor and factor squared."""
    case = LAWS[name]
    starts, ends = (zoo.stack({key: pair[i] for key, pair in STEPS.items()}) for i in (0, 1))
    xs = jnp.stack([case.x(start)[0] for start, _ in STEPS.values()])
    found = [np.asarray(leaf) for leaf in _transitions(case.model, xs, starts, ends)]
    return {key: (xs[i], *(leaf[i] for leaf in found)) for i, key in enumerate(STEPS)}


@pytest.mark.slow
@zoo.over(zoo.GAUSSIANS)
def test_path_is_the_flow_and_the_denoiser_at_every_level(case):
    x = case.x(LEVELS[0])[0]
    found = path(case.model, x, LEVELS)
    expected = jax.jit(jax.vmap(gd.gaussian_flow, (None, None, None, 0)))(case.model, x, LEVELS[0], LEVELS)
    np.testing.assert_allclose(found.x, expected, rtol=1e-11, atol=1e-12)
    shown = jax.jit(jax.vmap(case.model.denoise))(expected[:-1], LEVELS[:-1])
    np.testing.assert_allclose(found.denoised, shown, rtol=1e-9, atol=1e-10)
    assert found.x.shape == (8, *case.model.shape)
    assert found.denoised.shape == (7, *case.model.shape)


@zoo.over(LAWS)
def test_path_upwards_from_the_data(case):
    x = case.x(CLEAN)[0]
    found = path(case.model, x, LEVELS[::-1])
    back = path(case.model, found.x[-1], LEVELS)
    np.testing.assert_allclose(found.x[1:], back.x[::-1][1:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.x[0], x, rtol=1e-12, atol=1e-12)


@zoo.over(LAWS)
def test_path_in_float32(case):
    x = case.x(LEVELS[0])[0]
    found, expected = path(*zoo.cast((case.model, x, LEVELS))), path(case.model, x, LEVELS)
    assert found.x.dtype == found.denoised.dtype == jnp.float32
    scale = np.asarray(LEVELS.alpha + LEVELS.sigma).reshape(-1, *(1 for _ in case.model.shape))
    np.testing.assert_allclose(found.x / scale, expected.x / scale, atol=2e-5)
    np.testing.assert_allclose(found.denoised, expected.denoised, atol=2e-5)


@pytest.mark.slow
def test_path_of_a_batch_is_the_paths_of_its_samples():
    x = zoo.GAUSSIAN.x(LEVELS[0])
    batch = jax.vmap(gd.exact.gaussian_path, (None, 0, None))(zoo.GAUSSIAN.model, x, LEVELS)
    for i in range(3):
        np.testing.assert_allclose(batch.x[i], path(zoo.GAUSSIAN.model, x[i], LEVELS).x, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 1.7])
@pytest.mark.parametrize("name", ["gaussian_full", "gaussian_low_rank", "gaussian_singular"])
def test_transition_solves_the_equations_of_its_sde(name, eta):
    """d mean/ds = -(1 + eta^2) s score and the Lyapunov equation of the covariance, dense, frame alpha = 1."""
    case, start, end = zoo.DISTRIBUTIONS[name], gd.NoiseLevel(1.0, 2.0), gd.NoiseLevel(1.0, 0.3)
    x = case.x(start)[0]
    mean, cov = dense(case)
    size = len(mean)

    def rate(s, state):
        m, p = state[:size], state[size:].reshape(size, size)
        drift = (1 + eta**2) * s * np.linalg.inv(cov + s**2 * np.eye(size))
        return np.concatenate([drift @ (m - mean), (drift @ p + p @ drift - 2 * s * eta**2 * np.eye(size)).ravel()])

    state = np.concatenate([np.ravel(x), np.zeros(size * size)])
    solved = solve_ivp(rate, (2.0, 0.3), state, rtol=1e-12, atol=1e-13, method="DOP853").y[:, -1]
    found, factor = transition(case.model, x, start, end, eta)
    np.testing.assert_allclose(found, solved[:size], rtol=1e-9)
    np.testing.assert_allclose(factor.squared().dense(), solved[size:].reshape(size, size), atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_transition_without_noise_is_the_flow(name):
    for key, (x, means, _, _, factors, _) in transitions(name).items():
        np.testing.assert_allclose(means[0], flow(LAWS[name].model, x, *STEPS[key]), rtol=1e-12, atol=1e-13)
        assert not factors[0].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_transition_at_eta_one_is_the_posterior_of_ddpm(name):
    """q(x' | x) = integral of q(x' | x, x0) p(x0 | x): the law of total covariance with the exact posterior of x0."""
    law, one = LAWS[name].law, list(ETAS).index(1)
    for key, (x, means, _, _, _, covs) in transitions(name).items():
        start, end = STEPS[key]
        a, s, b, t = (float(v) for v in (start.alpha, start.sigma, end.alpha, end.sigma))
        ratio = (a * t / (b * s)) ** 2  # of the squared noise scales
        weight_x, weight_x0, variance = ratio * b / a if a else 0.0, b * (1 - ratio), t**2 * (1 - ratio)
        flat = np.ravel(x)
        expected = weight_x * flat + weight_x0 * law.denoise(flat, start)
        spread = variance * np.eye(len(flat)) + weight_x0**2 * law.posterior_cov(flat, start)
        np.testing.assert_allclose(np.ravel(means[one]), expected, rtol=1e-8, atol=1e-9)
        # 1 - ratio of the short step has 9 digits left here
        np.testing.assert_allclose(covs[one], spread, rtol=1e-7, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_transition_carries_one_marginal_to_the_other(name):
    case = LAWS[name]
    for key, (_, _, centres, gains, factors, covs) in transitions(name).items():
        start, end = STEPS[key]
        for centre, gain, factor, cov in zip(centres, gains, factors, covs, strict=True):
            np.testing.assert_allclose(centre, float(end.alpha) * case.model.mean, rtol=1e-12, atol=1e-13)
            total = gain @ marginal_cov(case, start) @ gain.T + cov
            np.testing.assert_allclose(total, marginal_cov(case, end), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(factor @ factor.T, cov, rtol=1e-10, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_transitions_compose(eta):
    case = zoo.DISTRIBUTIONS["gaussian_low_rank"]
    levels = [gd.NoiseLevel(0.1, 1.0), gd.NoiseLevel(0.7, 0.9), gd.NoiseLevel(1.0, 0.05)]
    x = case.x(levels[0])[0]
    middle, first = transition(case.model, x, levels[0], levels[1], eta)
    mean, second = transition(case.model, middle, levels[1], levels[2], eta)
    gain = np.asarray(jacobian(lambda x: transition(case.model, x, levels[1], levels[2], eta)[0], case.model.shape))
    direct, factor = transition(case.model, x, levels[0], levels[2], eta)
    np.testing.assert_allclose(mean, direct, rtol=1e-12)
    cov = gain @ first.squared().dense() @ gain.T + second.squared().dense()
    np.testing.assert_allclose(cov, factor.squared().dense(), rtol=1e-11, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e-2, 0.5, 0.999999])
@pytest.mark.parametrize("lam", [0.0, 1e-8, 1.0, 1e4])
def test_short_and_long_steps_keep_their_digits(lam, scale):
    """One mode, 60 digits: the noise of a step of relative length 1e-12 is not lost to 1 - 1."""
    sigma, eta = 0.5, 0.7
    following = sigma - sigma * scale
    with mpmath.workdps(60):
        before, after = (mpmath.mpf(lam) + mpmath.mpf(s) ** 2 for s in (sigma, following))
        gain = (after / before) ** ((1 + mpmath.mpf(eta) ** 2) / 2)
        added = mpmath.sqrt(after * (1 - (after / before) ** (mpmath.mpf(eta) ** 2)))
    model = gd.Gaussian.isotropic(jnp.zeros(1), lam)
    levels = gd.NoiseLevel(1.0, sigma), gd.NoiseLevel(1.0, following)
    mean, factor = gd.gaussian_transition(model, jnp.ones(1), *levels, eta)
    assert mean[0] == pytest.approx(float(gain), rel=1e-11)
    assert factor.residual_gain == pytest.approx(float(added), rel=1e-10)
    mean, factor = gd.gaussian_transition(*zoo.cast((model, jnp.ones(1), *levels)), eta)
    assert mean.dtype == factor.residual_gain.dtype == jnp.float32
    assert mean[0] == pytest.approx(float(gain), rel=1e-3)


def test_transition_draws_samples_of_its_law_and_keeps_its_rank():
    """5 standard errors; the factor of a Gaussian of rank 2 in four dimensions has 2 modes and a residual."""
    case, start, end = zoo.DISTRIBUTIONS["gaussian_low_rank_image"], gd.NoiseLevel(0.5, 0.8), gd.NoiseLevel(0.9, 0.3)
    mean, factor = gd.gaussian_transition(case.model, case.x(start)[0], start, end, 0.8)
    assert factor.gains.shape == (2,)
    white = jax.random.normal(jax.random.key(0), (20_000, *case.model.shape))
    draws = np.asarray(mean[None] + jax.vmap(factor.matvec)(white)).reshape(len(white), -1)
    away = draws - np.ravel(mean)
    products = away[:, :, None] * away[:, None, :]
    for values, expected in ((away, 0), (products, np.asarray(factor.squared().dense()))):
        assert (np.abs(values.mean(0) - expected) < 5 * values.std(0) / np.sqrt(len(white))).all()
    assert factor.squared().trace() == pytest.approx(float(np.trace(factor.squared().dense())), rel=1e-12)


@pytest.mark.slow
def test_a_chain_of_transitions_ends_in_the_data():
    """40,000 paths from the prior at alpha = 0, four steps, eta = 1, traced: covariance within 5 standard errors."""
    case, grid = zoo.GAUSSIAN, [0, 3, 4, 5, 7]
    keys = jax.random.split(jax.random.key(5), 40_000)

    @jax.jit
    def draw(model, key, eta):
        keys = jax.random.split(key, len(grid))
        x = jax.random.normal(keys[0], model.shape)
        for key, i, j in zip(keys[1:], grid[:-1], grid[1:], strict=True):
            mean, factor = gd.gaussian_transition(model, x, LEVELS[i], LEVELS[j], eta)
            x = mean + factor.matvec(jax.random.normal(key, model.shape))
        return x

    x = np.asarray(jax.vmap(draw, (None, 0, None))(case.model, keys, jnp.array(1.0)))
    mean, cov = dense(case)
    away = x - mean
    for values, expected in ((away, 0), (away[:, :, None] * away[:, None, :], cov)):
        assert (np.abs(values.mean(0) - expected) < 5 * values.std(0) / np.sqrt(len(x))).all()


@pytest.mark.slow
@zoo.over(LAWS)
def test_transitions_are_finite_in_float32_with_gradients(case):
    def total(model, x, start, end, eta):
        mean, factor = gd.gaussian_transition(model, x, start, end, eta)
        return jnp.sum(mean**2) + jnp.sum(factor.matvec(x))

    compiled = jax.jit(jax.value_and_grad(total, (0, 1, 4)))
    for start, end in STEPS.values():
        for eta in (0.0, 1.0):
            found = compiled(*zoo.cast((case.model, case.x(start)[0], start, end, jnp.array(eta))))
            for leaf in jax.tree.leaves(found):
                assert np.isfinite(leaf).all()


@zoo.over(LAWS)
def test_perturbation_is_the_difference_of_two_paths(case):
    perturbation, denoise = eqx.filter_jit(gd.exact.gaussian_perturbation), eqx.filter_jit(case.model.denoise)
    for start, end in STEPS.values():
        x, other = case.x(start)[:2]
        state, shown = perturbation(case.model, other - x, start, end)
        moved, base = flow(case.model, other, start, end), flow(case.model, x, start, end)
        np.testing.assert_allclose(state, moved - base, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(shown, denoise(moved, end) - denoise(base, end), rtol=1e-8, atol=1e-9)


def test_perturbations_off_the_data_vanish():
    case = zoo.DISTRIBUTIONS["gaussian_singular"]
    off = np.linalg.svd(case.law.factors[0])[0][:, -1]
    state, shown = gd.exact.gaussian_perturbation(case.model, off, gd.NoiseLevel(0.8, 0.6), CLEAN)
    np.testing.assert_allclose(state, 0, atol=1e-14)
    np.testing.assert_allclose(shown, 0, atol=1e-14)


@pytest.mark.slow
@zoo.over(LAWS)
def test_rotation_and_its_residual_are_the_path(case):
    levels = LEVELS[1:]
    x = case.x(levels[0])[0]
    found = gd.exact.gaussian_rotation(case.model, x, levels)
    scale = np.asarray(levels.alpha + levels.sigma).reshape(-1, *(1 for _ in case.model.shape))
    expected = path(case.model, x, levels).x
    np.testing.assert_allclose((found.path + found.residual) / scale, expected / scale, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found.x0, flow(case.model, x, levels[0], CLEAN), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found.noise, flow(case.model, x, levels[0], NOISE), rtol=1e-11, atol=1e-12)


@pytest.mark.slow
def test_rotation_is_exact_without_variance_and_for_a_variance_preserving_unit_normal_it_is_not():
    point = zoo.DISTRIBUTIONS["gaussian_point"]
    assert not gd.exact.gaussian_rotation(point.model, point.x(NOISE)[0], LEVELS).residual.any()
    half = gd.NoiseLevel(jnp.array([0.0, np.sqrt(0.5)]), jnp.array([1.0, np.sqrt(0.5)]))
    unit = gd.exact.gaussian_rotation(gd.Gaussian.isotropic(jnp.zeros(2), 1.0), jnp.ones(2), half)
    np.testing.assert_allclose(unit.residual[1], 1 - np.sqrt(2), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("centered", [False, True])
def test_best_plane_leaves_the_least(centered):
    """By the eigenvectors of the scatter matrix; no random plane does better, nor does that of the rotation."""
    case = zoo.DISTRIBUTIONS["gaussian_image"]
    states = path(case.model, case.x(NOISE)[0], LEVELS[:2]).x
    levels = gd.NoiseLevel(jnp.cos(jnp.linspace(1.5, 0, 9)), jnp.sin(jnp.linspace(1.5, 0, 9)))
    states = path(case.model, states[1], levels).x
    plane = gd.exact.best_plane(states, centered=centered)
    flat = np.asarray(states).reshape(9, 4)
    away = flat - (flat.mean(0) if centered else 0)
    axes = np.asarray(plane.axes).reshape(2, 4)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-13)
    left = ((away - np.asarray(plane.coordinates) @ axes) ** 2).sum()
    spectrum = np.linalg.eigvalsh(away.T @ away)[::-1]
    assert left == pytest.approx(spectrum[2:].sum(), rel=1e-9)
    np.testing.assert_allclose(plane.shares, spectrum[:2] / spectrum.sum(), rtol=1e-10)
    rng = np.random.default_rng(0)
    for _ in range(50):
        other = np.linalg.qr(rng.normal(size=(4, 2)))[0]
        assert ((away - away @ other @ other.T) ** 2).sum() >= left
    if not centered:
        assert (np.asarray(gd.exact.gaussian_rotation(case.model, states[0], levels).residual) ** 2).sum() >= left


def simulated(case, levels: gd.NoiseLevel, count: int = 20_000) -> np.ndarray:
    """Exact paths (count, n+1, D) from starts drawn from the marginal."""
    keys, start = jax.random.split(jax.random.key(2), count), levels[0]
    x0 = jax.vmap(case.model.sample)(keys)
    x = start.alpha * x0 + start.sigma * jax.random.normal(jax.random.key(3), x0.shape)
    paths = jax.jit(jax.vmap(lambda x: jax.vmap(lambda lv: gd.gaussian_flow(case.model, x, start, lv))(levels)))(x)
    return np.asarray(paths).reshape(count, len(levels), -1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian_full", "gaussian_low_rank", "gaussian_singular", "gaussian_isotropic"])
def test_gram_matrix_and_spectrum_are_those_of_simulated_paths(name):
    """5 standard errors, per entry."""
    case = zoo.DISTRIBUTIONS[name]
    paths = simulated(case, WITHIN)
    grams = np.einsum("nti,nsi->nts", paths, paths)
    found = np.asarray(gd.exact.gram_matrix(case.model, WITHIN))
    errors = grams.std(0) / np.sqrt(len(grams))
    assert (np.abs(grams.mean(0) - found) < 5 * errors).all()
    away = paths - paths.mean(1, keepdims=True)
    scatter = np.einsum("nti,nsi->nts", away, away) / len(WITHIN)
    spectrum = np.asarray(gd.exact.path_spectrum(case.model, WITHIN))
    total = np.einsum("ntt->n", scatter)
    assert abs(total.mean() - spectrum.sum()) < 5 * total.std() / np.sqrt(len(total))
    # along the principal axes of the expectation
    axes = np.linalg.eigh(scatter.mean(0))[1][:, ::-1]
    along = np.einsum("ti,nts,si->ni", axes, scatter, axes)
    assert (np.abs(along.mean(0) - spectrum) < 5 * along.std(0) / np.sqrt(len(along)) + 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize("centered", [False, True])
@zoo.over(LAWS)
def test_spectrum_is_that_of_the_gram_matrix(case, centered):
    gram = np.asarray(gd.exact.gram_matrix(case.model, LEVELS))
    still = np.eye(8) - centered * np.full((8, 8), 1 / 8)
    expected = np.linalg.eigvalsh(still @ gram @ still)[::-1] / 8
    found = gd.exact.path_spectrum(case.model, LEVELS, centered)
    assert found.shape == (8,)
    np.testing.assert_allclose(found, expected, atol=1e-12 * expected[0])


def test_dimensions_of_a_spectrum():
    assert gd.exact.participation_ratio(jnp.array([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3, rel=1e-14)
    assert gd.exact.participation_ratio(jnp.zeros(3)) == 0
    spectrum = jnp.array([0.5, 8.0, 1.5])
    for share, count in ((0.1, 1), (0.79, 1), (0.81, 2), (0.94, 2), (0.96, 3), (1.0, 3)):
        assert gd.exact.components_for_share(spectrum, share) == count
    assert gd.exact.components_for_share(jnp.array([1.0, 1e-12, 0.0]), 1.0) == 2
    assert jax.jit(gd.exact.components_for_share)(spectrum, 0.9) == 2


@pytest.mark.slow
@zoo.over(LAWS)
def test_flow_from_a_prior_has_the_moments_of_the_pushed_normal(case):
    for level, end in ((gd.NoiseLevel(1.0, 3.0), CLEAN), (gd.NoiseLevel(0.3, 0.9), gd.NoiseLevel(1.0, 0.2))):
        moved = np.asarray(jacobian(lambda x, a=level, b=end: gd.gaussian_flow(case.model, x, a, b), case.model.shape))
        law = gd.exact.flow_from_prior(case.model, level, end)
        mean = gd.gaussian_flow(case.model, jnp.zeros(case.model.shape), level, end)
        cov = float(level.sigma) ** 2 * moved @ moved.T
        vectors, size = np.asarray(law.eigvecs), case.model.mean.size
        found = (vectors * np.asarray(law.eigvals)) @ vectors.T + float(law.residual) * (
            np.eye(size) - vectors @ vectors.T
        )
        np.testing.assert_allclose(found, cov, atol=1e-12)
        np.testing.assert_allclose(law.mean, mean, rtol=1e-12)
    exact = gd.exact.flow_from_prior(case.model, NOISE)
    np.testing.assert_allclose(exact.variances, case.model.variances, rtol=1e-12)
    np.testing.assert_allclose(exact.mean, case.model.mean, rtol=1e-12)


def test_the_start_error_falls_with_the_noise_of_the_start():
    model = zoo.GAUSSIAN.model
    errors = [
        float(gd.exact.gaussian_w2(gd.exact.flow_from_prior(model, gd.NoiseLevel(1.0, s)), model)) for s in (1, 10, 100)
    ]
    assert errors[0] > 9 * errors[1] > 81 * errors[2] > 0


@pytest.mark.slow
@zoo.over(LAWS)
def test_log_likelihood_along_the_flow_is_log_prob(case):
    model, end = case.model, LEVELS[3]

    @jax.jit
    def found(model, x, level):
        moved = jacobian(lambda x: gd.gaussian_flow(model, x, level, end), model.shape)
        answers = gd.exact.flow_log_likelihood(model, x, level, end), model.log_prob(x, level)
        return jnp.linalg.slogdet(moved)[1], gd.exact.flow_log_det(model, level, end), *answers

    for level in LEVELS[:-1]:
        x = case.x(level)[0]
        by_matrix, log_det, likelihood, log_prob = (float(value) for value in found(model, x, level))
        assert log_det == pytest.approx(by_matrix, rel=1e-9, abs=1e-9)
        assert likelihood == pytest.approx(log_prob, rel=1e-10, abs=1e-9)
        assert likelihood == pytest.approx(case.law.log_prob(np.ravel(x), level), rel=1e-9, abs=1e-9)


@pytest.mark.slow
@zoo.over(LAWS)
def test_log_likelihood_from_a_finite_prior_is_the_density_of_what_it_generates(case):
    level, start = gd.NoiseLevel(1.0, 0.1), gd.NoiseLevel(1.0, 5.0)
    x = case.x(level)[0]
    prior = gd.Gaussian.isotropic(jnp.zeros(case.model.shape), start.sigma**2)
    found = gd.exact.flow_log_likelihood(case.model, x, level, start, prior)
    generated = gd.exact.flow_from_prior(case.model, start, level)
    assert found == pytest.approx(float(generated.log_prob(x)), rel=1e-10)


@pytest.mark.slow
def test_clean_likelihoods_where_there_is_a_density_and_where_there_is_none():
    case, level = zoo.GAUSSIAN, gd.NoiseLevel(0.5, 0.8)
    x = case.x(CLEAN)[0]
    found = gd.exact.flow_log_likelihood(case.model, x, CLEAN, level)
    assert found == pytest.approx(float(case.model.log_prob(x)), rel=1e-10)
    assert gd.exact.flow_log_likelihood(*zoo.cast((case.model, x, CLEAN, level))) == pytest.approx(
        float(found), rel=1e-5
    )
    flat = zoo.DISTRIBUTIONS["gaussian_singular"]
    assert gd.exact.flow_log_likelihood(flat.model, flat.x(CLEAN)[0], CLEAN, level) == np.inf


@zoo.over(LAWS)
def test_the_marginal_is_the_law_of_noisy_samples(case):
    marginal = jax.jit(lambda model, x, level: gd.exact.gaussian_marginal(model, level).log_prob(x))
    for level in zoo.NOISY.values():
        x = case.x(level)[0]
        expected = case.law.log_prob(np.ravel(x), level)
        np.testing.assert_allclose(marginal(case.model, x, level), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_bad_input_is_refused():
    model, x = zoo.GAUSSIAN.model, jnp.zeros(3)
    one, many = gd.NoiseLevel(1.0, 1.0), LEVELS
    with pytest.raises(ValueError, match=r"x: expected one sample of shape \(3,\), got \(2, 3\).*vmap"):
        gd.exact.gaussian_path(model, jnp.zeros((2, 3)), many)
    for function in (gd.exact.gaussian_path, gd.exact.gaussian_rotation):
        with pytest.raises(ValueError, match=r"levels: expected shape \(n\+1,\)"):
            function(model, x, one)
    with pytest.raises(ValueError, match=r"levels: expected shape \(n\+1,\)"):
        gd.exact.gram_matrix(model, many[:1])
    with pytest.raises(ValueError, match=r"eta: expected >= 0 and finite, got -1"):
        gd.gaussian_transition(model, x, one, CLEAN, -1.0)
    with pytest.raises(ValueError, match=r"next_level: expected at most the noise of level.*3/1 after 1/1.*swap"):
        gd.gaussian_transition(model, x, one, gd.NoiseLevel(1.0, 3.0), 1.0)
    with pytest.raises(ValueError, match=r"next_level: expected a single level"):
        gd.gaussian_transition(model, x, one, many, 1.0)
    with pytest.raises(ValueError, match=r"delta: expected one sample"):
        gd.exact.gaussian_perturbation(model, jnp.zeros(4), one, CLEAN)
    with pytest.raises(ValueError, match=r"v: expected one sample"):
        gd.gaussian_transition(model, x, one, CLEAN, 1.0)[1].matvec(jnp.zeros(4))
    with pytest.raises(ValueError, match=r"dimensions: expected an integer from 1 to 3, got 4"):
        gd.exact.best_plane(jnp.zeros((5, 3)), 4)
    with pytest.raises(ValueError, match=r"share: expected in \(0, 1\], got 0"):
        gd.exact.components_for_share(jnp.ones(3), 0.0)
