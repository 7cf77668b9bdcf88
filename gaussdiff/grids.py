"""Grids: decreasing sequences of n+1 noise levels for n steps, from noise to data.

    karras            sigma_i = (sigma_max^(1/rho) + i/(m-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho
    uniform_log_snr   log sigma_i evenly spaced: the limit rho -> infinity
    uniform_time      t evenly spaced under a schedule

The first two live in the frame alpha = 1 (`reframe` carries them to any other). With final_zero they hold n levels from
sigma_max to sigma_min and then 0; without it n + 1 levels that end at sigma_min exactly.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gaussdiff.numerics import concrete, floating
from gaussdiff.schedules import NoiseLevel, Schedule, check_schedule


def karras(n: int, sigma_min=0.002, sigma_max=80.0, rho=7.0, final_zero: bool = True) -> NoiseLevel:
    """The grid of EDM, finer toward the data the larger rho: (n+1,) levels with alpha = 1.

    sigma in data units. ValueError unless n >= 1 and 0 < sigma_min < sigma_max and rho > 0. Karras et al., arXiv
    2206.00364, eq. 5.
    """
    if concrete(rho) and not 0 < float(rho) < np.inf:
        raise ValueError(f"rho: expected > 0, got {float(rho):g}. EDM uses 7; for rho -> infinity use uniform_log_snr.")
    low, high = _bounds(n, sigma_min, sigma_max)
    return _spaced(n, low, high, lambda s: s ** (1 / rho), lambda u: u**rho, final_zero)


def uniform_log_snr(n: int, sigma_min=0.002, sigma_max=80.0, final_zero: bool = True) -> NoiseLevel:
    """Levels evenly spaced in log_snr, that is in log sigma: (n+1,) levels with alpha = 1; errors as karras.

    Lu et al., arXiv 2206.00927.
    """
    low, high = _bounds(n, sigma_min, sigma_max)
    return _spaced(n, low, high, jnp.log, jnp.exp, final_zero)


def uniform_time(schedule: Schedule, n: int, start=None, end=0.0) -> NoiseLevel:
    """The schedule's levels at n+1 evenly spaced times, from `start` (by default its time of most noise) to `end`.

    ValueError unless n >= 1 and start > end >= 0, TypeError unless schedule is a Schedule.
    """
    check_schedule(schedule)
    _check_steps(n)
    start = schedule.end if start is None else start
    if concrete(start, end) and not 0 <= float(end) < float(start):
        raise ValueError(
            f"start, end: expected start > end >= 0, got {float(start):g} and {float(end):g}. Noise comes first."
        )
    return schedule(_pin(jnp.linspace(start, end, n + 1), floating(start), floating(end)))


def reframe(levels: NoiseLevel, schedule: Schedule) -> NoiseLevel:
    """The same log-SNRs in the schedule's own frame: schedule(schedule.time_at(levels.log_snr)).

    levels: of any shape. TypeError unless schedule is a Schedule.
    """
    check_schedule(schedule)
    return schedule(schedule.time_at(levels.log_snr))


def _spaced(n: int, low: Array, high: Array, forward, backward, final_zero: bool) -> NoiseLevel:
    """Levels evenly spaced in forward(sigma), their ends exactly as asked."""
    count = n if final_zero else n + 1
    sigma = _pin(backward(jnp.linspace(forward(high), forward(low), count)), high, low)
    return NoiseLevel(1.0, jnp.append(sigma, 0.0) if final_zero else sigma)


def _pin(values: Array, first: Array, last: Array) -> Array:
    return values.at[-1].set(last).at[0].set(first)


def _check_steps(n: int) -> None:
    if not (isinstance(n, int) and n >= 1):
        raise ValueError(f"n: expected an integer number of steps >= 1, got {n!r}. It sets the shape of the grid.")


def _bounds(n: int, sigma_min, sigma_max) -> tuple[Array, Array]:
    _check_steps(n)
    low, high = floating(sigma_min), floating(sigma_max)
    if concrete(low, high) and not 0 < float(low) < float(high) < np.inf:
        raise ValueError(
            f"sigma_min, sigma_max: expected 0 < sigma_min < sigma_max, got {float(low):g} and {float(high):g}. "
            "For a grid that ends at 0 use final_zero=True."
        )
    return low, high
