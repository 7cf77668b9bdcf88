"""What happens to one mode: against mpmath, derivatives, and the posterior it stands for."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd

LAMS = (0.0, 1e-8, 0.3, 2.0, 1e4)
QUESTIONS = ("marginal_std", "commitment", "commitment_speed", "information", "rotation_residual")


def exact(question: str, lam: float, alpha: float, sigma: float):
    """From the definitions, with 60 digits: variances of Gaussians and differences of what they say."""
    with mpmath.workdps(60):
        lam, alpha, sigma = mpmath.mpf(lam), mpmath.mpf(alpha), mpmath.mpf(sigma)
        variance = alpha**2 * lam + sigma**2
        kept = lam - (alpha * lam) ** 2 / variance if variance else lam  # Var[x0 | x], by conditioning
        share = 1 - kept / lam if lam else mpmath.mpf(0)
        match question:
            case "marginal_std":
                return mpmath.sqrt(variance)
            case "commitment":
                return mpmath.sqrt(share)
            case "commitment_speed":
                return mpmath.sqrt(share) * (1 - share)
            case "information":
                return mpmath.log(lam / kept) / 2 if lam and kept else mpmath.inf if lam else mpmath.mpf(0)
            case "rotation_residual":
                return mpmath.sqrt(variance) - alpha * mpmath.sqrt(lam) - sigma


@pytest.mark.parametrize("question", QUESTIONS)
@zoo.over(zoo.LEVELS, "level")
def test_modes_equal_sixty_digits(level, question):
    found = getattr(gd.exact, question)(jnp.array(LAMS), level)
    expected = [float(exact(question, lam, float(level.alpha), float(level.sigma))) for lam in LAMS]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("question", QUESTIONS)
@zoo.over(zoo.LEVELS, "level")
def test_modes_in_float32(level, question):
    level = zoo.cast(level)
    found = getattr(gd.exact, question)(jnp.array(LAMS, jnp.float32), level)
    lams = np.array(LAMS, np.float32).astype(float)
    expected = [float(exact(question, lam, float(level.alpha), float(level.sigma))) for lam in lams]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("question", QUESTIONS)
def test_gradients_of_modes_are_finite(question):
    """At alpha = 0, and at zero variance with noise; the information of a clean mode is infinite and left out."""
    function = lambda lam, lv: jnp.sum(getattr(gd.exact, question)(lam, lv))  # noqa: E731
    for level in (zoo.LEVELS["pure_noise"], zoo.LEVELS["variance_preserving"]):
        for leaf in jax.tree.leaves(jax.grad(function, (0, 1))(jnp.array(LAMS), level)):
            assert np.isfinite(leaf).all()


@pytest.mark.slow
def test_commitment_speed_is_the_derivative_in_log_noise_and_peaks_at_two_variances():
    lam = jnp.array([1e-3, 1.0, 40.0])
    at = lambda u: gd.commitment(lam, gd.NoiseLevel(1.0, jnp.exp(u)))  # noqa: E731
    for u in (-3.0, 0.2, 2.0):
        slope = jax.jacfwd(at)(jnp.array(u))
        np.testing.assert_allclose(gd.exact.commitment_speed(lam, gd.NoiseLevel(1.0, np.exp(u))), -slope, rtol=1e-12)
    for variance in lam:
        speed = lambda u, lam=variance: gd.exact.commitment_speed(lam, gd.NoiseLevel(1.0, jnp.exp(u)))  # noqa: E731
        peak = jnp.log(2 * variance) / 2
        assert abs(jax.grad(speed)(peak)) < 1e-12
        assert jax.grad(jax.grad(speed))(peak) < 0
        assert speed(peak) == pytest.approx(2 / np.sqrt(27), rel=1e-12)


@pytest.mark.slow
def test_information_is_the_entropy_that_noise_adds():
    """I(x0; x) = H(x) - H(x | x0), both from log densities averaged over samples: 5 standard errors."""
    case, level = zoo.GAUSSIAN, zoo.LEVELS["sub_variance_preserving"]
    keys = jax.random.split(jax.random.key(1), 20_000)
    x0 = jax.vmap(case.model.sample)(keys)
    noise = jax.random.normal(jax.random.key(2), x0.shape)
    log_prob = jax.vmap(case.model.log_prob, (0, None))(level.alpha * x0 + level.sigma * noise, level)
    noise_law = gd.Gaussian.isotropic(jnp.zeros(3), level.sigma**2)
    gained = np.asarray(jax.vmap(noise_law.log_prob)(level.sigma * noise) - log_prob)
    total = float(gd.exact.information(case.model.eigvals, level).sum())
    assert abs(gained.mean() - total) < 5 * gained.std() / np.sqrt(len(gained))


def test_the_worst_mode_of_a_rotation_loses_root_two_minus_one_of_itself():
    level = gd.NoiseLevel(0.6, 0.8)
    lam = jnp.geomspace(1e-6, 1e6, 2001) * (0.8 / 0.6) ** 2
    left, std = np.asarray(gd.exact.rotation_residual(lam, level)), np.asarray(gd.exact.marginal_std(lam, level))
    assert (left / std).argmin() == 1000
    assert left[1000] == pytest.approx(-(2 - np.sqrt(2)) * 0.8, rel=1e-12)
    assert (left / std).min() == pytest.approx(1 - np.sqrt(2), rel=1e-12)
    assert (left < 0).all()
    assert (left > -np.minimum(0.8, 0.6 * np.sqrt(np.asarray(lam)))).all()


@pytest.mark.parametrize("question", QUESTIONS)
def test_bad_levels_are_refused(question):
    with pytest.raises(TypeError, match="level"):
        getattr(gd.exact, question)(jnp.ones(2), 0.5)
    with pytest.raises(ValueError, match=r"level: expected a single level.*vmap"):
        getattr(gd.exact, question)(jnp.ones(2), gd.NoiseLevel(jnp.ones(3), jnp.ones(3)))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_bad_fractions_are_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction: expected in \(0, 1\]"):
        gd.emergence(jnp.ones(2), fraction)
