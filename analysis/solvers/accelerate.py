"""The fewest calls of a trained network for a quality: solver, grid, and a closed-form start or none.

Every choice is first tried on a law that costs little, the data set smoothed as in analysis/solvers/recipe.py; the best
of each number of calls are then judged on the network, by how far they end from its fine solution from the same noise
(root mean square per entry), and by the Frechet distance of their ends to held-out data in principal components. Either
may be asked for. What is chosen is judged once more, from starts that had no part in the choice.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
import training
from analysis.harness import twins
from analysis.harness.style import panels, plain_numbers
from analysis.measures import endpoints
from analysis.measures.bootstrap import Interval, interval
from analysis.reporting.drawing import drawn
from analysis.solvers import recipe
from analysis.solvers.candidates import KNOWN, PLAIN, SIGMA_MAX, Choice, candidates, from_file, known, screen
from training.config import check
from training.data.dataset import Dataset
from training.evaluation.features import Features, learn_components, unseen
from training.evaluation.samples import draws
from training.runs import load_data
from training.storage import disk

REFERENCE = 18  # steps of Heun's method, EDM's own choice: 35 calls, whose quality is asked for by default
RANK = 100  # components of the Gaussian that is stored in a recipe: at these noise scales the rest are alike
Quality = Literal["distance", "frechet"]
NAMES: dict[Quality, str] = {
    "distance": "a distance of {:.4f} from the fine solution",
    "frechet": "a Fréchet distance of {:.4f} to held-out data",
}
RANGES: dict[Quality, str] = {  # what stands in brackets behind a number from other starts
    "distance": "95 % intervals over resampled paths",
    "frechet": "± two standard deviations of the distance that as many real samples have, over ten draws; "
    "not intervals of the choices",
}


@dataclass(frozen=True)
class Settings:
    """Which numbers of calls are tried, and for what quality."""

    calls: tuple[int, ...] = (4, 5, 6, 8, 10, 12, 15, 20)  # of the network, a sample
    quality: Quality = "distance"  # from the fine solution's ends, or "frechet": of the samples from held-out data
    budget: float | None = None  # of it that is good enough; by default that of EDM's 18 steps of Heun's method
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
            raise ValueError(f"budget: expected a number above 0, got {self.budget}. Leave it out for a usual one.")
        check("seed", self.seed)
        for path in self.recipes:
            if not path.is_file():
                raise ValueError(f"recipes: expected files of recipes, got {path}, which is none. Correct --recipes.")
            gd.load_recipe(path)  # before the search, which takes minutes
        for name, least in (("starts", 2), ("tried", 1), ("points", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}. Raise --{name}.")


@dataclass(frozen=True)
class Judged:
    """A choice, how far it ends from the fine solution, and the Frechet distance of its samples to held-out data."""

    choice: Choice
    distance: float
    frechet: float


@dataclass(frozen=True)
class Floor:
    """The Frechet distance that real samples, as many, have to the held-out ones: mean and spread over ten draws."""

    mean: float
    spread: float


@dataclass(frozen=True)
class Result:
    """What was judged and chosen for a budget of the quality that the settings name.

    usual: EDM's 18 steps of Heun's method. again, usual_again: the quality of the chosen and of the usual from other
    starts. fine_frechet: what the fine solution itself has.
    """

    data: str
    settings: Settings
    usual: Judged
    budget: float
    judged: list[Judged]
    fine_frechet: float
    floor: Floor
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
        return of(self.chosen, self.settings.quality) <= self.budget


def of(judged: Judged, quality: Quality) -> float:
    """The number that is asked for: small is good."""
    return judged.distance if quality == "distance" else judged.frechet


def run(directory: Path, settings: Settings) -> Result:
    """Search for the run in `directory`; a line for each part and for each number of calls."""
    settings.check()
    began, config, quality = time.perf_counter(), training.load_config(directory), settings.quality
    config.check_unconditional()
    network = training.load(directory)
    data, shape = load_data(directory), network.shape
    gaussian = gd.Gaussian.from_samples(data.train, rank=min(RANK, data.train[0].size))
    law = twins.stand_in(data, settings.points, settings.seed)
    keys = jax.random.split(jax.random.key(settings.seed), 3)
    starts, fresh = (SIGMA_MAX * jax.random.normal(key, (settings.starts, *shape), jnp.float32) for key in keys[:2])
    choices = list(candidates(settings.calls, gaussian, law, keys[2]))
    screened = screen(choices, law, starts, settings.tried)
    print(f"tried on the data: {len(choices)} choices, {time.perf_counter() - began:.0f} s", flush=True)
    judge = Judge.of(network, starts, data, settings.seed)
    usual = judge(next(choice for choice in known((2 * REFERENCE - 1,)) if choice.solver == "Heun"))
    teleporting = [choice for choice in screened if not choice.is_plain]
    others = [choice for choice in known(settings.calls) if not _is_same(choice, usual.choice)]
    judged = [usual, *map(judge, (*others, *teleporting, *map(from_file, settings.recipes)))]
    # differences smaller than the floor's spread mean nothing
    slack = judge.floor.spread if quality == "frechet" else 0.0
    budget = of(usual, quality) + slack if settings.budget is None else settings.budget
    chosen = choose(judged, budget, quality)
    anew = Judge.of(network, fresh, data, settings.seed)
    return Result(
        data=config.data,
        settings=settings,
        usual=usual,
        budget=budget,
        judged=judged,
        fine_frechet=judge.frechet(judge.fine),
        floor=judge.floor,
        features=judge.features.name,
        chosen=chosen,
        again=anew.again(chosen.choice, quality),
        usual_again=anew.again(usual.choice, quality),
        seconds=round(time.perf_counter() - began, 1),
    )


def _is_same(plain: Choice, usual: Choice) -> bool:
    return (plain.solver, plain.calls) == (usual.solver, usual.calls)


@dataclass(frozen=True)
class Judge:
    """A network with starts, its fine solution from them, and features of held-out data with their floor."""

    network: gd.Denoiser
    starts: jax.Array
    fine: np.ndarray
    features: Features
    target: np.ndarray
    floor: Floor

    @classmethod
    def of(cls, network: gd.Denoiser, starts: jax.Array, data: Dataset, seed: int) -> "Judge":
        """Find the fine solution and the floor."""
        features = learn_components(data)
        target = features.extract(data.held_out)
        real = [features.extract(x) for x in draws(unseen(data), len(starts), seed)]
        floors = [gd.metrics.frechet_distance(x, target) for x in real]
        floor = Floor(float(np.mean(floors)), float(np.std(floors)))
        return cls(network, starts, endpoints.fine(network, starts, SIGMA_MAX), features, target, floor)

    def __call__(self, choice: Choice) -> Judged:
        ends = self.samples(choice)
        judged = Judged(choice, endpoints.root_mean(endpoints.squared_distances(ends, self.fine)), self.frechet(ends))
        print(f"{choice.calls:3d} calls: {judged.distance:.4f}, Fréchet {judged.frechet:.4f}  {choice}", flush=True)
        return judged

    def again(self, choice: Choice, quality: Quality) -> Interval:
        """A choice's distance or Frechet distance, with the ends that RANGES says."""
        ends = self.samples(choice)
        if quality == "distance":
            return interval(endpoints.root_mean, endpoints.squared_distances(ends, self.fine))
        value = self.frechet(ends)
        return Interval(value, value - 2 * self.floor.spread, value + 2 * self.floor.spread)

    def samples(self, choice: Choice) -> np.ndarray:
        """Where the choice leads from the starts."""
        return endpoints.ends(choice.sampler, self.network, self.starts, choice.levels)

    def frechet(self, samples: np.ndarray) -> float:
        """The Frechet distance to held-out data."""
        return gd.metrics.frechet_distance(self.features.extract(samples), self.target)


