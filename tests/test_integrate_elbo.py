"""The evidence lower bound: its parts against dense Gaussians, its sum against exact likelihoods, and its limits."""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd

X = jnp.array([0.3, -0.5, 1.2])
KEY = jax.random.key(0)
BETAS = gd.DiscreteBetas(np.linspace(0.05, 0.6, 6))
ROWS = BETAS(jnp.arange(6, 0, -1) / 6)
GRIDS = {
    "preserving": ROWS,
    "exploding": gd.grids.karras(5, 0.1, 20.0, final_zero=False),
    "flow": gd.grids.uniform_time(gd.RectifiedFlow(), 5, end=0.05),
}


def dense_kl(a_mean, a_cov, b_mean, b_cov) -> float:
    inverse, apart = np.linalg.inv(b_cov), b_mean - a_mean
    return (
        np.trace(inverse @ a_cov)
        - len(apart)
        + apart @ inverse @ apart
        + np.linalg.slogdet(b_cov)[1]
        - np.linalg.slogdet(a_cov)[1]
    ) / 2


def posterior(x, x0, level, next_level):
    """q(x_s | x_t, x0) from the joint Gaussian of (x_s, x_t) given x0, by Schur complements of dense matrices."""
    (a, s), (b, r) = ((float(lv.alpha), float(lv.sigma)) for lv in (level, next_level))
    size, ratio = len(x0), a / b
    # x_t = ratio x_s + fresh noise, since the noisier level is made from the other
    joint = np.block(
        [[r**2 * np.eye(size), ratio * r**2 * np.eye(size)], [ratio * r**2 * np.eye(size), s**2 * np.eye(size)]]
    )
    gain = joint[:size, size:] @ np.linalg.inv(joint[size:, size:])
    return b * x0 + gain @ (x - a * x0), joint[:size, :size] - gain @ joint[size:, :size]


@pytest.mark.slow
@zoo.over(GRIDS, "levels")
@pytest.mark.parametrize("v", [0.0, 0.4])
def test_every_part_is_a_divergence_of_dense_gaussians(levels, v):
    """Each step: KL of q(x_s | x_t, x0) from the chain's kernel, at the very x_t of that level's key.

    The chain's own mean has x0' for x0; its variance is posterior^(1 - v) beta^v, beta that of one step of noise in the
    frame alpha^2 + sigma^2 = 1, carried to this frame.
    """
    model, found = zoo.GAUSSIAN.model, gd.integrate.elbo(zoo.GAUSSIAN.model, X, levels, KEY, v=v)
    x0, keys = np.asarray(X), jax.random.split(KEY, len(levels))
    for i, (level, lower) in enumerate(itertools.pairwise(levels)):
        x = gd.add_noise(keys[i], X, level)
        mean, cov = posterior(np.asarray(x), x0, level, lower)
        other, _ = posterior(np.asarray(x), np.asarray(model.denoise(x, level)), level, lower)
        radius, next_radius = (float(jnp.hypot(lv.alpha, lv.sigma)) for lv in (level, lower))
        kept = float(level.alpha / lower.alpha) * next_radius / radius  # sqrt(1 - beta)
        beta = (1 - kept**2) * next_radius**2
        variance = cov[0, 0] ** (1 - v) * beta**v
        assert float(found.steps[i]) == pytest.approx(dense_kl(mean, cov, other, variance * np.eye(3)), rel=1e-8)
    first, last = levels[0], levels[-1]
    spread = float(first.sigma) ** 2 * np.eye(3)
    assert float(found.prior) == pytest.approx(dense_kl(float(first.alpha) * x0, spread, 0 * x0, spread), abs=1e-12)
    guess = model.denoise(gd.add_noise(keys[-1], X, last), last)
    decoder = gd.Gaussian.isotropic(guess, (last.sigma / last.alpha) ** 2)
    assert float(found.decoder) == pytest.approx(-float(decoder.log_prob(X)), rel=1e-10)


def test_the_kernel_of_the_bound_is_that_of_the_sampler():
    """For every v one step of gd.Ancestral(v) has the variance w (posterior variance) that the bound counts with."""
    level, lower = ROWS[1], ROWS[2]
    model, x, z = zoo.GAUSSIAN.model, X, jnp.array([1.0, -1.0, 1.0])
    for v in (0.0, 0.4, 1.0):
        step = lambda z, v=v: gd.Ancestral(v).step(model, x, None, level, lower, z[None]).x  # noqa: E731
        std = (step(z) - step(0 * z)) / z
        _, cov = posterior(np.asarray(x), np.asarray(X), level, lower)
        w = ((1 + np.exp(lower.log_snr)) / (1 + np.exp(level.log_snr))) ** v
        np.testing.assert_allclose(std**2, w * cov[0, 0], rtol=1e-10)


