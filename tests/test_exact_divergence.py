"""Distances of Gaussians: against dense linear algebra with 60 digits, sampling, and what they must obey."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd

PAIRS = {
    "full": ("gaussian_full", "gaussian_low_rank"),
    "low_rank": ("gaussian_low_rank", "gaussian_full"),
    "image": ("gaussian_image", "gaussian_low_rank_image"),
    "isotropic": ("gaussian_isotropic", "gaussian_low_rank"),
    "to_isotropic": ("gaussian_low_rank", "gaussian_isotropic"),
}
SINGULAR = {
    "singular_full": ("gaussian_singular", "gaussian_full"),
    "full_singular": ("gaussian_full", "gaussian_singular"),
    "point": ("gaussian_point", "gaussian_full"),
    "to_point": ("gaussian_low_rank", "gaussian_point"),
    "point_point": ("gaussian_point", "gaussian_point"),
}
kl, w2, frechet = (jax.jit(f) for f in (gd.exact.gaussian_kl, gd.exact.gaussian_w2, gd.exact.gaussian_frechet))


def dense(case):
    return case.law.means[0], case.law.factors[0] @ case.law.factors[0].T


def cases(pair):
    return [zoo.GAUSSIANS[name] for name in pair]


def wide(seed: int, rank: int, residual: float, size: int = 12) -> tuple[gd.Gaussian, np.ndarray]:
    """A Gaussian of low rank and its dense covariance; variances from 1e-8 to 1e4."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(size, size)))[0]
    lam = 10 ** rng.uniform(-8, 4, rank)
    cov = (vectors[:, :rank] * lam) @ vectors[:, :rank].T + residual * vectors[:, rank:] @ vectors[:, rank:].T
    return gd.Gaussian(rng.normal(size=size), lam, vectors[:, :rank], residual), cov


def exact_kl(a, b) -> float:
    """From the definition, by inverse and determinants with 60 digits."""
    with mpmath.workdps(60):
        (mean, cov), (other, target) = ((mpmath.matrix(m.tolist()), mpmath.matrix(c.tolist())) for m, c in (a, b))
        inverse, away = mpmath.inverse(target), mean - other
        trace = sum((inverse * cov)[i, i] for i in range(len(mean)))
        ratio = mpmath.log(mpmath.det(target)) - mpmath.log(mpmath.det(cov))
        return float((trace - len(mean) + (away.T * inverse * away)[0] + ratio) / 2)


def exact_frechet(a, b) -> float:
    """Eigenvalues of the product, with 60 digits; rounding leaves those of a singular one off 0 by 1e-16."""
    with mpmath.workdps(60):
        (mean, cov), (other, target) = ((np.asarray(m), mpmath.matrix(c.tolist())) for m, c in (a, b))
        values = mpmath.eig(cov * target, left=False, right=False)
        roots = sum(mpmath.sqrt(abs(mpmath.re(v))) for v in values)
        traces = sum(cov[i, i] + target[i, i] for i in range(len(mean)))
        return float(traces - 2 * roots) + float(((mean - other) ** 2).sum())


@pytest.mark.slow
@zoo.over(PAIRS, "pair")
def test_kl_and_frechet_equal_sixty_digits(pair):
    a, b = cases(pair)
    assert kl(a.model, b.model) == pytest.approx(exact_kl(dense(a), dense(b)), rel=1e-11)
    assert frechet(a.model, b.model) == pytest.approx(exact_frechet(dense(a), dense(b)), rel=1e-11)
    assert w2(a.model, b.model) ** 2 == pytest.approx(float(frechet(a.model, b.model)), rel=1e-13)


@pytest.mark.slow
@zoo.over(PAIRS | SINGULAR, "pair")
def test_kl_and_frechet_in_float32(pair):
    a, b = (case.model for case in cases(pair))
    for function in (kl, w2, frechet):
        assert function(*zoo.cast((a, b))) == pytest.approx(float(function(a, b)), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("ranks", "residuals"), [((3, 4), (0.1, 0.02)), ((12, 2), (0.0, 1.0)), ((5, 9), (1e-3, 1e2))])
def test_wide_spectra_equal_sixty_digits(ranks, residuals):
    """Spans that overlap by chance, more modes than dimensions, and variances over twelve decades.

    Of a trace whose terms are quotients of such variances, float64 keeps 6 to 8 digits, by the machine's products.
    """
    (a, cov), (b, target) = (wide(i, rank, var) for i, (rank, var) in enumerate(zip(ranks, residuals, strict=True)))
    assert kl(a, b) == pytest.approx(exact_kl((a.mean, cov), (b.mean, target)), rel=1e-6)
    assert frechet(a, b) == pytest.approx(exact_frechet((a.mean, cov), (b.mean, target)), rel=1e-10)


@zoo.over(SINGULAR, "pair")
def test_transport_of_singular_laws(pair):
    a, b = cases(pair)
    assert frechet(a.model, b.model) == pytest.approx(exact_frechet(dense(a), dense(b)), rel=1e-7, abs=1e-12)
    assert np.isinf(kl(a.model, b.model)) == (pair[0] != pair[1])


