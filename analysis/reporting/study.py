"""The standard study of one training run: every experiment and what they share, measured once."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
import training
from analysis.experiments import STANDARD, named
from analysis.harness import controls, experiment, twins
from analysis.harness.experiment import Experiment, Result
from analysis.harness.finding import sentence
from analysis.harness.setting import Setting
from analysis.measures import paths as compare
from analysis.measures import quality
from analysis.reporting.clock import Clock
from training import runs
from training.config import check
from training.data.dataset import Dataset
from training.storage.checkpoint import versions

MEMORY = 5 * 2**29  # bytes that paths may take
LEAST_STARTS = 16  # however large they are
SHARED = ("open", "follow", "judge")  # the parts of a report before its experiments


@dataclass(frozen=True)
class Settings:
    """What a report measures: how many starts, on which grid, with which twins."""

    # Checked by `run`, not here: a command-line parser builds it, and rewords errors that it meets while doing so.

    starts: int = 128  # paths from pure noise, the same for every model
    steps: int = 32  # Heun steps on the EDM grid (rho = 7) from sigma_max to 0
    sigma_min: float = 0.01  # last noise scale above 0: pixels of 8-bit images are 0.008 apart
    sigma_max: float = 80.0  # first noise scale
    components: int = 10  # Gaussians in the mixture
    seed: int = 0  # of the starts, the noise and the fits
    full: bool = False  # eight times the starts, and more samples where an experiment draws its own

    def check(self) -> None:
        """ValueError names the field that makes no study, what was expected, what came and the cure."""
        for name in ("starts", "steps", "components"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}: expected at least 2, got {getattr(self, name)}. Raise --{name}.")
        check("seed", self.seed)
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"sigma_min, sigma_max: expected 0 < sigma_min < sigma_max, got {self.sigma_min:g} and "
                f"{self.sigma_max:g}. The defaults, 0.01 and 80, suit data of standard deviation about 1."
            )

    @property
    def paths(self) -> int:
        """The number of starts."""
        return self.starts * (8 if self.full else 1)


@dataclass(frozen=True)
class Study:
    """The measurements: arrays keyed by model, and what they were measured on.

    experiments: all that were asked for, in the order of a report. results: of the first of them, as many as have run.
    """

    settings: Settings
    config: training.Config
    step: int  # of the training run
    setting: Setting
    experiments: tuple[Experiment[Any], ...]
    results: tuple[Result, ...]
    distances: dict[str, compare.Curves]
    variances: np.ndarray  # (modes,) of the principal components
    committed: compare.Curves
    quality: quality.Scores
    seconds: dict[str, float]

    @property
    def data(self) -> Dataset:
        """What the run was trained on."""
        return self.setting.data

    @property
    def paths(self) -> dict[str, compare.Paths]:
        """Every model's paths from the same starts."""
        return self.setting.paths

    @property
    def starts(self) -> int:
        """How many paths there are of each model: as many as asked for, or fewer of large images."""
        return len(self.setting.starts)

    @property
    def levels(self) -> np.ndarray:
        """The noise scales of the grid (n+1,)."""
        return self.setting.sigma

    @property
    def pending(self) -> tuple[Experiment[Any], ...]:
        """The experiments that have not run yet."""
        return self.experiments[len(self.results) :]

    @property
    def failed(self) -> tuple[Result, ...]:
        """The experiments that met a fault of the program."""
        return tuple(result for result in self.results if result.verdict == "failed")

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that a number depends on."""
        return {"gaussdiff": gd.__version__, **versions()}


def paths_held() -> int:
    """How many models have their paths in memory at once, at the most: the network, its twins and its controls,

    the Gaussian's closed form, and the further twins of some experiments. As many for every run, so that runs are
    compared from the same noise.
    """
    return 1 + len(twins.Twins.__annotations__) + len(controls.USUAL) + 1 + len(twins.MORE)


def noise_and_grid(settings: Settings, shape: tuple[int, ...]) -> tuple[jax.Array, gd.NoiseLevel]:
    """The starts (B, *shape), noise of the first level's scale, and the grid of levels; fewer starts of large images.

    States and denoised samples of all models are in memory at once: B (2 steps + 1) D numbers of four bytes for each of
    them, which may take MEMORY.
    """
    levels = gd.grids.karras(settings.steps, settings.sigma_min, settings.sigma_max)
    each = 4 * paths_held() * (2 * settings.steps + 1) * int(np.prod(shape))
    count = min(settings.paths, max(LEAST_STARTS, MEMORY // each))
    noise = jax.random.normal(jax.random.key(settings.seed), (count, *shape), jnp.float32)
    return levels.sigma[0] * noise, levels


def open_run(directory: Path, settings: Settings) -> Setting:
    """The run in `directory` as a setting: its network, data and history, twins fitted to the data, and controls."""
    settings.check()
    config, network = training.load_config(directory), training.load(directory)
    config.check_unconditional()
    data = runs.load_data(directory)
    fitted = twins.fit(data.train, settings.components, settings.seed)
    starts, levels = noise_and_grid(settings, data.shape)
    return Setting(
        name=config.data,
        data=data,
        models={"network": network, **fitted._asdict()},
        starts=starts,
        levels=levels,
        seed=settings.seed,
        controls=controls.usual(network, config, fitted.gaussian, settings.seed),
        history={step: partial(training.load, path, "params") for step, path in runs.history(directory).items()},
        full=settings.full,
    )


def run(directory: Path, settings: Settings, names: tuple[str, ...] = ()) -> Study:
    """All of `stages`: the finished study."""
    *_, study = stages(directory, settings, names)
    return study


def stages(
    directory: Path, settings: Settings, names: tuple[str, ...] = (), earlier: Mapping[str, float] | None = None
) -> Iterator[Study]:
    """Load the run in `directory` and its data, fit the twins, and measure; lines of progress with the time left.

    Yields the study before the first experiment, and again after each. names: of the experiments, all without any;
    ValueError for one that is none. earlier: the seconds that experiments took in another report, from which the time
    left is estimated.
    """
    wanted = [named(name) for name in names] or STANDARD
    chosen = tuple(one for one in STANDARD if one in wanted)
    with Clock((*SHARED, *(one.name for one in chosen)), earlier or {}) as clock:
        yield from _measured(directory, settings, chosen, clock)


def _measured(
    directory: Path, settings: Settings, experiments: tuple[Experiment[Any], ...], clock: Clock
) -> Iterator[Study]:
    setting = open_run(directory, settings)
    data = setting.data
    clock.lap("open", f"{setting.name}: {len(data.train)} training and {len(data.held_out)} held-out samples; twins")

    _ = setting.paths, setting.control_paths
    models, paths = len(setting.models) + len(setting.controls), len(setting.starts)
    fewer = f", not {settings.paths}: more would take over {MEMORY / 2**30:g} GiB" * (paths < settings.paths)
    clock.lap("follow", f"{paths} paths of {settings.steps} Heun steps for each of {models} models{fewer}")

    samples = {name: path.samples for name, path in setting.paths.items()}
    judged = quality.judge(samples, data, setting.features, settings.seed)
    variances, committed = _commitment(setting)
    clock.lap("judge", "quality of samples, commitment of components")

    study = Study(
        settings=settings,
        config=training.load_config(directory),
        step=runs.open_run(directory).step,
        setting=setting,
        experiments=experiments,
        results=(),
        distances=compare.distance_to_network(setting.paths),
        variances=variances,
        committed=committed,
        quality=judged,
        seconds=dict(clock.seconds),
    )
    yield study
    while study.pending:
        result = experiment.run(study.pending[0], setting, drawn=False)
        study = _with(study, result, clock)
        yield study


def _with(study: Study, result: Result, clock: Clock) -> Study:
    """The study with one more result, of which it prints a line."""
    name = result.experiment.name
    clock.lap(name, f"{result.verdict}: {sentence(result.to_json())}")
    result = dataclasses.replace(result, seconds=clock.seconds[name])
    return dataclasses.replace(study, results=(*study.results, result), seconds=dict(clock.seconds))


def _commitment(setting: Setting) -> tuple[np.ndarray, compare.Curves]:
    modes = compare.leading_modes(setting.gaussian)
    variances = np.asarray(setting.gaussian.eigvals, np.float64)
    return variances[:modes], compare.commitment_levels(setting.paths, setting.gaussian, modes)
