"""The table of samplers: its entries are the single errors, its winners those that closed forms name."""

import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

LOW = zoo.GAUSSIANS["gaussian_low_rank"].model
ONE_MODE = gd.Gaussian.isotropic(jnp.zeros(1), 2.0)
GRIDS = {"edm": gd.grids.karras, "cosine": lambda n: gd.grids.uniform_time(gd.Cosine(), n)}


def even_angles(n: int) -> gd.NoiseLevel:
    """From sigma = 80 to 0 in equal angles arctan(sigma / sqrt 2), which are the best of DDIM for this variance."""
    angles = jnp.linspace(jnp.arctan(80 / jnp.sqrt(2.0)), 0, n + 1)
    return gd.NoiseLevel(1.0, jnp.sqrt(2.0) * jnp.tan(angles))


@pytest.mark.slow
def test_every_entry_is_the_error_of_its_sampler_on_its_grid():
    samplers = {"heun": gd.Heun(), "ancestral": gd.DDIM(1.0)}
    table = gd.solver_table(LOW, samplers, GRIDS, (4,))
    assert table.steps.tolist() == [[2], [4]]
    for i, sampler in enumerate(samplers.values()):
        for j, grid in enumerate(GRIDS.values()):
            levels = grid(int(table.steps[i, 0]))
            parts = gd.solver_error(sampler, levels, LOW)
            expected = [parts.total, parts.start, parts.truncation, parts.discretisation]
            found = [table.w2, table.start, table.truncation, table.discretisation]
            np.testing.assert_allclose([part[i, j, 0] for part in found], expected, rtol=1e-9, atol=1e-12)
            assert table.kl[i, j, 0] == pytest.approx(float(gd.kl_divergence(sampler, levels, LOW)), rel=1e-9)


@pytest.mark.slow
def test_equal_angles_win_where_they_are_known_to_be_best():
    """On one mode DDIM ends with std sigma sqrt(lam) / S cos^n(turn / n) from equal angles, and less from any other."""
    grids = {"edm": gd.grids.karras, "log_snr": gd.grids.uniform_log_snr, "angles": even_angles}
    calls = (3, 6, 9)
    table = gd.solver_table(ONE_MODE, {"ddim": gd.DDIM()}, grids, calls)
    for k, n in enumerate(calls):
        assert table.best(n) == ("ddim", "angles")
        std = np.sqrt(2) * 80 / np.hypot(80, np.sqrt(2)) * np.cos(np.arctan(80 / np.sqrt(2)) / n) ** n
        assert table.w2[0, 2, k] == pytest.approx(np.sqrt(2) - std, rel=1e-9)


@pytest.mark.slow
def test_budgets_that_hold_no_step_are_nan_and_saved_calls_are_used():
    five = gd.LinearMultistep(jnp.zeros((5, 1)))
    samplers = {"five": five, "afs": gd.AFS(gd.DDIM()), "two_calls": gd.Heun()}
    table = gd.solver_table(ONE_MODE, samplers, {"angles": even_angles}, (4, 5))
    assert table.steps.tolist() == [[0, 5], [5, 6], [2, 3]]
    assert np.isnan(table.w2[0, 0, 0])
    assert np.isnan(table.kl[0, 0, 0])
    assert np.isfinite(table.w2).sum() == 5
    alone = gd.solver_table(ONE_MODE, {"five": five}, {"angles": even_angles}, (4, 5))
    assert alone.best(5) == ("five", "angles")
    with pytest.raises(ValueError, match="calls: expected a budget in which a sampler fits, got 4"):
        alone.best(4)


def test_progress_tells_of_every_sampler():
    told = []
    gd.solver_table(ONE_MODE, {"ddim": gd.DDIM()}, {"a": even_angles}, (3,), lambda *now: told.append(now))
    assert told == [(1, 1)]


@pytest.mark.slow
def test_the_standard_table_is_finite_and_its_names_are_those_of_its_axes():
    samplers, grids = gd.design.standard_samplers(), gd.design.standard_grids()
    table = gd.solver_table(LOW, calls=(5,))
    assert table.samplers == tuple(samplers)
    assert table.grids == tuple(grids)
    assert np.isfinite(table.w2).all()
    assert (table.w2 <= table.start + table.truncation + table.discretisation + 1e-9).all()
    assert (table.truncation < 1e-12).all()
    assert (table.steps[:, 0] <= 5).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gd.solver_table(zoo.MIXTURE.model), TypeError, "gaussian: expected a gd.Gaussian"),
        (lambda: gd.solver_table(LOW, {"a": gd.Heun}), TypeError, r"samplers\['a'\]: expected a gd.Sampler"),
        (lambda: gd.solver_table(LOW, calls=(0,)), ValueError, "calls: expected integers >= 1"),
        (lambda: gd.solver_table(LOW, calls=()), ValueError, "calls: expected integers >= 1"),
        (
            lambda: gd.solver_table(LOW, grids={"b": lambda n: gd.grids.karras(n + 1)}, calls=(2,)),
            ValueError,
            r"grids\['b'\]: expected n\+1 = 2 levels for n = 1 steps, got 3",
        ),
        (lambda: gd.solver_table(LOW, {"a": gd.DDIM()}, GRIDS, (2,)).best(3), ValueError, r"calls: expected one of"),
    ],
)
def test_bad_input_is_refused(call, error, message, unchecked):
    with pytest.raises(error, match=message):
        call()
