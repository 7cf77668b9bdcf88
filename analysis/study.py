"""The standard study of one training run: everything a report shows, measured once."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
import training
from analysis import compare, controls, quality, twins
from analysis.setting import Setting
from training import explain
from training.data import Dataset, load_for
from training.features import learn_features
from training.runs import history

SIGMAS = np.geomspace(0.01, 80, 16)


@dataclass(frozen=True)
class Settings:
    """What a report measures: how many starts, on which grid, with which twins."""

    # Checked by `run`, not here: a command-line parser builds it, and rewords errors that it meets while doing so.

    starts: int = 256  # paths from pure noise, the same for every model
    steps: int = 32  # Heun steps on the EDM grid (rho = 7) from sigma_max to 0
    sigma_min: float = 0.01  # last noise scale above 0: pixels of 8-bit images are 0.008 apart
    sigma_max: float = 80.0  # first noise scale
    components: int = 10  # Gaussians in the mixture
    seed: int = 0  # of the starts, the noise and the fits
    full: bool = False  # more samples where an experiment draws its own

    def check(self) -> None:
        """ValueError names the field that makes no study, what was expected, what came and the cure."""
        for name in ("starts", "steps", "components"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}: expected at least 2, got {getattr(self, name)}. Raise --{name}.")


@dataclass(frozen=True)
class Study:
    """The measurements: arrays keyed by model, and what they were measured on."""

    settings: Settings
    config: training.Config
    data: Dataset
    levels: np.ndarray  # (n+1,) noise scales of the grid
    paths: dict[str, compare.Paths]
    sigmas: np.ndarray  # (m,) noise scales of the explained variances
    explained: dict[str, compare.Curves]
    distances: dict[str, compare.Curves]
    variances: np.ndarray  # (modes,) of the principal components
    committed: compare.Curves
    quality: quality.Scores
    features: str
    seconds: dict[str, float]


def open_run(directory: Path, settings: Settings) -> Setting:
    """The run in `directory` as a setting: its network, data and history, twins fitted to the data, and controls."""
    settings.check()
    config, network = training.load_config(directory), training.load(directory)
    data = load_for(config)
    fitted = twins.fit(data.train, settings.components, settings.seed)
    levels = gd.grids.karras(settings.steps, settings.sigma_min, settings.sigma_max)
    noise = jax.random.normal(jax.random.key(settings.seed), (settings.starts, *data.shape), jnp.float32)
    key = jax.random.key(settings.seed + 2)
    return Setting(
        name=config.data,
        data=data,
        models={"network": network, **fitted._asdict()},
        starts=levels.sigma[0] * noise,
        levels=levels,
        seed=settings.seed,
        controls={
            "untrained": controls.untrained(network, config, key),
            "shuffled_weights": controls.shuffled(network, key),
            "shuffled_spectrum": controls.shuffled_spectrum(fitted.gaussian, settings.seed),
        },
        history={step: partial(training.load, path, "params") for step, path in history(directory).items()},
        full=settings.full,
    )


def run(directory: Path, settings: Settings) -> Study:
    """Load the run in `directory` and its data, fit the twins, and measure; a line of progress for each part."""
    settings.check()
    clock = _Clock()
    config = training.load_config(directory)
    data = load_for(config)
    network = training.load(directory)
    clock.lap("load", f"{config.data}: {len(data.train)} training and {len(data.held_out)} held-out samples")

    fitted = twins.fit(data.train, settings.components, settings.seed)
    models = {"network": network, **fitted._asdict()}
    clock.lap("fit", f"Gaussian, mixture of {settings.components}, data set")

    paths = _paths(models, data, settings)
    clock.lap("follow", f"{settings.starts} paths of {settings.steps} Heun steps for each of {len(models)} models")

    key = jax.random.key(settings.seed + 1)
    with_baseline = {**models, "isotropic": explain.isotropic(data.train)}
    explained = compare.explained_variance(with_baseline, data.held_out, SIGMAS, key)
    clock.lap("explain", f"{len(SIGMAS)} noise scales on the held-out samples")

    variances, committed = _commitment(paths, fitted.gaussian)
    features = learn_features(data, settings.seed)
    judged = quality.judge({name: path.samples for name, path in paths.items()}, data, features, settings.seed)
    clock.lap("judge", "commitment of components, quality of samples")
    distances = compare.distance_to_network(paths)
    return Study(
        settings=settings,
        config=config,
        data=data,
        levels=paths["network"].sigma,
        paths=paths,
        sigmas=SIGMAS,
        explained=explained,
        distances=distances,
        variances=variances,
        committed=committed,
        quality=judged,
        features=features.name,
        seconds=clock.seconds,
    )


def _paths(models: compare.Models, data: Dataset, settings: Settings) -> dict[str, compare.Paths]:
    levels = gd.grids.karras(settings.steps, settings.sigma_min, settings.sigma_max)
    noise = jax.random.normal(jax.random.key(settings.seed), (settings.starts, *data.shape), jnp.float32)
    return compare.follow(models, gd.Heun(), levels.sigma[0] * noise, levels)


def _commitment(paths: dict[str, compare.Paths], gaussian: gd.Gaussian) -> tuple[np.ndarray, compare.Curves]:
    """The components that hold at least a thousandth of the largest variance, 40 at the most."""
    variances = np.asarray(gaussian.eigvals, np.float64)
    modes = min(40, int((variances > 1e-3 * variances[0]).sum()))
    return variances[:modes], compare.commitment_levels(paths, gaussian, modes)


class _Clock:
    """Prints each part as it ends and keeps its seconds."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str, what: str) -> None:
        now = time.perf_counter()
        self.seconds[part], self._last = round(now - self._last, 2), now
        print(f"{part:<8} {self.seconds[part]:6.1f} s  {what}", flush=True)
