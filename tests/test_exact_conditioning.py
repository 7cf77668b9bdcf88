"""Posteriors given linear observations against dense precision matrices, importance sampling and exact constraints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd

RNG = np.random.default_rng(9)
SHAPE, SIZE = (2, 3), 6


def _gaussian(rank: int, residual: float) -> gd.Gaussian:
    basis = np.linalg.qr(RNG.normal(size=(SIZE, SIZE)))[0][:, :rank]
    return gd.Gaussian(RNG.normal(size=SHAPE), np.sort(RNG.uniform(0.5, 3, rank))[::-1], basis, residual)


PRIORS = {
    "full": _gaussian(6, 0.0),
    "low_rank": _gaussian(2, 0.3),
    "isotropic": _gaussian(0, 0.5),
    "diagonal": gd.Diagonal(jnp.asarray(RNG.normal(size=SHAPE)), RNG.uniform(0.5, 2, SHAPE)),
}
FLAT = gd.GaussianMixture([0.0], [_gaussian(1, 0.0)])
MATRIX, Y = RNG.normal(size=(2, SIZE)), RNG.normal(size=2)


def dense(law) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D)."""
    law = law.as_gaussian() if isinstance(law, gd.Diagonal) else law
    vectors = np.asarray(law.eigvecs)
    cov = (vectors * np.asarray(law.eigvals)) @ vectors.T + float(law.residual) * (np.eye(SIZE) - vectors @ vectors.T)
    return np.ravel(law.mean), cov


@pytest.mark.slow
@pytest.mark.parametrize("std", [0.5, (0.2, 0.9)], ids=["one_std", "std_per_row"])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_the_posterior_adds_precisions(prior, std):
    """Sigma'^-1 = Sigma^-1 + A^T R^-1 A: the textbook's other form, with inverses."""
    mean, cov = dense(prior)
    noise = np.diag(np.broadcast_to(np.square(std), 2))
    expected = np.linalg.inv(np.linalg.inv(cov) + MATRIX.T @ np.linalg.inv(noise) @ MATRIX)
    center = expected @ (np.linalg.solve(cov, mean) + MATRIX.T @ np.linalg.solve(noise, Y))
    observed = gd.exact.observe(prior, MATRIX, std)
    found = dense(observed.posterior(Y))
    np.testing.assert_allclose(found[0], center, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found[1], expected, rtol=1e-10, atol=1e-12)
    total = MATRIX @ cov @ MATRIX.T + noise
    away = Y - MATRIX @ mean
    evidence = -(away @ np.linalg.solve(total, away) + np.linalg.slogdet(2 * np.pi * total)[1]) / 2
    assert observed.log_evidence(Y) == pytest.approx(evidence, rel=1e-11)


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_a_pure_low_rank_law_keeps_its_rank(std):
    prior = _gaussian(3, 0.0)
    posterior = gd.condition(prior, MATRIX, Y, std)
    assert posterior.rank == 3
    mean, cov = dense(prior)
    gain = cov @ MATRIX.T @ np.linalg.inv(MATRIX @ cov @ MATRIX.T + std**2 * np.eye(2))
    np.testing.assert_allclose(dense(posterior)[0], mean + gain @ (Y - MATRIX @ mean), atol=1e-12)
    np.testing.assert_allclose(dense(posterior)[1], cov - gain @ MATRIX @ cov, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_an_exact_reading_holds_in_every_sample(prior):
    posterior = gd.condition(prior, MATRIX, Y, 0.0)
    x = jax.vmap(posterior.sample)(jax.random.split(jax.random.key(0), 20)).reshape(20, SIZE)
    np.testing.assert_allclose(x @ MATRIX.T, np.broadcast_to(Y, (20, 2)), atol=1e-12)
    assert x.std(0).min() > 0.01


def test_the_rank_grows_by_the_rows_and_the_residual_stays():
    posterior = gd.condition(PRIORS["low_rank"], MATRIX, Y, 0.5)
    assert posterior.rank == 4
    assert posterior.residual == PRIORS["low_rank"].residual


def _mixture() -> gd.GaussianMixture:
    return gd.GaussianMixture(np.log([0.3, 0.7]), [_gaussian(2, 0.4), _gaussian(2, 0.2)])


@pytest.mark.slow
def test_a_mixture_s_posterior_is_that_of_importance_sampling():
    """5 standard errors of the self-normalised mean and second moment."""
    model, std, count = _mixture(), 0.8, 200_000
    x = jax.jit(jax.vmap(model.sample))(jax.random.split(jax.random.key(1), count)).reshape(count, SIZE)
    x = np.asarray(x)
    logits = -(((x @ MATRIX.T - Y) / std) ** 2).sum(1) / 2
    weights = np.exp(logits)
    observed = gd.exact.observe(model, MATRIX, std)
    evidence = weights / (2 * np.pi * std**2)
    error = evidence.std() / np.sqrt(count)
    assert abs(evidence.mean() - np.exp(observed.log_evidence(Y))) < 5 * error
    posterior = observed.posterior(Y)
    parts = [dense(jax.tree.map(lambda leaf, i=i: leaf[i], posterior.components)) for i in range(2)]
    shares = np.exp(posterior.log_weights)
    mean = sum(w * m for w, (m, _) in zip(shares, parts, strict=True))
    second = sum(w * (np.diag(c) + m**2) for w, (m, c) in zip(shares, parts, strict=True))
    weights /= weights.sum()
    for values, expected in ((x, mean), (x**2, second)):
        error = np.sqrt((weights[:, None] ** 2 * (values - expected) ** 2).sum(0))
        assert (np.abs(weights @ values - expected) < 5 * error).all()


@pytest.mark.slow
def test_the_posterior_is_the_law_times_the_likelihood():
    """log p(x0 | y) = log p(x0) + log p(y | x0) - log p(y), at any x0; under jit and for a batch of readings."""
    model, std = _mixture(), 0.6
    observed = gd.exact.observe(model, MATRIX, std)
    x0, readings = jnp.asarray(RNG.normal(size=SHAPE)), jnp.asarray(RNG.normal(size=(4, 2)))
    answer = jax.jit(lambda o, ys: jax.vmap(lambda y: (o.posterior(y).log_prob(x0), o.log_evidence(y)))(ys))
    posterior, evidence = answer(observed, readings)
    away = readings - (MATRIX @ np.ravel(x0))[None]
    likelihood = -jnp.sum(away**2, 1) / 2 / std**2 - jnp.log(2 * jnp.pi * std**2)
    np.testing.assert_allclose(posterior, model.log_prob(x0) + likelihood - evidence, rtol=1e-10)


@pytest.mark.slow
def test_a_noisy_copy_is_the_denoiser_s_own_question():
    """Reading y = x0 + sigma noise: the posterior's mean is denoise(y, level) at alpha = 1."""
    model = _mixture()
    posterior = gd.condition(model, np.eye(SIZE), Y.sum() + np.arange(6.0), 0.7)
    mean = jnp.tensordot(jnp.exp(posterior.log_weights), posterior.components.mean, 1)
    x = jnp.asarray((Y.sum() + np.arange(6.0)).reshape(SHAPE))
    np.testing.assert_allclose(mean, model.denoise(x, gd.NoiseLevel(1.0, 0.7)), 1e-11)


@pytest.mark.slow
def test_a_product_of_two_laws_is_proportional_to_both():
    model, other = _mixture(), PRIORS["low_rank"]
    both = gd.exact.multiply(model, other)
    x = jnp.asarray(RNG.normal(size=(5, *SHAPE)))
    ratio = [both.log_prob(one) - model.log_prob(one) - other.log_prob(one) for one in x]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-10)