@pytest.mark.slow
@zoo.over({"gaussian": zoo.GAUSSIAN, "mixture": zoo.MIXTURE}, "case")
def test_it_bounds_the_likelihood_and_the_gap_closes(case):
    """The mean over 200 keys lies below log p, and within 0.15 nats of it with 2,048 steps from 1e-3 to 300.

    Both with 5 standard errors to spare: one key in a million. With 8, 32 and 2,048 steps it rises.
    """
    keys, exact, found = jax.random.split(KEY, 200), float(case.model.log_prob(X)), []
    for steps in (8, 32, 2048):
        levels = gd.grids.uniform_log_snr(steps, 1e-3, 300.0, final_zero=False)
        draw = jax.jit(jax.vmap(lambda key, levels=levels: gd.integrate.elbo(case.model, X, levels, key).value))(keys)
        found.append((float(draw.mean()), float(draw.std()) / np.sqrt(len(draw))))
    for mean, error in found:
        assert mean < exact + 5 * error
    assert found[0][0] + 1 < found[1][0] < found[2][0] - 0.1
    assert found[2][0] > exact - 0.15 - 5 * found[2][1]


def test_it_does_not_see_the_frame():
    levels = gd.grids.karras(6, 0.05, 30.0, final_zero=False)
    a, b = (gd.integrate.elbo(zoo.GAUSSIAN.model, X, lv, KEY) for lv in (levels, gd.reframe(levels, gd.Cosine())))
    for part, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-7)


@pytest.mark.slow
def test_single_precision_stays():
    levels = gd.grids.uniform_log_snr(8, 0.1, 20.0, final_zero=False)
    found = gd.integrate.elbo(*zoo.cast((zoo.GAUSSIAN.model, X, levels)), KEY, v=1.0, bins=17)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    assert np.isfinite(found.value)


@pytest.mark.slow
@pytest.mark.parametrize("bins", [2, 17, 256])
@pytest.mark.parametrize(("mean", "std"), [(0.13, 0.3), (-0.7, 0.004), (3.0, 0.1), (-3.0, 0.1), (0.0, 50.0)])
def test_the_masses_of_all_bins_are_one_and_each_is_an_integral(bins, mean, std):
    """Against 60 digits of the error function, in the far tails too."""
    values = jnp.linspace(-1, 1, bins)
    found = jax.jit(jax.vmap(lambda x: gd.integrate.discretized_log_prob(x[None], jnp.array([mean]), std, bins)))(
        values
    )
    assert float(jnp.exp(found).sum()) == pytest.approx(1, rel=1e-12)
    with mpmath.workdps(60):
        for i in {0, bins // 3, 2 * bins // 3, bins - 1}:
            x, half = mpmath.mpf(float(values[i])), mpmath.mpf(1) / (bins - 1)
            low = -mpmath.inf if i == 0 else (x - half - mpmath.mpf(mean)) / mpmath.mpf(std)
            high = mpmath.inf if i == bins - 1 else (x + half - mpmath.mpf(mean)) / mpmath.mpf(std)
            # of the mirrored interval where it is to the right, so that 60 digits are enough
            low, high = (-high, -low) if low + high > 0 else (low, high)
            mass = mpmath.ncdf(high) - mpmath.ncdf(low)
            if mass > mpmath.mpf(10) ** -5000:
                assert float(found[i]) == pytest.approx(float(mpmath.log(mass)), rel=1e-6, abs=1e-10)


@pytest.mark.slow
def test_bins_bound_the_probability_of_discrete_data():
    """A law of two points, known exactly: with the data set as the model the bound comes to log P, below it always."""
    points, weights = jnp.array([[-1.0, 1.0], [1.0, 1.0]]), jnp.log(jnp.array([0.25, 0.75]))
    law = gd.Empirical(points, log_weights=weights)
    levels = gd.grids.uniform_log_snr(800, 0.02, 80.0, final_zero=False)
    draw = jax.jit(jax.vmap(lambda key: gd.integrate.elbo(law, points[0], levels, key, bins=3).value))(
        jax.random.split(KEY, 200)
    )
    error = float(draw.std()) / np.sqrt(200)
    assert np.log(0.25) - 0.05 - 5 * error < float(draw.mean()) < np.log(0.25) + 5 * error
