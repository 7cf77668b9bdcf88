"""Fits from parts, of many dimensions, shrunk, and by expectation maximization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.covariance

import gaussdiff as gd

RNG = np.random.default_rng(4)
X = RNG.normal(size=(60, 2, 3)) * np.arange(1.0, 4.0) + 100
FULL, LOW = (gd.GaussianMixture(jnp.zeros(1), [gd.Gaussian.from_samples(X, rank)]) for rank in (6, 2))


def test_moments_do_not_depend_on_how_the_samples_are_cut():
    seen = []
    streamed = gd.Moments.from_batches((part for part in np.split(X, [1, 7, 40])), lambda *at: seen.append(at), 4)
    merged = gd.Moments.of(X[:50]) + gd.Moments.of(X[50:])
    for moments in (streamed, merged):
        assert moments.count == 60
        np.testing.assert_allclose(moments.mean, X.mean(0), rtol=1e-14)
        np.testing.assert_allclose(
            moments.cov, np.cov(X.reshape(60, 6), rowvar=False, bias=True), rtol=1e-11, atol=1e-12
        )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    found, expected = streamed.gaussian(2), gd.Gaussian.from_samples(X, 2)
    np.testing.assert_allclose(found.eigvals, expected.eigvals, rtol=1e-12)
    assert found.residual == pytest.approx(float(expected.residual), rel=1e-11)


@pytest.mark.parametrize("count", [4, 60])
def test_shrinkage_is_that_of_scikit_learn(count):
    flat = X[:count].reshape(count, -1)
    expected = sklearn.covariance.LedoitWolf().fit(flat)
    assert gd.fitting.ledoit_wolf(X[:count]) == pytest.approx(expected.shrinkage_, rel=1e-10)
    law = gd.fitting.shrink(gd.Gaussian.from_samples(flat), gd.fitting.ledoit_wolf(flat))
    cov = (law.eigvecs * law.eigvals[None]) @ law.eigvecs.T
    cov = cov + law.residual * (jnp.eye(6) - law.eigvecs @ law.eigvecs.T)
    np.testing.assert_allclose(cov, expected.covariance_, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_a_randomised_fit_has_the_leading_modes_and_the_total_variance():
    scales = np.geomspace(10, 0.1, 1100)
    x = (RNG.normal(size=(1060, 1100)) * scales).astype(np.float32)
    law, exact = gd.Gaussian.from_samples(x, 5), np.linalg.svd(x.astype(float) - x.mean(0, dtype=float))[1] ** 2 / 1060
    np.testing.assert_allclose(law.eigvals, exact[:5], rtol=1e-4)
    assert float(law.eigvals.sum() + law.residual * 1095) == pytest.approx(exact.sum(), rel=1e-5)


@pytest.mark.slow
def test_expectation_maximization_never_lowers_the_likelihood():
    law = gd.GaussianMixture.from_samples(X, 2, 2, key=jax.random.key(0))
    seen = []
    fitted, trace = gd.fitting.expectation_maximization(
        law, X, 30, tolerance=-1.0, chunk=25, progress=lambda *at: seen.append(at)
    )
    assert (np.diff(trace) > -1e-10).all()
    assert trace[-1] > trace[0]
    assert trace[-1] == pytest.approx(float(jnp.mean(jax.vmap(fitted.log_prob)(jnp.asarray(X)))), rel=1e-10)
    assert seen[-1] == (30, 30)


def test_with_one_component_it_stays_at_the_maximum():
    """Probabilistic PCA has the closed form that from_samples gives: a fixed point."""
    fitted, trace = gd.fitting.expectation_maximization(LOW, X, 3, tolerance=-1.0)
    np.testing.assert_allclose(trace, trace[0], rtol=1e-10)
    np.testing.assert_allclose(fitted.components.eigvals, LOW.components.eigvals, rtol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gd.Moments.of(np.full((3, 2), np.nan)), "x: expected finite"),
        (lambda: gd.Moments.from_batches([]), "batches: expected at least one"),
        (lambda: gd.Moments.of(X) + gd.Moments.of(X[:, 0]), "moments: expected one event shape"),
        (lambda: gd.Moments.of(np.ones((3, 2))).gaussian(), "x: expected 2 or more samples that differ"),
        (lambda: gd.fitting.ledoit_wolf(X[:1]), "x: expected at least 2"),
        (lambda: gd.fitting.shrink(gd.Gaussian.from_samples(X), 2.0), "shrinkage: expected in \\[0, 1\\]"),
        (lambda: gd.fitting.expectation_maximization(FULL, X), "mixture: expected Gaussians of rank 1 to D - 1"),
        (lambda: gd.fitting.expectation_maximization(LOW, X[0]), "x: expected samples"),
        (lambda: gd.fitting.expectation_maximization(LOW, X[:1]), "x: expected at least 2 samples"),
        (lambda: gd.fitting.expectation_maximization(LOW, np.full((4, 2, 3), np.nan)), "x: expected finite"),
        (lambda: gd.fitting.expectation_maximization(LOW, np.ones((4, 2, 3))), "x: expected samples that differ"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
