"""What holds for every law: its answers are those of the definition, and of each other by another road."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd

SINGULAR = {name: case for name, case in zoo.DISTRIBUTIONS.items() if case.law.singular()}
# A law takes seconds to compile: the quick part of the suite has one of each kind.
KINDS = "gaussian_full", "mixture_full", "empirical", "separable"
NAMES = [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in zoo.DISTRIBUTIONS]
SCALAR = {name: case for name, case in zoo.DISTRIBUTIONS.items() if case.model.shape == (1,)}


@functools.cache
def answers(name: str, dtype=jnp.float64) -> dict[str, dict[str, np.ndarray]]:
    """Level by level what the law says of three samples: one compilation for a law serves all tests."""
    function = zoo.answers_and_derivatives if dtype == jnp.float64 else zoo.answers
    found = zoo.DISTRIBUTIONS[name].answers(dtype, function=function)
    return {level: {k: v[i] for k, v in found.items()} for i, level in enumerate(zoo.LEVELS)}


@pytest.mark.slow
@zoo.over({name: name for name in zoo.DISTRIBUTIONS}, "name")
def test_denoise_is_the_posterior_mean(name):
    truth = zoo.DISTRIBUTIONS[name].truth("denoise", zoo.LEVELS)
    for (level, found), expected in zip(answers(name).items(), truth, strict=True):
        np.testing.assert_allclose(found["denoise"], expected, 1e-10, 1e-12, err_msg=level)


@pytest.mark.slow
@zoo.over({name: name for name in zoo.DISTRIBUTIONS}, "name")
def test_log_prob_is_that_of_the_definition(name):
    levels = zoo.NOISY if name in SINGULAR else zoo.LEVELS
    for level, expected in zip(levels, zoo.DISTRIBUTIONS[name].truth("log_prob", levels), strict=True):
        # x of size 1 resolves its distance of 1e-6 from the support to 10 digits, and the square is compared
        tolerance = 1e-6 if level == "tiny" and name in SINGULAR else 1e-10
        np.testing.assert_allclose(answers(name)[level]["log_prob"], expected, tolerance, 1e-10, err_msg=level)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES, ids=str, scope="module")
def test_score_is_the_gradient_of_log_prob(name):
    """And (alpha x0 - x) / sigma^2. All times sigma, so that they are of size 1: Tweedie's keeps 9 digits at 1e-6."""
    for level in zoo.NOISY:
        found = answers(name)[level]
        np.testing.assert_allclose(found["score"], found["gradient"], 1e-9, 1e-9, err_msg=level)
        np.testing.assert_allclose(found["score"], found["tweedie"], 1e-9, 4e-9, err_msg=level)


@pytest.mark.slow
@zoo.over({name: name for name in zoo.DISTRIBUTIONS}, "name")
def test_the_jacobian_of_denoise_is_the_posterior_covariance(name):
    """Cov[x0 | x] = (sigma^2 / alpha) d denoise / dx, for every law."""
    levels = "variance_preserving", "sub_variance_preserving", "exploding"
    for level, expected in zip(levels, zoo.DISTRIBUTIONS[name].truth("posterior_cov", levels), strict=True):
        at = zoo.LEVELS[level]
        found = at.sigma**2 / at.alpha * answers(name)[level]["jacobian"]
        np.testing.assert_allclose(found, expected, 1e-9, 1e-11, err_msg=level)


@pytest.mark.parametrize("name", NAMES, ids=str, scope="module")
def test_everything_is_finite_at_every_level(name):
    """At alpha = 0, at sigma = 0, for zero variance: answers and gradients in x and in every parameter.

    Where the clean law has no density, log_prob is by choice that on the support, or the weight of a point. Tweedie's
    formula divides by sigma.
    """
    for level, found in answers(name).items():
        for question, values in found.items():
            assert np.isfinite(values).all() or (question == "tweedie" and level == "clean"), (level, question)


