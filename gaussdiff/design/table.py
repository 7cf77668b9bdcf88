"""Which sampler on which grid, at so many calls of the model: the exact errors on a Gaussian, in one table.

    error[sampler, grid, calls] = that of the sampler on grid(n),     n the largest with nfe(n) <= calls

Errors depend on the Gaussian's spectrum alone: its modes are computed once, and every entry costs n steps on K numbers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gaussdiff import grids as spacings
from gaussdiff.design.error import Modes, Spectrum, compare, generated_modes, spectrum
from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.progress import Progress
from gaussdiff.samplers import (
    DDIM,
    DEIS,
    IPNDM,
    AdamsBashforth,
    DPMSolver2,
    DPMSolver3,
    DPMSolverPP2M,
    DPMSolverPP2S,
    DPMSolverPP3M,
    Heun,
    Sampler,
    UniPC,
)
from gaussdiff.samplers.base import check_grid, check_sampler
from gaussdiff.schedules import Cosine, NoiseLevel, RectifiedFlow, VariancePreserving

Grid = Callable[[int], NoiseLevel]
BUDGETS = (5, 8, 10, 20, 40)


class SolverTable(NamedTuple):
    """Errors of samplers (axis 0) on grids (axis 1) within budgets of model calls (axis 2), as NumPy arrays.

    samplers, grids: names; calls: the budgets; steps (samplers, calls): how many steps fit, 0 where none does. w2, kl,
    start, truncation, discretisation: (samplers, grids, calls), NaN where no step fits; all but kl (nats) in data
    units, as in SolverError. The squared w2 is the Frechet distance of the two Gaussians.
    """

    samplers: tuple[str, ...]
    grids: tuple[str, ...]
    calls: tuple[int, ...]
    steps: np.ndarray
    w2: np.ndarray
    kl: np.ndarray
    start: np.ndarray
    truncation: np.ndarray
    discretisation: np.ndarray

    def best(self, calls: int) -> tuple[str, str]:
        """The names of the sampler and the grid of least w2 within a budget; ValueError for one not in the table."""
        if calls not in self.calls:
            raise ValueError(f"calls: expected one of {self.calls}, got {calls}. Make a table with it.")
        errors = self.w2[:, :, self.calls.index(calls)]
        if np.isnan(errors).all():
            raise ValueError(
                f"calls: expected a budget in which a sampler fits, got {calls}. Make a table with a larger one."
            )
        i, j = np.unravel_index(np.nanargmin(errors), errors.shape)
        return self.samplers[i], self.grids[j]


def solver_table(
    gaussian: Gaussian | Diagonal,
    samplers: Mapping[str, Sampler] | None = None,
    grids: Mapping[str, Grid] | None = None,
    calls: Sequence[int] = BUDGETS,
    progress: Progress | None = None,
) -> SolverTable:
    """The exact errors of samplers on grids, each with as many steps as fit into a number of model calls.

    gaussian: a Diagonal does where only variances are known. samplers: by a name of your own, `standard_samplers()`
    by default. grids: functions of the number of steps, `standard_grids()` by default. Steps are counted by
    sampler.nfe, that is for grids that end at sigma = 0; on one that ends above it a sampler of several calls a step
    makes some more in its last. Compiles once for each sampler and number of steps; progress(done, total) is called
    after each sampler. TypeError for anything but a Gaussian, samplers and grids of levels; ValueError for a grid of
    another length or a budget below 1.
    """
    samplers = standard_samplers() if samplers is None else samplers
    grids = standard_grids() if grids is None else grids
    for argument, table, entry in (("samplers", samplers, "gd.Heun()"), ("grids", grids, "gd.grids.karras")):
        cure = f'Name each one: {{"mine": {entry}}}.'
        check_kind(table, Mapping, argument, "a dictionary by name", cure)
    budgets, law = _budgets(calls), spectrum(gaussian)
    for name, sampler in samplers.items():
        check_sampler(sampler, f"samplers[{name!r}]")
    steps = np.array([[_steps_within(sampler, budget) for budget in budgets] for sampler in samplers.values()])
    stacks = {n: _stack(grids, n) for n in sorted(set(steps.flatten().tolist()) - {0})}
    values = np.full((5, len(samplers), len(grids), len(budgets)), np.nan)
    for i, sampler in enumerate(samplers.values()):
        for n in sorted(set(steps[i].tolist()) - {0}):
            values[:, i][..., steps[i] == n] = np.array(_errors(sampler, stacks[n], law))[..., None]
        if progress:
            progress(i + 1, len(samplers))
    return SolverTable(tuple(samplers), tuple(grids), budgets, steps, *values)


def standard_samplers() -> dict[str, Sampler]:
    """The deterministic samplers worth comparing, by their usual names; in a path of alpha = 1 DDIM is Euler."""
    return {
        "DDIM": DDIM(),
        "Heun": Heun(),
        "Adams-Bashforth 2": AdamsBashforth(2),
        "iPNDM": IPNDM(),
        "DEIS": DEIS(),
        "DPM-Solver-2": DPMSolver2(),
        "DPM-Solver-3": DPMSolver3(),
        "DPM-Solver++(2S)": DPMSolverPP2S(),
        "DPM-Solver++(2M)": DPMSolverPP2M(),
        "DPM-Solver++(3M)": DPMSolverPP3M(),
        "UniPC": UniPC(),
        "DDIM, eta = 1": DDIM(1.0),
    }


def standard_grids() -> dict[str, Grid]:
    """The grids in common use, by the variable in which they are even; each ends at sigma = 0."""
    return {
        "EDM, rho = 7": spacings.karras,
        "EDM, rho = 3": lambda n: spacings.karras(n, rho=3.0),
        "log-SNR": spacings.uniform_log_snr,
        "VP time": lambda n: spacings.uniform_time(VariancePreserving(), n),
        "cosine time": lambda n: spacings.uniform_time(Cosine(), n),
        "flow time": lambda n: spacings.uniform_time(RectifiedFlow(), n),
    }


def _errors(sampler: Sampler, levels: NoiseLevel, law: Spectrum) -> list[Array]:
    """The five errors on each of a stack of grids."""
    generated = _generated(sampler, levels, law.data)
    error, kl = _compared(generated, levels[:, 0], levels[:, -1], law)
    return [error.total, kl, error.start, error.truncation, error.discretisation]


@eqx.filter_jit
def _generated(sampler: Sampler, levels: NoiseLevel, data: Modes) -> Modes:
    return jax.vmap(lambda grid: generated_modes(sampler, grid, data))(levels)


# a program of its own, beside the above, whose compilation is most of the time and is needed for every number of steps
_compared = jax.jit(jax.vmap(compare, in_axes=(0, 0, 0, None)))


def _steps_within(sampler: Sampler, calls: int) -> int:
    """The largest number of steps that fits, 0 for none; AFS saves a call, and GaussianExact makes none at all."""
    return max((n for n in range(1, calls + 2) if sampler.nfe(n) <= calls and _takes(sampler, n)), default=0)


def _takes(sampler: Sampler, n: int) -> bool:
    try:
        sampler.check_steps(n)
    except ValueError:
        return False
    return True


def _stack(grids: Mapping[str, Grid], n: int) -> NoiseLevel:
    stack = [_grid(name, grid, n) for name, grid in grids.items()]
    return NoiseLevel(jnp.stack([levels.alpha for levels in stack]), jnp.stack([levels.sigma for levels in stack]))


def _grid(name: str, grid: Grid, n: int) -> NoiseLevel:
    if not callable(grid):
        raise TypeError(
            f"grids[{name!r}]: expected a function of the number of steps, got {described(grid)}. Pass such as "
            "gd.grids.karras."
        )
    levels = grid(n)
    check_grid(levels, f"grids[{name!r}](n)")
    if len(levels) != n + 1:
        raise ValueError(
            f"grids[{name!r}]: expected n+1 = {n + 1} levels for n = {n} steps, got {len(levels)}. Its argument is the "
            "number of steps."
        )
    return levels


def _budgets(calls: Sequence[int]) -> tuple[int, ...]:
    check_kind(calls, Iterable, "calls", "integers >= 1, such as (5, 10, 20)", "They are numbers of model calls.")
    budgets = tuple(calls)
    if not budgets or not all(isinstance(budget, int | np.integer) and budget >= 1 for budget in budgets):
        raise ValueError(
            f"calls: expected integers >= 1, such as (5, 10, 20), got {described(calls)}. They are model calls."
        )
    return tuple(int(budget) for budget in budgets)
