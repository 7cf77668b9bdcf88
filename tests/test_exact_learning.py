"""Learning dynamics against gradient descent and flow done numerically, and generated variances against quadrature."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff.exact.learning import ein

VARIANCES = jnp.array([5.0, 1.0, 0.3, 1e-3, 0.0])
LEVELS = {name: zoo.LEVELS[name] for name in ("variance_preserving", "exploding", "pure_noise")}
LEARNING = {
    "one_layer": gd.OneLayer(0.05),
    "one_layer_from_near_one": gd.OneLayer(0.05, 0.9),
    "one_layer_from_above": gd.OneLayer(0.05, 1.3),
    "two_layers": gd.TwoLayers(0.05, 0.1),
    "preconditioned": gd.PreconditionedLayer(0.05, 0.5),
}


def runge_kutta(slope, state, time, steps=4000):
    """Classical fourth order in NumPy."""
    h = time / steps
    for _ in range(steps):
        k1 = slope(state)
        k2 = slope(state + h / 2 * k1)
        k3 = slope(state + h / 2 * k2)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(state + h * k3))
    return state


def moments(level: gd.NoiseLevel):
    """Sigma, E[x x^T] and E[x0 x^T] of a diagonal Gaussian without mean."""
    alpha, sigma, lam = float(level.alpha), float(level.sigma), np.diag(VARIANCES)
    return lam, alpha**2 * lam + sigma**2 * np.eye(len(lam)), alpha * lam


@pytest.mark.slow
@pytest.mark.parametrize("time", [0.0, 0.3, 4.0])
@zoo.over(LEVELS, "level")
def test_weights_of_one_layer_are_those_of_the_gradient_flow(level, time):
    """Of E|W x - x0|^2, its gradient by automatic differentiation of the trace."""
    _, power, cross = moments(level)
    loss = lambda w: jnp.trace(w @ power @ w.T) - 2 * jnp.trace(w @ cross.T)  # noqa: E731
    gradient = jax.jit(jax.grad(loss))
    end = runge_kutta(lambda w: -0.05 * np.asarray(gradient(w)), 0.9 * np.eye(5), time, 400)
    np.testing.assert_allclose(np.diag(end), gd.OneLayer(0.05, 0.9).weight(VARIANCES, level, time), atol=1e-8)


@zoo.over(LEVELS, "level")
def test_weights_after_steps_are_those_of_gradient_descent(level):
    _, power, cross = moments(level)
    w = 0.9 * np.eye(5)
    for _ in range(30):
        w = w - 0.02 * 2 * (w @ power - cross)
    got = gd.OneLayer(0.02, 0.9).weight_after(VARIANCES, level, 30)
    np.testing.assert_allclose(np.diag(w), got, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("time", [0.0, 0.3, 4.0])
@zoo.over(LEVELS, "level")
def test_weights_of_two_layers_are_those_of_the_gradient_flow(level, time):
    """Of E|P P^T x - x0|^2 in P, by automatic differentiation."""
    _, power, cross = moments(level)

    def loss(p):
        w = p @ p.T
        return jnp.trace(w @ power @ w.T) - 2 * jnp.trace(w @ cross.T)

    gradient = jax.jit(jax.grad(loss))
    end = runge_kutta(lambda p: -0.05 * np.asarray(gradient(p)), np.sqrt(0.1) * np.eye(5), time, 400)
    np.testing.assert_allclose(np.diag(end @ end.T), gd.TwoLayers(0.05, 0.1).weight(VARIANCES, level, time), atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("time", [0.0, 0.3, 4.0])
def test_weights_of_the_preconditioned_layer_are_those_of_the_gradient_flow(time):
    """Of E|D - x0|^2 / c_out^2 in the matrix of F, with the library's own preconditioning around F."""
    level = zoo.LEVELS["exploding"]
    _, power, cross = moments(level)
    identity = jnp.eye(5)

    def denoiser(w):
        return jax.vmap(lambda x: gd.Preconditioned(lambda x, _: w @ x, 0.5).denoise(x, level))(identity).T

    c_out = np.asarray(denoiser(identity) - denoiser(0 * identity))[0, 0] * np.hypot(3.0, 0.5)

    def loss(w):
        d = denoiser(w)
        return (jnp.trace(d @ power @ d.T) - 2 * jnp.trace(d @ cross.T)) / c_out**2

    gradient = jax.jit(jax.grad(loss))
    end = denoiser(runge_kutta(lambda w: -0.05 * np.asarray(gradient(w)), np.zeros((5, 5)), time, 400))
    got = LEARNING["preconditioned"].weight(VARIANCES, level, time)
    np.testing.assert_allclose(np.diag(end), got, atol=1e-9)