@pytest.mark.slow
@zoo.over({name: name for name in zoo.DISTRIBUTIONS}, "name")
def test_float32_gives_what_float64_gives(name):
    """A user's run: float32 leaves, level and x give a float32 answer within 1e-4 of the truth."""
    for level, found in answers(name, jnp.float32).items():
        assert found["denoise"].dtype == np.float32
        assert np.isfinite(found["denoise"]).all()
        np.testing.assert_allclose(found["denoise"], answers(name)[level]["denoise"], 1e-4, 1e-4, err_msg=level)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "far"), [("float32", 1e10), ("float32", 1e20), zoo.exhaustive("float64", 1e20)])
@zoo.over(zoo.DISTRIBUTIONS)
def test_far_away_everything_is_finite(case, dtype, far):
    """Also where |x|^2 overflows: 1e40 is beyond float32. Only the log density itself may then be -inf, never NaN."""
    direction = jnp.linspace(-1, 1, case.law.means.shape[1] + 1)[1:].reshape(case.model.shape)
    x = jnp.broadcast_to(far * direction, (len(zoo.LEVELS), 3, *case.model.shape))
    found = case.answers(dtype, x)
    assert np.isfinite(found["denoise"]).all()
    assert not np.isnan(found["log_prob"]).any()
    assert (found["log_prob"] < 1e3).all()


density = jax.jit(lambda model, x, level: jnp.exp(jax.vmap(model.log_prob, (0, None))(x[:, None], level)))
denoise = jax.jit(jax.vmap(lambda model, x, level: model.denoise(x, level), (None, 0, None)))


@pytest.mark.slow
@zoo.over(SCALAR)
def test_quadrature_in_one_dimension(case):
    """The density integrates to 1, and the posterior mean is a quotient of integrals over x0 or a sum over points."""
    grid, x = jnp.linspace(-60.0, 60.0, 120_001), np.array([-2.0, 0.1, 3.0])
    if case.law.singular():
        nodes, weights = case.law.means[:, 0], case.law.weights
    else:
        nodes, weights = np.asarray(grid), np.asarray(density(case.model, grid, gd.NoiseLevel(1.0, 0.0)))
    for sigma in (0.05, 0.5, 5.0):
        level = gd.NoiseLevel(0.7, sigma)
        assert jnp.trapezoid(density(case.model, grid, level), grid) == pytest.approx(1, abs=1e-9)
        likelihood = weights * np.exp(-((x[:, None] - 0.7 * nodes) ** 2) / 2 / sigma**2)
        expected = likelihood @ nodes / likelihood.sum(1)
        np.testing.assert_allclose(denoise(case.model, x[:, None], level)[:, 0], expected, atol=1e-9)


@pytest.mark.slow
def test_posterior_mean_of_a_scalar_mixture_by_adaptive_quadrature():
    """The quotient of integrals over x0 written out with mpmath: nothing shared with the library."""
    parts = [gd.Gaussian.isotropic(jnp.array([mean]), variance) for mean, variance in ((-1.0, 0.04), (2.0, 0.5))]
    model = gd.GaussianMixture(jnp.log(jnp.array([0.3, 0.7])), parts)

    def normal(x, mean, variance):
        return mpmath.exp(-((x - mean) ** 2) / 2 / variance) / mpmath.sqrt(2 * mpmath.pi * variance)

    def joint(x0):
        return (0.3 * normal(x0, -1, 0.04) + 0.7 * normal(x0, 2, 0.5)) * normal(1.1, 0.8 * x0, 0.36)

    knots = [-8, -2, -1, 0, 1, 2, 3, 10]
    evidence = mpmath.quad(joint, knots)
    level, x = gd.NoiseLevel(0.8, 0.6), jnp.array([1.1])
    mean = mpmath.quad(lambda x0: x0 * joint(x0), knots) / evidence
    assert float(model.denoise(x, level)[0]) == pytest.approx(float(mean), rel=1e-10)
    assert float(model.log_prob(x, level)) == pytest.approx(float(mpmath.log(evidence)), rel=1e-10)


