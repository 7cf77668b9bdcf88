"""Grids: ends exactly as asked, strictly falling for every n, and the published spacings."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo
from test_transformations import COMPILED

import gaussdiff as gd


def ratios(levels):
    """sigma / alpha as NumPy numbers, infinite for pure noise."""
    with np.errstate(divide="ignore"):
        return np.asarray(levels.sigma) / np.asarray(levels.alpha)


@pytest.mark.slow
@zoo.over({name: name for name in zoo.GRIDS}, "name")
def test_grids_have_n_steps_and_strictly_lose_noise(name):
    lengths = 1, 2, 3, 10, 40
    for n, levels in zip(lengths, zoo.grids(*lengths)[name], strict=True):
        assert levels.alpha.shape == levels.sigma.shape == (n + 1,)
        values = ratios(levels)
        assert (values[1:] < values[:-1]).all(), n
        assert not np.isnan(values).any()


@pytest.mark.slow
@pytest.mark.parametrize("make", [gd.grids.karras, gd.grids.uniform_log_snr])
def test_ends_are_exactly_as_asked(make):
    """Bit for bit, in the dtype of the numbers given, for every n."""
    for n in (1, 2, 3, 10, 40):
        for dtype in (jnp.float32, jnp.float64):
            low, high = jnp.asarray(0.0031, dtype), jnp.asarray(79.3, dtype)
            zero, kept = make(n, low, high), make(n, low, high, final_zero=False)
            assert (zero.sigma[0], kept.sigma[0]) == (high, high)
            assert (zero.sigma[-1], kept.sigma[-1]) == (0, low)
            assert n == 1 or zero.sigma[-2] == low
            assert zero.sigma.dtype == kept.sigma.dtype == dtype
            assert (kept.sigma[:-1] > kept.sigma[1:]).all()
            assert (zero.alpha == 1).all()


@pytest.mark.slow
def test_uniform_angles_ends_exactly_as_asked():
    low, high = jnp.float32(0.0031), jnp.float32(79.3)
    for n in range(1, 41):
        zero, kept = (gd.grids.uniform_angles(n, 0.3, low, high, final_zero) for final_zero in (True, False))
        assert (zero.sigma[0], zero.sigma[-1], kept.sigma[0], kept.sigma[-1]) == (high, 0, high, low)
        assert zero.sigma.dtype == kept.sigma.dtype == jnp.float32
        np.testing.assert_allclose(np.diff(np.arctan(kept.sigma / np.sqrt(0.3)), 2), 0, atol=1e-6)


@pytest.mark.parametrize("variance", [1e-16, 1e-8, 0.3, 1e8])
def test_uniform_angles_is_even_however_small_or_large_the_variance(variance):
    """In float32, against tangents in 50 digits: where the angles themselves round to a right angle too."""
    low, high, variance = jnp.float32(0.7), jnp.float32(3.1), jnp.float32(variance)
    sigma = gd.grids.uniform_angles(7, variance, low, high, final_zero=False).sigma
    with mpmath.workdps(50):
        std = mpmath.sqrt(mpmath.mpf(float(variance)))
        first, last = (mpmath.atan(mpmath.mpf(float(value)) / std) for value in (high, low))
        expected = [float(std * mpmath.tan(first + i * (last - first) / 7)) for i in range(8)]
    np.testing.assert_allclose(sigma, expected, rtol=1e-6)


def test_rows_of_a_table_are_the_published_ones():
    """Lin et al., table 2, for T = 1000 and ten steps."""
    published = {
        gd.grids.leading: [1, 101, 201, 301, 401, 501, 601, 701, 801, 901],
        gd.grids.linspace: [1, 112, 223, 334, 445, 556, 667, 778, 889, 1000],
        gd.grids.trailing: [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000],
    }
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    for make, rows in published.items():
        levels = make(zoo.BETAS, 10)
        np.testing.assert_allclose(levels.alpha[:-1] ** 2, kept[np.array(rows[::-1]) - 1], rtol=1e-12)
        assert (levels.alpha[-1], levels.sigma[-1]) == (1, 0)
        np.testing.assert_array_equal(make(zoo.BETAS, 9, final_zero=False).alpha, levels.alpha[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("make", zoo.SPACINGS)
def test_every_number_of_rows_up_to_all_of_them_falls(make):
    """Rounded rows never repeat; the last is row 1 or clean, and all but `leading` start in the last row."""
    table = gd.DiscreteBetas(np.linspace(0.01, 0.2, 12))
    for n in range(1, 13):
        levels = make(table, n)
        assert len(levels) == n + 1
        assert (np.diff(ratios(levels)) < 0).all()
        assert make is gd.grids.leading or levels.sigma[0] == table(1.0).sigma
    np.testing.assert_array_equal(make(table, 12).sigma, table(table.times[::-1]).sigma)


def test_quadratic_time_is_even_in_the_root():
    levels = gd.grids.quadratic_time(gd.RectifiedFlow(), 6, 0.81, 0.01)
    np.testing.assert_allclose(np.diff(np.sqrt(levels.sigma)), -0.8 / 6, rtol=1e-12)
    rho_2 = gd.grids.karras(6, 0.01, 0.81, rho=2, final_zero=False)
    np.testing.assert_allclose(levels.sigma, rho_2.sigma, rtol=1e-12)


def test_karras_is_the_published_formula():
    """Equation 5 with 30 digits; and final_zero puts n of its levels before the 0."""
    with mpmath.workdps(30):
        for n, rho in ((2, 7), (10, 7), (18, 3.5), (40, 1)):
            low, high = mpmath.mpf(0.002) ** (mpmath.mpf(1) / rho), mpmath.mpf(80) ** (mpmath.mpf(1) / rho)
            expected = [float((high + mpmath.mpf(i) / (n - 1) * (low - high)) ** rho) for i in range(n)]
            np.testing.assert_allclose(gd.grids.karras(n, rho=rho).sigma[:-1], expected, rtol=1e-12)
            levels = gd.grids.karras(n - 1, rho=rho, final_zero=False)
            np.testing.assert_allclose(levels.sigma, expected, rtol=1e-12)


def test_another_length_compiles_no_arithmetic():
    """A report has grids of dozens of lengths; newer JAX compiles how an array of another shape comes to the device."""
    makes = gd.grids.karras, gd.grids.uniform_log_snr, lambda n: gd.grids.uniform_angles(n, 0.3)
    for n in (23, 24):
        COMPILED.clear()
        parts = [part for make in makes for levels in [make(n)] for part in (levels, levels[5:], levels[3])]
        assert all(part.sigma.dtype == jnp.float64 for part in parts)
    assert len(COMPILED) <= 2, COMPILED  # shapes (25,) and (20,)


@pytest.mark.slow
def test_inside_jit_a_grid_is_the_same():
    low, high, rho, variance = 0.0031, 79.3, 6.5, 0.3
    made = jax.jit(lambda *a: (gd.grids.karras(9, *a[:3]), gd.grids.uniform_log_snr(9, *a[:2], final_zero=False)))
    traced, angles = made(low, high, rho), jax.jit(lambda v: gd.grids.uniform_angles(9, v, low, high))(variance)
    eager = gd.grids.karras(9, low, high, rho), gd.grids.uniform_log_snr(9, low, high, final_zero=False)
    eager = *eager, gd.grids.uniform_angles(9, variance, low, high)
    for one, other in zip((*traced, angles), eager, strict=True):
        np.testing.assert_allclose(one.sigma, other.sigma, rtol=1e-12)


def test_uniform_log_snr_is_evenly_spaced():
    levels = gd.grids.uniform_log_snr(12, 0.01, 50.0, final_zero=False)
    np.testing.assert_allclose(jnp.diff(levels.log_snr), 2 * np.log(5000) / 12, rtol=1e-12)


def test_karras_tends_to_uniform_log_snr():
    limit = gd.grids.uniform_log_snr(9).sigma
    np.testing.assert_allclose(gd.grids.karras(9, rho=1e6).sigma, limit, rtol=1e-4)


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_uniform_time_visits_evenly_spaced_times(case):
    """From the time of most noise to 0, or between the times asked; ends bit for bit."""
    levels, start = gd.grids.uniform_time(case, 5), case.end
    expected = [case(jnp.asarray(start) * (5 - i) / 5) for i in range(6)]
    for level, other in zip(levels, expected, strict=True):
        np.testing.assert_allclose([level.alpha, level.sigma], [other.alpha, other.sigma], rtol=1e-11, atol=1e-16)
    part = gd.grids.uniform_time(case, 3, 0.7, 0.1)
    np.testing.assert_allclose(case.time_at(part.log_snr), [0.7, 0.5, 0.3, 0.1], rtol=1e-9)
    for level, t in ((part[0], 0.7), (part[-1], 0.1), (levels[0], start), (levels[-1], 0.0)):
        np.testing.assert_allclose([level.alpha, level.sigma], [case(t).alpha, case(t).sigma], rtol=1e-15)


@zoo.over(zoo.SCHEDULES)
def test_reframe_keeps_the_signal_to_noise_ratio(case):
    levels = gd.grids.karras(10, 0.01, 50.0)
    framed = gd.reframe(levels, case)
    np.testing.assert_allclose(framed.log_snr[:-1], levels.log_snr[:-1], atol=1e-8)
    assert framed.sigma[-1] == pytest.approx(0, abs=1e-12)
    t = jnp.array(0.4)
    assert case.time_at(gd.reframe(case(t), case).log_snr) == pytest.approx(0.4)


@pytest.mark.slow
def test_a_grid_is_differentiable_in_its_ends_and_its_exponent():
    def middle(low, high, rho):
        return gd.grids.karras(6, low, high, rho).sigma[3]

    point, h = (0.01, 50.0, 5.0), 1e-6
    for i, slope in enumerate(jax.grad(middle, (0, 1, 2))(*point)):
        up, down = (middle(*(value + sign * h * (i == j) for j, value in enumerate(point))) for sign in (1, -1))
        assert slope == pytest.approx(float(up - down) / 2 / h, rel=1e-6)


AS_USERS = """
import jax
import numpy as np
import gaussdiff as gd

