"""The fewest calls of a trained network for a quality: solver, grid, and a closed-form start or none.

Every choice is first tried on a law that costs little, the data set smoothed as in analysis/recipe.py; the best of each
number of calls are then judged on the network, by how far they end from its fine solution from the same noise (root
mean square per entry). What is chosen is judged once more, from starts that had no part in the choice.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
import training
from analysis import ends, recipe, report
from analysis.bootstrap import Interval, interval
from analysis.style import panels, plain_numbers
from training.data import load_for
from training.features import Features, learn_features

SOLVERS = {"iPNDM-4": gd.IPNDM(4), "DPM-Solver++(2M)": gd.DPMSolverPP2M(), "UniPC-3": gd.UniPC(3)}
KNOWN = {**SOLVERS, "Heun": gd.Heun()}  # what is shown for comparison, on the grid PLAIN
PLAIN = "EDM, rho = 7"
SWITCHES = (None, 20.0, 10.0, 5.0, 2.5)  # noise scales to which the closed form leads; None: no such start
REFERENCE = 18  # steps of Heun's method, EDM's own choice: 35 calls, whose quality is asked for by default
SIGMA_MAX = 80.0  # where every grid starts
RANK = 100  # components of the Gaussian that is stored in a recipe: at these noise scales the rest are alike


@dataclass(frozen=True)
class Settings:
    """Which numbers of calls are tried, and for what quality."""

    calls: tuple[int, ...] = (4, 5, 6, 8, 10, 12, 15, 20)  # of the network, a sample
    budget: float | None = None  # distance from the fine solution that is good enough; by default 18 steps of Heun's
    recipes: tuple[Path, ...] = ()  # files of `python -m analysis recipe`, to be judged beside the rest
    starts: int = 128  # paths from pure noise
    tried: int = 3  # choices of each number of calls that are judged on the network
    points: int = 2000  # samples that stand for the data set
    seed: int = 0  # of the starts and of the draw

    def check(self) -> None:
        """ValueError names the field, what was expected, what came and the cure."""
        if not self.calls or min(self.calls) < 3:
            raise ValueError(f"calls: expected numbers of at least 3, got {self.calls}. Raise --calls.")
        if self.budget is not None and not self.budget > 0:
            raise ValueError(f"budget: expected a distance above 0, got {self.budget}. Leave it out for a usual one.")
        for name, least in (("starts", 2), ("tried", 1), ("points", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}. Raise --{name}.")


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


@dataclass(frozen=True)
class Judged:
    """A choice, how far it ends from the fine solution, and the Frechet distance of its samples to held-out data."""

    choice: Choice
    distance: float
    frechet: float


@dataclass(frozen=True)
class Result:
    """What was judged and chosen for a budget of distance.

    usual: the distance of EDM's 18 steps of Heun's method. again, usual_again: the distances of the chosen and of the
    usual from other starts. fine_frechet: what the fine solution itself has.
    """

    data: str
    settings: Settings
    usual: float
    budget: float
    judged: list[Judged]
    fine_frechet: float
    features: str
    chosen: Judged
    again: Interval
    usual_again: Interval
    seconds: float

    @property
    def reached(self) -> bool:
        """Whether the choice is within the budget where it was made, and from the other starts too."""
        return self.found and self.again.value <= self.budget

    @property
    def found(self) -> bool:
        """Whether the choice was within the budget where it was made."""
        return self.chosen.distance <= self.budget


def run(directory: Path, settings: Settings) -> Result:
    """Search for the run in `directory`; a line for each part and for each number of calls."""
    settings.check()
    began, config = time.perf_counter(), training.load_config(directory)
    config.check_unconditional()
    network = training.load(directory)
    data, shape = load_for(config), network.shape
    gaussian = gd.Gaussian.from_samples(data.train, rank=min(RANK, data.train[0].size))
    law = recipe.stand_in(data, settings.points, settings.seed)
    keys = jax.random.split(jax.random.key(settings.seed), 3)
    starts, others = (SIGMA_MAX * jax.random.normal(key, (settings.starts, *shape), jnp.float32) for key in keys[:2])
    choices = list(candidates(settings.calls, gaussian, law, keys[2]))
    screened = screen(choices, law, starts, settings.tried)
    print(f"tried on the data: {len(choices)} choices, {time.perf_counter() - began:.0f} s", flush=True)
    features = learn_features(data, settings.seed)
    judge = Judge.of(network, starts, features, data.held_out)
    found = [choice for choice in screened if not choice.is_plain]
    judged = [judge(choice) for choice in (*known(settings.calls), *found, *map(from_file, settings.recipes))]
    usual_way = gd.Heun(), gd.grids.karras(REFERENCE)
    usual = ends.root_mean(judge.squares(*usual_way))
    budget = usual if settings.budget is None else settings.budget
    chosen = choose(judged, budget)
    anew = Judge.of(network, others, features, data.held_out)
    return Result(
        data=config.data,
        settings=settings,
        usual=usual,
        budget=budget,
        judged=judged,
        fine_frechet=judge.frechet(judge.fine),
        features=features.name,
        chosen=chosen,
        again=interval(ends.root_mean, anew.squares(chosen.choice.sampler, chosen.choice.levels)),
        usual_again=interval(ends.root_mean, anew.squares(*usual_way)),
        seconds=round(time.perf_counter() - began, 1),
    )


def candidates(calls: Iterable[int], gaussian: gd.Gaussian, law: gd.Distribution, key: jax.Array) -> Iterator[Choice]:
    """Every solver on every grid from every switch, with each number of calls, one a step."""
    grids = cache(partial(_grids, law, key))  # several solvers take the same steps
    for count, (name, solver), switch in product(calls, SOLVERS.items(), SWITCHES):
        for grid, levels in grids(count, switch).items():
            sampler, whole = (solver, levels) if switch is None else teleported(gaussian, solver, levels)
            yield Choice(name, grid, switch, count, sampler, whole)


def known(calls: Iterable[int]) -> Iterator[Choice]:
    """What one would take without a search; Heun's method makes one call less where the number is even."""
    for count, (name, solver) in product(calls, KNOWN.items()):
        steps = max(n for n in range(1, count + 1) if solver.nfe(n) <= count)
        yield Choice(name, PLAIN, None, solver.nfe(steps), solver, gd.grids.karras(steps))


