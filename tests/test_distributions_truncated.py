"""The truncated sum stays within its own bound of the full one, and falls back where that is not enough."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd
from gaussdiff.distributions.truncated import _nearest

RNG = np.random.default_rng(3)
POINTS = RNG.normal(size=(500, 12)) * np.geomspace(5, 0.1, 12)
SETS = {  # of one shape, so that one compilation serves all
    "spread": RNG.normal(size=(1800, 6)) * np.geomspace(5, 0.1, 6),
    "near-duplicates": np.repeat(RNG.normal(size=(18, 6)), 100, axis=0) + 1e-3 * RNG.normal(size=(1800, 6)),
    "all equal": np.full((1800, 6), 3.0),
    "far from the mean": RNG.normal(size=(1800, 6)) + 1000 * np.sign(np.arange(1800) - 900.0)[:, None],
    "more than can be looked at": RNG.normal(size=(1800, 6)),
    "fewer than candidates": POINTS[:5],
    "of one coordinate": RNG.normal(size=(1800, 1)),
}
LEVELS = [(1, 1e-4), (1, 1e-3), (1, 0.02), (0.5, 0.1), (1, 0.3), (1, 1), (0, 1), (1, 30), (1, 0), (0.1, 0.01)]


def queries(points, count=6):
    """Noisy data at each level, between two points and far off, of shape (levels, count, D)."""
    noisy = [a * points[:count] + s * RNG.normal(size=points[:count].shape) for a, s in LEVELS]
    middle = [a * (points[:1] + points[-1:]) / 2 for a, _ in LEVELS]
    return np.concatenate([noisy, middle, np.full_like(middle, 50)], axis=1)


def levels(dtype):
    return gd.NoiseLevel(*(jnp.asarray(part, dtype) for part in zip(*LEVELS, strict=True)))


@jax.jit
def answers(model, x, level):
    """The short sum, its bound and the answer at (levels, count) samples."""
    each = lambda one, level: (*model.bounded(one, level), model.denoise(one, level))  # noqa: E731
    return jax.vmap(jax.vmap(each, in_axes=(0, None)))(x, level)


nearest = jax.jit(_nearest)
denoise = jax.jit(lambda model, x, level: model.denoise(x, level))
denoise_all = jax.jit(jax.vmap(lambda model, x, level: model.denoise(x, level), in_axes=(None, 0, None)))
bounded_all = jax.jit(jax.vmap(lambda model, x, level: model.bounded(x, level), in_axes=(None, 0, None)))


def dense(points, bandwidth, x, alpha, sigma):
    """E[x0 | x] from all distances in longdouble; a zero variance is the limit."""
    points, x = points.astype(np.longdouble), x.astype(np.longdouble)
    variance = np.longdouble(alpha) ** 2 * bandwidth**2 + np.longdouble(sigma) ** 2
    squares = ((x - alpha * points) ** 2).sum(1)
    weights = np.exp(-(squares - squares.min()) / (2 * max(variance, np.longdouble(1e-300))))
    point = weights @ points / weights.sum()
    return point + (alpha * bandwidth**2 / variance if variance else 0) * (x - alpha * point)


@pytest.mark.slow
@pytest.mark.parametrize("bandwidth", [0.0, 0.05])
@pytest.mark.parametrize("name", SETS)
def test_the_error_stays_below_its_bound_and_the_answer_within_the_tolerance(name, bandwidth):
    points = SETS[name]
    model = gd.Truncated(gd.Empirical(points, bandwidth), 1e-6, rank=3, candidates=8)
    x = queries(points)
    short, bound, answer = answers(model, x, levels(float))
    rounding = 1e-9 * np.abs(points).max()
    for i, level in enumerate(LEVELS):
        truth = np.array([dense(points, bandwidth, one, *level) for one in x[i]], float)
        assert (np.linalg.norm(short[i] - truth, axis=1) <= bound[i] + rounding).all(), level
        assert (np.linalg.norm(answer[i] - truth, axis=1) <= 1e-6 + rounding).all(), level


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", SETS)
def test_no_point_left_out_is_nearer_than_was_said(name, dtype):
    """With all the rounding of its dtype, against distances in higher precision."""
    model = gd.Truncated(gd.Empirical(SETS[name].astype(dtype)), rank=3, candidates=4)
    offsets = np.asarray(model.full.offsets, np.longdouble)[: len(SETS[name])]
    x = jnp.asarray(queries(SETS[name]), dtype)
    flat = x.reshape(-1, x.shape[-1]) - model.full.mean[None]
    alpha = jnp.repeat(jnp.asarray([a for a, _ in LEVELS], dtype), x.shape[1])
    for reach in (0.0, 1e-3, 1.0):
        rows, squares, beyond = map(np.asarray, nearest(model, flat, alpha, jnp.full(len(flat), reach, dtype)))
        for b in range(len(flat)):
            true = ((np.asarray(flat[b], np.longdouble) - np.longdouble(alpha[b]) * offsets) ** 2).sum(1)
            kept = rows[b][np.isfinite(squares[b])]
            assert len(set(kept)) == len(kept) > 0
            # 30 roundings of the square, and one of alpha y in the difference x - alpha y that is squared
            moved = np.abs(alpha[b]) * np.linalg.norm(np.asarray(offsets[kept], float), axis=1)
            eps = np.finfo(dtype).eps
            allowed = eps * (30 * true[kept] + 2 * np.sqrt(true[kept]) * moved) + (eps * moved) ** 2
            assert (np.abs(squares[b][: len(kept)] - true[kept]) <= allowed + 1e-30).all()
            assert (np.delete(true, kept) >= beyond[b]).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_noise_needs_no_full_sum_and_large_noise_is_the_full_sum(dtype):
    points = SETS["spread"].astype(dtype)
    model = gd.Truncated(gd.Empirical(points), 1e-4, rank=3, candidates=8)
    x = jnp.asarray(queries(points), dtype)
    _, bound, answer = answers(model, x, levels(dtype))
    certain = dict(zip(LEVELS, np.asarray(bound <= 1e-4)[:, :6], strict=True))  # the noisy data
    assert certain[1, 1e-4].all()
    assert certain[1, 1e-3].all()
    assert not (certain[1, 30] | certain[0, 1]).any()
    full = denoise_all(model.full, x[7], levels(dtype)[7])
    np.testing.assert_allclose(answer[7], full, 0, 100 * np.finfo(dtype).eps)


@pytest.mark.slow
def test_some_samples_may_look_wider_than_the_others():
    """One in eight needs more points than is the rule: it gets them, and nobody needs the full sum."""
    crowd = 1e-2 * RNG.normal(size=(300, 4)) + 5
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    points = np.concatenate([crowd, 10 * RNG.normal(size=(3000, 4))])
    model = gd.Truncated(gd.Empirical(points), 1e-3, rank=1, candidates=400)
    x = jnp.asarray(np.concatenate([np.zeros((1, 4)), points[1000:1007]]))
    level = gd.NoiseLevel(1.0, 0.3)
    short, bound = bounded_all(model, x, level)
    assert (bound <= 1e-3).all()
    np.testing.assert_allclose(short, denoise_all(model.full, x, level), 0, 1e-3)


@pytest.mark.slow
def test_derivatives_are_those_of_the_full_sum():
    """Where the short sum is taken, and where it is not."""
    model = gd.Truncated(gd.Empirical(POINTS), 1e-8)

    def power(model, x, level):
        return jnp.sum(jax.vmap(lambda one: model.denoise(one, level))(x) ** 2)

    @jax.jit
    def derivatives(model, x, level):
        forward = jax.vmap(jax.jacfwd(lambda one: model.denoise(one, level)))(x)
        return jax.tree.leaves((jax.grad(power, (1, 2))(model, x, level), forward))

    for sigma in (0.02, 3.0):
        x, level = jnp.asarray(POINTS[:3] + sigma * RNG.normal(size=(3, 12))), gd.NoiseLevel(1.0, sigma)
        for found, truth in zip(derivatives(model, x, level), derivatives(model.full, x, level), strict=True):
            np.testing.assert_allclose(found, truth, 1e-6, 1e-5)


@pytest.mark.slow
def test_alone_and_in_batches_the_answer_is_the_same_and_nothing_is_compiled_twice():
    model, level = gd.Truncated(gd.Empirical(POINTS)), gd.NoiseLevel(1.0, 0.05)
    traces = []

    @jax.jit
    def twice(model, x, level):
        traces.append(1)
        return jax.vmap(jax.vmap(lambda one: model.denoise(one, level)))(x)

    x = jnp.asarray(POINTS[:20] + 0.05 * RNG.normal(size=(20, 12)))
    batched = twice(model, x.reshape(4, 5, 12), level).reshape(20, 12)
    np.testing.assert_allclose(batched, [denoise(model, one, level) for one in x], 1e-12, 1e-12)
    twice(gd.Truncated(gd.Empirical(POINTS + 1), 1e-5), x.reshape(4, 5, 12), gd.NoiseLevel(0.5, 0.1))
    assert len(traces) == 1


@pytest.mark.slow
def test_models_can_be_stacked():
    models = [gd.Truncated(gd.Empirical(POINTS[part])) for part in (slice(0, 250), slice(250, 500))]
    stack, level = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models), gd.NoiseLevel(1.0, 0.05)
    x = jnp.asarray(POINTS[:1] + 0.05)
    both = jax.jit(jax.vmap(denoise_all, in_axes=(0, None, None)))(stack, x, level)
    np.testing.assert_allclose(both[:, 0], [denoise(m, x[0], level) for m in models], 1e-12)


@pytest.mark.slow
def test_points_of_no_weight_are_no_candidates():
    weights = jnp.where(jnp.arange(500) % 3 == 0, -jnp.inf, 0.0)
    model, level = gd.Truncated(gd.Empirical(POINTS, log_weights=weights)), gd.NoiseLevel(1.0, 0.01)
    x = jnp.asarray(POINTS[:9])
    short, bound = bounded_all(model, x, level)
    full = denoise_all(model.full, x, level)
    assert (np.linalg.norm(short - full, axis=1) <= bound + 1e-9).all()


def test_a_batch_of_certain_samples_never_takes_the_full_sum():
    """The branch stays one under vmap, and under vmap of vmap: its predicate has no batch axis."""
    model, level = gd.Truncated(gd.Empirical(POINTS)), gd.NoiseLevel(1.0, 0.01)
    x = jnp.asarray(POINTS[:20] + 0.01 * RNG.normal(size=(20, 12))).reshape(4, 5, 12)
    twice = jax.vmap(jax.vmap(lambda one: model.denoise(one, level)))
    branches = [e for e in jax.make_jaxpr(twice)(x).eqns if e.primitive.name == "cond"]
    assert [e.invars[0].aval.shape for e in branches] == [()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gd.Truncated(gd.Empirical(POINTS), 0.0), "tolerance: expected > 0"),
        (lambda: gd.Truncated(gd.Empirical(POINTS), candidates=0), "candidates: expected"),
        (lambda: gd.Truncated(gd.Empirical(POINTS, 0, jnp.arange(500.0))), "equal log_weights"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