def choose(judged: list[Judged], budget: float, quality: Quality = "distance") -> Judged:
    """Of those within the budget the one of fewest calls, the best of these; without any, the best of all."""
    within = [each for each in judged if of(each, quality) <= budget]
    if not within:
        return min(judged, key=lambda each: of(each, quality))
    return min(within, key=lambda each: (each.choice.calls, of(each, quality)))


def pareto(judged: list[Judged], quality: Quality = "distance") -> list[Judged]:
    """Those that no other of as many calls or fewer is better than, by rising calls."""
    front: list[Judged] = []
    for each in sorted(judged, key=lambda each: (each.choice.calls, of(each, quality))):
        if not front or of(each, quality) < of(front[-1], quality):
            front.append(each)
    return front


def sentence(result: Result) -> str:
    """What was chosen, in words."""
    chosen, quality = result.chosen, result.settings.quality
    outcome = "the fewest calls for" if result.found else "no choice reached"
    missed = ", where the budget is not kept" if result.found and not result.reached else ""
    floor = f" Real samples, as many, have {result.floor.mean:.4f} ± {result.floor.spread:.4f} (standard deviation)."
    return (
        f"For {result.data}, {outcome} {NAMES[quality].format(result.budget)}"
        f"{'' if result.found else '; the best'}: {chosen.choice.calls} calls, {chosen.choice}, at "
        f"{of(chosen, quality):.4f}, and at {result.again} from other starts{missed}. EDM's {REFERENCE} steps of "
        f"Heun's method, {gd.Heun().nfe(REFERENCE)} calls, have {of(result.usual, quality):.4f}, "
        f"{result.usual_again} from the other starts.{floor if quality == 'frechet' else ''} "
        f"In brackets: {RANGES[quality]}."
    )


