"""kappa against its equation in high precision, its limits, and the average over random data sets."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd

SPECTRUM = jnp.concatenate([jnp.logspace(4, -8, 20), jnp.zeros(5)])
EDGES = ((1e-6, 0.0), (0.0, 1e-6))  # in sigma and in N
clean = functools.partial(gd.NoiseLevel, 1.0)
effective_noise = jax.jit(gd.denoisers.effective_noise)


@pytest.mark.parametrize("sigma", [0.0, 1e-4, 1e-2, 1.0, 1e4])
@pytest.mark.parametrize("count", [1, 5, 19, 20, 21, 100, 1e9])
def test_kappa_solves_its_equation(count, sigma):
    """1 = sigma^2 / kappa + sum lam / (lam + kappa) / N to 50 digits; 13 digits in float64, 5 in float32."""
    kappa = effective_noise(SPECTRUM, clean(sigma), float(count))
    if sigma == 0 and count >= 20:
        assert kappa == 0
        return
    with mpmath.workdps(50):
        lam, square = [mpmath.mpf(float(v)) for v in SPECTRUM], mpmath.mpf(sigma) ** 2
        root = mpmath.findroot(lambda k: square / k + sum(v / (v + k) for v in lam) / count - 1, float(kappa))
    assert float(kappa) == pytest.approx(float(root), rel=1e-13)
    narrow = zoo.cast((SPECTRUM, clean(sigma), jnp.array(float(count))))
    assert float(effective_noise(*narrow)) == pytest.approx(float(root), rel=1e-5)


def test_many_samples_leave_the_noise_as_it_is():
    for sigma in (1e-3, 1.0, 100.0):
        assert effective_noise(SPECTRUM, clean(sigma), jnp.inf) == pytest.approx(sigma**2, rel=1e-14)


def test_without_noise_it_counts_ranks():
    """sigma = 0: C (C + 0)^-1 projects on N directions, so the gains add up to N; D equal variances have a root."""
    gains = gd.denoisers.expected_gain(SPECTRUM, clean(0.0), 7)
    assert jnp.sum(gains) == pytest.approx(7, rel=1e-12)
    np.testing.assert_allclose(gd.denoisers.expected_gain(SPECTRUM, clean(0.0), 20), SPECTRUM > 0, rtol=1e-14)
    assert effective_noise(jnp.full(30, 2.0), clean(0.0), 10.0) == pytest.approx(2.0 * (30 / 10 - 1), rel=1e-13)


def test_it_depends_on_the_level_through_the_frame_alone():
    """alpha^2 kappa(sigma / alpha); at alpha = 0 it is sigma^2 and the gain is 0."""
    level = gd.NoiseLevel(0.3, 0.6)
    expected = 0.09 * effective_noise(SPECTRUM, clean(2.0), 8.0)
    assert effective_noise(SPECTRUM, level, 8.0) == pytest.approx(float(expected), rel=1e-13)
    assert effective_noise(SPECTRUM, gd.NoiseLevel(0.0, 3.0), 8.0) == pytest.approx(9.0, rel=1e-15)
    assert not gd.denoisers.expected_gain(SPECTRUM, gd.NoiseLevel(0.0, 3.0), 8).any()


@pytest.mark.slow
def test_gradients_are_those_of_the_implicit_equation():
    variances, level = jnp.array([3.0, 1.0, 0.2]), clean(0.5)
    gradients = jax.grad(gd.denoisers.effective_noise, (0, 1, 2))(variances, level, 4.0)
    value = lambda lam, sigma, n: float(effective_noise(jnp.asarray(lam), clean(sigma), n))  # noqa: E731
    for i in range(3):
        step = 1e-6 * np.eye(3)[i]
        slope = (value(variances + step, 0.5, 4.0) - value(variances - step, 0.5, 4.0)) / 2e-6
        assert gradients[0][i] == pytest.approx(slope, rel=1e-7)
    slopes = [(value(variances, 0.5 + e, 4.0 + f) - value(variances, 0.5 - e, 4.0 - f)) / 2e-6 for e, f in EDGES]
    assert gradients[1].sigma == pytest.approx(slopes[0], rel=1e-7)
    assert gradients[2] == pytest.approx(slopes[1], rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("count", [20, 60, 400])
def test_the_gain_is_the_average_over_data_sets(count, sigma):
    """E[C (C + s^2)^-1] over 400 data sets of N samples in D = 40 dimensions, N below and above D.

    Within 5 standard errors plus the theory's own error g (1 - g) / N at finite N, measured below to fall as 1 / N.
    """
    variances = np.logspace(0.5, -2, 40)
    mean, error = average_gain(variances, sigma, count, 400)
    gain = np.asarray(gd.denoisers.expected_gain(jnp.asarray(variances), clean(sigma), count))
    assert (np.abs(mean - gain) <= 5 * error + 2 * gain * (1 - gain) / count).all()
    # what a fit of N samples does is not what the true covariance does: the theory is needed
    naive = variances / (variances + sigma**2)
    assert np.abs(mean - gain).max() < np.abs(mean - naive).max() / 3 + 5 * error.max()


def test_the_error_of_the_average_falls_with_the_size():
    """At a fixed D / N, from D = 4 to 16: the error of a gain falls at least as 1 / N, to 5 standard errors."""
    errors = []
    for copies in (1, 4):
        variances = np.repeat([2.0, 1.0, 0.5, 0.1], copies)
        mean, error = average_gain(variances, 0.5, 6 * copies, 20_000)
        gain = np.asarray(gd.denoisers.expected_gain(jnp.asarray(variances), clean(0.5), 6 * copies))
        errors.append((np.abs(mean - gain).mean(), error.max()))
    assert errors[1][0] <= errors[0][0] / 4 + 5 * errors[1][1]


def average_gain(variances, sigma, count, sets):
    """Mean and standard error over data sets of the diagonal of C (C + sigma^2)^-1."""
    rng, size = np.random.default_rng(0), len(variances)
    found = []
    for _ in range(-(-sets // 500)):
        x = rng.normal(size=(min(sets, 500), count, size)) * np.sqrt(variances)
        cov = x.swapaxes(1, 2) @ x / count
        inverse = np.linalg.inv(cov + sigma**2 * np.eye(size))
        found.append(1 - sigma**2 * np.diagonal(inverse, axis1=1, axis2=2))
    gains = np.concatenate(found)
    return gains.mean(0), gains.std(0) / np.sqrt(len(gains))


@pytest.mark.slow
def test_the_average_denoiser_is_that_of_the_true_covariance_at_more_noise():
    """At N = inf the Gaussian's own; at finite N the Gaussian's at sigma^2 = kappa."""
    for name in ("gaussian_full", "gaussian_low_rank", "gaussian_image", "gaussian_point"):
        case, level = zoo.DISTRIBUTIONS[name], clean(0.7)
        x = case.x(level)[0]
        own = case.model.denoise(x, level)
        np.testing.assert_allclose(gd.FiniteDataDenoiser(case.model, jnp.inf).denoise(x, level), own, rtol=1e-13)
        noisier = clean(jnp.sqrt(effective_noise(case.model.variances, level, 5.0)))
        average = gd.FiniteDataDenoiser(case.model, 5).denoise(x, level)
        np.testing.assert_allclose(average, case.model.denoise(x, noisier), rtol=1e-12)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="count: expected a number"):
        gd.denoisers.effective_noise(jnp.ones(2), clean(1.0), 0)
    with pytest.raises(ValueError, match="variances: expected >= 0"):
        gd.denoisers.effective_noise(-jnp.ones(2), clean(1.0), 3)
    with pytest.raises(ValueError, match="expected shapes"):
        gd.denoisers.expected_gain(jnp.ones((2, 2)), clean(1.0), 3)
