"""Samples of the averaged weights while they are trained, as pictures: the same noise every time, so that they compare.

    RUN/samples/step-00000200.png        images in a grid, vectors as points over held-out ones

Row by row the picture shows: plain samples; or one class per column, each row from one noise; or, of networks that
sharpen, a small held-out image, its sample and the truth side by side. The noise is that of `training sample`.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import gaussdiff as gd
from training.data.dataset import Dataset, spread
from training.networks.condition import Condition
from training.networks.params import Params
from training.page import images
from training.step import Trainer
from training.storage import disk

FOLDER = "samples"  # in the folder of the run
STEPS = 18  # of Heun's method
IMAGES = 64
CLASSES = 16  # columns at most
SHARPENED = 32
POINTS = 1000
MOST_BYTES = 2**25  # of a picture

Save = Callable[[np.ndarray, BinaryIO], None]


class Pictures:
    """Draws the samples of one network after the other; compiled once."""

    def __init__(self, trainer: Trainer, dataset: Dataset, folder: Path):
        config = trainer.config
        self.folder = folder
        self.levels = gd.grids.karras(STEPS, config.sigma_min, config.sigma_max)
        noise, self.conditions, self.save = _scene(trainer, dataset)
        self.starts = _starts(noise, trainer.shape, self.levels[0])
        self.ends = jax.jit(partial(_ends, trainer))

    def take(self, step: int, params: Params) -> None:
        """Write the picture of the weights at `step`: whole or not at all."""
        samples = np.asarray(self.ends(params, self.starts, self.conditions, self.levels))
        drawn, path = io.BytesIO(), _path(self.folder, step)
        self.save(samples, drawn)
        with disk.explained(path):
            disk.make(self.folder)
            disk.write(path, drawn.getvalue())


def taken(folder: Path) -> dict[int, Path]:
    """{step: picture} of those in the folder, in the order of their steps; what a run does not write is left out."""
    steps = {path: path.stem.removeprefix("step-") for path in sorted(folder.glob("step-*.png"))}
    return {int(step): path for path, step in steps.items() if step.isdecimal() and _is_picture(path)}


def _is_picture(path: Path) -> bool:
    """Whether a page may hold the file: a link could lead to anything, a pipe never ends."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_BYTES


def rewind(folder: Path, step: int) -> None:
    """Remove the pictures past `step`, which the run is about to take again."""
    for later, path in taken(folder).items():
        if later > step:
            path.unlink()


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.png"


def _scene(trainer: Trainer, dataset: Dataset) -> tuple[np.ndarray, Condition, Save]:
    """The numbers (n,) of the starts, their conditions (n, ...), and how to save the samples."""
    if len(trainer.shape) == 1:
        conditions = _every(trainer.unconditional(), POINTS)
        behind = dataset.held_out_rows[spread(len(dataset.held_out_rows), POINTS)]
        return np.arange(POINTS), conditions, lambda x, file: images.save_scatter(x, behind, file)
    if trainer.config.super_resolution > 1:
        return _sharpening(trainer, dataset)
    if trainer.known_classes is None:
        return np.arange(IMAGES), _every(trainer.unconditional(), IMAGES), images.save_grid
    columns = min(trainer.known_classes, CLASSES)
    places = np.arange(IMAGES // columns * columns)
    labels = jnp.asarray(places % columns, jnp.int32)
    return places // columns, Condition(labels), partial(images.save_grid, columns=columns)


def _sharpening(trainer: Trainer, dataset: Dataset) -> tuple[np.ndarray, Condition, Save]:
    places = spread(len(dataset.held_out_rows), SHARPENED)
    truth = dataset.held_out_rows[places]
    labels = None if dataset.held_out_labels is None else jnp.asarray(dataset.held_out_labels[places])
    conditions = jax.vmap(trainer.condition)(jnp.asarray(truth), labels)

    def save(samples: np.ndarray, file: BinaryIO) -> None:
        shown = np.stack([np.asarray(conditions.image), samples, truth], 1)
        images.save_grid(shown.reshape(-1, *truth.shape[1:]), file, columns=12)

    return np.arange(len(truth)), conditions, save


def _every(condition: Condition, count: int) -> Condition:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), condition)


def _starts(places: np.ndarray, shape: tuple[int, ...], level: gd.NoiseLevel) -> Array:
    """The starts that gd.sample_batch draws for the samples of these numbers with key 0."""

    def one(i: Array) -> Array:
        return gd.sample_prior(jax.random.split(jax.random.fold_in(jax.random.key(0), i))[0], shape, level)

    return jax.vmap(one)(jnp.asarray(places))


def _ends(trainer: Trainer, params: Params, starts: Array, conditions: Condition, levels: gd.NoiseLevel) -> Array:
    def one(start: Array, condition: Condition) -> Array:
        return gd.sample(gd.Heun(), trainer.model(params, condition), start, levels).x[-1]

    return jax.vmap(one)(starts, conditions)