def record(result: Result) -> dict[str, Any]:
    """Everything as JSON."""
    settings = {**asdict(result.settings), "recipes": [str(path) for path in result.settings.recipes]}
    return {
        "data": result.data,
        "settings": settings,
        "budget": result.budget,
        "reached": result.reached,
        "reached_where_chosen": result.found,
        "usual": _row(result.usual),
        "ranges_from_other_starts": RANGES[result.settings.quality],
        "usual_from_other_starts": list(result.usual_again),
        "chosen": _row(result.chosen),
        "chosen_from_other_starts": list(result.again),
        "pareto": [_row(each) for each in pareto(result.judged, result.settings.quality)],
        "judged": [_row(each) for each in result.judged],
        "frechet_of_fine_solution": result.fine_frechet,
        "frechet_of_real_samples": asdict(result.floor),
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
    front, asked = pareto(result.judged, result.settings.quality), result.settings.quality
    ticks = sorted({*result.settings.calls, result.usual.choice.calls})
    qualities: tuple[Quality, ...] = ("distance", "frechet")
    for axis, quality in zip(axes, qualities, strict=True):
        for name, color in colors.items():
            plain = [
                e for e in result.judged if (e.choice.solver, e.choice.grid, e.choice.switch) == (name, PLAIN, None)
            ]
            plain.sort(key=lambda each: each.choice.calls)
            _curve(axis, plain, quality, "s--", color=color, ms=4, label=f"{name}, {PLAIN}")
        _curve(axis, front, quality, "o-", color="#111111", label="best found")
        _curve(axis, [result.chosen], quality, "*", color="#d55e00", ms=14, label="chosen")
        if quality == asked:
            axis.axhline(result.budget, color="#d55e00", lw=1, ls=":", label="budget")
        axis.set(xlabel="calls of the network for a sample", xticks=ticks, yscale="log")
        axis.set_ylim(top=100 * of(result.usual, quality))  # what is farther is useless, and would flatten the rest
        plain_numbers(axis.yaxis)
    axes[1].axhline(result.fine_frechet, color="#999999", lw=1, label="fine solution")
    low, high = (result.floor.mean + sign * result.floor.spread for sign in (-1, 1))
    axes[1].axhspan(low, high, color="#cc79a7", alpha=0.3, lw=0, label="real samples")
    axes[0].set(ylabel="root mean square per entry", title="distance to the fine solution")
    axes[1].set(ylabel="Fréchet distance", title="samples against held-out data")
    figure.suptitle(_headline(result), fontsize=10)
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _headline(result: Result) -> str:
    does = "reach" if result.found else "are nearest to"
    return f"{result.data}: {result.chosen.choice.calls} calls {does} the budget, by {result.chosen.choice}"


def _curve(axis, judged: list[Judged], quality: Quality, line: str, **style) -> None:
    axis.plot([each.choice.calls for each in judged], [of(each, quality) for each in judged], line, **style)


def write(result: Result, out: Path) -> None:
    """Print the choice; write accelerate.json, accelerate.png, accelerate.pdf and recipe.json to the folder `out`."""
    numbers = json.dumps(record(result), indent=1, allow_nan=False) + "\n"
    pictures = {kind: drawn(draw(result), kind) for kind in ("png", "pdf")}
    print(sentence(result))
    disk.make(out)
    disk.write(out / "accelerate.json", numbers.encode())
    for kind, picture in pictures.items():
        disk.write(out / f"accelerate.{kind}", picture)
    print(f"written: {out / 'accelerate.json'}, .png, .pdf")
    recipe.write((result.chosen.choice.sampler, result.chosen.choice.levels), out / "recipe.json")