@pytest.mark.parametrize("name", NAMES, ids=str, scope="module")
def test_the_density_obeys_the_heat_equation(name):
    """At a given alpha d p / d(sigma^2 / 2) = laplace p, that is d log p / d sigma^2 = (tr H + |score|^2) / 2.

    With the Hessian H = (alpha J - I) / sigma^2 of Tweedie's formula, J the Jacobian of denoise, and times 2 sigma^2.
    """
    for level in ("variance_preserving", "sub_variance_preserving", "exploding"):
        found = answers(name)[level]
        size = found["score"].shape[1]
        trace = np.trace(found["jacobian"].reshape(-1, size, size), axis1=1, axis2=2)
        expected = zoo.LEVELS[level].alpha * trace - size + (found["score"] ** 2).sum(1)
        np.testing.assert_allclose(found["rate"][:, 0], expected, rtol=1e-10, atol=1e-10, err_msg=level)


@pytest.mark.slow
def test_without_a_level_log_prob_is_of_the_clean_law():
    for name in ("gaussian_full", "mixture_full", "empirical_smooth"):
        case = zoo.DISTRIBUTIONS[name]
        x = case.x(gd.NoiseLevel(1.0, 0.0))[0]
        assert case.model.log_prob(x) == case.model.log_prob(x, gd.NoiseLevel(1.0, 0.0))


draw = jax.jit(lambda model, keys: jax.vmap(model.sample)(keys))


@pytest.mark.slow
@zoo.over(zoo.DISTRIBUTIONS)
def test_samples_have_the_mean_and_covariance_of_the_law(case):
    """5 standard errors, for about 150 entries in all: a false alarm for one key in 10,000."""
    count, law = 20_000, case.law
    x = draw(case.model, jax.random.split(jax.random.key(3), count)).reshape(count, -1)
    away = np.asarray(x) - law.mean
    for values, expected in ((away, 0 * law.mean), (away[:, :, None] * away[:, None, :], law.cov)):
        errors = values.std(0) / np.sqrt(count)
        assert (np.abs(values.mean(0) - expected) <= 5 * errors + 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, *map(zoo.exhaustive, (jnp.float32, jnp.float64))])
@zoo.over(zoo.DISTRIBUTIONS)
def test_the_dtype_that_comes_in_goes_out_and_half_precision_as_float32(case, dtype):
    x, level = jnp.zeros(case.model.shape, dtype), zoo.LEVELS["variance_preserving"]

    def answers(model, x, level):
        questions = gd.noise, gd.score, gd.v_prediction
        return [model.denoise(x, level), *(question(model, x, level) for question in questions)]

    # model and level in float64, x as it comes
    expected = jnp.float32 if dtype == jnp.bfloat16 else dtype
    assert {answer.dtype for answer in eqx.filter_eval_shape(answers, case.model, x, level)} == {np.dtype(expected)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian_full", "gaussian_low_rank", "gaussian_singular", "gaussian_isotropic"])
def test_one_component_is_the_gaussian(name):
    gaussian = zoo.DISTRIBUTIONS[name]
    mixture = zoo.Case(gd.GaussianMixture(jnp.array([-3.0]), [gaussian.model]), gaussian.law).answers()
    for i, level in enumerate(zoo.LEVELS):
        for question in ("denoise", "log_prob"):
            expected = answers(name)[level][question]
            np.testing.assert_allclose(mixture[question][i], expected, 1e-12, 1e-13, err_msg=level)


@pytest.mark.slow
@pytest.mark.parametrize("bandwidth", [0.0, 0.3])
def test_a_data_set_is_the_mixture_of_its_points(bandwidth):
    points, weights = np.random.default_rng(0).normal(size=(6, 2, 2)), jnp.log(jnp.arange(1.0, 7.0))
    law = zoo.Law(np.ones(6) / 6, points.reshape(6, 4), np.zeros((6, 4, 0)))
    data = zoo.Case(gd.Empirical(points, bandwidth, weights, chunk=4), law).answers()
    components = [gd.Gaussian.isotropic(jnp.asarray(y), bandwidth**2) for y in points]
    mixture = zoo.Case(gd.GaussianMixture(weights, components), law).answers()
    np.testing.assert_allclose(data["denoise"], mixture["denoise"], 1e-11, 1e-12)
    levels = [i for i, level in enumerate(zoo.LEVELS.values()) if level.sigma > 0 or bandwidth]
    np.testing.assert_allclose(data["log_prob"][levels], mixture["log_prob"][levels], 1e-8)
