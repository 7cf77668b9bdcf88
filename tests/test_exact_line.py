"""The flow of laws on lines, against its definition in high precision, the ODE solve, and what a flow must keep."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd

PARTS = ((0.3, -1.0, 0.04), (0.7, 2.0, 0.5), (0.0, 50.0, 1.0))  # weight, mean, variance
STEPS = {
    "up": (gd.NoiseLevel(1.0, 0.01), gd.NoiseLevel(0.6, 0.8)),
    "down": (gd.NoiseLevel(0.6, 0.8), gd.NoiseLevel(1.0, 0.01)),
    "whole": (gd.NoiseLevel(0.0, 1.0), gd.NoiseLevel(1.0, 0.0)),
    "within_a_frame": (gd.NoiseLevel(1.0, 3.0), gd.NoiseLevel(1.0, 0.1)),
    "from_clean": (gd.NoiseLevel(1.0, 0.0), gd.NoiseLevel(0.0, 1.0)),
}
PLACES = jnp.array([-30.0, -8.0, -2.0, -0.5, 0.3, 1.0, 2.0, 5.0, 8.0, 40.0])
scalar_flow = jax.jit(jax.vmap(gd.scalar_flow, (None, 0, None, None)))


def scalar_mixture(parts=PARTS) -> gd.GaussianMixture:
    with np.errstate(divide="ignore"):
        log_weights = np.log([weight for weight, _, _ in parts])
    return gd.GaussianMixture(log_weights, [gd.Gaussian.isotropic(jnp.array([m]), v) for _, m, v in parts])


def tail(y, level: gd.NoiseLevel, upper: bool, parts=PARTS):
    """F(y) or 1 - F(y) from the definition."""
    alpha, sigma = (mpmath.mpf(float(value)) for value in (level.alpha, level.sigma))
    total = mpmath.mpf(0)
    for weight, mean, variance in parts:
        z = (y - alpha * mean) / mpmath.sqrt(alpha**2 * mpmath.mpf(variance) + sigma**2)
        total += mpmath.mpf(weight) * mpmath.ncdf(-z if upper else z)
    return total


def quantile(x: float, level, next_level, parts=PARTS) -> float:
    """F'^-1(F(x)) by bisection with 60 digits and more, in the tail that x lies in."""
    with mpmath.workdps(60):
        upper = tail(x, level, False, parts) > 0.5
        target, low, high = tail(x, level, upper, parts), mpmath.mpf(-1000), mpmath.mpf(1000)
        for _ in range(120):
            middle = (low + high) / 2
            low, high = (low, middle) if (tail(middle, next_level, upper, parts) > target) != upper else (middle, high)
        return float(low)


@pytest.mark.slow
@zoo.over(STEPS, "step")
def test_scalar_flow_keeps_quantiles_in_both_tails(step):
    """30 widths out F is 1 to 190 digits: x' still has its 13 digits."""
    got = scalar_flow(scalar_mixture(), PLACES[:, None], *step)[:, 0]
    np.testing.assert_allclose(got, [quantile(float(x), *step) for x in PLACES], rtol=2e-13)