# one program for all times and parameters of a kind
log_gain = jax.jit(lambda learning, *arguments: learning.log_gain(*arguments))
weight = jax.jit(lambda learning, *arguments: learning.weight(*arguments))
weights_of = jax.jit(
    lambda learning, levels, time: jax.vmap(lambda level: learning.weight(VARIANCES, level, time))(levels)
)


@pytest.mark.slow
@pytest.mark.parametrize("time", [0.0, 1e-9, 0.4, 30.0, 1e5])
@zoo.over(LEARNING, "learning")
def test_generated_variance_is_that_of_the_flow(learning, time):
    """log gain = integral of (1 - w) d log sigma, by Gauss-Legendre quadrature over pieces."""
    top, bottom = 20.0, 0.01
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(np.log(bottom), np.log(top), 101)
    half = np.diff(edges) / 2
    logs = ((edges[1:] + edges[:-1]) / 2)[:, None] + half[:, None] * nodes
    w = weights_of(learning, gd.NoiseLevel(1.0, jnp.exp(jnp.asarray(logs.ravel()))), time)
    expected = -((1 - np.asarray(w)) * (half[:, None] * weights).ravel()[:, None]).sum(0)
    np.testing.assert_allclose(log_gain(learning, VARIANCES, top, bottom, time), expected, rtol=1e-9, atol=1e-9)
    variance = gd.exact.generated_variance(learning, VARIANCES, top, bottom, time)
    np.testing.assert_allclose(variance, 400 * np.exp(2 * expected), rtol=1e-8)


def test_the_published_lemma_has_the_wrong_sign():
    """A mode with w = 0.3 at every noise goes from sigma = 5 to 1 by 5^-0.7 = 0.3241, not 5^0.7 = 3.085."""
    for learning in (gd.OneLayer(1.0, 0.3), gd.TwoLayers(1.0, 0.3)):
        assert jnp.exp(learning.log_gain(2.0, 5.0, 1.0, 0.0)) == pytest.approx(0.3241, abs=5e-5)


