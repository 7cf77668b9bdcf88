"""The reverse SDE: its law on a Gaussian, one Brownian path for a key, and the flow it becomes without noise."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from test_integrate_likelihood import Traced
from test_samplers import Calls

import gaussdiff as gd

VE, MODEL = gd.VarianceExploding(), zoo.GAUSSIAN.model
X, TIMES, KEY = jnp.array([4.0, -6.0, 2.0]), jnp.array([5.0, 0.5]), jax.random.key(2)


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_its_ends_have_the_exact_law(eta):
    """Mean and variance of each mode, 1,000 paths, within 5 standard errors: one key in 150,000 fails."""
    count = 1000

    @jax.jit
    def ends(keys, eta):
        return jax.vmap(lambda key: gd.reverse_sde(MODEL, VE, X, TIMES, key=key, eta=eta).x[-1])(keys)

    mean, factor = gd.gaussian_transition(MODEL, X, VE(5.0), VE(0.5), eta)
    away = np.asarray(ends(jax.random.split(KEY, count), eta)) - np.asarray(mean)
    white = away @ np.asarray(MODEL.eigvecs) / np.asarray(factor.gains)
    assert (np.abs(white.mean(0)) < 5 / np.sqrt(count)).all()
    assert (np.abs(white.var(0) - 1) < 5 * np.sqrt(2 / count)).all()


@pytest.mark.slow
def test_a_key_is_one_path_for_all_steps_tolerances_and_times():
    """Strong agreement with a fine solution, which other keys are far from; nothing compiles for other numbers."""
    traces = Calls()
    model = Traced(zoo.MIXTURE.model, traces)
    fine = gd.reverse_sde(model, VE, X, TIMES, key=KEY, step=0.005).x[-1]
    before = len(traces)
    coarse = [
        float(jnp.linalg.norm(gd.reverse_sde(model, VE, X, TIMES, key=KEY, step=h).x[-1] - fine)) for h in (0.2, 0.05)
    ]
    # the denoised values along the path are traced once for each call
    assert len(traces) - before <= 2
    assert coarse[0] > 2 * coarse[1]
    assert coarse[1] < 0.01
    adaptive = gd.reverse_sde(model, VE, X, jnp.array([5.0, 2.0, 0.5]), key=KEY, rtol=1e-4, atol=1e-4).x
    np.testing.assert_allclose(adaptive[-1], fine, atol=0.01)
    other = gd.reverse_sde(model, VE, X, TIMES, key=jax.random.key(0), step=0.05).x[-1]
    assert float(jnp.linalg.norm(other - fine)) > 0.1
    euler = gd.reverse_sde(model, VE, X, TIMES, key=KEY, step=0.005, solver=diffrax.EulerHeun()).x[-1]
    np.testing.assert_allclose(euler, fine, atol=0.05)


@pytest.mark.slow
def test_without_noise_it_is_the_flow():
    """From pure noise to clean data, in float32, at every time asked."""
    model, schedule, x = zoo.cast((zoo.GAUSSIAN.model, gd.Cosine(), jnp.array([0.3, -1.0, 0.8])))
    times = jnp.array([1.0, 0.5, 0.0], jnp.float32)
    path = gd.reverse_sde(model, schedule, x, times, key=KEY, eta=0.0, rtol=1e-5, atol=1e-5)
    assert path.x.dtype == jnp.float32
    expected = gd.probability_flow(model, schedule, x, times)
    np.testing.assert_allclose(path.x, expected.x, atol=2e-3)


@pytest.mark.slow
def test_what_goes_wrong_is_said(unchecked):
    ask = lambda times=TIMES, **given: gd.reverse_sde(MODEL, VE, X, times, key=KEY, **given)  # noqa: E731
    with pytest.raises(RuntimeError, match=r"reverse_sde: .* stopped at sigma/alpha = .* after 2 steps, .*max_steps"):
        ask(max_steps=2)
    with pytest.raises(TypeError, match=r"solver: expected an adaptive.*step="):
        ask(solver=diffrax.Euler())
    for given, message in (
        ({"times": TIMES[::-1]}, "times: expected from noise to data"),
        ({"eta": -1.0}, "eta: expected >= 0"),
        ({"step": 0.0}, "step: expected > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            ask(**given)
