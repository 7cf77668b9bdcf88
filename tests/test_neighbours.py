"""The truncated sum stays within its own bound of the full one, and falls back where that is not enough."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd

RNG = np.random.default_rng(3)
POINTS = RNG.normal(size=(500, 12)) * np.geomspace(5, 0.1, 12)


def batch(sigma, alpha=1.0, count=20):
    return jnp.asarray(alpha * POINTS[:count] + sigma * RNG.normal(size=(count, 12)))


@jax.jit
def both(model, x, level):
    short, bound = jax.vmap(lambda one: model.bounded(one, level))(x)
    answer, full = (jax.vmap(lambda one, m=m: m.denoise(one, level))(x) for m in (model, model.full))
    return short, bound, answer, full


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("bandwidth", [0.0, 0.05])
def test_the_error_stays_below_its_bound_and_the_answer_within_the_tolerance(bandwidth, dtype):
    model = gd.Truncated(gd.Empirical(POINTS.astype(dtype), bandwidth), 1e-4, rank=6, candidates=8)
    rounding = 1e-12 if dtype == np.float64 else 1e-4
    certain = []
    for alpha, sigma in (
        (1.0, 1e-3),
        (1.0, 0.02),
        (0.5, 0.1),
        (1.0, 0.3),
        (1.0, 1.0),
        (0.0, 1.0),
        (1.0, 30.0),
        (1.0, 0.0),
    ):
        level = gd.NoiseLevel(dtype(alpha), dtype(sigma))
        short, bound, answer, full = both(model, batch(sigma, alpha).astype(dtype), level)
        errors = np.linalg.norm(short - full, axis=1)
        assert (errors <= bound + rounding).all()
        assert (np.linalg.norm(answer - full, axis=1) <= 1e-4 + rounding).all()
        certain.append(float(np.mean(bound <= 1e-4)))
    assert certain[0] == 1  # small noise is what it is made for
    assert certain[6] == 0  # and here nothing may be left out


def test_with_every_point_a_candidate_nothing_is_left_out():
    model = gd.Truncated(gd.Empirical(POINTS[:37]), rank=3)
    short, bound, _, full = both(model, batch(2.0), gd.NoiseLevel(1.0, 2.0))
    assert (bound == 0).all()
    np.testing.assert_allclose(short, full, 1e-10, 1e-12)


def test_a_batch_of_certain_samples_never_takes_the_full_sum():
    """The branch stays one under vmap, and under vmap of vmap: its predicate has no batch axis."""
    model, level = gd.Truncated(gd.Empirical(POINTS)), gd.NoiseLevel(1.0, 0.01)
    x = batch(0.01).reshape(4, 5, 12)
    twice = jax.vmap(jax.vmap(lambda one: model.denoise(one, level)))
    branches = [e for e in jax.make_jaxpr(twice)(x).eqns if e.primitive.name == "cond"]
    assert [e.invars[0].aval.shape for e in branches] == [()]
    np.testing.assert_allclose(twice(x).reshape(20, 12), POINTS[:20], 1e-6)


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
