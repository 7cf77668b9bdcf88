"""What samplers do to a Gaussian: the law generated, against dense matrices, angles and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

VARIANCES = jnp.array([25.0, 1.0, 0.04, 0.0])
LEVELS = gd.grids.karras(7, 0.01, 20.0)
FULL, LOW = zoo.GAUSSIANS["gaussian_full"].model, zoo.GAUSSIANS["gaussian_low_rank"].model


def ends(sampler, model, starts, levels):
    return jax.vmap(gd.sample, (None, None, 0, None))(sampler, model, starts, levels).x[:, -1]


def angles(levels, variance):
    return np.arctan2(np.asarray(levels.sigma), np.sqrt(variance) * np.asarray(levels.alpha))


@pytest.mark.slow
@pytest.mark.parametrize("levels", [LEVELS, gd.grids.uniform_time(gd.Cosine(), 5)], ids=["alpha_1", "cosine"])
def test_each_step_of_euler_is_the_exact_one_times_the_cosine_of_its_angle(levels):
    """In the plane of (alpha sqrt lam, sigma) the exact flow keeps c / S, and a tangent step overshoots the circle."""
    for variance in (25.0, 1.0, 0.04):
        turns = -np.diff(angles(levels, variance))
        radii = np.hypot(np.sqrt(variance) * np.asarray(levels.alpha), np.asarray(levels.sigma))
        expected = radii[-1] / radii[0] * np.prod(np.cos(turns))
        assert gd.transfer(gd.Euler(), levels, [variance])[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_uniform_angles_are_the_best_grid_of_one_variance():
    """The gradient of Euler's gain in the interior of that grid is 0, and any other grid has less."""
    variance = 2.0
    phi = jnp.linspace(jnp.arctan(20 / jnp.sqrt(variance)), 0, 8)
    gain = lambda inner: gd.transfer(  # noqa: E731
        gd.Euler(), gd.NoiseLevel(1.0, jnp.concatenate([jnp.array([20.0]), inner, jnp.zeros(1)])), [variance]
    )[0]
    best = jnp.sqrt(variance) * jnp.tan(phi[1:-1])
    np.testing.assert_allclose(jax.grad(gain)(best), 0, atol=1e-12)
    assert gain(best) > gain(best * jnp.linspace(0.9, 1.1, 6))