def _grids(law: gd.Distribution, key: jax.Array, steps: int, switch: float | None) -> dict[str, gd.NoiseLevel]:
    top = SIGMA_MAX if switch is None else switch
    return {
        PLAIN: gd.grids.karras(steps, sigma_max=top),
        "log-SNR from 0.02": gd.grids.uniform_log_snr(steps, 0.02, top),
        "GITS of the data": gd.gits_grid(law, steps, key, paths=64, sigma_max=top),
    }


def teleported(gaussian: gd.Gaussian, solver: gd.Sampler, levels: gd.NoiseLevel) -> tuple[gd.Sampler, gd.NoiseLevel]:
    """The sampler and grid that start at SIGMA_MAX with the Gaussian's exact flow to levels[0]."""
    whole = gd.NoiseLevel(1.0, jnp.append(jnp.full_like(levels.sigma[:1], SIGMA_MAX), levels.sigma))
    return gd.SwitchAt(gd.GaussianExact(gaussian), solver, ends.between(whole, 1)), whole


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
    true = ends.fine(law, starts, SIGMA_MAX)
    error = {c: ends.root_mean(ends.apart(ends.ends(c.sampler, law, starts, c.levels), true)) for c in choices}
    counts = sorted({choice.calls for choice in choices})
    best = [sorted((c for c in choices if c.calls == count), key=error.__getitem__)[:tried] for count in counts]
    return [choice for row in best for choice in row]


@dataclass(frozen=True)
class Judge:
    """A network with starts, its fine solution from them, and features of held-out data."""

    network: gd.Denoiser
    starts: jax.Array
    fine: np.ndarray
    features: Features
    target: np.ndarray

    @classmethod
    def of(cls, network: gd.Denoiser, starts: jax.Array, features: Features, held_out: np.ndarray) -> "Judge":
        """Find the fine solution."""
        fine = ends.fine(network, starts, SIGMA_MAX)
        return cls(network, starts, fine, features, features.extract(held_out))

    def __call__(self, choice: Choice) -> Judged:
        found = ends.ends(choice.sampler, self.network, self.starts, choice.levels)
        judged = Judged(choice, ends.root_mean(ends.apart(found, self.fine)), self.frechet(found))
        print(f"{choice.calls:3d} calls: {judged.distance:.4f}  {choice}", flush=True)
        return judged

    def squares(self, sampler: gd.Sampler, levels: gd.NoiseLevel) -> np.ndarray:
        """The squared distance of each path's end from the fine solution's."""
        return ends.apart(ends.ends(sampler, self.network, self.starts, levels), self.fine)

    def frechet(self, samples: np.ndarray) -> float:
        """The Frechet distance to held-out data."""
        return gd.metrics.frechet_distance(self.features.extract(samples), self.target)


def choose(judged: list[Judged], budget: float) -> Judged:
    """Of those within the budget the one of fewest calls, the nearest of these; without any, the nearest of all."""
    within = [each for each in judged if each.distance <= budget]
    if not within:
        return min(judged, key=lambda each: each.distance)
    return min(within, key=lambda each: (each.choice.calls, each.distance))


