"""Mixtures: second derivatives against autodiff, diagonal components against written-out ones, fits from labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

RNG = np.random.default_rng(5)
SHAPE, SIZE, COUNT = (2, 2), 4, 3
WEIGHTS = np.array([0.2, 0.0, 0.8])


def _components(rank: int | None, residual: float) -> list:
    parts = []
    for _ in range(COUNT):
        mean, lam = RNG.normal(size=SHAPE), np.sort(RNG.uniform(0.3, 2, SIZE))[::-1]
        basis = np.linalg.qr(RNG.normal(size=(SIZE, SIZE)))[0]
        if rank is None:
            parts.append(gd.Diagonal(jnp.asarray(mean), lam.reshape(SHAPE)))
        else:
            parts.append(gd.Gaussian(mean, lam[:rank], basis[:, :rank], residual))
    return parts


with np.errstate(divide="ignore"):
    MIXTURES = {
        "full": gd.GaussianMixture(np.log(WEIGHTS), _components(4, 0.0)),
        "low_rank": gd.GaussianMixture(np.log(WEIGHTS), _components(2, 0.4)),
        "diagonal": gd.GaussianMixture(np.log(WEIGHTS), _components(None, 0.0)),
        "isotropic": gd.GaussianMixture(np.log(WEIGHTS), _components(0, 0.7)),
    }
LEVELS = {name: zoo.LEVELS[name] for name in ("clean", "variance_preserving", "exploding")}
X, V = jnp.asarray(2 * RNG.normal(size=SHAPE)), jnp.asarray(RNG.normal(size=SHAPE))


@jax.jit
def second_order(model, x, level, v):
    """The closed forms, and beside them what autodiff makes of log_prob and denoise."""
    score = jax.grad(model.log_prob)
    hessian = jax.jacfwd(score)(x, level).reshape(SIZE, SIZE)
    jacobian = jax.jacfwd(model.denoise)(x, level).reshape(SIZE, SIZE)
    closed = (
        model.score(x, level),
        model.score_jacobian(x, level, v),
        model.score_divergence(x, level),
        model.denoise_divergence(x, level),
        level.alpha * model.posterior_covariance(x, level, v),
        level.alpha * model.posterior_variance(x, level),
    )
    by_autodiff = (
        score(x, level),
        (hessian @ v.reshape(-1)).reshape(SHAPE),
        jnp.trace(hessian),
        jnp.trace(jacobian),
        level.sigma**2 * (jacobian @ v.reshape(-1)).reshape(SHAPE),
        level.sigma**2 * jnp.trace(jacobian),
    )
    return closed, by_autodiff


@pytest.mark.slow
@zoo.over(LEVELS, "level")
@zoo.over(MIXTURES, "model")
def test_second_derivatives_are_those_of_autodiff(model, level):
    for closed, expected in zip(*second_order(model, X, level, V), strict=True):
        np.testing.assert_allclose(closed, expected, 1e-10, 1e-11)


@pytest.mark.slow
@zoo.over(MIXTURES, "model")
def test_second_derivatives_in_float32_and_at_pure_noise(model):
    for level in (zoo.LEVELS["pure_noise"], zoo.LEVELS["tiny"], zoo.LEVELS["huge"]):
        single = second_order(*zoo.cast((model, X, level, V)))[0]
        assert all(np.isfinite(value).all() for value in single)
    level = zoo.LEVELS["variance_preserving"]
    for a, b in zip(second_order(*zoo.cast((model, X, level, V)))[0], second_order(model, X, level, V)[0], strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, 1e-4, 1e-4)


@pytest.mark.slow
def test_at_alpha_0_the_posterior_covariance_is_that_of_the_law():
    model = MIXTURES["low_rank"]
    x = jnp.stack([jax.vmap(model.sample)(jax.random.split(jax.random.key(i), 20_000)) for i in range(2)])
    flat = np.asarray(x.reshape(-1, SIZE))
    level, away = zoo.LEVELS["pure_noise"], (flat - flat.mean(0)) @ np.ravel(V)
    products = (flat - flat.mean(0)) * away[:, None]
    errors = products.std(0) / np.sqrt(len(flat))
    found = np.ravel(model.posterior_covariance(X, level, V))
    assert (np.abs(products.mean(0) - found) < 5 * errors).all()


@pytest.mark.slow
@zoo.over({"vp": gd.VariancePreserving(), "flow": gd.RectifiedFlow(), "edm": gd.VarianceExploding()}, "schedule")
def test_the_drift_s_divergence_is_the_trace_of_its_jacobian(schedule):
    model, t = MIXTURES["full"], jnp.array(0.3)
    drift = lambda x: gd.velocity(model, schedule, x, t)  # noqa: E731
    expected = jnp.trace(jax.jacfwd(drift)(X).reshape(SIZE, SIZE))
    assert model.velocity_divergence(schedule, X, t) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.slow
def test_the_divergence_carries_the_density_along_the_flow():
    """d log p / dt along a path = -div velocity: the material derivative by autodiff."""
    model, schedule, t = MIXTURES["diagonal"], gd.RectifiedFlow(), jnp.array(0.4)
    log_density = lambda x, t: model.log_prob(x, schedule(t))  # noqa: E731
    speed = gd.velocity(model, schedule, X, t)
    _, along = jax.jvp(log_density, (X, t), (speed, jnp.ones_like(t)))
    assert -along == pytest.approx(float(model.velocity_divergence(schedule, X, t)), rel=1e-10)


@pytest.mark.slow
@zoo.over(MIXTURES, "model")
def test_blocks_of_components_change_nothing(model, monkeypatch):
    """One component at a time, or two and then the third, against all at once; derivatives both ways too."""

    def answers(model, x):
        level = LEVELS["variance_preserving"]
        jacobian = jax.jacfwd(model.denoise)(x, level)
        return model.denoise(x, level), model.score(x, level), jax.grad(model.log_prob)(x, level), jacobian

    over_samples, x = jax.vmap(answers, (None, 0)), jnp.stack([X, V])
    expected = jax.jit(over_samples)(model, x)
    for numbers in (1, 50):
        monkeypatch.setattr("gaussdiff.distributions.mixture.BLOCK_NUMBERS", numbers)
        in_blocks = jax.jit(lambda *args: over_samples(*args))  # traced anew
        for a, b in zip(in_blocks(model, x), expected, strict=True):
            np.testing.assert_allclose(a, b, 1e-12, 1e-12)


@pytest.mark.slow
def test_diagonal_components_are_gaussians_whose_modes_are_not_written_down():
    parts = _components(None, 0.0)
    short = gd.GaussianMixture(jnp.zeros(COUNT), parts)
    long = gd.GaussianMixture(jnp.zeros(COUNT), [part.as_gaussian() for part in parts])
    questions = "denoise", "log_prob", "responsibilities", "posterior_variance"
    answers = jax.jit(lambda model, x, level: [getattr(model, question)(x, level) for question in questions])
    for level in zoo.LEVELS.values():
        for question, a, b in zip(questions, *(answers(model, X, level) for model in (short, long)), strict=True):
            np.testing.assert_allclose(a, b, 1e-11, 1e-12, err_msg=question)
    for question in ("denoise", "log_prob"):
        a, b = (getattr(part, question)(X, LEVELS["exploding"]) for part in (parts[0], parts[0].as_gaussian()))
        np.testing.assert_allclose(a, b, 1e-12)
    assert {leaf.size for leaf in jax.tree.leaves(parts[0])} == {SIZE}


def test_labels_make_one_gaussian_each():
    x, labels = RNG.normal(size=(40, *SHAPE)), np.repeat([7, 3], [30, 10])
    model = gd.GaussianMixture.from_labels(x, labels, rank=2)
    np.testing.assert_allclose(np.exp(model.log_weights), [0.25, 0.75], rtol=1e-13)
    expected = gd.Gaussian.from_samples(x[labels == 3], 2)
    first = jax.tree.map(lambda leaf: leaf[0], model.components)
    for level in LEVELS.values():
        np.testing.assert_allclose(first.denoise(X, level), expected.denoise(X, level), 1e-10)


def test_classes_smaller_than_the_rank_are_filled_with_modes_of_no_variance():
    x = RNG.normal(size=(4, *SHAPE))
    full = gd.GaussianMixture.from_labels(x, [0, 0, 1, 1])
    assert full.components.eigvecs.shape == (2, SIZE, SIZE)
    gram = np.einsum("kdr,kds->krs", full.components.eigvecs, full.components.eigvecs)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(SIZE), (2, SIZE, SIZE)), atol=1e-12)
    np.testing.assert_allclose(full.components.eigvals.sum(1), [x[:2].var(0).sum(), x[2:].var(0).sum()])


def test_k_means_reports_its_progress():
    seen = []
    x, key = RNG.normal(size=(30, 2)), jax.random.key(0)
    gd.GaussianMixture.from_samples(x, 3, key=key, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (1, 50)
    assert seen[-1] == (50, 50)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gd.GaussianMixture.from_labels(np.ones((4, 2)), [0, 1, 1]), "labels: expected one for each"),
        (lambda: gd.GaussianMixture.from_labels(np.ones((3, 2)), [0, 1, 1]), "labels: expected at least 2 samples"),
        (lambda: gd.GaussianMixture.from_labels(np.full((2, 2), np.nan), [0, 0]), "x: expected finite"),
        (lambda: gd.Diagonal(jnp.zeros(2), jnp.ones(3)), "variances: expected the mean's shape"),
        (lambda: gd.Diagonal(jnp.zeros(2), jnp.array([1.0, -1.0])), "variances: expected >= 0"),
        (lambda: gd.Diagonal.from_samples(np.ones((1, 2))), "x: expected at least 2 samples"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
