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
from training.data.dataset import load

Solve = tuple[gd.Sampler, gd.NoiseLevel]
Recipe = tuple[gd.LinearMultistep, gd.NoiseLevel]


@dataclass(frozen=True)
class Settings:
    """What the recipe is for."""

    calls: int  # of the model: the recipe's steps
    data: str = "digits"  # a data set, as for training
    run: Path | None = None  # folder of a training run on it, to refine the recipe on
    points: int = 2000  # samples that stand for the data set, drawn from it
    descent: int = 400  # steps of descent on the data; half as many on the network
    seed: int = 0  # of the paths and of the draw
    data_dir: str | None = None  # folder of prepared tensorflow-datasets

    def check(self) -> None:
        """ValueError names the field, what was expected, what came and the cure."""
        for name, least in (("calls", 2), ("points", 2), ("descent", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}. Raise --{name}.")


def make(settings: Settings) -> Recipe:
    """Find the recipe; each stage prints how far its ends are from the flow's, beside a usual choice."""
    settings.check()
    model = None if settings.run is None else _network(settings.run, settings.data)
    law_key, key, test_key = jax.random.split(jax.random.key(settings.seed), 3)
    law = stand_in(load(settings.data, data_dir=settings.data_dir), settings.points, settings.seed)
    usual = gd.DPMSolverPP2M(), gd.grids.karras(settings.calls)
    recipe = _stage("data", law, law_key, test_key, usual, settings, None)
    return recipe if model is None else _stage("network", model, key, test_key, usual, settings, recipe)


def _network(run: Path, data: str) -> training.LearnedDenoiser:
    trained = training.load_config(run).data
    if trained != data:
        raise ValueError(f"run: expected one trained on {data}, got {run}, trained on {trained}. Set --data {trained}.")
    return training.load(run)


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
