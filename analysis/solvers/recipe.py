"""A solver recipe from the data alone: the grid and the coefficients with which few calls come nearest to the flow.

The data set, smoothed by the bandwidth under which held-out samples are likeliest, stands for a network that will learn
it; with a training run the recipe is refined on the network itself.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax

import gaussdiff as gd
import training
from analysis.harness.twins import stand_in
from training.config import check
from training.data.dataset import Dataset, load
from training.runs import load_data

Solve = tuple[gd.Sampler, gd.NoiseLevel]
Recipe = tuple[gd.LinearMultistep, gd.NoiseLevel]


@dataclass(frozen=True)
class Settings:
    """What the recipe is for."""

    calls: int  # of the model: the recipe's steps
    data: str | None = None  # a data set, as for training: digits, toy-ring, a folder of images
    run: Path | None = None  # instead of --data: folder of a training run, whose data it takes and refines it on
    points: int = 2000  # samples that stand for the data set, drawn from it
    descent: int = 400  # steps of descent on the data; half as many on the network
    seed: int = 0  # of the paths and of the draw
    data_dir: str | None = None  # of --data: folder of prepared tensorflow-datasets
    held_out: float | None = None  # of --data: fraction held out, as in training; by default as by default there
    image_size: int | None = None  # of --data: side to which a folder's images are cropped and resized

    def check(self) -> None:
        """ValueError names the field, what was expected, what came and the cure."""
        for name, least in (("calls", 2), ("points", 2), ("descent", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}. Raise --{name}.")
        check("seed", self.seed)
        if self.data is not None:
            check("data", self.data)
        if (self.data is None) == (self.run is None):
            given = "neither" if self.data is None else "both"
            raise ValueError(
                f"data, run: expected one of the two, got {given}. Write --run with a run's folder, for the data that "
                "it was trained on, or --data digits, for example."
            )
        of_data = {"data_dir": self.data_dir, "held_out": self.held_out, "image_size": self.image_size}
        if self.run is not None and (given := [name for name, value in of_data.items() if value is not None]):
            raise ValueError(
                f"{given[0]}: expected none beside run, which says how its data are read, got "
                f"{of_data[given[0]]}. Leave out --{given[0].replace('_', '-')}."
            )


def make(settings: Settings) -> Recipe:
    """Find the recipe; each stage prints how far its ends are from the flow's, beside a usual choice."""
    settings.check()
    model = None if settings.run is None else training.load(settings.run)
    law_key, key, test_key = jax.random.split(jax.random.key(settings.seed), 3)
    law = stand_in(_dataset(settings), settings.points, settings.seed)
    usual = gd.DPMSolverPP2M(), gd.grids.karras(settings.calls)
    recipe = _stage("data", law, law_key, test_key, usual, settings, None)
    return recipe if model is None else _stage("network", model, key, test_key, usual, settings, recipe)


def _dataset(settings: Settings) -> Dataset:
    if settings.run is not None:
        return load_data(settings.run)  # the run's own split: what it held out stays held out
    assert settings.data is not None
    fraction = {} if settings.held_out is None else {"held_out": settings.held_out}
    return load(settings.data, data_dir=settings.data_dir, image_size=settings.image_size, **fraction)


def _stage(
    name: str,
    model: gd.Empirical | training.LearnedDenoiser,
    key,
    test_key,
    usual: Solve,
    settings: Settings,
    start: Recipe | None,
) -> Recipe:
    started, shape = time.perf_counter(), model.shape
    share = 1 if start is None else 2
    recipe = gd.optimal_sampler(
        model,
        settings.calls,
        key=key,
        shape=shape,
        paths=1024 // share**2,
        batch=128 // share**2,
        steps=settings.descent // share,
        start=start,
    )
    test = gd.EndError.of(model, test_key, 256, shape=shape)
    measured = [float(_distance(test, *each, model)) for each in (usual, recipe)]
    print(
        f"{name}: {measured[1]:.4f} from the flow's ends (root mean square per entry); DPM-Solver++(2M) on EDM's grid "
        f"{measured[0]:.4f}; {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    return recipe


@eqx.filter_jit
def _distance(test: gd.EndError, sampler: gd.Sampler, levels: gd.NoiseLevel, model: gd.Denoiser) -> jax.Array:
    return test(sampler, levels, model)


def write(recipe: Solve, out: Path) -> None:
    """Save the recipe as JSON and say how it is used."""
    out.parent.mkdir(parents=True, exist_ok=True)
    gd.save_recipe(out, *recipe)
    print(f"written: {out}; python -m training sample --recipe {out} uses it, and gd.load_recipe reads it")