def test_instruments_do_what_they_say():
    image = RNG.normal(size=(4, 6, 2))
    low = (gd.exact.block_average((4, 6, 2), 2) @ image.ravel()).reshape(2, 3, 2)
    np.testing.assert_allclose(low, image.reshape(2, 2, 3, 2, 2).mean((1, 3)), atol=1e-14)
    mask = RNG.uniform(size=image.shape) < 0.5
    np.testing.assert_array_equal(gd.exact.masking(mask) @ image.ravel(), image[mask])
    kernel = RNG.normal(size=(3, 5))
    blurred = (gd.exact.convolution((4, 6, 2), kernel) @ image.ravel()).reshape(image.shape)
    padded = np.pad(image, ((1, 1), (2, 2), (0, 0)))
    flipped = kernel[::-1, ::-1]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 5), (0, 1))
    np.testing.assert_allclose(blurred, np.einsum("ijcab,ab->ijc", windows, flipped), atol=1e-13)


@pytest.mark.slow
def test_float32_laws_have_float32_posteriors():
    model = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), _mixture())
    posterior = gd.condition(model, MATRIX, jnp.asarray(Y, jnp.float32), 0.1)
    assert {leaf.dtype for leaf in jax.tree.leaves(posterior)} == {np.dtype("float32")}
    exact = gd.condition(jax.tree.map(lambda leaf: leaf.astype(float), model), MATRIX, Y, 0.1)
    np.testing.assert_allclose(posterior.components.mean, exact.components.mean, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gd.exact.observe(PRIORS["full"], np.ones((2, 5)), 0.1), "matrix: expected shape"),
        (lambda: gd.exact.observe(PRIORS["full"], MATRIX, -0.1), "observation_std: expected a number >= 0"),
        (lambda: gd.exact.observe(PRIORS["full"], MATRIX, [0.1, 0.0]), "observation_std: expected a number >= 0"),
        (lambda: gd.condition(PRIORS["full"], MATRIX, np.ones(3), 0.1), "y: expected shape"),
        (lambda: gd.condition(PRIORS["full"], np.full((2, 6), np.nan), Y, 0.1), "matrix: expected finite"),
        (
            lambda: gd.exact.observe(gd.GaussianMixture([0.0], [_gaussian(1, 0.0)]), MATRIX, 0.0),
            "observation_std: expected > 0",
        ),
        (lambda: gd.exact.multiply(PRIORS["full"], _gaussian(2, 0.0)), "likelihood: expected every variance > 0"),
        (lambda: gd.exact.block_average((4, 6), 4), "factor: expected a divisor"),
        (lambda: gd.exact.convolution((4, 6), np.ones((2, 2))), "kernel: expected odd sides"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