def test_a_gap_between_clusters_is_passed_with_all_digits():
    """10 widths from either cluster F stands still at 1/2 to 22 digits, yet the place within the gap is kept."""
    parts = ((0.5, -1.0, 0.01), (0.5, 1.0, 0.01))
    step = gd.NoiseLevel(1.0, 0.0), gd.NoiseLevel(1.0, 0.03)
    x = jnp.array([-0.2, -0.01, 0.0, 0.003, 0.25])
    got = scalar_flow(scalar_mixture(parts), x[:, None], *step)[:, 0]
    np.testing.assert_allclose(got, [quantile(float(y), *step, parts) for y in x], rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@zoo.over(STEPS, "step")
def test_float32_keeps_six_digits(step):
    """Against the same flow in float64, for the float32 inputs."""
    model, levels, x = zoo.cast((scalar_mixture(), step, PLACES[:, None]))
    got = scalar_flow(model, x, *levels)
    assert got.dtype == jnp.float32
    exact = scalar_flow(*zoo.cast((model, x, *levels), jnp.float64))
    np.testing.assert_allclose(got, exact, rtol=3e-6, atol=1e-6)


@pytest.mark.slow
@zoo.over({name: step for name, step in STEPS.items() if name in ("up", "down", "within_a_frame")}, "step")
@zoo.over({"mixture": scalar_mixture(), "data_set": gd.Empirical(jnp.array([[-1.0], [0.5], [2.0]]), 0.2, chunk=2)})
def test_scalar_flow_has_an_inverse_and_composes(case, step):
    start, end = step
    x, middle = jnp.linspace(-3, 3, 13)[:, None], gd.NoiseLevel(0.8, 0.5)
    there = scalar_flow(case, x, start, end)
    twice = scalar_flow(case, scalar_flow(case, x, start, middle), middle, end)
    np.testing.assert_allclose(twice, there, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(scalar_flow(case, there, end, start), x, rtol=1e-10, atol=1e-10)
    assert (jnp.diff(there[:, 0]) > 0).all()


@pytest.mark.slow
@zoo.over(
    {
        "scalar": (gd.scalar_flow, scalar_mixture(), (1,)),
        "data_set": (gd.scalar_flow, gd.Empirical(jnp.array([[-1.0], [0.5], [2.0]])), (1,)),
        "separable": (gd.exact.separable_flow, zoo.DISTRIBUTIONS["separable"].model, (2, 1)),
        "collinear": (
            gd.exact.collinear_flow,
            gd.GaussianMixture(
                jnp.log(jnp.array([0.2, 0.5, 0.3])),
                [
                    gd.Gaussian.isotropic(jnp.array([1.0, 0, 2]) + a * jnp.array([1.0, -2, 0.5]), 0.3)
                    for a in (-1, 0, 2)
                ],
            ),
            (3,),
        ),
    }
)
def test_the_flow_is_the_solution_of_the_probability_flow_equation(case):
    """Against the ODE solve at tolerance 1e-12, and its time derivative against the velocity."""
    flow, model, shape = case
    schedule, times = gd.VarianceExploding(), [3.0, 1.0, 0.2]
    x = 2 * jnp.asarray(np.random.default_rng(1).normal(size=shape))
    path = gd.probability_flow(model, schedule, x, times, rtol=1e-12, atol=1e-12)

    @jax.jit
    def place_and_derivative(t):
        return jax.jvp(lambda t: flow(model, x, path.levels[0], schedule(t)), (t,), (jnp.ones(()),))

    for place, level in zip(path.x[1:], path.levels[1:], strict=True):
        moved, derivative = place_and_derivative(level.sigma)  # in this schedule t is sigma
        np.testing.assert_allclose(moved, place, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(derivative, gd.velocity(model, schedule, moved, level.sigma), rtol=1e-10)


@pytest.mark.slow
def test_the_derivative_in_x_is_the_quotient_of_the_densities():
    """dx'/dx = p(x) / p'(x'), forward and backward; and its own derivative by differences."""
    model, (start, end) = scalar_mixture(), STEPS["within_a_frame"]
    slope = jax.grad(lambda x: gd.scalar_flow(model, x[None], start, end)[0])
    slope_and_bend = jax.jit(jax.value_and_grad(slope))
    log_prob = jax.jit(lambda x, level: model.log_prob(x, level))
    for x in (-4.0, 0.2, 1.7):
        (y,) = scalar_flow(model, jnp.array([[x]]), start, end)
        density = jnp.exp(log_prob(jnp.array([x]), start) - log_prob(y, end))
        value, bend = slope_and_bend(x)
        assert value == pytest.approx(float(density), rel=1e-11)
        difference = (slope_and_bend(x + 1e-5)[0] - slope_and_bend(x - 1e-5)[0]) / 2e-5
        assert bend == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.slow
def test_gradients_in_the_parameters_are_those_of_differences():
    model, (start, end), x = scalar_mixture(PARTS[:2]), STEPS["down"], jnp.array([0.4])
    value_and_gradients = jax.jit(jax.value_and_grad(lambda *args: gd.scalar_flow(*args)[0], (0, 2, 3)))
    _, gradients = value_and_gradients(model, x, start, end)
    leaves, tree = jax.tree.flatten((model, start, end))
    for i, gradient in enumerate(jax.tree.leaves(gradients)):
        for index in np.ndindex(leaves[i].shape):

            def at(step, i=i, index=index):
                moved = [leaf.at[index].add(step) if i == j else leaf for j, leaf in enumerate(leaves)]
                return value_and_gradients(tree.unflatten(moved)[0], x, *tree.unflatten(moved)[1:])[0]

            assert gradient[index] == pytest.approx(float(at(1e-6) - at(-1e-6)) / 2e-6, rel=1e-6, abs=1e-8)


# unoptimised: nearly all of its time is compilation
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def finite_gradients(model, x, start, end):
    total = lambda model, x, start, end: jnp.sum(gd.scalar_flow(model, x, start, end))  # noqa: E731
    gradients = jax.vmap(jax.grad(total, (0, 1, 2, 3)), (None, 0, None, None))(model, x, start, end)
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)])


