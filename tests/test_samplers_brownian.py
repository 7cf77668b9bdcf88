"""Noise that is the same path on every grid."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff.samplers._brownian import REACH, step_noise

LEVELS = gd.grids.karras(12, 0.01, 50.0)


@functools.partial(jax.jit, static_argnums=2)
def drawn(key, levels, count):
    return jax.vmap(lambda key: step_noise(key, levels, (2,), jnp.float32))(jax.random.split(key, count))


@pytest.mark.slow
def test_the_noise_of_the_steps_is_independent_and_standard_normal():
    """Means, covariances and fourth moments of 24 numbers, each within 5.5 standard errors: one key in 20,000 fails."""
    z = np.asarray(drawn(jax.random.key(0), LEVELS, 20_000), float).reshape(20_000, -1)
    scale = 5.5 / np.sqrt(len(z))
    assert (np.abs(z.mean(0)) < scale).all()
    assert (np.abs(z.T @ z / len(z) - np.eye(24)) < scale * np.sqrt(1 + np.eye(24))).all()
    assert (np.abs((z**4).mean(0) - 3) < scale * np.sqrt(96)).all()


@pytest.mark.slow
def test_a_step_is_the_sum_of_its_parts():
    """W over a coarse step is W over its halves: exact on the clock, which is linear in log-SNR."""
    fine = gd.grids.uniform_log_snr(40, 0.01, 50.0, final_zero=False)
    coarse = fine[::2]
    a, b = (step_noise(jax.random.key(3), levels, (5,), jnp.float64) for levels in (fine, coarse))
    # rounding to ticks changes the lengths of steps by one part in 10,000
    np.testing.assert_allclose((a[::2] + a[1::2]) / np.sqrt(2), b, atol=2e-3)


def test_the_frame_does_not_change_the_noise():
    a, b = (drawn(jax.random.key(1), levels, 2) for levels in (LEVELS, gd.reframe(LEVELS, gd.Cosine())))
    np.testing.assert_allclose(a, b, atol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [gd.grids.uniform_time(gd.Cosine(), 5), gd.grids.karras(1), LEVELS], ids=str)
def test_it_is_finite_from_pure_noise_to_clean_data(levels):
    z = drawn(jax.random.key(0), levels, 3)
    assert np.isfinite(z).all()
    assert (z != 0).all()


def test_levels_beyond_its_reach_and_equal_ones_give_no_noise():
    far = gd.NoiseLevel(1.0, jnp.exp(jnp.array([REACH, REACH * 0.9]) / 2) * 10)
    assert np.isfinite(step_noise(jax.random.key(0), far, (3,), jnp.float64)).all()
    same = gd.NoiseLevel(1.0, jnp.array([1.0, 1.0 - 1e-9]))
    assert (step_noise(jax.random.key(0), same, (3,), jnp.float64) == 0).all()


@pytest.mark.slow
def test_more_steps_refine_the_same_sample():
    """Strong convergence: the ends at n and 2n steps come closer as n grows, for every sample."""
    model = zoo.MIXTURE.model
    keys = jax.random.split(jax.random.key(0), 200)
    starts = 20 * jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)

    def ends(n):
        levels = gd.grids.karras(n, 0.01, 20.0)
        return jax.vmap(gd.sample, in_axes=(None, None, 0, None, 0))(gd.DDIM(1.0), model, starts, levels, keys).x[:, -1]

    found = [ends(n) for n in (20, 40, 80, 160)]
    apart = [float(jnp.median(jnp.linalg.norm(a - b, axis=1))) for a, b in itertools.pairwise(found)]
    spread = float(jnp.median(jnp.linalg.norm(found[-1] - found[-1][::-1], axis=1)))
    assert apart[0] < spread / 2
    assert apart[0] > 1.3 * apart[1] > 1.3**2 * apart[2]
