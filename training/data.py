"""Data sets as NumPy arrays, split into a training and a held-out part.

Images are (N, H, W, C) float32 in [-1, 1], vectors (N, D) float32. Sets without a test split of their own are split by
the content of each sample: the same in any order, and two copies of one sample never fall on both sides.
"""

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import prepared, toys


@dataclass(frozen=True)
class Dataset:
    """A training and a held-out part: samples (N, *shape) float32; labels (N,) int32 in [0, classes), or None."""

    train: np.ndarray
    held_out: np.ndarray
    train_labels: np.ndarray | None = None
    held_out_labels: np.ndarray | None = None
    classes: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.train.shape[1:]


def load(name: str, *, held_out: float = 0.2, data_dir: str | None = None) -> Dataset:
    """Return the data set `name`: "digits", "toy-gaussian", "toy-mixture", "toy-ring", or a prepared tfds name.

    held_out: share kept out of training where the set has no test split of its own. data_dir: folder of prepared
    tensorflow-datasets. Nothing is ever downloaded. ValueError for an unknown name; FileNotFoundError, with the
    command that prepares it, for a tensorflow-datasets set that is not on this machine.
    """
    if name in OFFLINE:
        return split(*OFFLINE[name](), held_out)
    if not prepared.is_known(name, data_dir):
        raise ValueError(_unknown(name))
    parts, classes = prepared.read(name, data_dir)
    if "test" in parts:
        (train, train_labels), (test, test_labels) = parts["train"], parts["test"]
        return Dataset(images(train), images(test), train_labels, test_labels, classes)
    train, train_labels = parts["train"]
    return split(images(train), train_labels, classes, held_out)


def images(pixels: np.ndarray) -> np.ndarray:
    """Return bytes 0 .. 255 as float32 in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def split(samples: np.ndarray, labels: np.ndarray | None, classes: int | None, held_out: float) -> Dataset:
    """Split by content: held out are the samples whose hash, as a number in [0, 1), is below `held_out`."""
    out = np.array([_fraction(sample) < held_out for sample in samples])
    if out.all() or not out.any():
        raise ValueError(
            f"held_out: expected both parts to hold samples, got {held_out} of {len(samples)}; change --held-out"
        )
    parts = None if labels is None else (labels[~out], labels[out])
    return Dataset(samples[~out], samples[out], *(parts or (None, None)), classes)


def _fraction(sample: np.ndarray) -> float:
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest()[:8], "little") / 2**64


def _digits() -> tuple[np.ndarray, np.ndarray, int]:
    # Imported here: a run on another set needs no scikit-learn.
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return (bunch.images[..., None] / 8 - 1).astype(np.float32), bunch.target.astype(np.int32), 10


OFFLINE: dict[str, Callable[[], tuple[np.ndarray, np.ndarray | None, int | None]]] = {
    "digits": _digits,
    **{name: partial(toys.draw, name) for name in toys.NAMES},
}


def _unknown(name: str) -> str:
    known = [*OFFLINE, *prepared.known_names()]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return (
        f"data: expected a known data set, got {name!r}.{hint} Known offline: {', '.join(OFFLINE)}. Also any set of "
        f"tensorflow-datasets that is prepared on this machine, such as {', '.join(prepared.EXAMPLES)}."
    )
