"""Losses, metrics and the geometry of paths."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff import conversions, losses, metrics
from gaussdiff.numerics.arrays import squared_distances

RNG = np.random.default_rng(5)


@zoo.over(zoo.BOTH, "level")
def test_weights_turn_the_error_of_x0_into_that_of_what_is_predicted(level):
    """weight |a - b|^2 is the squared difference of the predictions that belong to a and b."""
    a, b, x = (jnp.asarray(RNG.normal(size=5)) for _ in range(3))
    for convert, weight in (
        (conversions.noise_from_x0, losses.noise_weight),
        (conversions.v_from_x0, losses.v_weight),
    ):
        error = jnp.sum((convert(a, 0 * x, level) - convert(b, 0 * x, level)) ** 2)
        np.testing.assert_allclose(weight(level) * jnp.sum((a - b) ** 2), error, rtol=1e-12)


@zoo.over(zoo.BOTH, "level")
def test_the_edm_weight_makes_the_error_of_the_network(level):
    """Two networks whose raw outputs differ by d differ by weight^-1/2 d in x0."""
    x, difference = jnp.asarray(RNG.normal(size=5)), jnp.asarray(RNG.normal(size=5))
    a, b = (gd.Preconditioned(lambda x, c, d=d: d, 0.7).denoise(x, level) for d in (difference, 0 * difference))
    # the difference of two numbers of size c_skip x
    loss = 1e-15 * float(jnp.max(jnp.abs(x))) * np.sqrt(float(losses.edm_weight(level, 0.7)))
    np.testing.assert_allclose(jnp.sqrt(losses.edm_weight(level, 0.7)) * (a - b), difference, rtol=1e-12, atol=3 * loss)


def test_the_posterior_mean_has_the_least_loss():
    """Of all denoisers: a shift, a gain and another law cost more than 5 standard errors of the paired difference."""
    case, level, count = zoo.GAUSSIAN, gd.NoiseLevel(0.8, 0.6), 20_000
    g = case.model
    x0 = jnp.asarray(case.law.draw(RNG, count))
    keys = jax.random.split(jax.random.key(0), count)
    loss = jax.jit(lambda m: jax.vmap(losses.denoising_loss, (None, 0, None, 0))(m, x0, level, keys))
    best = loss(g)
    for other in (
        gd.Gaussian(g.mean + 0.2, g.eigvals, g.eigvecs),
        gd.Gaussian(g.mean, 1.5 * g.eigvals, g.eigvecs),
        gd.Gaussian(g.mean, g.eigvals / 1.5, g.eigvecs),
    ):
        excess = np.asarray(loss(other) - best)
        assert excess.mean() > 5 * excess.std() / np.sqrt(count)
    # and its value is the posterior variance, tr Cov[x0 | x] / D, within 5 standard errors
    expected = np.trace(case.law.posterior_cov(np.zeros(3), level)) / 3
    assert best.mean() == pytest.approx(expected, abs=5 * float(best.std()) / np.sqrt(count))


def test_a_weight_multiplies_the_loss():
    level, key, x0 = gd.NoiseLevel(0.8, 0.36), jax.random.key(0), jnp.ones(3)
    plain = losses.denoising_loss(zoo.GAUSSIAN.model, x0, level, key)
    weighted = losses.denoising_loss(zoo.GAUSSIAN.model, x0, level, key, losses.noise_weight)
    assert weighted == pytest.approx(float(plain) * (0.8 / 0.36) ** 2)


def test_edm_levels_are_log_normal():
    """5 standard errors on the mean and variance of log sigma: one key in a million."""
    levels, count = losses.edm_level(jax.random.key(0), -1.0, 0.8, (20_000,)), 20_000
    logs = np.log(levels.sigma)
    assert (levels.alpha == 1).all()
    assert logs.mean() == pytest.approx(-1, abs=5 * 0.8 / np.sqrt(count))
    assert logs.var() == pytest.approx(0.64, abs=5 * 0.64 * np.sqrt(2 / count))


def test_explained_variance():
    target = RNG.normal(size=(100, 3))
    assert metrics.explained_variance(target, target) == 1
    assert metrics.explained_variance(target, np.broadcast_to(target.mean(0), target.shape)) == pytest.approx(0)
    assert metrics.explained_variance(target, -target + 2 * target.mean(0)) == pytest.approx(-3)


def test_frechet_distance_of_diagonal_covariances():
    """sum (m_a - m_b)^2 + (s_a - s_b)^2 for two sets whose sample moments are made exact."""
    white = RNG.normal(size=(200, 3))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False, bias=True))).T
    mean_a, mean_b, a, b = RNG.normal(size=(4, 3))
    expected = ((mean_a - mean_b) ** 2).sum() + ((np.abs(a) - np.abs(b)) ** 2).sum()
    got = metrics.frechet_distance(mean_a + white * a, mean_b + white * b)
    assert got == pytest.approx(expected, rel=1e-10)
    assert metrics.frechet_distance(white, white) == pytest.approx(0, abs=1e-10)


def test_frechet_distance_of_any_covariances():
    """Symmetric, blind to rotations, and tr(A + B - 2 (A B)^1/2) by the eigenvalues of the product."""
    a, b = RNG.normal(size=(50, 4)) @ RNG.normal(size=(4, 4)), RNG.normal(size=(60, 4)) + 1
    turn, _ = np.linalg.qr(RNG.normal(size=(4, 4)))
    value = metrics.frechet_distance(a, b)
    assert metrics.frechet_distance(b, a) == pytest.approx(value, rel=1e-9)
    assert metrics.frechet_distance(a @ turn, b @ turn) == pytest.approx(value, rel=1e-9)
    A, B = (np.cov(x, rowvar=False, bias=True) for x in (a, b))
    cross = np.sqrt(np.linalg.eigvals(A @ B).real).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A) + np.trace(B) - 2 * cross
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(50, 192), (192, 50), (7, 7), (2, 1)])
def test_frechet_distance_is_0_to_rounding_and_never_negative(shape):
    """Of a set with itself, with itself in another order, and with what lies one rounding beside it."""
    a = RNG.normal(size=shape) + 10
    for b in (a, a[::-1], a.astype(np.float32), np.nextafter(a, np.inf)):
        value = metrics.frechet_distance(a, b)
        assert 0 <= value <= 1e-12 * a.size
        assert metrics.frechet_distance(b, a) == pytest.approx(value, rel=1e-6, abs=1e-15)
    assert metrics.frechet_distance(a, a) <= 1e-20


@pytest.mark.parametrize(("n", "m", "size"), [(9, 4, 5), (4, 9, 5), (5, 5, 5), (3, 4, 6)])
def test_frechet_distance_of_sets_that_nearly_agree_in_50_digits(n, m, size):
    """tr (B^1/2 A B^1/2)^1/2 by eigenvalues in 50 digits, of standard deviations from 1 to 1e-5."""
    a, b = (RNG.normal(size=(count, size)) * np.logspace(0, -5, size) for count in (n, m))
    if n == m:
        b = a + 1e-4 * b
    with mpmath.workdps(50):
        (mean_a, cov_a), (mean_b, cov_b) = exact_moments(a), exact_moments(b)
        values, axes = mpmath.eigsy(cov_b)
        root = axes * mpmath.diag([mpmath.sqrt(max(value, 0)) for value in values]) * axes.T
        cross = mpmath.fsum(
            mpmath.sqrt(max(value, 0)) for value in mpmath.eigsy(root * cov_a * root, eigvals_only=True)
        )
        traces = mpmath.fsum(cov_a[i, i] + cov_b[i, i] for i in range(size))
        expected = mpmath.fsum((p - q) ** 2 for p, q in zip(mean_a, mean_b, strict=True)) + traces - 2 * cross
    assert metrics.frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-8)


def exact_moments(x):
    """The mean and the covariance over N, in mpmath's digits."""
    rows = [[mpmath.mpf(float(value)) for value in row] for row in x]
    mean = [mpmath.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    centered = mpmath.matrix([[value - m for value, m in zip(row, mean, strict=True)] for row in rows])
    return mean, centered.T * centered / len(rows)


def test_squared_distances_of_copies_are_0():
    """So that a point lies in the neighbourhood of its own copies, whose radius is 0."""
    x = np.repeat(RNG.normal(size=(60, 192)), 3, axis=0)
    copies = np.kron(np.eye(60), np.ones((3, 3))) > 0
    assert (squared_distances(x, x)[copies] == 0).all()
    assert (squared_distances(x, x)[~copies] > 0).all()
    assert metrics.precision_recall(x[:6], x, 2) == (1.0, 6 / 180)


def test_nearest_distances():
    data = RNG.normal(size=(70, 2, 2)) + 1e3
    x = np.concatenate([data[[5, 60]], RNG.normal(size=(30, 2, 2)) + 1e3])
    expected = [min(np.linalg.norm(one - y) for y in data) for one in x]
    for chunk in (1, 7, 32, 256):
        got = metrics.nearest_distances(x, data, chunk)
        np.testing.assert_allclose(got, expected, rtol=1e-9)
        assert (got[:2] == 0).all()  # an exact copy


def test_chord_deviation_of_a_line_and_of_an_arc():
    """0 along a line; on a half circle of radius 2 the height sin(angle) over its diameter."""
    steps = jnp.linspace(0.0, 1.0, 9)
    line = steps[:, None, None] * jnp.array([[[1.0, -2.0], [0.5, 3.0]]]) + 7.0
    np.testing.assert_allclose(gd.exact.chord_deviation(line), 0, atol=1e-13)
    angles = jnp.pi * steps
    arc = 2 * jnp.stack([jnp.cos(angles), jnp.sin(angles), 0 * angles], axis=1) + 5.0
    np.testing.assert_allclose(gd.exact.chord_deviation(arc), 2 * jnp.sin(angles), atol=1e-13)


def test_chord_deviation_of_a_closed_path_is_the_distance_from_its_end():
    path = jnp.array([[1.0, 0.0], [4.0, 4.0], [1.0, 0.0]])
    np.testing.assert_allclose(gd.exact.chord_deviation(path), [0, 5, 0])


def test_path_distance_is_the_root_mean_square_per_entry():
    a, b = RNG.normal(size=(2, 6, 2, 3))
    expected = [np.sqrt(np.mean((p - q) ** 2)) for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(gd.exact.path_distance(jnp.asarray(a), jnp.asarray(b)), expected, rtol=1e-13)


@pytest.mark.slow
def test_the_denoised_path_carries_the_curvature_of_the_sampling_path():
    """dD/dsigma = -sigma d^2x/dsigma^2 in the frame alpha = 1, along the exact path of a Gaussian."""
    g, start = zoo.GAUSSIAN.model, gd.NoiseLevel(1.0, 3.0)
    x = jnp.array([3.0, -2.0, 1.0])
    place = lambda s: gd.gaussian_flow(g, x, start, gd.NoiseLevel(1.0, s))  # noqa: E731
    denoised = lambda s: g.denoise(place(s), gd.NoiseLevel(1.0, s))  # noqa: E731
    curvature = jax.jacfwd(jax.jacfwd(place))(1.2)
    np.testing.assert_allclose(jax.jacfwd(denoised)(1.2), -1.2 * curvature, rtol=1e-10)


def test_what_is_explained_of_each_entry_is_that_of_the_entry_alone():
    """A prediction that scales the differences from the mean by c explains 1 - (1 - c)^2; one entry is constant."""
    target = np.random.default_rng(3).normal(size=(50, 2, 3))
    target[:, 1, 2] = 0.5
    factors = np.array([[1.0, 0.5, 0.0], [2.0, -1.0, 1.0]])
    mean = target.mean(0)
    each = gd.metrics.explained_by_entry(target, mean + factors * (target - mean))
    expected = 1 - (1 - factors) ** 2
    expected[1, 2] = np.nan
    np.testing.assert_allclose(each, expected, atol=1e-12)
    with pytest.raises(ValueError, match="prediction: expected the target's shape"):
        gd.metrics.explained_by_entry(target, target[:, 0])
