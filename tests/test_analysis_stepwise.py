"""Paths step by step: one program of a step serves any number of starts, grids and directions."""

import jax
import numpy as np
import pytest
from test_transformations import compiles_nothing

import gaussdiff as gd
from analysis.measures import endpoints, manifold
from analysis.measures.noise import normal

LAW = gd.Gaussian(np.zeros(3), np.array([2.0, 0.5, 0.1]), np.eye(3))


def drawn(count):
    return 80 * np.random.default_rng(count).normal(size=(count, 3))


@pytest.mark.parametrize("sampler", [gd.Heun(), gd.DPMSolverPP2M()])
def test_other_numbers_of_starts_compile_nothing_and_change_nothing(sampler):
    levels = gd.grids.karras(5)
    ends = endpoints.ends(sampler, LAW, drawn(20), levels)
    whole = jax.vmap(gd.sample, (None, None, 0, None))(sampler, LAW, drawn(20), levels).x[:, -1]
    np.testing.assert_allclose(ends, whole, rtol=1e-9)
    with compiles_nothing():
        more = endpoints.ends(sampler, LAW, np.concatenate([drawn(20), drawn(90)]), levels)
    np.testing.assert_array_equal(more[:20], ends)


def test_derivatives_along_more_directions_on_other_grids_compile_nothing():
    directions, longer = np.random.default_rng(1).normal(size=(20, 3)), gd.grids.karras(7, 0.01, 60.0)
    manifold.perturbation_maps(LAW, gd.DPMSolverPP2M(), drawn(1)[0], gd.grids.karras(5), directions[:2])
    with compiles_nothing():
        moved = manifold.perturbation_maps(LAW, gd.DPMSolverPP2M(), drawn(2)[1], longer, directions)
    gains = np.asarray(gd.transfer(gd.DPMSolverPP2M(), longer, LAW.eigvals))
    np.testing.assert_allclose(moved, directions * gains, rtol=1e-9)


def test_normal_numbers_by_one_program_are_those_of_jax():
    key = jax.random.key(3)
    for shape in ((2, 64), (130, 8, 8, 1)):
        np.testing.assert_array_equal(normal(key, shape, np.float32), jax.random.normal(key, shape, np.float32))
