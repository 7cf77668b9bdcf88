"""The data set as a distribution: every answer beside the plain sum over all points, and the digits it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xla_flags
import zoo

import gaussdiff as gd

X = jnp.ones((2, 3))
RNG = np.random.default_rng(11)
POINTS = RNG.normal(size=(40, 2, 3)) * 2
LEVELS = [gd.NoiseLevel(1.0, 0.7), gd.NoiseLevel(0.6, 0.8), gd.NoiseLevel(1.0, 30.0), gd.NoiseLevel(0.0, 1.0)]


def brute_force(points, x, level, bandwidth=0.0, weights=None) -> dict[str, np.ndarray]:
    """The answers from all N responsibilities, in extended precision and without any rearrangement."""
    y, x = points.reshape(len(points), -1).astype(np.longdouble), np.ravel(x).astype(np.longdouble)
    alpha, sigma = np.longdouble(level.alpha), np.longdouble(level.sigma)
    variance = (alpha * bandwidth) ** 2 + sigma**2
    distances = np.sqrt(((x - alpha * y) ** 2).sum(1))
    joint = np.log(np.ones(len(y)) / len(y) if weights is None else weights) - distances**2 / 2 / variance
    top = joint.max()
    w = np.exp(joint - top)
    log_prob = top + np.log(w.sum()) - len(x) * np.log(2 * np.pi * variance) / 2
    w /= w.sum()
    means = y + alpha * bandwidth**2 / variance * (x - alpha * y)
    x0 = w @ means
    cov = (w[:, None] * (means - x0)).T @ (means - x0) + np.eye(len(x)) * (bandwidth * sigma) ** 2 / variance
    entropy = -(w[w > 0] * np.log(w[w > 0])).sum()
    found = {"x0": x0, "log_prob": log_prob, "w": w, "distances": distances, "cov": cov, "entropy": entropy}
    return {name: np.asarray(value, float) for name, value in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS, ids=lambda level: f"{level.alpha}-{level.sigma}")
@pytest.mark.parametrize(("bandwidth", "weighted"), [(0.0, False), (0.5, True)], ids=["bare", "smooth_weighted"])
def test_a_posterior_is_the_plain_sum_over_all_points(level, bandwidth, weighted):
    weights = RNG.dirichlet(np.ones(40)) if weighted else None
    x = jnp.asarray(float(level.alpha) * POINTS[3] + float(level.sigma) * RNG.normal(size=(2, 3)))
    model = gd.Empirical(POINTS, bandwidth, None if weights is None else np.log(weights), chunk=7)
    found, truth = model.posterior(x, level, neighbours=3), brute_force(POINTS, x, level, bandwidth, weights)
    order = np.argsort(-truth["w"], kind="stable")[:3]
    expected = {
        "x0": truth["x0"].reshape(2, 3),
        "log_prob": truth["log_prob"],
        "entropy": truth["entropy"],
        "neighbours": np.exp(truth["entropy"]),
        "participation": 1 / (truth["w"] ** 2).sum(),
        "variance": np.trace(truth["cov"]),
        "weights": truth["w"][order],
        "distances": truth["distances"][np.asarray(found.indices)],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value, 1e-10, 1e-12, err_msg=name)
    np.testing.assert_allclose(truth["w"][np.asarray(found.indices)], truth["w"][order], 1e-12)
    product = jax.vmap(lambda v: model.covariance_product(x, level, v))(jnp.eye(6).reshape(6, 2, 3))
    np.testing.assert_allclose(product.reshape(6, 6), truth["cov"], 1e-10, 1e-12)


@pytest.mark.slow
def test_the_posterior_covariance_is_the_derivative_of_the_denoiser():
    model, level = gd.Empirical(POINTS, 0.3, chunk=16), gd.NoiseLevel(0.6, 0.8)
    x, v = jnp.asarray(RNG.normal(size=(2, 2, 3)))
    _, slope = jax.jvp(lambda x: model.denoise(x, level), (x,), (v,))
    np.testing.assert_allclose(model.covariance_product(x, level, v), level.sigma**2 / level.alpha * slope, 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("bandwidth", [0.0, 0.4])
def test_mean_shift_climbs_the_log_density(bandwidth):
    model, level = gd.Empirical(POINTS, bandwidth, chunk=16), gd.NoiseLevel(1.0, 0.9)
    x = jnp.asarray(RNG.normal(size=(2, 3)))
    gradient = jax.grad(lambda x: model.log_prob(x, level))(x)
    np.testing.assert_allclose(model.mean_shift(x, level), (bandwidth**2 + 0.81) * gradient, 1e-10)
    if not bandwidth:
        np.testing.assert_allclose(model.denoise(x, level) - x, 0.81 * gradient, 1e-10)


@pytest.mark.slow
def test_neither_the_order_of_points_nor_the_chunk_changes_an_answer():
    level, x = gd.NoiseLevel(0.9, 0.8), jnp.asarray(RNG.normal(size=(2, 3)))
    first = gd.Empirical(POINTS).posterior(x, level, 4)
    for chunk in (1, 3, 13, 40):
        order = RNG.permutation(40)
        other = gd.Empirical(POINTS[order], chunk=chunk).posterior(x, level, 4)
        np.testing.assert_array_equal(order[np.asarray(other.indices)], first.indices)
        for name in ("x0", "log_prob", "entropy", "participation", "variance", "weights", "distances"):
            np.testing.assert_allclose(getattr(other, name), getattr(first, name), 1e-12, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_clusters_far_from_the_mean_keep_their_digits_in_float32(alpha, sigma):
    """Clusters 1e-3 wide, 100 apart, 1000 from the origin, whose coarse exponents are wrong by 10^2 and more."""
    centers = 1000 + 100 * RNG.normal(size=(30, 1, 8))
    points = (centers + 1e-3 * RNG.normal(size=(30, 12, 8))).reshape(-1, 8).astype(np.float32)
    model, level = gd.Empirical(points, chunk=50), gd.NoiseLevel(jnp.float32(alpha), jnp.float32(sigma))
    for i in (0, 100, 359):
        x = np.float32(alpha) * points[i] + np.float32(sigma) * RNG.normal(size=8).astype(np.float32)
        found, truth = model.posterior(jnp.asarray(x), level, 12), brute_force(points, x, level)
        spread = np.linalg.norm(points[i] - points[i // 12 * 12 : i // 12 * 12 + 12].mean(0)) + 1e-3
        # x itself has a rounding of 6e-5: that of the exponents is the least one can have
        rounding = 20 * 6e-8 * np.abs(x).max() * alpha * spread * np.sqrt(8) / sigma**2
        expected = truth["w"][np.asarray(found.indices)]
        np.testing.assert_allclose(found.weights, expected, 0, min(1e-5 + rounding, 1), err_msg=str(i))
        np.testing.assert_allclose(found.x0, truth["x0"], 3e-7)
        assert truth["w"][np.asarray(found.indices)].sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_float32_answers_are_those_of_float64():
    points = RNG.normal(size=(300, 20)).astype(np.float32) + 5
    model = gd.Empirical(points, 0.1, chunk=64)
    for sigma in (1e-4, 0.3, 2.0, 1e3):
        level = gd.NoiseLevel(jnp.float32(1), jnp.float32(sigma))
        x = points[7] + np.float32(sigma) * RNG.normal(size=20).astype(np.float32)
        found, truth = model.posterior(jnp.asarray(x), level), brute_force(points, x, level, float(model.bandwidth))
        assert found.x0.dtype == found.entropy.dtype == jnp.float32
        np.testing.assert_allclose(found.x0, truth["x0"], 1e-5)
        np.testing.assert_allclose(found.entropy, truth["entropy"], 1e-4, 1e-4)
        np.testing.assert_allclose(found.variance, np.trace(truth["cov"]), 1e-3)


@pytest.mark.slow
def test_the_limit_of_no_noise_is_the_nearest_neighbour():
    found = gd.Empirical(POINTS, chunk=9).posterior(jnp.asarray(POINTS[17] + 1e-3), gd.NoiseLevel(1.0, 0.0))
    assert found.indices[0] == 17
    assert found.weights[0] == found.participation == found.neighbours == 1
    assert found.variance == found.entropy == 0
    assert found.distances[0] == pytest.approx(1e-3 * np.sqrt(6))


@pytest.mark.slow
def test_classes_are_data_sets_of_their_own():
    labels = np.array([0] * 5 + [1] * 28 + [2] * 7)
    stack = gd.Empirical.from_labels(POINTS, labels, bandwidth=0.2, chunk=10)
    level, x = gd.NoiseLevel(0.8, 0.6), jnp.asarray(RNG.normal(size=(2, 3)))
    together = jax.vmap(lambda model: model.posterior(x, level))(stack)
    for k in range(3):
        alone = gd.Empirical(POINTS[labels == k], 0.2).posterior(x, level)
        one = jax.tree.map(lambda leaf, k=k: leaf[k], stack)
        np.testing.assert_allclose(one.denoise(x, level), alone.x0, 1e-12)
        for name in ("x0", "log_prob", "entropy", "variance", "indices"):
            np.testing.assert_allclose(getattr(together, name)[k], getattr(alone, name), 1e-12, err_msg=name)
        samples = jax.vmap(one.sample)(jax.random.split(jax.random.key(0), 64))
        nearest = jnp.abs(samples[:, None] - POINTS[None]).sum((2, 3)).argmin(1)
        assert np.mean(labels[np.asarray(nearest)] == k) > 0.9


def test_other_points_and_levels_compile_nothing():
    count = 0

    @jax.jit
    def posterior(model, x, level):
        nonlocal count
        count += 1
        return model.posterior(x, level)

    for seed in range(3):
        model = gd.Empirical(zoo.cast(jax.random.normal(jax.random.key(seed), (20, 3))), chunk=8)
        posterior(model, jnp.ones(3, jnp.float32), gd.NoiseLevel(1.0, jnp.float32(seed + 1.0)))
    assert count == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gd.Empirical(POINTS).posterior(X, LEVELS[0], 0),
            "neighbours: expected an integer >= 1",
        ),
        (lambda: gd.Empirical(POINTS).posterior(X[None], LEVELS[0]), "x: expected one sample of shape"),
        (
            lambda: gd.Empirical(POINTS).covariance_product(X, LEVELS[0], X[None]),
            "v: expected one sample",
        ),
        (lambda: gd.Empirical.from_labels(POINTS, np.zeros(3, int)), "labels: expected 40 integers"),
        (lambda: gd.Empirical.from_labels(POINTS, np.zeros(40)), "labels: expected 40 integers"),
        (lambda: gd.Empirical.from_labels(POINTS, np.arange(40) % 3, classes=2), "every class from 0 to 1"),
        (lambda: gd.Empirical.from_labels(POINTS, np.arange(40) % 3 * 2), "every class from 0 to 4"),
        (lambda: gd.Empirical.from_labels(POINTS, np.arange(40) % 3 - 1), "Number the classes"),
    ],
)
def test_bad_input_is_refused(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"xla_backend_optimization_level": 0},
        {"xla_backend_optimization_level": 1},
        {"xla_cpu_use_fusion_emitters": False},
    ],
    ids=["none", "little", "old"],
)
def test_derivatives_do_not_depend_on_how_they_are_compiled(options):
    """The derivative of a maximum asks what equals it, which numbers that are computed twice need not."""
    if complaint := xla_flags.complaint(" ".join(f"--{name}={value}" for name, value in options.items())):
        pytest.skip(complaint)
    rng = np.random.default_rng(5)
    model = gd.Empirical(rng.normal(size=(40, 2, 3)), 0.3, np.log(rng.dirichlet(np.ones(40))), chunk=7)
    x = jnp.asarray(rng.normal(size=(5, 2, 3)))
    levels = zoo.cast(zoo.stack(zoo.LEVELS), np.float64)

    def slopes(x, level):
        forward = jax.jvp(lambda x: model.denoise(x, level), (x,), (jnp.ones_like(x),))[1]
        return forward, jax.grad(model.log_prob)(x, level), jax.grad(lambda x: model.posterior(x, level).entropy)(x)

    def everywhere(x):
        return jax.vmap(lambda level: jax.vmap(lambda one: slopes(one, level))(x))(levels)

    for found, expected in zip(jax.jit(everywhere, compiler_options=options)(x), jax.jit(everywhere)(x), strict=True):
        assert jnp.isfinite(expected).all()
        np.testing.assert_allclose(found, expected, 1e-9, 1e-9 * float(jnp.abs(expected).max()))