@pytest.mark.slow
@zoo.over(STEPS, "step")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
def test_everything_is_finite_far_away_and_on_steps(step, dtype):
    """For a mixture and a bare data set, whose F is a staircase at sigma = 0."""
    data = gd.Empirical(jnp.array([[-1.0], [0.5], [2.0], [2.0]]))
    for model in zoo.cast((scalar_mixture(), data), dtype):
        x, levels = zoo.cast((jnp.array([-1e30, -1e10, -1e4, -1.0, 0.5, 0.7, 1e6, 1e20])[:, None], step), dtype)
        got = scalar_flow(model, x, *levels)
        assert np.isfinite(got).all()
        assert got.dtype == dtype
        assert finite_gradients(model, x, *levels).all()


def test_in_the_far_tail_the_nearest_component_leads():
    """x' - alpha' m' = S' z, with z of the component that is the fewest widths away, at either level; by mpmath."""
    parts = ((0.3, -1.0, 0.04), (0.7, 2.0, 0.5))
    model, (start, end) = scalar_mixture(parts), STEPS["within_a_frame"]
    for x in (-1e5, 3e8, 1e12):
        widths = [(mean, np.hypot(np.sqrt(v), 3.0), np.hypot(np.sqrt(v), 0.1)) for _, mean, v in parts]
        z = min(abs(x - mean) / width for mean, width, _ in widths)
        expected = max(np.sign(x) * mean + width * z for mean, _, width in widths) * np.sign(x)
        assert scalar_flow(model, jnp.array([[x]]), start, end)[0, 0] == pytest.approx(expected, rel=1e-8)


@pytest.mark.slow
def test_a_bare_data_set_ends_on_its_points():
    """At sigma' = 0 a share of the noise equal to its weight falls on each point, the smallest first."""
    points, weights = jnp.array([[2.0], [-1.0], [0.5]]), jnp.log(jnp.array([0.5, 0.2, 0.3]))
    data = gd.Empirical(points, log_weights=weights, chunk=2)
    shares = (np.arange(1000) + 0.5) / 1000
    x = jax.scipy.special.ndtri(jnp.asarray(shares))
    ends = scalar_flow(data, x[:, None], gd.NoiseLevel(0.0, 1.0), gd.NoiseLevel(1.0, 0.0))[:, 0]
    expected = np.select([shares < 0.2, shares < 0.5], [-1.0, 0.5], 2.0)
    np.testing.assert_allclose(ends, expected, atol=1e-15)
    # and a point starts in the middle of its step
    back = scalar_flow(data, points, gd.NoiseLevel(1.0, 0.0), gd.NoiseLevel(0.0, 1.0))[:, 0]
    np.testing.assert_allclose(back, jax.scipy.special.ndtri(jnp.array([0.75, 0.1, 0.35])), rtol=1e-14)


