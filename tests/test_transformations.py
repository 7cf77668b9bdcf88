"""jit, vmap and grad change nothing, models are pytrees, and a second call compiles nothing."""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

LEVELS, OTHERS = gd.grids.karras(4, 0.01, 10.0), gd.grids.karras(4, 0.05, 8.0)
COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: COMPILED.append(event) if "backend_compile" in event else None
)


@contextlib.contextmanager
def compiles_nothing():
    COMPILED.clear()
    yield
    assert not COMPILED, f"{len(COMPILED)} compilations"


def objects() -> dict:
    return zoo.SCHEDULES | zoo.SAMPLERS | {name: case.model for name, case in zoo.DISTRIBUTIONS.items()}


@pytest.mark.slow
@zoo.over(objects())
def test_every_object_is_a_pytree_of_arrays(case):
    """It survives a flattening and a map, so that it can be an argument, a carry, a checkpoint, a stack."""
    leaves, tree = jax.tree.flatten(case)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    again = jax.tree.unflatten(tree, leaves)
    assert type(again) is type(case)
    assert jax.tree.structure(again) == tree
    mapped = jax.tree.map(lambda leaf: leaf * 1, case)
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(mapped), leaves, strict=True))


@pytest.mark.slow
def test_classes_with_equal_fields_have_distinct_trees():
    """Else a compiled function would answer for the wrong one."""
    alike = gd.Euler(), gd.Heun(), gd.DPMSolverPP2M(), gd.RectifiedFlow()
    assert len({str(jax.tree.structure(one)) for one in alike}) == len(alike)
    for a, b in ((gd.VariancePreserving(), gd.SubVariancePreserving()), (gd.Euler(), gd.Heun())):
        assert jax.tree.structure(a) != jax.tree.structure(b)
    sigma = jax.jit(lambda schedule: schedule(0.3).sigma)
    assert sigma(gd.VariancePreserving()) != sigma(gd.SubVariancePreserving())
    ends = [gd.sample(one, zoo.MIXTURE.model, jnp.ones(3), LEVELS).x[-1] for one in alike[:3]]
    assert len({float(end[0]) for end in ends}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("law", ["gaussian_low_rank", "mixture_full", "empirical_smooth"])
def test_jit_is_eager_and_vmap_is_a_loop(law):
    case, level = zoo.DISTRIBUTIONS[law], zoo.LEVELS["variance_preserving"]
    x = case.x(level)
    for question in (gd.v_prediction, type(case.model).log_prob):
        expected = jnp.stack([question(case.model, one, level) for one in x])
        batch = jax.vmap(question, (None, 0, None))
        np.testing.assert_allclose(batch(case.model, x, level), expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(jax.jit(batch)(case.model, x, level), expected, rtol=1e-12, atol=1e-13)


over_samples = jax.vmap(gd.sample, in_axes=(None, None, 0, None, 0))
over_grids = jax.jit(jax.vmap(over_samples, in_axes=(None, None, None, 0, None)))


@pytest.mark.slow
@zoo.over(zoo.SAMPLERS, "sampler")
def test_a_batch_of_paths_is_a_loop_of_paths(sampler):
    """Through vmap under jit, over x and keys with shared levels, and that over grids."""
    model, keys = zoo.GAUSSIAN.model, jax.random.split(jax.random.key(0), 3)
    x = 10 * jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    paths = over_grids(sampler, model, x, jax.tree.map(lambda *ends: jnp.stack(ends), LEVELS, OTHERS), keys).x
    for levels, batch in zip((LEVELS, OTHERS), paths, strict=True):
        expected = [gd.sample(sampler, model, one, levels, key).x for one, key in zip(x, keys, strict=True)]
        np.testing.assert_allclose(batch, expected, rtol=1e-11, atol=1e-12)


def test_a_stack_of_models_is_one_vmap():
    """Checkpoints or class labels: a Gaussian with a leading axis on every leaf."""
    models = [zoo.DISTRIBUTIONS[name].model for name in ("gaussian_full", "gaussian_full")]
    models[1] = jax.tree.map(lambda leaf: leaf, eqx.tree_at(lambda g: g.mean, models[1], models[1].mean + 3))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    paths = jax.vmap(gd.sample, in_axes=(None, 0, None, None))(gd.Heun(), stacked, jnp.ones(3), LEVELS)
    for i, model in enumerate(models):
        expected = gd.sample(gd.Heun(), model, jnp.ones(3), LEVELS).x
        np.testing.assert_allclose(paths.x[i], expected, rtol=1e-12)


@pytest.mark.slow
def test_the_ode_under_jit_and_vmap_and_its_gradient():
    gaussian, schedule, times = zoo.GAUSSIAN.model, gd.VarianceExploding(), jnp.array([10.0, 0.1])
    solve = lambda x: gd.probability_flow(gaussian, schedule, x, times, rtol=1e-9, atol=1e-9).x[-1]  # noqa: E731
    x = 10 * jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    expected = jnp.stack([solve(one) for one in x])
    np.testing.assert_allclose(jax.jit(jax.vmap(solve))(x), expected, rtol=1e-7, atol=1e-8)
    exact = lambda x: gd.gaussian_flow(gaussian, x, schedule(10.0), schedule(0.1))  # noqa: E731
    slope = jax.jit(jax.grad(lambda x: solve(x).sum()))(x[0])
    np.testing.assert_allclose(slope, jax.grad(lambda x: exact(x).sum())(x[0]), rtol=1e-5, atol=1e-7)


def variations(seed: int):
    """A start, a grid and a law of other values and equal shapes, whose making may compile; and a key."""
    rng = np.random.default_rng(seed)
    levels = gd.grids.karras(5, 0.01 * (1 + seed), 10.0 + seed, rho=5.0 + seed)
    gaussian = gd.Gaussian.from_moments(rng.normal(size=3), np.diag(rng.uniform(0.1, 2, 3)))
    mixture = gd.GaussianMixture(jnp.log(jnp.asarray(rng.dirichlet(np.ones(2)))), [gaussian, zoo.GAUSSIAN.model])
    data = gd.Empirical(rng.normal(size=(9, 3)), 0.1 * seed, chunk=4)
    return jnp.asarray(rng.normal(size=3)), levels, (gaussian, mixture, data), jax.random.key(seed)


def samplers(seed: int):
    gaussian = variations(seed)[2][0]
    noisy = gd.DDIM(0.2 + 0.1 * seed)
    return (
        gd.Euler(),
        noisy,
        gd.Heun(),
        gd.DPMSolverPP2M(),
        gd.AFS(gd.DPMSolver2(0.3 * seed)),
        gd.DEIS(3, gd.VariancePreserving(0.1 * seed)),
        gd.UniPC(),
        gd.LinearMultistep(0.1 * seed * jnp.ones((5, 2))),
        gd.SwitchAt(gd.GaussianExact(gaussian), noisy, 0.3 * seed),
    )


@pytest.mark.slow
@pytest.mark.parametrize("pairs", ["each once", zoo.exhaustive("all")])
def test_a_second_call_of_sample_compiles_nothing(pairs):
    """Other weights, data, starts, grids, seeds, eta, switch levels."""
    x, levels, models, key = variations(1)
    again = variations(2)
    for i, (sampler, other) in enumerate(zip(samplers(1), samplers(2), strict=True)):
        for j, (model, other_model) in enumerate(zip(models, again[2], strict=True)):
            if pairs == "all" or i == 0 or j == 0:
                gd.sample(sampler, model, x, levels, key)
                with compiles_nothing():
                    gd.sample(other, other_model, again[0], again[1], again[3])


def test_a_second_call_of_a_compiled_batch_compiles_nothing():
    """With the models as arguments: the way the programs call it."""
    batch = jax.jit(jax.vmap(gd.sample, in_axes=(None, None, 0, None, 0)))
    calls = []
    for seed in (1, 2):
        x, levels, models, key = variations(seed)
        calls.append((samplers(seed)[1], models[1], jnp.stack([x, 2 * x]), levels, jax.random.split(key)))
    batch(*calls[0])
    with compiles_nothing():
        batch(*calls[1])


@pytest.mark.slow
def test_a_second_ode_solve_compiles_nothing():
    """Other weights, starts, times, tolerances and schedule parameters."""

    def arguments(seed):
        x, _, models, _ = variations(seed)
        schedule = gd.VariancePreserving(0.1 * seed, 15.0 + seed)
        return models[1], schedule, x, jnp.array([1.0, 0.1 * seed, 0.0]), 1e-4 / seed

    def solve(model, schedule, x, times, tolerance):
        return gd.probability_flow(model, schedule, x, times, rtol=tolerance, atol=tolerance)

    first, second = arguments(1), arguments(2)
    solve(*first)
    with compiles_nothing():
        solve(*second)


def test_the_count_of_compilations_can_fail():
    with pytest.raises(AssertionError, match="compilations"), compiles_nothing():
        jax.jit(lambda x: x + np.random.default_rng().normal())(jnp.ones(3))


@pytest.mark.slow
def test_a_level_is_the_same_to_jit_however_it_was_made():
    """From Python numbers, from arrays, from a grid or from a schedule: one compilation serves all."""
    x, model = jnp.ones(3), zoo.GAUSSIAN.model
    levels = (
        gd.NoiseLevel(1.0, 0.5),
        gd.NoiseLevel(1.0, jnp.asarray(0.7)),
        gd.grids.karras(3)[1],
        gd.VariancePreserving()(0.3),
        gd.VarianceExploding()(0.3),
    )
    traces = []

    @jax.jit
    def denoise(model, x, level):
        traces.append(1)
        return model.denoise(x, level)

    for level in levels:
        denoise(model, x, level)
    assert len(traces) == 1