@pytest.mark.slow
@zoo.over(zoo.GAUSSIANS)
def test_a_law_is_at_no_distance_from_itself(case):
    model = case.model
    turned = gd.Gaussian(model.mean, model.eigvals, -model.eigvecs, model.residual)
    for other in (model, turned):
        assert kl(model, other) == pytest.approx(0, abs=1e-13)
        assert w2(model, other) < 1e-14 * 10


def test_singular_laws_on_one_subspace_have_a_finite_kl():
    """In the plane of two modes, written with different bases of it, the KL is that of the plane; off it, infinite."""
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    plane = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 2)))[0]
    flat = gd.Gaussian(jnp.array([0.3, -0.1]), jnp.array([2.0, 0.5]), jnp.eye(2))
    flat_b = gd.Gaussian(jnp.zeros(2), jnp.array([1.0, 0.7]), turn)
    a, b = (gd.Gaussian(plane @ g.mean, g.eigvals, plane @ g.eigvecs) for g in (flat, flat_b))
    assert kl(a, b) == pytest.approx(float(kl(flat, flat_b)), rel=1e-12)
    narrow = zoo.cast((a, b))
    assert kl(*narrow) == pytest.approx(float(kl(flat, flat_b)), rel=1e-4)
    off = np.linalg.svd(plane)[0][:, 4]
    assert np.isinf(kl(gd.Gaussian(a.mean + 1e-3 * off, a.eigvals, a.eigvecs), b))
    assert np.isinf(kl(gd.Gaussian(a.mean, a.eigvals, a.eigvecs, 1e-9), b))
    assert np.isinf(kl(a, gd.Gaussian(b.mean, b.eigvals, b.eigvecs, 1e-9)))


def test_kl_is_the_mean_difference_of_log_densities():
    """100,000 samples, 5 standard errors."""
    a, b = (zoo.GAUSSIANS[name].model for name in PAIRS["full"])
    x = jax.vmap(a.sample)(jax.random.split(jax.random.key(0), 100_000))
    gaps = np.asarray(jax.jit(jax.vmap(lambda x: a.log_prob(x) - b.log_prob(x)))(x))
    assert abs(gaps.mean() - kl(a, b)) < 5 * gaps.std() / np.sqrt(len(gaps))


def test_w2_is_the_length_of_the_move_by_the_flow_between_marginals():
    """The flow is the optimal transport from one marginal to another: E |x' - x|^2 = tr of its move, exactly."""
    model, start, end = zoo.GAUSSIANS["gaussian_low_rank"].model, gd.NoiseLevel(0.5, 2.0), gd.NoiseLevel(1.0, 0.1)
    stds = [np.asarray(gd.exact.marginal_std(model.variances, lv)) for lv in (start, end)]
    expected = 0.25 * float(jnp.sum(model.mean**2)) + ((stds[0] - stds[1]) ** 2).sum()
    assert frechet(*(gd.exact.gaussian_marginal(model, lv) for lv in (start, end))) == pytest.approx(
        expected, rel=1e-12
    )


def test_close_laws_keep_their_distance():
    """Two covariances 1e-9 apart in standard deviation: the naive trace formula has nothing left of 1e-18."""
    model = zoo.GAUSSIAN.model
    near = gd.Gaussian(model.mean, model.eigvals * (1 + 1e-9) ** 2, model.eigvecs)
    assert w2(model, near) == pytest.approx(1e-9 * float(jnp.sqrt(model.eigvals.sum())), rel=1e-5)


def test_no_matrix_of_the_size_of_the_data():
    """D = 20,000 with ranks 3 and 4: a D x D matrix would hold 3.2 GB."""
    size = 20_000
    a, b = (
        gd.Gaussian(jnp.full(size, m), jnp.arange(1.0, r + 1), np.eye(size, r, -k), v)
        for m, r, k, v in ((0.0, 3, 0, 0.5), (0.01, 4, 2, 0.4))
    )
    variances = [np.full(size, 0.5), np.full(size, 0.4)]
    variances[0][:3], variances[1][2:6] = [1, 2, 3], [1, 2, 3, 4]
    gaps = (np.sqrt(variances[0]) - np.sqrt(variances[1])) ** 2
    assert frechet(a, b) == pytest.approx(gaps.sum() + size * 1e-4, rel=1e-10)
    ratio = variances[0] / variances[1]
    expected = (ratio - 1 - np.log(ratio) + 1e-4 / variances[1]).sum() / 2
    assert kl(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", [gd.exact.gaussian_kl, gd.exact.gaussian_w2, gd.exact.gaussian_frechet])
def test_bad_pairs_are_refused(distance):
    model = zoo.GAUSSIAN.model
    with pytest.raises(ValueError, match=r"a, b: expected Gaussians of one event shape, got \(3,\) and \(4,\)"):
        distance(model, gd.Gaussian.isotropic(jnp.zeros(4), 1.0))
    with pytest.raises(TypeError, match=r"b"):
        distance(model, zoo.MIXTURE.model)
