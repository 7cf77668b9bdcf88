"""Every sampler on every grid of the zoo, from 1 to 40 steps, down and up: finite in float32, as users run it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

X = jnp.array([1.0, -1.5, 0.5], jnp.float32)
NOISE = jax.random.normal(jax.random.key(0), (40, 16, 3), jnp.float32)


def invertible(sampler: gd.Sampler) -> bool:
    try:
        sampler.check_inversion()
    except ValueError:
        return False
    return True


@functools.cache
def every_grid() -> list[gd.NoiseLevel]:
    return [zoo.cast(levels_of(n)) for n in zoo.LENGTHS for levels_of in zoo.GRIDS.values()]


def check(sampler: gd.Sampler, starts: list, levels: list[gd.NoiseLevel]) -> np.ndarray:
    """The ends, which are finite and float32, as are the denoised values."""
    noise = NOISE[:, : sampler.draws()]
    end, denoised = zoo.along(zoo.cast(sampler), zoo.cast(zoo.GAUSSIAN.model), jnp.stack(starts), levels, noise)
    assert end.dtype == denoised.dtype == jnp.float32
    assert np.isfinite(end).all()
    assert np.isfinite(denoised).all()
    return np.asarray(end)


@pytest.mark.slow
@zoo.over(zoo.SAMPLERS, "sampler")
def test_every_path_is_finite_and_ends_near_the_data(sampler):
    """From pure noise where the grid starts there and to sigma = 0 where it ends there."""
    end = check(sampler, [levels.sigma[0] * X for levels in every_grid()], every_grid())
    # the farthest of three standard normals seen in 10 million draws lies 6 deviations off
    away = end.reshape(len(zoo.LENGTHS), -1, 3)[zoo.LENGTHS.index(18)] - zoo.GAUSSIAN.law.mean
    assert (np.einsum("gi,ij,gj->g", away, np.linalg.inv(zoo.GAUSSIAN.law.cov), away) < 36).all()


@pytest.mark.slow
@zoo.over({name: sampler for name, sampler in zoo.SAMPLERS.items() if invertible(sampler)}, "sampler")
def test_every_inversion_is_finite(sampler):
    """From sigma = 0 where the grid ends there, to pure noise where it starts there."""
    rising = [levels[::-1] for levels in every_grid()]
    check(sampler, [levels.alpha[0] * X for levels in rising], rising)
