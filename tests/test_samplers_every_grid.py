"""Every sampler on every grid of the zoo, 1 to 40 steps, down and up, and every grid in the frame of every schedule.

All is finite in float32, as users run it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

X = np.array([1.0, -1.5, 0.5], np.float32)
NOISE = jax.random.normal(jax.random.key(0), (40, 16, 3), jnp.float32)


def invertible(sampler: gd.Sampler) -> bool:
    try:
        sampler.check_inversion()
    except ValueError:
        return False
    return True


def angles(levels: gd.NoiseLevel) -> np.ndarray:
    """arctan(sigma / alpha) in float64: it has digits at both ends, and is the same in every frame."""
    return np.arctan2(np.asarray(levels.sigma, float), np.asarray(levels.alpha, float))


@functools.cache
def every_grid(lengths=zoo.LENGTHS) -> list[gd.NoiseLevel]:
    """Every grid of the zoo, those of one length together."""
    return [zoo.cast(levels) for same in zip(*zoo.grids(*lengths).values(), strict=True) for levels in same]


over_lengths = pytest.mark.parametrize("lengths", [zoo.LENGTHS, zoo.exhaustive(zoo.SWEEP)], ids=["few", "many"])


def check(sampler: gd.Sampler, starts: list, levels: list[gd.NoiseLevel]) -> np.ndarray:
    """The ends, which are finite and float32, as are the denoised values."""
    end, denoised = zoo.along(zoo.cast(sampler), zoo.cast(zoo.GAUSSIAN.model), np.stack(starts), levels, NOISE)
    assert end.dtype == denoised.dtype == jnp.float32
    assert np.isfinite(end).all()
    assert np.isfinite(denoised).all()
    return np.asarray(end)


@pytest.mark.slow
@over_lengths
@zoo.over(zoo.SAMPLERS, "sampler")
def test_every_path_is_finite_and_ends_near_the_data(sampler, lengths):
    """From pure noise where the grid starts there and to sigma = 0 where it ends there."""
    grids = every_grid(lengths)
    end = check(sampler, [np.asarray(levels.sigma)[0] * X for levels in grids], grids)
    # the farthest of three standard normals seen in 10 million draws lies 6 deviations off
    away = end.reshape(len(lengths), -1, 3)[lengths.index(18)] - zoo.GAUSSIAN.law.mean
    assert (np.einsum("gi,ij,gj->g", away, np.linalg.inv(zoo.GAUSSIAN.law.cov), away) < 36).all()


@pytest.mark.slow
@over_lengths
@zoo.over({name: sampler for name, sampler in zoo.SAMPLERS.items() if invertible(sampler)}, "sampler")
def test_every_inversion_is_finite(sampler, lengths):
    """From sigma = 0 where the grid ends there, to pure noise where it starts there."""
    rising = [jax.tree.map(lambda leaf: np.asarray(leaf)[::-1], levels) for levels in every_grid(lengths)]
    check(sampler, [levels.alpha[0] * X for levels in rising], rising)


# the largest sigma / alpha, from the published definitions at t = 1, where log alpha = -(beta_min + beta_max) / 4
LARGEST = {
    "variance_preserving": np.sqrt(np.expm1(2 * 5.025)),
    "sub_variance_preserving": 2 * np.sinh(5.025),
    "discrete_betas": np.sqrt(1 / np.prod(1 - np.linspace(1e-4, 0.02, 1000)) - 1),
    "variance_exploding": np.finfo(np.float32).max,
    "cosine": np.inf,
    "rectified_flow": np.inf,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.SCHEDULES)
def test_every_grid_in_the_frame_of_every_schedule_has_its_levels(name):
    """Where the schedule reaches them, within a few roundings; else ValueError, and no other level inside jit."""
    grids, schedule = every_grid(), zoo.cast(zoo.SCHEDULES[name])
    levels = jax.tree.map(lambda *leaves: np.concatenate(leaves), *grids)

    def reaches(levels):
        # the end of VP lies beyond that of sub-VP by about a rounding of this angle
        return (angles(levels) <= np.arctan(LARGEST[name]) + 2e-7) & ((levels.alpha > 0) | np.isinf(LARGEST[name]))

    reached = reaches(levels)
    assert reached.all() == (name in ("cosine", "rectified_flow"))

    framed = jax.jit(gd.reframe)(levels, schedule)
    assert framed.alpha.dtype == framed.sigma.dtype == jnp.float32
    np.testing.assert_allclose(angles(framed)[reached], angles(levels)[reached], rtol=2e-6)
    np.testing.assert_array_equal(np.asarray(framed.sigma)[reached] == 0, (levels.sigma == 0)[reached])
    beyond = angles(framed)[~reached]
    assert (np.isnan(beyond) | (np.abs(beyond - angles(levels)[~reached]) < 1e-6)).all()

    eager = gd.reframe(levels[reached], schedule)
    np.testing.assert_allclose(eager.alpha, framed.alpha[reached], rtol=1e-6, atol=2e-7)
    np.testing.assert_allclose(eager.sigma, framed.sigma[reached], rtol=1e-6)
    for grid in grids:
        if not reaches(grid).all():
            with pytest.raises(ValueError, match=f"expected levels that {type(schedule).__name__} has, sigma / alpha"):
                gd.reframe(grid, schedule)