@pytest.mark.slow
@zoo.over(zoo.DETERMINISTIC, "sampler")
def test_the_gain_is_that_of_a_path_along_a_mode(sampler):
    """A path of a full Gaussian, started one unit along a mode, less the path from the origin."""
    sampler = gd.GaussianExact(FULL) if isinstance(sampler, gd.GaussianExact) else sampler
    gains = gd.transfer(sampler, LEVELS, FULL.eigvals)
    for k, gain in enumerate(gains):
        path = ends(sampler, FULL, jnp.stack([FULL.eigvecs[:, k], jnp.zeros(3)]), LEVELS)
        np.testing.assert_allclose(path[0] - path[1], gain * FULL.eigvecs[:, k], atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("model", [FULL, LOW], ids=["full", "low_rank"])
@pytest.mark.parametrize("sampler", [gd.Heun(), gd.DPMSolverPP2M()], ids=repr)
def test_the_law_generated_is_that_of_the_dense_map(sampler, model):
    starts = jnp.concatenate([jnp.zeros((1, 3)), jnp.eye(3)])
    found = ends(sampler, model, starts, LEVELS)
    matrix = (found[1:] - found[:1]).T * LEVELS.sigma[0]
    dense = gd.Gaussian.from_moments(found[0], matrix @ matrix.T)
    law = gd.design.generated(sampler, LEVELS, model)
    np.testing.assert_allclose(law.mean, found[0], atol=1e-10)
    assert gd.exact.gaussian_w2(law, dense) < 1e-7
    assert gd.wasserstein2(sampler, LEVELS, model) == pytest.approx(float(gd.exact.gaussian_w2(dense, model)), rel=1e-9)
    assert gd.kl_divergence(sampler, LEVELS, model) == pytest.approx(
        float(gd.exact.gaussian_kl(model, dense)), rel=1e-7
    )
    at = gd.exact.gaussian_marginal(model, LEVELS[3])
    assert gd.wasserstein2(sampler, LEVELS[:4], model, LEVELS[3]) == pytest.approx(
        float(gd.exact.gaussian_w2(gd.design.generated(sampler, LEVELS[:4], model), at)), rel=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_noise_that_is_injected_is_what_draws_show(eta):
    """The variance of 40,000 ends on each of three modes, within 5 standard errors: one key in 500,000 fails."""
    sampler, count = gd.DDIM(eta), 40_000
    law, keys = gd.Diagonal(jnp.zeros(4), VARIANCES), jax.random.split(jax.random.key(2), count)
    found = jax.jit(jax.vmap(lambda key: gd.sample(sampler, law, jnp.zeros(4), LEVELS, key).x[-1]))(keys)
    expected = gd.design.injected_variance(sampler, LEVELS, VARIANCES)
    np.testing.assert_array_less(np.abs(found.var(0) - expected), 5 * expected * np.sqrt(2 / count) + 1e-15)
    assert (gd.design.injected_variance(gd.Heun(), LEVELS, VARIANCES) == 0).all()


@pytest.mark.slow
def test_ancestral_steps_approach_the_exact_reverse_transition():
    """With more and more steps gain and injected variance become those of the reverse SDE in closed form."""
    model = gd.Gaussian(jnp.zeros(3), VARIANCES[:3], jnp.eye(3))
    for eta in (0.5, 1.0):
        errors = []
        for n in (200, 400):
            levels = gd.grids.uniform_log_snr(n, 0.01, 20.0, final_zero=False)
            mean, factor = gd.gaussian_transition(model, jnp.ones(3), levels[0], levels[-1], eta)
            gain = gd.transfer(gd.DDIM(eta), levels, VARIANCES[:3])
            variance = gd.design.injected_variance(gd.DDIM(eta), levels, VARIANCES[:3])
            errors.append(max(np.abs(gain - mean).max(), np.abs(variance / factor.gains**2 - 1).max()))
        assert errors[1] < 0.6 * errors[0] < 0.06


@pytest.mark.slow
def test_the_parts_of_the_error():
    """Exact steps leave no discretisation, alpha = 0 no start, sigma = 0 no truncation; the parts bound the whole."""
    exact = gd.solver_error(gd.GaussianExact(FULL), LEVELS, FULL)
    assert exact.discretisation < 1e-10
    assert exact.truncation == 0
    assert exact.total == pytest.approx(float(exact.start), rel=1e-9)
    pure = gd.solver_error(gd.Heun(), gd.grids.uniform_time(gd.Cosine(), 6), LOW)
    assert pure.start < 1e-10
    assert pure.total == pytest.approx(float(pure.discretisation), rel=1e-9)
    short = gd.grids.karras(9, 0.5, 20.0, final_zero=False)
    parts = gd.solver_error(gd.Heun(), short, LOW)
    clean = gd.exact.gaussian_marginal(LOW, gd.NoiseLevel(1.0, 0.0))
    assert parts.truncation == pytest.approx(
        float(gd.exact.gaussian_w2(gd.exact.gaussian_marginal(LOW, short[-1]), clean)), 1e-9
    )
    assert parts.start == pytest.approx(
        float(gd.exact.gaussian_w2(gd.exact.flow_from_prior(LOW, short[0]), clean)), rel=1e-9
    )
    assert 0 < parts.total <= parts.start + parts.truncation + parts.discretisation


def test_heun_at_few_calls_keeps_half_the_noise():
    """One step from 80 to 0.002 at unit variance, by hand: exact 0.0125, Euler 0.00018, Heun 0.500."""
    levels = gd.grids.karras(1, final_zero=False)
    gains = [
        float(gd.transfer(sampler, levels, [1.0])[0]) for sampler in (gd.GaussianExact(FULL), gd.Euler(), gd.Heun())
    ]
    np.testing.assert_allclose(gains, [0.0125, 0.00018, 0.500], rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [gd.Euler(), gd.Heun(), gd.DPMSolverPP2M()], ids=repr)
def test_errors_fall_with_steps_and_have_gradients_in_the_grid(sampler):
    errors = [float(gd.wasserstein2(sampler, gd.grids.karras(n), LOW)) for n in (10, 20, 40)]
    assert (np.diff(errors) < 0).all()

    def loss(inner, function):
        sigma = jnp.concatenate([jnp.array([80.0]), inner, jnp.zeros(1)])
        return function(sampler, gd.NoiseLevel(1.0, sigma), FULL)

    inner, step = gd.grids.karras(6).sigma[1:-1], 1e-6
    for function in (gd.wasserstein2, gd.kl_divergence):
        slope = jax.jit(jax.grad(loss), static_argnums=1)(inner, function)
        for i in range(2):
            move = jnp.zeros_like(inner).at[i].set(step * inner[i])
            expected = (loss(inner + move, function) - loss(inner - move, function)) / (2 * step * inner[i])
            assert slope[i] == pytest.approx(float(expected), rel=1e-4)


def test_singular_laws():
    flat = gd.Gaussian(jnp.zeros(3), jnp.array([2.0, 0.5]), jnp.eye(3)[:, :2])
    assert np.isfinite(gd.kl_divergence(gd.Euler(), LEVELS, flat))
    assert np.isinf(gd.kl_divergence(gd.Euler(), LEVELS[:-1], flat))
    assert np.isfinite(gd.wasserstein2(gd.Euler(), LEVELS[:-1], flat))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gd.transfer(gd.Euler, LEVELS, [1.0]), TypeError, "sampler: expected a gd.Sampler"),
        (lambda: gd.transfer(gd.Euler(), 3.0, [1.0]), TypeError, "levels: expected a NoiseLevel"),
        (lambda: gd.transfer(gd.Euler(), LEVELS, 1.0), ValueError, r"variances: expected shape \(K,\)"),
        (lambda: gd.transfer(gd.Euler(), LEVELS, [-1.0]), ValueError, "variances: expected >= 0"),
        (lambda: gd.wasserstein2(gd.Euler(), LEVELS, zoo.MIXTURE.model), TypeError, "gaussian: expected a gd.Gaussian"),
    ],
)
def test_bad_input_is_refused(call, error, message, unchecked):
    with pytest.raises(error, match=message):
        call()
