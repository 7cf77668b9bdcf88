"""The closed-form flow, and the ODE solve that must agree with it on every schedule."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

STEPS = {
    "down": (gd.NoiseLevel(0.3, 0.9), gd.NoiseLevel(0.8, 0.36)),
    "up": (gd.NoiseLevel(1.0, 0.2), gd.NoiseLevel(0.5, 0.9)),
    "between_frames": (gd.NoiseLevel(1.0, 80.0), gd.NoiseLevel(0.6, 0.8)),
    "from_pure_noise": (gd.NoiseLevel(0.0, 1.0), gd.NoiseLevel(0.8, 0.6)),
    "to_pure_noise": (gd.NoiseLevel(1.0, 0.5), gd.NoiseLevel(0.0, 1.0)),
    "to_clean": (gd.NoiseLevel(0.8, 0.6), gd.NoiseLevel(1.0, 0.0)),
    "whole": (gd.NoiseLevel(0.0, 1.0), gd.NoiseLevel(1.0, 0.0)),
}
flow = eqx.filter_jit(gd.gaussian_flow)


@jax.jit
def densities(model, x, start, end):
    """The log density at the end of the flow, times the growth of a volume, and the one at its start."""
    jacobian = jax.jacobian(lambda x: gd.gaussian_flow(model, x, start, end))(x).reshape(x.size, x.size)
    moved = model.log_prob(gd.gaussian_flow(model, x, start, end), end)
    return moved + jnp.linalg.slogdet(jacobian)[1], model.log_prob(x, start)


@jax.jit
def gradients(model, x, start, end):
    """Of the flow and of a sample, in the model, in x and in the level of the start."""

    def total(model, x, start):
        return jnp.sum(gd.gaussian_flow(model, x, start, end) ** 2) + jnp.sum(model.sample(jax.random.key(0)) ** 2)

    return jax.grad(total, (0, 1, 2))(model, x, start)


@pytest.mark.slow
@zoo.over(STEPS, "step")
@zoo.over(zoo.GAUSSIANS)
def test_flow_is_the_transport_of_one_marginal_to_the_other(case, step):
    """The symmetric square root map  m' + C^1/2 (C^-1/2 C' C^-1/2)^1/2 C^-1/2 ..., here with matrices that commute."""
    start, end = step
    x = case.x(start)[0]
    cov = case.law.factors[0] @ case.law.factors[0].T
    size, mean = len(cov), case.law.means[0]
    before, after = (float(lv.alpha) ** 2 * cov + float(lv.sigma) ** 2 * np.eye(size) for lv in step)
    lam, vectors = np.linalg.eigh(before)
    root, inverse = ((vectors * lam**power) @ vectors.T for power in (0.5, -0.5))
    middle, basis = np.linalg.eigh(root @ after @ root)
    transport = inverse @ ((basis * np.sqrt(np.maximum(middle, 0))) @ basis.T) @ inverse
    centered = np.asarray(x).ravel() - float(start.alpha) * mean
    expected = float(end.alpha) * mean + transport @ centered
    got = np.ravel(flow(case.model, x, start, end))
    # the square root of a rounding error of 1e-16 on a zero eigenvalue is 1e-8
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 if case.law.singular() else 1e-9)


@zoo.over(STEPS, "step")
@zoo.over(zoo.GAUSSIANS)
def test_flow_has_an_inverse_and_composes(case, step):
    start, end = step
    x, middle = case.x(start)[0], gd.NoiseLevel(0.7, 0.5)
    there = flow(case.model, x, start, end)
    twice = flow(case.model, flow(case.model, x, start, middle), middle, end)
    np.testing.assert_allclose(twice, there, rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(np.isfinite(there), True)
    if end.sigma > 0:
        np.testing.assert_allclose(flow(case.model, there, end, start), x, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(flow(case.model, x, start, start), x, rtol=1e-13, atol=1e-13)


@pytest.mark.slow
@zoo.over({name: step for name, step in STEPS.items() if step[1].sigma > 0}, "step")
@zoo.over(zoo.GAUSSIANS)
def test_flow_preserves_probability(case, step):
    """log p'(x') + log |det dx'/dx| = log p(x), the determinant by automatic differentiation."""
    start, end = step
    moved, before = densities(case.model, case.x(start)[0], start, end)
    assert moved == pytest.approx(float(before), abs=1e-10)


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_flow_solves_the_probability_flow_equation(case):
    """d/dt of the flow along a schedule is the velocity of the model, by forward differentiation."""
    gaussian = zoo.GAUSSIAN
    start, t = case(0.8), jnp.array(0.3003)
    x = gaussian.x(start)[0]
    path = lambda t: gd.gaussian_flow(gaussian.model, x, start, case(t))  # noqa: E731
    place, derivative = jax.jvp(path, (t,), (jnp.ones(()),))
    np.testing.assert_allclose(derivative, gd.velocity(gaussian.model, case, place, t), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("at", ["pure_noise", "clean", "variance_preserving"])
@zoo.over(zoo.GAUSSIANS)
def test_gradients_of_the_flow_are_finite(case, at):
    """In x, in the parameters and in the level of the start, to the clean end; and those of a sample."""
    start = zoo.LEVELS[at]
    for leaf in jax.tree.leaves(gradients(case.model, case.x(start)[0], start, gd.NoiseLevel(1.0, 0.0))):
        assert np.isfinite(leaf).all()


def test_commitment_is_the_share_of_the_final_value():
    """In the denoised image of the exact path a mode stands at f of its end; f^2 is the variance that x resolves."""
    case = zoo.DISTRIBUTIONS["gaussian_full"]
    gaussian, noise, clean = case.model, gd.NoiseLevel(0.0, 1.0), gd.NoiseLevel(1.0, 0.0)
    x = jnp.array([0.3, -1.0, 2.0])
    end = gaussian.coefficients(gd.gaussian_flow(gaussian, x, noise, clean) - gaussian.mean)
    for level in (gd.NoiseLevel(0.1, 0.9), gd.NoiseLevel(0.8, 0.6), clean, noise):
        place = gd.gaussian_flow(gaussian, x, noise, level)
        reached = gaussian.coefficients(gaussian.denoise(place, level) - gaussian.mean) / end
        share = gd.commitment(gaussian.eigvals, level)
        np.testing.assert_allclose(share, reached, rtol=1e-11, atol=1e-13)
        remaining = np.diag(gaussian.eigvecs.T @ case.law.posterior_cov(np.asarray(place), level) @ gaussian.eigvecs)
        np.testing.assert_allclose(1 - remaining / gaussian.eigvals, share**2, rtol=1e-11, atol=1e-13)


def test_emergence_is_where_commitment_reaches_the_fraction():
    variances = jnp.array([4.0, 1.0, 1e-4])
    for fraction in (0.1, 0.5, 0.9, 1.0):
        scales = gd.emergence(variances, fraction)
        for lam, scale in zip(variances, scales, strict=True):
            assert gd.commitment(lam, gd.NoiseLevel(1.0, scale)) == pytest.approx(fraction, rel=1e-12)
    assert gd.commitment(jnp.zeros(2), gd.NoiseLevel(1.0, 0.0)).tolist() == [0, 0]


@zoo.over(STEPS, "step")
def test_marginal_std_is_that_of_the_marginal(step):
    level, variances = step[0], jnp.array([0.0, 0.3, 5.0])
    expected = np.sqrt(float(level.alpha) ** 2 * np.array([0, 0.3, 5]) + float(level.sigma) ** 2)
    np.testing.assert_allclose(gd.exact.marginal_std(variances, level), expected, rtol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["down", "up"])
@zoo.over(zoo.SCHEDULES)
def test_tsit5_equals_the_exact_flow(case, direction):
    """Over the whole schedule, alpha = 0 and sigma = 0 ends included, at every time asked; tolerance 1e-9 asked."""
    gaussian = zoo.GAUSSIAN
    end = float(case.end)
    times = jnp.array([end, 0.6 * end, 0.1 * end, 1e-3 * end, 0.0])
    times = times[::-1] if direction == "up" else times
    x = gaussian.x(case(times[0]))[0]
    path = gd.probability_flow(gaussian.model, case, x, times, rtol=1e-9, atol=1e-9)
    expected = jnp.stack([flow(gaussian.model, x, path.levels[0], level) for level in path.levels])
    np.testing.assert_allclose(path.x, expected, rtol=1e-6, atol=1e-7)
    assert path.x.shape == (5, 3)
    np.testing.assert_array_equal(path.denoised, jax.vmap(gaussian.model.denoise)(path.x[:-1], path.levels[:-1]))


@pytest.mark.slow
@pytest.mark.parametrize("solver", [diffrax.Dopri5(), diffrax.Heun(), diffrax.Bosh3(), diffrax.Kvaerno3()])
def test_other_solvers_agree(solver):
    gaussian, schedule = zoo.GAUSSIAN, gd.VarianceExploding()
    x = gaussian.x(schedule(80.0))[0]
    path = gd.probability_flow(gaussian.model, schedule, x, [80.0, 0.0], solver=solver, rtol=1e-7, atol=1e-7)
    expected = gd.gaussian_flow(gaussian.model, x, schedule(80.0), schedule(0.0))
    np.testing.assert_allclose(path.x[-1], expected, atol=2e-5)


@pytest.mark.slow
def test_two_schedules_carry_a_mixture_along_one_path():
    """The flow depends on the levels alone: VP and VE between the same log-SNRs give the same x / alpha."""
    model, exploding, preserving = zoo.MIXTURE.model, gd.VarianceExploding(), gd.VariancePreserving()
    sigmas = jnp.array([20.0, 1.0, 0.1])
    times = preserving.time_at(exploding(sigmas).log_snr)
    x = zoo.MIXTURE.x(exploding(sigmas[0]))[0]
    alpha = preserving(times).alpha
    a = gd.probability_flow(model, exploding, x, sigmas, rtol=1e-10, atol=1e-10)
    b = gd.probability_flow(model, preserving, x * alpha[0], times, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(b.x / alpha[:, None], a.x, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_a_scalar_mixture_keeps_its_quantiles():
    """In one dimension the flow is monotone: x(t) = F_t^-1(F_s(x(s))). F by quadrature of the density."""
    case, schedule = zoo.DISTRIBUTIONS["mixture_scalar"], gd.VarianceExploding()
    x = jnp.array([1.3])
    path = gd.probability_flow(case.model, schedule, x, [2.0, 0.3], rtol=1e-10, atol=1e-10)

    def quantile(x, level):
        grid = jnp.linspace(-30.0, x[0], 200_001)
        density = jnp.exp(jax.jit(jax.vmap(case.model.log_prob, (0, None)))(grid[:, None], level))
        return float(jnp.trapezoid(density, grid))

    assert quantile(path.x[1], path.levels[1]) == pytest.approx(quantile(x, path.levels[0]), abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-5, 1e-6])
def test_float32_solves_to_small_noise_terminate(tolerance):
    """To sigma = 0.002 and to 0; the error stays near the tolerance until rounding takes over."""
    gaussian, schedule = zoo.cast((zoo.GAUSSIAN.model, gd.VarianceExploding()))
    x = zoo.GAUSSIAN.x(gd.NoiseLevel(1.0, 80.0))[0].astype(jnp.float32)
    times = jnp.array([80.0, 0.002, 0.0], jnp.float32)
    path = gd.probability_flow(gaussian, schedule, x, times, rtol=tolerance, atol=tolerance)
    assert path.x.dtype == jnp.float32
    exact = zoo.GAUSSIAN.model
    for i in (1, 2):
        expected = gd.gaussian_flow(exact, x.astype(float), gd.NoiseLevel(1.0, 80.0), path.levels[i])
        np.testing.assert_allclose(path.x[i], expected, atol=300 * tolerance)


@pytest.mark.slow
def test_a_solve_that_fails_says_where_and_what_to_change():
    gaussian, schedule = zoo.GAUSSIAN, gd.VarianceExploding()
    x = gaussian.x(schedule(80.0))[0]
    solve = lambda x: gd.probability_flow(gaussian.model, schedule, x, [80.0, 0.0], max_steps=3).x  # noqa: E731
    with pytest.raises(RuntimeError, match=r"stopped at sigma/alpha = \d.* after 3 steps.*max_steps"):
        solve(x)
    with pytest.raises(RuntimeError, match=r"stopped short.*max_steps"):
        jax.block_until_ready(jax.jit(solve)(x))


@pytest.mark.slow
def test_a_solve_of_a_model_that_is_not_finite_raises():
    model = gd.FromVPrediction(lambda x, level: x / 0)
    with pytest.raises(RuntimeError, match=r"stopped at sigma/alpha.*finite"):
        gd.probability_flow(model, gd.VarianceExploding(), jnp.ones(3), [80.0, 0.0])
