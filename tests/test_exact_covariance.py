"""The posterior covariance as an operator: against the dense law of every distribution, sampling, and eigh."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

MIDDLE = gd.NoiseLevel(0.8, 0.6)
covariance = eqx.filter_jit(lambda model, x, level: gd.posterior_covariance(model, x, level).dense())
top_of = eqx.filter_jit(lambda model, x, level: gd.posterior_covariance(model, x, level).top(4, jax.random.key(3)))
# one law of each kind
KINDS = "gaussian_full", "gaussian_singular", "mixture_full", "empirical_smooth", "separable"


class Linear(gd.Denoiser):
    """Any matrix (D, D) as a denoiser: x0 = matrix x."""

    matrix: jax.Array

    def denoise(self, x, level):
        return (self.matrix @ x.ravel()).reshape(x.shape).astype(x.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("law", zoo.DISTRIBUTIONS)
def test_dense_is_the_covariance_of_the_law_given_x(law):
    """By the law of total covariance with 400 digits."""
    case = zoo.DISTRIBUTIONS[law]
    for name in ("variance_preserving", "exploding", "faint", "shrunk"):
        level = zoo.LEVELS[name]
        x = case.x(level)[0]
        expected = case.law.posterior_cov(np.ravel(x), level)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(covariance(case.model, x, level), expected, rtol=1e-8, atol=1e-9 * scale + 1e-18)


@pytest.mark.slow
@pytest.mark.parametrize("law", [name if name in KINDS else zoo.exhaustive(name) for name in zoo.DISTRIBUTIONS])
def test_dense_in_float32(law):
    case = zoo.DISTRIBUTIONS[law]
    for name in ("variance_preserving", "exploding", "faint", "shrunk"):
        level = zoo.LEVELS[name]
        x = case.x(level)[0]
        expected = case.law.posterior_cov(np.ravel(x), level)
        scale = np.abs(expected).max()
        narrow = covariance(*zoo.cast((case.model, x, level)))
        assert narrow.dtype == jnp.float32
        if name == "faint":  # weights of components differ by alpha, and float32 has lost that: finite, no more
            assert np.isfinite(narrow).all()
            continue
        np.testing.assert_allclose(narrow, expected, rtol=1e-3, atol=1e-3 * scale + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian_low_rank_image", "mixture_image", "empirical_image_chunked"])
def test_products_traces_and_directions_are_those_of_the_dense_matrix(name):
    case = zoo.DISTRIBUTIONS[name]
    x = case.x(MIDDLE)[0]
    operator = gd.posterior_covariance(case.model, x, MIDDLE)
    expected = case.law.posterior_cov(np.ravel(x), MIDDLE)
    v = np.arange(4.0).reshape(2, 2, 1)
    np.testing.assert_allclose(np.ravel(operator.matvec(v)), expected @ v.ravel(), rtol=1e-9, atol=1e-12)
    assert operator.trace() == pytest.approx(np.trace(expected), rel=1e-9)
    assert operator.trace(chunk=3) == pytest.approx(np.trace(expected), rel=1e-9)
    values, vectors = operator.top(2, jax.random.key(0))
    lam = np.linalg.eigvalsh(expected)[::-1]
    np.testing.assert_allclose(values, lam[:2], rtol=1e-8, atol=1e-12)
    flat = np.asarray(vectors).reshape(2, 4)
    assert vectors.shape == (2, 2, 2, 1)
    np.testing.assert_allclose(flat @ expected @ flat.T, np.diag(lam[:2]), atol=1e-8)


@pytest.mark.slow
def test_estimated_traces_come_with_their_error():
    case = zoo.MIXTURE
    operator = gd.posterior_covariance(case.model, case.x(MIDDLE)[0], MIDDLE)
    estimate, error = operator.estimate_trace(jax.random.key(0), 400)
    assert abs(estimate - operator.trace()) < 5 * error
    assert 0 < error < 0.2 * estimate
    diagonal = gd.posterior_covariance(gd.Gaussian.isotropic(jnp.zeros(9), 2.0), jnp.zeros(9), MIDDLE)
    estimate, error = diagonal.estimate_trace(jax.random.key(1))
    assert estimate == pytest.approx(float(diagonal.trace()), rel=1e-12)
    assert error < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("spectrum", ["decaying", "clustered", "equal", "low_rank", "close"])
def test_top_of_a_larger_covariance(spectrum, dtype):
    """200 entries: falling, all but equal at the top, all equal, fewer directions than asked, and slowly falling."""
    size = 200
    lam = {
        "decaying": np.geomspace(10, 1e-4, size),
        "clustered": np.r_[np.full(50, 5.0), np.geomspace(1, 1e-3, 150)],
        "equal": np.ones(size),
        "low_rank": np.r_[2.0, 1.0, np.zeros(size - 2)],
        "close": np.linspace(2, 1, size),
    }[spectrum]
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    model = gd.Gaussian(jnp.zeros((10, 20)), lam, vectors)
    model, x, level = zoo.cast((model, jnp.ones((10, 20)), gd.NoiseLevel(0.7, 1.1)), dtype)
    values, found = top_of(model, x, level)
    posterior = lam * 1.21 / (0.49 * lam + 1.21)
    exact = dtype == jnp.float64
    assert values.dtype == dtype
    np.testing.assert_allclose(values, posterior[:4], rtol=1e-9 if exact else 2e-3, atol=1e-12 if exact else 1e-5)
    flat = np.asarray(found, np.float64).reshape(4, size)
    np.testing.assert_allclose(flat @ flat.T, np.eye(4), atol=1e-12 if exact else 1e-5)
    left = (flat @ vectors * posterior) @ vectors.T - np.asarray(values, float)[:, None] * flat
    assert np.linalg.norm(left, axis=1).max() < (2e-8 if exact else 5e-4) * posterior[0]


@pytest.mark.slow
def test_directions_of_a_data_set_between_two_points():
    """Halfway between two points far apart the posterior is a coin toss: one direction, a quarter of the square."""
    points = np.zeros((2, 300))
    points[1, 7] = 4.0
    x = jnp.zeros(300).at[7].set(2 * 0.8)
    values, vectors = gd.posterior_covariance(gd.Empirical(points), x, MIDDLE).top(2, jax.random.key(0))
    np.testing.assert_allclose(values, [4, 0], atol=1e-9)
    assert abs(vectors[0, 7]) == pytest.approx(1, abs=1e-9)


def test_top_takes_the_symmetric_part_of_a_network():
    matrix = np.random.default_rng(1).normal(size=(60, 60)) / 10 + np.eye(60)
    x = jnp.zeros(60)
    values, _ = gd.posterior_covariance(Linear(jnp.asarray(matrix)), x, MIDDLE).top(3, jax.random.key(0))
    expected = np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1][:3] * 0.36 / 0.8
    np.testing.assert_allclose(values, expected, rtol=1e-9)


@pytest.mark.slow
def test_it_works_inside_jit_and_over_a_batch():
    model, xs = zoo.MIXTURE.model, zoo.MIXTURE.x(MIDDLE)

    @jax.jit
    @jax.vmap
    def answers(x):
        operator = gd.posterior_covariance(model, x, MIDDLE)
        return operator.trace(), operator.top(1, jax.random.key(0))[0][0]

    traces, tops = answers(xs)
    for x, trace, top in zip(xs, traces, tops, strict=True):
        expected = zoo.MIXTURE.law.posterior_cov(np.asarray(x), MIDDLE)
        assert trace == pytest.approx(np.trace(expected), rel=1e-9)
        assert top == pytest.approx(np.linalg.eigvalsh(expected)[-1], rel=1e-8)


def test_at_no_noise_nothing_is_left():
    for name in ("gaussian_full", "mixture_full", "empirical_smooth"):
        case, clean = zoo.DISTRIBUTIONS[name], gd.NoiseLevel(1.0, 0.0)
        assert not covariance(case.model, case.x(clean)[0], clean).any()


@pytest.mark.slow
def test_bad_questions_are_refused():
    model, x = zoo.GAUSSIAN.model, jnp.zeros(3)
    with pytest.raises(ValueError, match=r"level: expected alpha > 0.*covariance of the clean law"):
        gd.posterior_covariance(model, x, gd.NoiseLevel(0.0, 1.0))
    with pytest.raises(RuntimeError, match=r"level: expected alpha > 0"):
        jax.block_until_ready(covariance(model, x, gd.NoiseLevel(0.0, 1.0)))
    operator = gd.posterior_covariance(model, x, MIDDLE)
    with pytest.raises(ValueError, match=r"v: expected one sample of shape \(3,\), got \(4,\)"):
        operator.matvec(jnp.zeros(4))
    for k in (0, 4):
        with pytest.raises(ValueError, match=rf"k: expected an integer from 1 to D = 3, got {k}"):
            operator.top(k, jax.random.key(0))
    with pytest.raises(ValueError, match=r"chunk: expected an integer >= 1"):
        operator.trace(0)
    with pytest.raises(ValueError, match=r"probes: expected an integer >= 2"):
        operator.estimate_trace(jax.random.key(0), 1)
    hard = gd.posterior_covariance(
        gd.Gaussian(jnp.zeros(200), jnp.linspace(2, 1, 200), jnp.eye(200)), jnp.zeros(200), MIDDLE
    )
    with pytest.raises(RuntimeError, match=r"top: a residual of .* after 1 restarts.*tolerance"):
        hard.top(3, jax.random.key(0), tolerance=1e-12, restarts=1)
