"""Recipes made for a model: what is found is at least as good as any start, and is the optimum where that is known."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from test_transformations import compiles_nothing

import gaussdiff as gd
from gaussdiff.design.error import grouped, spectrum
from gaussdiff.design.gits import _costs, cheapest, grid_of_paths
from gaussdiff.design.recipe import Recipe, numbers_of

KEY, OTHER = jax.random.key(0), jax.random.key(1)
MIXTURE = zoo.MIXTURE.model
LOW, HIGH = jnp.asarray(0.002), jnp.asarray(80.0)


def centered(variances):
    return gd.Gaussian(jnp.zeros(len(variances)), jnp.asarray(variances), jnp.eye(len(variances)))


@pytest.mark.parametrize("final_zero", [True, False])
def test_any_numbers_are_a_falling_grid_with_the_ends_asked_for(final_zero):
    low, high = jnp.float32(0.0031), jnp.float32(79.3)
    make = jax.jit(lambda numbers: Recipe(numbers, gd.Heun(), low, high, None, final_zero).levels())
    for n in (1, 2, 3, 10, 40):
        for scale in (0.0, 1.0, 100.0):
            sigma = make(jnp.asarray(scale * np.random.default_rng(n).normal(size=n), jnp.float32)).sigma
            assert sigma.shape == (n + 1,)
            assert sigma.dtype == jnp.float32
            assert (jnp.diff(sigma) < 0).all()
            assert (sigma[0], sigma[-1]) == (high, 0 if final_zero else low)
            assert not final_zero or n == 1 or sigma[-2] > low


@pytest.mark.parametrize("final_zero", [True, False])
def test_the_numbers_of_a_grid_give_it_back(final_zero):
    levels = gd.grids.karras(9, 0.01, 80.0, final_zero=final_zero)
    low = LOW if final_zero else jnp.asarray(0.01)
    found = Recipe(numbers_of(levels, low), gd.Heun(), low, HIGH, None, final_zero).levels()
    np.testing.assert_allclose(found.sigma, levels.sigma, rtol=1e-12)


@pytest.mark.slow
def test_for_one_variance_ddim_wants_uniform_angles():
    """Its gain is the product of the cosines of the angles, whose sum is given: largest where all are equal."""
    law, best = centered([0.3]), gd.grids.uniform_angles(6, 0.3)
    found = gd.optimal_grid(law, gd.DDIM(), 6, tries=1)
    np.testing.assert_allclose(np.diff(np.arctan(np.asarray(found.sigma) / np.sqrt(0.3)), 2), 0, atol=2e-3)
    least, reached = (float(gd.wasserstein2(gd.DDIM(), levels, law)) for levels in (best, found))
    assert least <= reached < least * (1 + 1e-5)


@pytest.mark.slow
def test_on_a_natural_spectrum_the_error_falls_to_a_fraction():
    variances, sampler = 100 * np.arange(1, 65.0) ** -2, gd.DPMSolverPP2M()
    law = gd.Diagonal(np.zeros(64), variances)
    usual = [make(8, low) for make in (gd.grids.karras, gd.grids.uniform_log_snr) for low in (0.002, 0.02, 0.05)]
    for objective, share in ((gd.wasserstein2, 0.25), (gd.kl_divergence, 0.5), (gd.design.relative_error, 0.5)):
        judge = jax.jit(lambda levels, objective=objective: objective(sampler, levels, law))
        found = judge(gd.optimal_grid(law, sampler, 8, objective=objective, tries=1, steps=200))
        assert found < share * judge(usual[0])
        assert found < min(map(judge, usual))


@pytest.mark.slow
def test_no_start_is_better_than_the_answer():
    law, sampler = centered([4.0, 0.25]), gd.DPMSolverPP2M()
    own = gd.NoiseLevel(1.0, jnp.array([80.0, 3.2, 0.9, 0.3, 0.0]))
    found = gd.optimal_grid(law, sampler, 4, start=own, steps=0, tries=1)
    values = [float(gd.wasserstein2(sampler, levels, law)) for levels in (found, own, gd.grids.karras(4))]
    assert values[0] <= min(values[1:])


@pytest.mark.slow
def test_a_grid_to_sigma_min_ends_there():
    kept = gd.optimal_grid(
        centered([4.0, 0.25]), gd.Euler(), 4, final_zero=False, sigma_min=0.05, sigma_max=40.0, steps=20
    )
    assert (kept.sigma[0], kept.sigma[-1]) == (40, 0.05)
    assert (jnp.diff(kept.sigma) < 0).all()


@pytest.fixture(scope="module")
def objective():
    return gd.EndError.of(MIXTURE, KEY, 32)


@pytest.mark.slow
def test_the_gradient_through_the_sampler_is_that_of_finite_differences(objective):
    levels = gd.grids.karras(4, 0.02)
    coefficients = jnp.linspace(0.1, 0.6, 8).reshape(4, 2)

    @jax.jit
    def judge(numbers, coefficients):
        recipe = Recipe(numbers, gd.LinearMultistep(coefficients), LOW, HIGH, None, True)
        return objective(recipe.solver(), recipe.levels(), MIXTURE)

    point, h = (numbers_of(levels, LOW), coefficients), 1e-6
    slopes = jax.jit(jax.grad(judge, (0, 1)))(*point)
    for which, slope in enumerate(slopes):
        for i in range(slope.size):
            shift = h * jnp.zeros(slope.size).at[i].set(1).reshape(slope.shape)
            up, down = (
                judge(*(p + sign * shift if j == which else p for j, p in enumerate(point))) for sign in (1, -1)
            )
            assert slope.reshape(-1)[i] == pytest.approx(float(up - down) / 2 / h, abs=1e-7, rel=1e-5)


@pytest.mark.slow
def test_the_ends_of_a_fine_path_are_those_of_the_flow(objective):
    """On a Gaussian the teacher's ends are the closed form's, and the error of a sampler is what it says."""
    law, levels = zoo.GAUSSIAN.model, gd.grids.karras(5)
    error = gd.EndError.of(law, KEY, 16, batch=5)
    exact = jax.vmap(lambda x: gd.gaussian_flow(law, x, levels[0], levels[-1]))(error.starts)
    np.testing.assert_allclose(error.ends, exact, rtol=1e-3, atol=1e-3)
    ends = jax.vmap(gd.sample, (None, None, 0, None))(gd.Heun(), law, error.starts, levels).x[:, -1]
    distances = np.sqrt(np.mean((np.asarray(ends) - np.asarray(error.ends)) ** 2, axis=1))
    for order, expected in ((2, np.sqrt(np.mean(distances**2))), (1, np.mean(distances))):
        error = gd.EndError(error.starts, error.ends, 5, order)
        assert error(gd.Heun(), levels, law) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [gd.DPMSolverPP2M(), gd.DPMSolverPP3M()])
def test_coefficients_like_those_of_a_rule_are_the_rule(rule):
    levels, x = gd.grids.karras(6, 0.01, 20.0), jnp.array([10.0, -15.0, 5.0])
    like = gd.LinearMultistep.like(rule, levels, 3)
    assert like.coefficients.shape == (6, 3)
    paths = [gd.sample(sampler, MIXTURE, x, levels).x for sampler in (rule, like)]
    np.testing.assert_allclose(*paths, rtol=1e-12)


@pytest.mark.slow
def test_a_recipe_with_no_steps_is_its_start():
    start = gd.DPMSolverPP2M(), gd.grids.karras(5, 0.02)
    sampler, levels = gd.optimal_sampler(MIXTURE, 5, key=KEY, start=start, steps=0, paths=8)
    np.testing.assert_allclose(levels.sigma, start[1].sigma, rtol=1e-14)  # two programs, each with its roundings
    np.testing.assert_array_equal(sampler.coefficients, gd.LinearMultistep.like(*start, 3).coefficients)


@pytest.mark.slow
def test_an_optimised_sampler_is_better_on_other_starts_and_new_weights_compile_nothing():
    """256 starts of another key. The distances differ by a factor, so no draw of starts decides."""
    other = gd.EndError.of(MIXTURE, OTHER, 256, batch=32)
    start = gd.DPMSolverPP2M(), gd.grids.uniform_log_snr(4, 0.05)
    find = lambda model: gd.optimal_sampler(model, 4, key=KEY, start=start, steps=60, paths=128, batch=32)  # noqa: E731
    assert other(*find(MIXTURE), MIXTURE) < 0.7 * other(*start, MIXTURE)
    moved = eqx.tree_at(lambda m: m.components.mean, MIXTURE, 1.01 * MIXTURE.components.mean)
    with compiles_nothing():
        find(moved)


@pytest.mark.slow
def test_a_grid_for_a_mixture_and_one_behind_a_teleport():
    """A mixture of one component has the flow of its Gaussian, so a first step by that costs no call and no error."""
    law = centered([4.0, 0.25, 0.01])
    one = gd.GaussianMixture([0.0], [law])
    sampler, objective = gd.DPMSolverPP2M(), gd.EndError.of(one, KEY, 32)
    plain, ahead = (
        gd.optimal_grid(one, sampler, 3, objective=objective, key=KEY, steps=100, tries=1, teleport=teleport)
        for teleport in (None, law)
    )
    # the two free levels by brute force
    judge = lambda a, b: objective(sampler, gd.NoiseLevel(1.0, jnp.stack([HIGH, a, a * b, 0 * a])), one)  # noqa: E731
    scan = jax.vmap(jax.vmap(judge, (0, None)), (None, 0))(jnp.geomspace(0.2, 40, 25), jnp.geomspace(0.01, 0.9, 25))
    reached = float(objective(sampler, plain, one))
    assert reached < 1.001 * jnp.min(scan)
    switched = gd.SwitchAt(gd.GaussianExact(law), sampler, ahead[1].log_snr)
    assert len(ahead) == len(plain) + 1
    assert objective(switched, ahead, one) < 0.9 * reached


def test_the_cheapest_way_is_that_of_brute_force():
    """Of ten tables of costs: in a single one the cheapest way can be the same for every gamma."""
    tables = np.random.default_rng(0).uniform(size=(10, 8, 8))
    for costs, steps, gamma in itertools.product(tables, (1, 2, 4, 7), (0.5, 1.0, 1.15)):
        ways = [(0, *inner, 7) for inner in itertools.combinations(range(1, 7), steps - 1)]
        totals = [sum(gamma**k * costs[i, j] for k, (i, j) in enumerate(itertools.pairwise(way))) for way in ways]
        assert tuple(cheapest(costs, steps, gamma)) == ways[int(np.argmin(totals))]


@pytest.mark.slow
def test_gits_costs_are_what_an_euler_step_misses():
    """Step by step on the teacher's path, in NumPy; and the grid is of the teacher's levels, its ends as asked."""
    fine = gd.grids.karras(6, 0.02, 20.0, final_zero=False)
    starts = 20 * jax.random.normal(KEY, (4, 3))
    costs, sigma = np.asarray(_costs(MIXTURE, starts, fine)), np.asarray(fine.sigma)
    path = jax.vmap(gd.sample, (None, None, 0, None))(gd.IPNDM(4), MIXTURE, starts, fine)
    for i, j in ((0, 3), (2, 3), (4, 6)):
        x = np.asarray(path.x)
        euler = x[:, i] + (sigma[j] - sigma[i]) * (x[:, i] - np.asarray(path.denoised)[:, i]) / sigma[i]
        assert costs[i, j] == pytest.approx(np.linalg.norm(euler - x[:, j], axis=1).mean(), rel=1e-10)
    taken = grid_of_paths(fine, path.x, path.denoised, 3)  # of the same paths, taken by others
    np.testing.assert_array_equal(taken.sigma, sigma[list(cheapest(costs, 3, 1.15))])
    with pytest.raises(ValueError, match=r"n: expected .* from 1 to points - 1 = 6, got 7"):
        grid_of_paths(fine, path.x, path.denoised, 7)
    for final_zero in (False, True):
        levels = gd.gits_grid(MIXTURE, 3, KEY, points=7, paths=4, sigma_min=0.02, sigma_max=20.0, final_zero=final_zero)
        assert len(levels) == 4
        assert (jnp.diff(levels.sigma) < 0).all()
        assert (levels.sigma[0], levels.sigma[-1]) == (20, 0 if final_zero else sigma[-1])
        assert np.isin(levels.sigma[: 3 if final_zero else 4], sigma).all()


@pytest.mark.slow
def test_the_bandwidth_is_the_likeliest():
    """Beside a scan in NumPy over the mean log of the kernel sum, written out."""
    x = np.random.default_rng(3).normal(size=(260, 2)) * [1.0, 0.3]
    points, held_out = x[:200], x[200:]
    found = float(gd.fitting.choose_bandwidth(points, held_out))
    squares = ((held_out[:, None] - points[None]) ** 2).sum(2)
    scan = np.geomspace(0.02, 1, 800)
    density = [np.log(np.exp(-squares / 2 / h**2).mean(1) / (2 * np.pi * h**2)).mean() for h in scan]
    assert found == pytest.approx(scan[np.argmax(density)], rel=0.02)


def test_the_relative_error_counts_every_mode_alike():
    variances, levels = np.array([25.0, 1.0, 0.04]), gd.grids.karras(5)
    stds = np.abs(gd.transfer(gd.Heun(), levels, variances)) * 80
    expected = np.sqrt(np.mean((stds / np.sqrt(variances) - 1) ** 2))
    assert gd.design.relative_error(gd.Heun(), levels, centered(variances)) == pytest.approx(expected, rel=1e-10)


def test_equal_modes_together_have_the_same_errors():
    """Of a low rank, with a mean that leaves the modes."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))[0]
    law = gd.Gaussian(np.arange(6.0), np.array([9.0, 4.0, 4.0, 0.25]), basis, 0.25)
    together = grouped(spectrum(law))
    assert together.data.variance.tolist() == [0.25, 4, 9]
    assert together.counts.tolist() == [3, 2, 1]
    sampler, levels = gd.DDIM(), gd.grids.karras(4)
    errors = gd.wasserstein2, gd.kl_divergence, gd.design.relative_error
    judge = jax.jit(lambda form: jnp.stack([error(sampler, levels, form) for error in errors]))
    np.testing.assert_allclose(judge(together), judge(law), rtol=1e-12)


@pytest.mark.slow
def test_a_diagonal_is_judged_exactly_as_its_gaussian_is():
    """No key is asked for, and the order of the modes does not matter."""
    law = gd.Diagonal(np.zeros(3), np.array([0.25, 4.0, 0.25]))
    found = [gd.optimal_grid(form, gd.DDIM(), 3, steps=20, tries=1) for form in (law, law.as_gaussian())]
    np.testing.assert_array_equal(*(levels.sigma for levels in found))
    assert gd.wasserstein2(gd.DDIM(), found[0], law) < gd.wasserstein2(gd.DDIM(), gd.grids.karras(3), law)
