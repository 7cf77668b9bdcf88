"""Grids: decreasing sequences of n+1 noise levels for n steps, from noise to data.

    karras            sigma_i = (sigma_max^(1/rho) + i/(m-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho
    uniform_log_snr   log sigma_i evenly spaced: the limit rho -> infinity
    uniform_angles    arctan(sigma_i / sqrt(variance)) evenly spaced
    uniform_time      t evenly spaced under a schedule
    quadratic_time    sqrt(t) evenly spaced
    leading, trailing, linspace     evenly spaced rows of a table of betas

The first three live in the frame alpha = 1 (`reframe` carries them to any other). With final_zero the first two hold n
levels from sigma_max to sigma_min and then 0; without it n + 1 levels that end at sigma_min exactly.

Numbers that can be looked at are worked on by NumPy in float64, since eager jax.numpy would compile every operation
again for every n; inside jit the same formulas are traced.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gaussdiff.numerics.arrays import concrete
from gaussdiff.numerics.checks import check_above_0, check_count, check_number, or_nan
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.schedules import DiscreteBetas, NoiseLevel, Schedule, check_schedule, check_sigma_range, check_times


def karras(n: int, sigma_min=0.002, sigma_max=80.0, rho=7.0, final_zero: bool = True) -> NoiseLevel:
    """The grid of EDM, finer toward the data the larger rho: (n+1,) levels with alpha = 1.

    sigma in data units. ValueError unless n >= 1 and 0 < sigma_min < sigma_max and rho > 0. Karras et al., arXiv
    2206.00364, eq. 5.
    """
    checked = check_above_0(rho, "rho", "EDM uses 7; for rho -> infinity use uniform_log_snr.")
    rho = rho if concrete(rho) else checked  # 1 / rho of a Python number is rounded once, in its own precision
    _check_steps(n)
    low, high = check_sigma_range(sigma_min, sigma_max)
    return _spaced(n, low, high, final_zero, lambda _, s, rho: s ** (1 / rho), lambda _, u, rho: u**rho, rho)


def uniform_log_snr(n: int, sigma_min=0.002, sigma_max=80.0, final_zero: bool = True) -> NoiseLevel:
    """Levels evenly spaced in log_snr, that is in log sigma: (n+1,) levels with alpha = 1; errors as karras.

    Lu et al., arXiv 2206.00927.
    """
    _check_steps(n)
    low, high = check_sigma_range(sigma_min, sigma_max)
    return _spaced(n, low, high, final_zero, lambda numpy, s: numpy.log(s), lambda numpy, u: numpy.exp(u))


def uniform_angles(n: int, variance, sigma_min=0.002, sigma_max=80.0, final_zero: bool = True) -> NoiseLevel:
    """Levels at even steps of the angle arctan(sigma / sqrt(variance)): (n+1,) levels with alpha = 1.

    For data of that one variance, in squared data units, it is DDIM's best grid, since each of its steps loses the
    cosine of its angle. With final_zero the angles run down to 0, and sigma_min plays no part; without it they end at
    sigma_min. ValueError unless variance > 0, and as karras. Sabour et al., arXiv 2404.14507.
    """
    checked = check_above_0(variance, "variance", "Use that of the data, per dimension.")
    variance = variance if concrete(variance) else checked
    _check_steps(n)
    low, high = check_sigma_range(sigma_min, sigma_max)
    low = jnp.zeros_like(low) if final_zero else low
    numpy, first, last, variance = _numbers(high, low, variance)
    std = numpy.sqrt(variance)
    # Between two directions `angle` from each other, the one `past` the first lies along
    # sin(angle - past) first + sin(past) second. So every sigma is a mean of both ends, also where arctan(sigma / std)
    # rounds to a right angle.
    angle = numpy.arctan2(std * (first - last), std**2 + first * last)
    weight = numpy.sin(numpy.linspace(angle, 0, n + 1)) / numpy.hypot(first, std)
    last_weight = numpy.sin(numpy.linspace(0, angle, n + 1)) / numpy.hypot(last, std)
    return NoiseLevel(1.0, _pin((weight * first + last_weight * last) / (weight + last_weight), high, low))


def uniform_time(schedule: Schedule, n: int, start=None, end=0.0) -> NoiseLevel:
    """The schedule's levels at n+1 evenly spaced times, from `start` (by default its time of most noise) to `end`.

    ValueError unless n >= 1 and start > end >= 0, TypeError unless schedule is a Schedule.
    """
    start, end = _times(schedule, n, start, end)
    numpy, first, last = _numbers(start, end)
    return schedule(_pin(numpy.linspace(first, last, n + 1), start, end))


def quadratic_time(schedule: Schedule, n: int, start=None, end=0.0) -> NoiseLevel:
    """The schedule's levels at n+1 times whose square roots are evenly spaced: finer toward the data.

    Arguments and errors as uniform_time. Song et al., arXiv 2010.02502, appendix D.2 ("quadratic").
    """
    start, end = _times(schedule, n, start, end)
    numpy, first, last = _numbers(start, end)
    return schedule(_pin(numpy.linspace(numpy.sqrt(first), numpy.sqrt(last), n + 1) ** 2, start, end))


def leading(schedule: DiscreteBetas, n: int, final_zero: bool = True) -> NoiseLevel:
    """The rows 1 + i floor(N / m) of a table of N betas, i = m - 1 to 0: it leaves out the rows of most noise.

    With final_zero m = n rows and then the clean level, without it m = n + 1 rows. Row j is the time j / N. ValueError
    unless the table has m rows, TypeError unless schedule is a DiscreteBetas. Lin et al., arXiv 2305.08891, table 2.
    """
    rows, count = _rows(schedule, n, final_zero)
    return _at_rows(schedule, 1 + rows // count * np.arange(count)[::-1], final_zero)


def trailing(schedule: DiscreteBetas, n: int, final_zero: bool = True) -> NoiseLevel:
    """The rows round(N - i N / m) of a table of N betas, i = 0 to m - 1: from the row of most noise.

    m, errors and source as `leading`.
    """
    rows, count = _rows(schedule, n, final_zero)
    return _at_rows(schedule, np.round(rows - np.arange(count) * (rows / count)), final_zero)


def linspace(schedule: DiscreteBetas, n: int, final_zero: bool = True) -> NoiseLevel:
    """m evenly spaced rows of a table of N betas, rounded, from row N to row 1: both ends are visited.

    m, errors and source as `leading`.
    """
    rows, count = _rows(schedule, n, final_zero)
    return _at_rows(schedule, np.round(np.linspace(rows, 1, count)), final_zero)


def reframe(levels: NoiseLevel, schedule: Schedule) -> NoiseLevel:
    """The same log-SNRs in the schedule's own frame: schedule(schedule.time_at(levels.log_snr)).

    levels: of any shape. TypeError unless schedule is a Schedule. ValueError for more noise than the schedule has;
    inside jit, where no value can be looked at, such a level keeps its log-SNR where the schedule's formula goes on,
    and is NaN beyond a table of betas.
    """
    check_schedule(schedule)
    check_kind(levels, NoiseLevel, "levels", "a NoiseLevel", "They come first, then the schedule.")
    return schedule(schedule.time_at(levels.log_snr))


def _spaced(n: int, low: Array, high: Array, final_zero: bool, forward, backward, *shape) -> NoiseLevel:
    """Levels evenly spaced in forward(numpy, sigma, *shape), of the inverse `backward`; their ends exactly as asked."""
    count = n if final_zero else n + 1
    numpy, first, last, *shape = _numbers(high, low, *shape)
    even = numpy.linspace(forward(numpy, first, *shape), forward(numpy, last, *shape), count)
    sigma = _pin(backward(numpy, even, *shape), high, low)
    return NoiseLevel(1.0, numpy.append(sigma, numpy.zeros_like(sigma[:1])) if final_zero else sigma)


def _numbers(*values) -> tuple[Any, ...]:
    """NumPy and the values in float64, or jax.numpy and the values as they are where one of them is traced."""
    return (np, *map(np.float64, values)) if concrete(*values) else (jnp, *values)


def _pin(values: np.ndarray | Array, first: Array, last: Array) -> np.ndarray | Array:
    """The values with these ends, in their dtype."""
    if not isinstance(values, np.ndarray):
        return values.at[-1].set(last).at[0].set(first)
    pinned = values.astype(jnp.result_type(first, last))
    pinned[-1], pinned[0] = last, first
    return pinned


def _times(schedule: Schedule, n: int, start, end) -> tuple[Array, Array]:
    check_schedule(schedule)
    _check_steps(n)
    cure = "Noise comes first."
    start = check_number(schedule.end if start is None else start, "start", cure)
    end = check_number(end, "end", cure)
    if not concrete(start, end):
        start = or_nan(start, end < start)
    elif not 0 <= float(end) < float(start) < np.inf:
        raise ValueError(f"start, end: expected start > end >= 0, got {float(start):g} and {float(end):g}. {cure}")
    return check_times(schedule, start, "start"), check_times(schedule, end, "end")


def _rows(schedule: DiscreteBetas, n: int, final_zero: bool) -> tuple[int, int]:
    """How many rows the table has, and how many are asked for."""
    if not isinstance(schedule, DiscreteBetas):
        raise TypeError(
            f"schedule: expected a gd.DiscreteBetas, got {described(schedule)}. Other schedules have no rows: "
            "use uniform_time."
        )
    _check_steps(n)
    rows = len(schedule.times) - 1
    most = rows if final_zero else rows - 1
    if n > most:
        less = "" if final_zero else " less one, where the last level is a row too,"
        cure = "Take fewer steps." if most else "Use final_zero=True, which adds the clean level."
        raise ValueError(f"n: expected at most the {rows} rows of the table{less}, got {n}. {cure}")
    return rows, n if final_zero else n + 1


def _at_rows(schedule: DiscreteBetas, rows: np.ndarray, final_zero: bool) -> NoiseLevel:
    rows = np.append(rows, 0) if final_zero else rows
    return schedule(schedule.times[rows.astype(int)])


def _check_steps(n: int) -> None:
    check_count(n, "n", "It is the number of steps, which sets the shape of the grid.")
