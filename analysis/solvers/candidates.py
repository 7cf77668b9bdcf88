"""What `analysis accelerate` tries: solvers on grids, from pure noise or after a closed-form start."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from analysis.measures import endpoints
from analysis.solvers.least_w2 import least_w2

SOLVERS = {"iPNDM-4": gd.IPNDM(4), "DPM-Solver++(2M)": gd.DPMSolverPP2M(), "UniPC-3": gd.UniPC(3)}
KNOWN = {**SOLVERS, "Heun": gd.Heun()}  # what is shown for comparison, on the grid PLAIN
PLAIN = "EDM, rho = 7"
SWITCHES = (None, 20.0, 10.0, 5.0, 2.5)  # noise scales to which the closed form leads; None: no such start
SIGMA_MAX = 80.0  # where every grid starts


@dataclass(frozen=True, eq=False)
class Choice:
    """A solver on a grid, from the noise scale `switch` on, to which the closed form leads; None for no such start."""

    solver: str
    grid: str
    switch: float | None
    calls: int
    sampler: gd.Sampler
    levels: gd.NoiseLevel

    @property
    def is_plain(self) -> bool:
        """Whether this is what one would take without a search."""
        return self.grid == PLAIN and self.switch is None

    def __str__(self) -> str:
        start = "" if self.switch is None else f", from σ = {self.switch:g} on after a closed-form start"
        return f"{self.solver} on the grid {self.grid}{start}"


def candidates(calls: tuple[int, ...], gaussian: gd.Gaussian, law: gd.Distribution, key: jax.Array) -> Iterator[Choice]:
    """Every solver on every grid from every switch, with each number of calls, one a step.

    gaussian: that of the closed-form start. law: what stands for the network.
    """
    tops = tuple(SIGMA_MAX if switch is None else switch for switch in SWITCHES)
    best = {name: least_w2(solver, gaussian, calls, tops, SIGMA_MAX) for name, solver in SOLVERS.items()}
    usual = cache(partial(_grids, law, key))  # several solvers take the same steps
    for count, (name, solver), (switch, top) in product(calls, SOLVERS.items(), zip(SWITCHES, tops, strict=True)):
        for grid, levels in {**usual(count, top), "least W2 on the Gaussian": best[name][count, top]}.items():
            sampler, whole = (solver, levels) if switch is None else teleported(gaussian, solver, levels)
            yield Choice(name, grid, switch, count, sampler, whole)


def known(calls: Iterable[int]) -> Iterator[Choice]:
    """What one would take without a search; Heun's method makes one call less where the number is even."""
    for count, (name, solver) in product(calls, KNOWN.items()):
        steps = max(n for n in range(1, count + 1) if solver.nfe(n) <= count)
        yield Choice(name, PLAIN, None, solver.nfe(steps), solver, gd.grids.karras(steps))


def _grids(law: gd.Distribution, key: jax.Array, steps: int, top: float) -> dict[str, gd.NoiseLevel]:
    return {
        PLAIN: gd.grids.karras(steps, sigma_max=top),
        "log-SNR from 0.02": gd.grids.uniform_log_snr(steps, 0.02, top),
        "GITS of the data": gd.gits_grid(law, steps, key, paths=64, sigma_max=top),
    }


def teleported(gaussian: gd.Gaussian, solver: gd.Sampler, levels: gd.NoiseLevel) -> tuple[gd.Sampler, gd.NoiseLevel]:
    """The sampler and grid that start at SIGMA_MAX with the Gaussian's exact flow to levels[0]."""
    whole = gd.NoiseLevel(1.0, jnp.append(jnp.full_like(levels.sigma[:1], SIGMA_MAX), levels.sigma))
    return gd.SwitchAt(gd.GaussianExact(gaussian), solver, endpoints.between(whole, 1)), whole


def from_file(path: Path) -> Choice:
    """A recipe as a choice."""
    sampler, levels = gd.load_recipe(path)
    calls = _calls(sampler, levels)
    return Choice(path.stem, "of its own", None, calls, sampler, levels)


def _calls(sampler: gd.Sampler, levels: gd.NoiseLevel) -> int:
    """Of the model: those of the steps that a closed form does not make."""
    if not isinstance(sampler, gd.SwitchAt):
        return sampler.nfe(len(levels) - 1)
    early = int((np.asarray(levels.log_snr)[1:] <= float(sampler.log_snr)).sum())
    return sampler.first.nfe(early) + sampler.second.nfe(len(levels) - 1 - early)


def screen(choices: list[Choice], law: gd.Distribution, starts: jax.Array, tried: int) -> list[Choice]:
    """The `tried` choices of each number of calls that end nearest to the fine solution of a law."""
    true = endpoints.fine(law, starts, SIGMA_MAX)
    error = {
        c: endpoints.root_mean(endpoints.squared_distances(endpoints.ends(c.sampler, law, starts, c.levels), true))
        for c in choices
    }
    counts = sorted({choice.calls for choice in choices})
    best = [sorted((c for c in choices if c.calls == count), key=error.__getitem__)[:tried] for count in counts]
    return [choice for row in best for choice in row]