schedules = [
    gd.VariancePreserving(), gd.SubVariancePreserving(), gd.DiscreteBetas(np.linspace(1e-4, 0.02, 1000)),
    gd.Cosine(), gd.RectifiedFlow(), gd.VarianceExploding(),
]
for n in (1, 2, 18, 40):
    times = [gd.grids.uniform_time(schedule, n) for schedule in schedules]
    grids = [gd.grids.karras(n), gd.grids.uniform_angles(n, 0.3), *times]
    for schedule in schedules:
        # those that start no higher, but for the ends of VP and sub-VP, which float32 hardly tells from each other
        most = 1.0001 * np.exp(-schedule(schedule.end).log_snr / 2)
        most = np.finfo(np.float32).max if isinstance(schedule, gd.VarianceExploding) else most
        reached = [grid for grid in grids if np.exp(-grid.log_snr[0] / 2) <= most]
        levels = jax.tree.map(lambda *leaves: np.concatenate(leaves), *reached)
        for framed in (gd.reframe(levels, schedule), jax.jit(gd.reframe)(levels, schedule)):
            assert framed.sigma.dtype == np.float32
            angles = [np.arctan2(lv.sigma.astype(float), lv.alpha.astype(float)) for lv in (framed, levels)]
            np.testing.assert_allclose(*angles, rtol=2e-6, err_msg=str((n, schedule)))
        print(len(reached), end=" ")
"""


@pytest.mark.slow
def test_every_frame_in_a_process_without_x64_as_users_run_it():
    """Natively float32, where times and grids are computed with its roundings too; how many grids each frame has."""
    done = subprocess.run([sys.executable, "-c", AS_USERS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "5", "6", "8", "8", "6"] * 4
