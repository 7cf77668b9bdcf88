"""A run as it lies on the disk: its settings, and its weights as a denoiser."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.tree_util import keystr

from gaussdiff import archives
from training.config import Config
from training.data.dataset import Dataset, load_for
from training.data.fingerprint import Contents
from training.networks.build import skeleton
from training.networks.denoiser import LearnedDenoiser
from training.networks.params import Params
from training.step import Trainer
from training.storage import checkpoint
from training.storage import weights as weights_file


def open_run(path: str | Path) -> checkpoint.Checkpoint:
    """The newest whole checkpoint of the run at `path`, or the one at `path`, a folder or a file of weights.

    FileNotFoundError where there is none; ValueError where it is damaged.
    """
    where = Path(path).expanduser().resolve()
    if where.is_file():
        saved = weights_file.read(where)
    else:
        saved = _read(where) if (where / "manifest.json").exists() else checkpoint.latest(where)
    if saved is None:
        raise FileNotFoundError(
            f"path (--run): expected the folder of a run or a file of weights, got {where}, which has no checkpoint; "
            f"make one with: python -m training train --out {path}"
        )
    check_settings(saved)
    return saved


def _read(where: Path) -> checkpoint.Checkpoint:
    try:
        return checkpoint.read(where)
    except ValueError as error:
        raise ValueError(f"path (--run): {where} is damaged ({error}); take another checkpoint of the run") from error


def check_settings(saved: checkpoint.Checkpoint) -> None:
    """ValueError, naming the file, where the settings in it are not those of a run, or of more layers than arrays."""
    with archives.parsing(saved.path):
        config = Config.from_json(saved.settings["config"])
        shape, classes = facts(saved)
        str(Contents.of_run(saved))  # which reads its fields
        counts = [*shape] if classes is None else [*shape, classes]
        if not counts or not all(isinstance(count, int) and count > 0 for count in counts):
            raise ValueError(f"its data have shape {shape} and classes {classes}")
        if max(config.blocks, len(config.channel_mult)) > len(saved.arrays):  # building so many may never end
            raise ValueError(f"its settings ask for more layers than its {len(saved.arrays)} arrays can fill")


def load_config(path: str | Path) -> Config:
    """The settings of the run at `path`; FileNotFoundError where there is none."""
    return Config.from_json(open_run(path).settings["config"])


def load(path: str | Path, weights: str = "ema") -> LearnedDenoiser:
    """The newest weights of the run at `path` as a denoiser.

    path: the folder of a run or of one checkpoint, or a file that `export` wrote.
    weights: "ema", the averaged ones that sample best, "ema-2" and so on for further half-lives, or "params", the last
    ones. Where the run was trained with labels the denoiser averages over them and `.given(label)` returns that of one
    class. FileNotFoundError where `path` is no run; ValueError where a file is damaged or has other weights.
    """
    _, trainer, params = _open(path, weights)
    return trainer.model(params)


def load_data(path: str | Path) -> Dataset:
    """The data that the run at `path` names, read anew, with a warning where they are not those of the run.

    ValueError where they are of another shape or other classes, as for a run on data that a program gave it.
    """
    saved = open_run(path)
    config = Config.from_json(saved.settings["config"])
    dataset = load_for(config, facts(saved)[1])
    check_kind(
        saved, dataset, "judge it on its own data, in the program that has them: training.evaluation.evaluate.assess"
    )
    Contents.of(dataset, config.labels).check(saved, dataset.drawn, accept=True)
    return dataset


def check_kind(saved: checkpoint.Checkpoint, dataset: Dataset, cure: str) -> None:
    """ValueError where the data are of another shape than those that the run was started on.

    Or of other classes, where the run is conditioned on them.
    """
    shape, classes = facts(saved)
    conditioned = Config.from_json(saved.settings["config"]).labels
    if shape != dataset.shape or (conditioned and classes != dataset.classes):
        raise ValueError(
            f"data: this run was started on samples of shape {shape} and classes {classes}, got {dataset.shape} and "
            f"{dataset.classes}; {cure}"
        )


def history(path: str | Path) -> dict[int, Path]:
    """The folders of the run's checkpoints by step, increasing; each is a path for `load`."""
    return checkpoint.steps(Path(path).expanduser().resolve())


def export(path: str | Path, out: str | Path, weights: str = "ema") -> Path:
    """Write the weights that `load(path, weights)` loads as the one file `out`, NAME.safetensors, and return its path.

    `load(out, weights)` then gives the same denoiser to the bit, with nothing else at hand. ValueError for another
    ending, OSError where it cannot be written.
    """
    target = Path(out).expanduser().resolve()
    if target.suffix != ".safetensors":
        cure = target.with_suffix(".safetensors")
        raise ValueError(f"out: expected a name that ends in .safetensors, got {out}; set --out to {cure}")
    saved, _, params = _open(path, weights)
    weights_file.write(target, params, saved.step, saved.settings | {"weights": weights})
    return target


def _open(path: str | Path, weights: str) -> tuple[checkpoint.Checkpoint, Trainer, Params]:
    saved = open_run(path)
    config, (shape, classes) = Config.from_json(saved.settings["config"]), facts(saved)
    if weights not in (places := _places(config)):
        raise ValueError(f"weights: expected one of {', '.join(places)}, got {weights!r}; set --weights to one of them")
    if (only := saved.settings.get("weights", weights)) != weights:
        raise ValueError(
            f"weights: expected {only!r}, the only weights in {saved.path}, got {weights!r}; set --weights {only}"
        )
    # Rounded products would cost adaptive solvers many steps: what was trained in bfloat16 is asked in float32.
    config = dataclasses.replace(config, dtype="float32")
    name = weights_file.name if saved.path.is_file() else lambda path: places[weights] + keystr(path)
    with archives.parsing(saved.path):
        graphdef, params = skeleton(config, shape, classes)
        restored = checkpoint.restore(params, saved.arrays, name)
    return saved, Trainer(config, graphdef, shape, classes), jax.tree.map(jnp.asarray, restored)


def _places(config: Config) -> dict[str, str]:
    """The name in a checkpoint of each kind of weights."""
    more = {f"ema-{i + 1}": f".ema[{i}]" for i in range(1, len(config.ema_half_lives))}
    return {"ema": ".ema[0]", **more, "params": ".params['network']"}


def settings(trainer: Trainer, contents: Contents) -> dict:
    """The content of config.json: the settings, and the shape, classes and fingerprint of the data."""
    data = {"shape": list(trainer.shape), "classes": trainer.classes, **contents._asdict()}
    return {"config": trainer.config.to_json(), "data": data}


def facts(saved: checkpoint.Checkpoint) -> tuple[tuple[int, ...], int | None]:
    """The shape of one sample and the number of classes that the run was started with."""
    return tuple(saved.settings["data"]["shape"]), saved.settings["data"]["classes"]
