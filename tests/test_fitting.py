"""Laws made from data: Gaussians and mixtures fitted on the host, and the data set itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

RNG = np.random.default_rng(11)
CLOUD = RNG.normal(size=(50, 2, 2)) @ RNG.normal(size=(2, 2)) + RNG.normal(size=(2, 2))
FEW = RNG.normal(size=(3, 2, 3))


@jax.jit
def ask(law, x, level):
    """Its denoised images and log densities for a batch."""
    return jax.vmap(lambda x: (law.denoise(x, level), law.log_prob(x, level)))(x)


def covariance(gaussian: gd.Gaussian) -> np.ndarray:
    """The dense matrix, column by column, from the map that applies it."""
    columns = [gaussian.spectral_map(gaussian.eigvals, gaussian.residual, e) for e in jnp.eye(gaussian.mean.size)]
    return np.stack(columns, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [CLOUD, FEW], ids=["many", "fewer_than_dimensions"])
def test_from_samples_has_the_moments_of_the_samples(samples):
    flat = samples.reshape(len(samples), -1)
    gaussian = gd.Gaussian.from_samples(samples)
    np.testing.assert_allclose(gaussian.mean, samples.mean(0), rtol=1e-13)
    np.testing.assert_allclose(covariance(gaussian), np.cov(flat, rowvar=False, bias=True), atol=1e-13)
    assert (np.diff(gaussian.eigvals) <= 0).all()
    np.testing.assert_allclose(gaussian.eigvecs.T @ gaussian.eigvecs, np.eye(gaussian.rank), atol=1e-13)


@pytest.mark.parametrize("samples", [CLOUD, FEW], ids=["many", "fewer_than_dimensions"])
def test_from_samples_and_from_moments_agree(samples):
    cov = np.cov(samples.reshape(len(samples), -1), rowvar=False, bias=True)
    for rank in (None, 1, 2, cov.shape[0]):
        a, b = gd.Gaussian.from_samples(samples, rank), gd.Gaussian.from_moments(samples.mean(0), cov, rank)
        np.testing.assert_allclose(covariance(a), covariance(b), atol=1e-13)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_low_rank_fit_keeps_the_total_variance_and_the_largest_modes(rank):
    cov = np.cov(CLOUD.reshape(50, 4), rowvar=False, bias=True)
    gaussian = gd.Gaussian.from_samples(CLOUD, rank)
    lam = np.linalg.eigvalsh(cov)[::-1]
    np.testing.assert_allclose(gaussian.eigvals, lam[:rank], rtol=1e-11)
    assert float(gaussian.residual) == pytest.approx(lam[rank:].mean(), abs=1e-13)
    assert gaussian.variances.sum() == pytest.approx(np.trace(cov))
    assert gaussian.variances.shape == (4,)


@pytest.mark.slow
def test_the_low_rank_fit_has_the_largest_likelihood():
    """Tipping & Bishop: no other residual variance and no turned subspace explains the samples better."""
    best = gd.Gaussian.from_samples(CLOUD, 2)
    total = lambda g: float(jnp.sum(jax.vmap(g.log_prob)(jnp.asarray(CLOUD))))  # noqa: E731
    turn, _ = np.linalg.qr(np.eye(4) + 0.05 * RNG.normal(size=(4, 4)))
    others = [gd.Gaussian(best.mean, best.eigvals, best.eigvecs, best.residual * f) for f in (0.9, 1.1)]
    others += [gd.Gaussian(best.mean, best.eigvals * f, best.eigvecs, best.residual) for f in (0.9, 1.1)]
    others += [gd.Gaussian(best.mean, best.eigvals, turn @ best.eigvecs, best.residual)]
    assert all(total(other) < total(best) for other in others)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
def test_fits_keep_the_dtype_of_the_samples(dtype):
    """Under x64 too: float32 samples make a float32 law, from NumPy as from JAX."""
    for samples in (CLOUD.astype(dtype), jnp.asarray(CLOUD, dtype)):
        key = jax.random.key(0)
        laws = (
            gd.Gaussian.from_samples(samples),
            gd.Gaussian.from_samples(samples, rank=2),
            gd.Gaussian.from_moments(samples[0], np.eye(4)),
            gd.Gaussian.isotropic(samples[0], 0.5),
            gd.GaussianMixture.from_samples(samples, 3, key=key),
            gd.Empirical(samples, 0.1),
        )
        for law in laws:
            assert {leaf.dtype for leaf in jax.tree.leaves(law)} == {np.dtype(dtype)}
            assert law.sample(key).dtype == dtype


def test_a_float32_fit_is_the_float64_fit_rounded():
    """Also for data with an offset a thousand times their spread, where float32 sums would lose everything."""
    samples = (CLOUD + 1000).astype(np.float32)
    single, double = gd.Gaussian.from_samples(samples), gd.Gaussian.from_samples(samples.astype(float))
    np.testing.assert_allclose(single.eigvals, double.eigvals, rtol=1e-6)
    np.testing.assert_allclose(single.mean, double.mean, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("components", [1, 3, 10])
def test_k_means_keeps_the_overall_mean_and_covariance(components):
    """By the laws of total expectation and covariance: clusters are a partition, so nothing is lost."""
    mixture = gd.GaussianMixture.from_samples(CLOUD, components, key=jax.random.key(1))
    weights = np.exp(mixture.log_weights)
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    means = np.asarray(mixture.components.mean).reshape(components, 4)
    np.testing.assert_allclose(weights @ means, CLOUD.mean(0).ravel(), rtol=1e-12, atol=1e-13)
    covs = np.array(
        [covariance(jax.tree.map(lambda leaf, i=i: leaf[i], mixture.components)) for i in range(components)]
    )
    away = means - weights @ means
    total = np.einsum("k,kij->ij", weights, covs + away[:, :, None] * away[:, None, :])
    np.testing.assert_allclose(total, np.cov(CLOUD.reshape(50, 4), rowvar=False, bias=True), atol=1e-12)


def test_k_means_finds_clusters_that_are_there():
    centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (centers[:, None] + 0.1 * RNG.normal(size=(3, 20, 2))).reshape(60, 2)
    mixture = gd.GaussianMixture.from_samples(points, 3, key=jax.random.key(0))
    found = np.asarray(mixture.components.mean)
    assert np.abs(found[:, None] - centers[None]).max(2).min(0).max() < 0.2
    np.testing.assert_allclose(np.exp(mixture.log_weights), 1 / 3, rtol=1e-12)
    assert mixture.shape == (2,)


def test_a_fit_is_determined_by_its_key():
    a, b = (gd.GaussianMixture.from_samples(CLOUD, 4, key=jax.random.key(3)) for _ in range(2))
    assert all((x == y).all() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    others = [gd.GaussianMixture.from_samples(CLOUD, 4, key=jax.random.key(seed)) for seed in range(4)]
    assert len({float(other.components.mean[0, 0, 0]) for other in others}) > 1


def test_more_clusters_than_distinct_samples_are_refused():
    with pytest.raises(ValueError, match=r"components: expected no more than .* distinct .* fewer components"):
        gd.GaussianMixture.from_samples(np.ones((8, 3)), 2, key=jax.random.key(0))
    pair = gd.GaussianMixture.from_samples(np.repeat(np.eye(2), 4, axis=0), 2, key=jax.random.key(0))
    assert sorted(pair.components.mean.tolist()) == [[0, 1], [1, 0]]


@pytest.mark.slow
def test_the_chunk_and_the_order_of_the_data_do_not_matter():
    level, x = gd.NoiseLevel(0.8, 0.6), jnp.asarray(RNG.normal(size=(3, 2, 2)))
    expected = ask(gd.Empirical(CLOUD), x, level)
    for points in (CLOUD, CLOUD[RNG.permutation(50)]):
        for chunk in (1, 7, 49, 10_000):
            for a, b in zip(ask(gd.Empirical(points, chunk=chunk), x, level), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11)


def test_sigma_to_0_gives_the_nearest_point():
    """Exactly, from every chunk, whatever the weights."""
    data = gd.Empirical(CLOUD, log_weights=jnp.linspace(-3.0, 0.0, 50), chunk=7)
    x = RNG.normal(size=(20, 2, 2))
    nearest = CLOUD[np.sum((x[:, None] - CLOUD[None]) ** 2, axis=(2, 3)).argmin(1)]
    for sigma in (0.0, 1e-9, 1e-4):
        np.testing.assert_allclose(ask(data, jnp.asarray(x), gd.NoiseLevel(1.0, sigma))[0], nearest, rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_float32_distances_survive_an_offset(offset):
    """x itself is then known to 6e-5; at sigma = 0.5 the posterior mean moves by no more than 50 times that."""
    points = (CLOUD + offset).astype(np.float32)
    data, exact = gd.Empirical(points, chunk=7), gd.Empirical(points.astype(float))
    x = (CLOUD[:10] + offset + 0.5 * RNG.normal(size=(10, 2, 2))).astype(np.float32)
    level = gd.NoiseLevel(1.0, 0.5)
    got = ask(data, jnp.asarray(x), zoo.cast(level))[0]
    expected = ask(exact, jnp.asarray(x, float), level)[0]
    np.testing.assert_allclose(got, expected, atol=3e-3 if offset else 1e-5)


def test_memory_is_that_of_a_chunk():
    """A batch of 200 against 20,000 points of size 64: all pairs would be 32 MB in float64, all differences 2 GB."""
    data = gd.Empirical(np.zeros((20_000, 64)), chunk=500)
    denoise = jax.jit(lambda data, x, level: jax.vmap(data.denoise, (0, None))(x, level))
    program = denoise.lower(data, jnp.zeros((200, 64)), gd.NoiseLevel(1.0, 1.0)).compile()
    assert program.memory_analysis().temp_size_in_bytes < 20e6


@pytest.mark.slow
def test_weights_are_normalised_and_a_weight_of_zero_is_no_point():
    weights = jnp.array([-jnp.inf, 2.0, 1.0])
    with_zero = gd.Empirical(CLOUD[:3], 0.2, weights)
    without = gd.Empirical(CLOUD[1:3], 0.2, weights[1:] + 5)
    x = jnp.asarray(RNG.normal(size=(3, 2, 2)))
    for level in zoo.LEVELS.values():
        for a, b in zip(ask(with_zero, x, level), ask(without, x, level), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 5, 4])
@pytest.mark.parametrize("count", [60, 6])
def test_directions_that_the_samples_do_not_vary_in_have_no_variance(count, rank):
    """Constant and repeated entries leave no rounding behind that would pass for a density."""
    x = np.random.default_rng(0).normal(size=(count, 5))
    wide = np.concatenate([x, np.full((count, 2), 0.1), x[:, :1] / 3], axis=1)
    law = gd.Gaussian.from_samples(wide, rank)
    assert (np.asarray(law.variances) > 0).sum() == min(5, count - 1) if rank != 4 else law.residual > 0
    if rank is None:
        narrow = gd.Gaussian.from_samples(x)
        stretch = np.log(1 + 1 / 9) / 2  # the repeated entry lengthens one direction
        assert law.log_prob(jnp.asarray(wide[0])) == pytest.approx(
            float(narrow.log_prob(jnp.asarray(x[0]))) - stretch, rel=1e-9
        )
        assert np.isfinite(gd.kl_divergence(gd.Heun(), gd.grids.karras(5), law))


def test_a_randomised_fit_has_no_residual_where_nothing_is_left():
    x = np.random.default_rng(0).normal(size=(1100, 3)) @ np.random.default_rng(1).normal(size=(3, 1050))
    assert gd.Gaussian.from_samples(x, 3).residual == 0


@pytest.mark.parametrize("value", [0.1, 0.3, 1e8 / 3])
@pytest.mark.parametrize("count", [7, 1000, 1100])
def test_equal_samples_have_no_variance_though_their_mean_rounds(value, count):
    """A fit would take the rounding of the mean for a variance, of a standard deviation of 1e-17."""
    x = np.full((count, 2), value)
    for fit in (
        gd.Gaussian.from_samples,
        lambda x: gd.Gaussian.from_samples(np.tile(x, (1, 700)), rank=1),  # through blocks of rows, if there are many
        lambda x: gd.fitting.Moments.of(x).gaussian(),
        lambda x: gd.fitting.choose_bandwidth(x, x[:3] + 1),
    ):
        with pytest.raises(ValueError, match="differ"):
            fit(x)
    assert (gd.Diagonal.from_samples(np.concatenate([x, x], 1)).variances == 0).all()


def test_a_covariance_that_was_rounded_to_float32_has_no_variance_of_its_own_in_its_null_space():
    """50 samples span 49 of 192 directions; in float32 the eigenvalues of the others are rounding of either sign."""
    x = np.random.default_rng(0).normal(size=(50, 192))
    law = gd.Gaussian.from_moments(x.mean(0), np.cov(x, rowvar=False, bias=True).astype(np.float32))
    exact = gd.Gaussian.from_samples(x)
    assert int((law.eigvals > 0).sum()) == 49
    np.testing.assert_allclose(law.eigvals[:49], exact.eigvals[:49], rtol=1e-5)
    # variances that no rounding hides stay, however small
    small = gd.Gaussian.from_moments(np.zeros(3), np.diag(np.array([1, 1e-9, 1e-14], np.float32)))
    np.testing.assert_allclose(small.eigvals, [1, 1e-9, 1e-14], rtol=1e-5)
