"""What is fixed about a sampler is fixed when it is made: jit, vmap and grad may take it, or make it, anywhere."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

MODEL, X, KEY = zoo.GAUSSIAN.model, jnp.array([3.0, -2.0, 1.0]), jax.random.key(0)
LEVELS = gd.grids.karras(4, sigma_max=10.0)
# with noise of any amount, made from it
NOISY = {
    "ddim": gd.DDIM,
    "exponential_sde": gd.ExponentialSDE,
    "dpmpp_sde": lambda eta: gd.DPMSolverPPSDE(eta=eta),
    "dpmpp_2m_sde": gd.DPMSolverPP2MSDE,
    "edm": gd.EDMStochastic,
    "euler_maruyama": lambda eta: gd.EulerMaruyama(gd.Cosine(), eta),
    "afs": lambda eta: gd.AFS(gd.DDIM(eta)),
    "switch": lambda eta: gd.SwitchAt(gd.DDIM(eta), gd.Heun(), 0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("jit", [jax.jit, eqx.filter_jit], ids=["jax", "equinox"])
@zoo.over(zoo.SAMPLERS)
def test_every_sampler_is_an_argument_of_a_jitted_function(case, jit):
    """It draws, and asks for a key, as it does outside; traced alone, so that nothing is compiled."""
    shape = jax.eval_shape(jit(gd.sample), case, MODEL, X, LEVELS, KEY if case.draws() else None).x.shape
    assert shape == (5, 3)
    assert jax.eval_shape(lambda: gd.sample(case, MODEL, X, LEVELS, KEY)).x.shape == shape  # in a closure
    leaves, structure = jax.tree.flatten(case)
    inside = []
    jax.eval_shape(lambda leaves: inside.append(jax.tree.unflatten(structure, leaves).draws()), leaves)
    assert inside == [case.draws()]


@zoo.over(NOISY, "make")
def test_without_noise_it_takes_no_key_as_an_argument_and_gives_the_same_path(make):
    sampler = make(0.0)
    expected = gd.sample(sampler, MODEL, X, LEVELS).x
    np.testing.assert_allclose(jax.jit(gd.sample)(sampler, MODEL, X, LEVELS).x, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="key: expected one"):
        jax.eval_shape(lambda eta: gd.sample(make(eta), MODEL, X, LEVELS), 0.0)


@zoo.over({name: NOISY[name] for name in ("ddim", "exponential_sde", "edm")}, "make")
def test_a_traced_amount_of_0_with_a_key_is_no_noise_and_has_a_slope(make):
    def end(amount):
        return gd.sample(make(amount), MODEL, X, LEVELS, KEY).x[-1]

    ends, slopes = jax.jit(jax.vmap(lambda amount: jax.jvp(end, (amount,), (1.0,))))(jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(ends[0], gd.sample(make(0.0), MODEL, X, LEVELS).x[-1], rtol=1e-6)
    np.testing.assert_allclose(ends[1], gd.sample(make(0.5), MODEL, X, LEVELS, KEY).x[-1], rtol=1e-6)
    assert np.isfinite(slopes).all()


def test_an_amount_that_was_changed_afterwards_is_an_error():
    changed = eqx.tree_at(lambda sampler: sampler.eta, gd.DDIM(), jnp.array(0.5))
    with pytest.raises(ValueError, match="eta: expected 0, with which the sampler was made, got"):
        gd.sample(changed, MODEL, X, LEVELS, KEY)
    with pytest.raises(ValueError, match="eta: expected 0"):
        gd.sample_batch(changed, MODEL, LEVELS, count=2, key=KEY)
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), gd.DDIM(), gd.DDIM())
    assert stack.draws() == 0
    with pytest.raises(ValueError, match="eta: expected 0"):
        eqx.tree_at(lambda sampler: sampler.eta, stack, jnp.array([0.0, 0.5])).draws()


def test_a_recipe_from_before_the_noise_was_fixed_says_whether_there_is_any(tmp_path):
    for sampler in (gd.DDIM(), gd.DDIM(0.5), gd.EDMStochastic(0.0), gd.EDMStochastic()):
        path = tmp_path / "recipe.json"
        gd.save_recipe(path, sampler, LEVELS)
        older = json.loads(path.read_text())
        del older["sha256"], older["sampler"]["fields"]["noisy"]
        path.write_text(json.dumps(older | {"gaussdiff": 1}))
        assert gd.load_recipe(path)[0].draws() == sampler.draws()