def pareto(judged: list[Judged]) -> list[Judged]:
    """Those that no other of as many calls or fewer is nearer than, by rising calls."""
    front: list[Judged] = []
    for each in sorted(judged, key=lambda each: (each.choice.calls, each.distance)):
        if not front or each.distance < front[-1].distance:
            front.append(each)
    return front


def sentence(result: Result) -> str:
    """What was chosen, in words."""
    chosen, found = result.chosen, "the fewest calls for" if result.found else "no choice reached"
    missed = ", where the budget is not kept" if result.found and not result.reached else ""
    return (
        f"For {result.data}, {found} a distance of {result.budget:.4f} from the fine solution"
        f"{'' if result.found else '; the nearest'}: {chosen.choice.calls} calls, {chosen.choice}, at "
        f"{chosen.distance:.4f}, and at {result.again} from other starts{missed}. EDM's {REFERENCE} steps of "
        f"Heun's method, {gd.Heun().nfe(REFERENCE)} calls, are {result.usual:.4f} away, {result.usual_again} from the "
        "other starts."
    )


def record(result: Result) -> dict[str, Any]:
    """Everything as JSON."""
    settings = {**asdict(result.settings), "recipes": [str(path) for path in result.settings.recipes]}
    front = pareto(result.judged)
    return {
        "data": result.data,
        "settings": settings,
        "budget": result.budget,
        "reached": result.reached,
        "reached_where_chosen": result.found,
        "usual_distance": result.usual,
        "usual_from_other_starts": list(result.usual_again),
        "usual_calls": gd.Heun().nfe(REFERENCE),
        "chosen": _row(result.chosen),
        "chosen_from_other_starts": list(result.again),
        "pareto": [_row(each) for each in front],
        "judged": [_row(each) for each in result.judged],
        "frechet_of_fine_solution": result.fine_frechet,
        "features": result.features,
        "seconds": result.seconds,
        "versions": {"gaussdiff": gd.__version__, "jax": jax.__version__, "numpy": np.__version__},
    }


def _row(judged: Judged) -> dict[str, Any]:
    choice = judged.choice
    about = {"solver": choice.solver, "grid": choice.grid, "calls": choice.calls}
    switch = {} if choice.switch is None else {"switch_sigma": choice.switch}
    return {**about, **switch, "distance": judged.distance, "frechet": judged.frechet}


def draw(result: Result) -> Figure:
    """Distance and Frechet distance against calls: the best that was found, and plain solvers."""
    figure, axes = panels(2, width=5)
    colors = dict(zip(KNOWN, ("#56b4e9", "#e69f00", "#cc79a7", "#999999"), strict=True))
    front = pareto(result.judged)
    for axis, value in zip(axes, ("distance", "frechet"), strict=True):
        for name, color in colors.items():
            plain = [
                e for e in result.judged if (e.choice.solver, e.choice.grid, e.choice.switch) == (name, PLAIN, None)
            ]
            plain.sort(key=lambda each: each.choice.calls)
            _curve(axis, plain, value, "s--", color=color, ms=4, label=f"{name}, {PLAIN}")
        _curve(axis, front, value, "o-", color="#111111", label="best found")
        _curve(axis, [result.chosen], value, "*", color="#d55e00", ms=14, label="chosen")
        axis.set(xlabel="calls of the network", yscale="log")
        plain_numbers(axis.yaxis)
    axes[0].axhline(result.budget, color="#d55e00", lw=1, ls=":", label="budget")
    axes[1].axhline(result.fine_frechet, color="#999999", lw=1, label="fine solution")
    axes[0].set(ylabel="root mean square per entry", title="distance to the fine solution")
    axes[1].set(ylabel="Fréchet distance", title="samples against held-out data")
    figure.suptitle(f"{result.data}: {result.chosen.choice.calls} calls, {result.chosen.choice}", fontsize=10)
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _curve(axis, judged: list[Judged], value: str, line: str, **style) -> None:
    axis.plot([each.choice.calls for each in judged], [getattr(each, value) for each in judged], line, **style)


def write(result: Result, out: Path) -> None:
    """Print the choice; write accelerate.json, accelerate.png, accelerate.pdf and recipe.json to the folder `out`."""
    numbers = json.dumps(record(result), indent=1, allow_nan=False) + "\n"
    pictures = {kind: report.drawn(draw(result), kind) for kind in ("png", "pdf")}
    print(sentence(result))
    out.mkdir(parents=True, exist_ok=True)
    (out / "accelerate.json").write_text(numbers)
    for kind, picture in pictures.items():
        (out / f"accelerate.{kind}").write_bytes(picture)
    recipe.write((result.chosen.choice.sampler, result.chosen.choice.levels), out / "recipe.json")
