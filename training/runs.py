"""A run as others find it on the disk: its settings, and its weights as a denoiser."""

from pathlib import Path

from . import checkpoint
from .build import skeleton
from .config import Config
from .network import LearnedDenoiser
from .step import Trainer

WEIGHTS = {"ema": ".ema[0]", "params": ".params['network']"}


def open_run(path: str | Path) -> checkpoint.Checkpoint:
    """Return the newest whole checkpoint of the run at `path`, or the one at `path`; FileNotFoundError for neither."""
    where = Path(path).expanduser().resolve()
    found = checkpoint.read(where) if (where / "manifest.json").exists() else checkpoint.latest(where)
    if found is None:
        raise FileNotFoundError(
            f"path: expected the folder of a run, got {where}, which holds no checkpoint; "
            f"make one with: python -m training train --out {path}"
        )
    return found


def load_config(path: str | Path) -> Config:
    """Return the settings of the run at `path`; FileNotFoundError where there is none."""
    return Config.from_json(open_run(path).settings["config"])


def load(path: str | Path, weights: str = "ema") -> LearnedDenoiser:
    """Return the newest weights of the run at `path` (a run's folder, or one checkpoint's) as a denoiser.

    weights: "ema", the averaged ones that sample best, or "params", the last ones. Where the run was trained with
    labels the denoiser averages over them and `.given(label)` returns that of one class. FileNotFoundError where
    `path` is no run.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights: expected one of {', '.join(WEIGHTS)}, got {weights!r}")
    found = open_run(path)
    config, (shape, classes) = Config.from_json(found.settings["config"]), facts(found)
    graphdef, params = skeleton(config, shape, classes)
    trainer = Trainer(config, graphdef, shape, classes)
    return trainer.model(checkpoint.restore(params, found.arrays, WEIGHTS[weights]))


def settings(trainer: Trainer) -> dict:
    """Return what config.json holds: the settings, and the facts of the data that the network is shaped by."""
    data = {"shape": list(trainer.shape), "classes": trainer.classes}
    return {"config": trainer.config.to_json(), "data": data}


def facts(found: checkpoint.Checkpoint) -> tuple[tuple[int, ...], int | None]:
    """Return the shape of one sample and the number of classes that the run was started with."""
    return tuple(found.settings["data"]["shape"]), found.settings["data"]["classes"]