@pytest.mark.slow
def test_one_component_moves_as_the_gaussian():
    mean, level, end = jnp.array([0.4, -1.0]), gd.NoiseLevel(0.8, 0.6), gd.NoiseLevel(1.0, 0.0)
    x, gaussian = jnp.array([2.0, 0.3]), gd.Gaussian.isotropic(mean, 0.3)
    expected = gd.gaussian_flow(gaussian, x, level, end)
    mixture = gd.GaussianMixture(jnp.zeros(2), [gaussian, gaussian])
    np.testing.assert_allclose(gd.exact.collinear_flow(mixture, x, level, end), expected, rtol=1e-14)
    product = gd.Separable(mean[:, None], jnp.full((2, 1), 0.3))
    np.testing.assert_allclose(gd.exact.separable_flow(product, x, level, end), expected, rtol=1e-14)


@pytest.mark.slow
def test_a_data_set_on_a_line_flows_along_it():
    points = jnp.array([[1.0, 2.0]]) + jnp.array([-1.0, 0.2, 3.0])[:, None] * jnp.array([[0.6, 0.8]])
    data, schedule = gd.Empirical(points, chunk=2), gd.VarianceExploding()
    x = jnp.array([1.5, -0.4])
    path = gd.probability_flow(data, schedule, x, [2.0, 0.3], rtol=1e-12, atol=1e-12)
    moved = eqx.filter_jit(gd.exact.collinear_flow)(data, x, path.levels[0], path.levels[1])
    np.testing.assert_allclose(moved, path.x[1], rtol=1e-9)


@pytest.mark.parametrize("name", ["pure_noise", "clean", "exploding", "tiny"])
def test_log_cdf_is_that_of_the_definition(name):
    model, level = scalar_mixture(), zoo.LEVELS[name]
    for x in (-30.0, -8.0, 0.3, 9.0, 40.0):
        with mpmath.workdps(60):
            expected = [float(mpmath.log(tail(x, level, upper))) for upper in (False, True)]
        np.testing.assert_allclose(gd.exact.log_cdf(model, jnp.array([x]), level), expected, rtol=1e-12, atol=1e-15)


def test_log_cdf_counts_half_a_step():
    data = gd.Empirical(jnp.array([[-1.0], [0.5], [2.0], [2.0]]))
    np.testing.assert_allclose(gd.exact.log_cdf(data, jnp.array([0.5])), np.log([3 / 8, 5 / 8]), rtol=1e-14)


def test_wrong_laws_are_refused():
    level, isotropic = gd.NoiseLevel(1.0, 1.0), gd.Gaussian.isotropic
    with pytest.raises(ValueError, match="one coordinate"):
        gd.scalar_flow(gd.Empirical(jnp.eye(3)), jnp.zeros(3), level, level)
    with pytest.raises(TypeError, match="gaussian_flow"):
        gd.scalar_flow(isotropic(jnp.zeros(1), 1.0), jnp.zeros(1), level, level)  # pyright: ignore
    with pytest.raises(ValueError, match="on one line"):
        gd.exact.collinear_flow(gd.Empirical(jnp.eye(3)), jnp.zeros(3), level, level)
    unequal = gd.GaussianMixture(jnp.zeros(2), [isotropic(jnp.zeros(2), 1.0), isotropic(jnp.ones(2), 2.0)])
    with pytest.raises(ValueError, match="one isotropic covariance"):
        gd.exact.collinear_flow(unequal, jnp.zeros(2), level, level)
    with pytest.raises(ValueError, match="one shape"):
        gd.Separable(jnp.zeros((2, 3)), jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="variances: expected >= 0"):
        gd.Separable(jnp.zeros((2, 3)), -jnp.ones((2, 3)))


@pytest.mark.slow
def test_a_second_call_compiles_nothing():
    count = 0

    @jax.jit
    def flow(model, x, start, end):
        nonlocal count
        count += 1
        return gd.scalar_flow(model, x, start, end)

    for i in range(3):
        parts = tuple((w + i, m - i, v * (i + 1)) for w, m, v in PARTS)
        flow(scalar_mixture(parts), jnp.array([float(i)]), gd.NoiseLevel(1.0, 1.0 + i), gd.NoiseLevel(1.0, 0.1))
    assert count == 1