@pytest.mark.slow
@zoo.over(LEARNING, "learning")
def test_in_the_end_the_true_flow_is_learned(learning):
    """tau to infinity: S'/S of each mode, and the optimal weight."""
    lam = VARIANCES[:3]
    expected = np.sqrt((lam + 0.01) / (lam + 400))
    np.testing.assert_allclose(jnp.exp(log_gain(learning, lam, 20.0, 0.1, 1e9)), expected, rtol=1e-7)
    level = gd.NoiseLevel(0.8, 0.6)
    np.testing.assert_allclose(weight(learning, lam, level, 1e9), 0.8 * lam / (0.64 * lam + 0.36), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
@zoo.over(LEARNING, "learning")
def test_nothing_is_nan_at_the_limits(learning, dtype):
    """tau = 0 and huge, lam = 0, sigma' = 0: the log gain is finite or, to sigma' = 0, an infinity; never NaN."""
    for time in (0.0, 1e-30, 1.0, 1e12):
        for end in (0.0, 1e-4):
            args = zoo.cast((learning, VARIANCES, *map(jnp.array, (80.0, end, time))), dtype)
            gain = log_gain(*args)
            assert gain.dtype == dtype
            assert not np.isnan(gain).any(), (time, end)
            assert end == 0 or np.isfinite(gain).all()


@zoo.over(LEARNING, "learning")
def test_time_to_learn_is_when_the_weight_has_gone_its_way(learning):
    level, lam = gd.NoiseLevel(1.0, 0.5), VARIANCES[:3]
    for fraction in (0.2, 0.5, 0.9):
        times = learning.time_to_learn(lam, level, fraction)
        reached = jnp.stack([weight(learning, v, level, t) for v, t in zip(lam, times, strict=True)])
        first, last = (weight(learning, lam, level, t) for t in (0.0, 1e12))
        goal = fraction * last if isinstance(learning, gd.TwoLayers) else first + fraction * (last - first)
        np.testing.assert_allclose(reached, goal, rtol=1e-10)


@pytest.mark.slow
def test_small_modes_take_longer_by_their_powers():
    """The time at which the generated variance comes within e of the truth goes as lam^-1, preconditioned or not."""
    lam = jnp.logspace(-2, -5, 7)
    times = jnp.logspace(-3, 8, 2201)
    slopes = {}
    for name, learning in (("plain", gd.OneLayer(1.0, 0.1)), ("preconditioned", gd.PreconditionedLayer(1.0, 0.5))):
        curve = jax.vmap(lambda t, model=learning: gd.exact.generated_variance(model, lam, 80.0, 1e-5, t))(times)
        distance = jnp.abs(jnp.log(curve / lam[None]))
        last = jnp.max(jnp.where(distance > 1, jnp.arange(len(times))[:, None], 0), axis=0)
        slopes[name] = np.polyfit(np.log(lam), np.log(times[last]), 1)[0]
    for slope in slopes.values():
        assert slope == pytest.approx(-1.0, abs=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("at", ["variance_preserving", "exploding", "pure_noise"])
@zoo.over({name: zoo.DISTRIBUTIONS[name] for name in ("gaussian_full", "gaussian_low_rank", "gaussian_singular")})
def test_affine_learning_is_gradient_descent_on_data_with_a_mean(case, at):
    """On E|W x + b - x0|^2 written with the moments of the law: 50 steps, and the flow by Runge-Kutta."""
    level, law, rng = zoo.LEVELS[at], case.law, np.random.default_rng(2)
    alpha, sigma, size = float(level.alpha), float(level.sigma), 3
    second = law.cov + np.outer(law.mean, law.mean)
    power = np.block(
        [[alpha**2 * second + sigma**2 * np.eye(size), alpha * law.mean[:, None]], [alpha * law.mean, np.ones(1)]]
    )
    cross = np.column_stack([alpha * second, law.mean])
    weight, bias = rng.normal(size=(size, size)), rng.normal(size=size)
    start, rate = np.column_stack([weight, bias]), 0.3 / np.linalg.eigvalsh(power)[-1]
    model = gd.AffineLearning.from_gaussian(case.model, level, rate, weight, bias)
    both = start
    for _ in range(50):
        both = both - 2 * rate * (both @ power - cross)
    np.testing.assert_allclose(jnp.column_stack(model.after(50)), both, rtol=1e-9, atol=1e-11)
    flow = runge_kutta(lambda w: -2 * rate * (w @ power - cross), start, 50.0, 2000)
    np.testing.assert_allclose(jnp.column_stack(model.at(50.0)), flow, rtol=1e-8, atol=1e-9)
    weight, bias = model.at(1e12)
    x = case.x(level)[0]
    np.testing.assert_allclose(weight @ x + bias, case.model.denoise(x, level), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("z", [0.0, 1e-30, 1e-5, 0.3, 0.999999, 1.000001, 3.0, 40.0, 1e3, 1e30])
def test_ein_and_its_derivative_against_quadrature(z):
    expected = float(mpmath.quad(lambda t: -mpmath.expm1(-t) / t, [0, z])) if 0 < z < 50 else None
    if z >= 50:
        expected = np.log(z) + np.euler_gamma
    value, slope = jax.value_and_grad(ein)(z)
    assert float(value) == pytest.approx(expected or z, rel=1e-14)
    assert float(slope) == pytest.approx(-np.expm1(-z) / z if z else 1.0, rel=1e-14)
    assert float(ein(jnp.float32(z))) == pytest.approx(expected or z, rel=1e-6)


def test_wrong_arguments_are_refused():
    for broken, message in (
        (lambda: gd.OneLayer(0.0), "rate: expected"),
        (lambda: gd.TwoLayers(1.0, -0.1), "start: expected"),
        (lambda: gd.PreconditionedLayer(1.0, 0.0), "sigma_data: expected"),
        (lambda: gd.OneLayer(1.0).time_to_learn(1.0, gd.NoiseLevel(1.0, 1.0), 1.0), "fraction: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            broken()
