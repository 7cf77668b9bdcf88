"""Data sets, split into a training and a held-out split: `load` by name or path, `from_arrays`, `from_distribution`.

Images are (N, H, W, C) float32 in [-1, 1], vectors (N, D) float32. Sets without a test split of their own are split by
the content of each sample: the same in any order, and two copies of one sample never fall on both sides.
"""

import dataclasses
import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gaussdiff as gd
from training.config import Config, check
from training.data import arrays, folder, prepared, toys
from training.data.arrays import Splits
from training.presets import TOYS

DRAWN = 10_000  # samples drawn of a distribution


@dataclass(frozen=True)
class Rows:
    """Samples as they are stored, bytes or floats, in memory or in a file; `rows[places]` are float32."""

    stored: np.ndarray  # (M, *shape)
    places: np.ndarray | None = None  # (N,) those of them that are meant; None: all

    def __len__(self) -> int:
        return len(self.stored if self.places is None else self.places)

    def __getitem__(self, places: slice | np.ndarray) -> np.ndarray:
        rows = self.stored[places if self.places is None else self.places[places]]
        return images(rows) if rows.dtype == np.uint8 else np.asarray(rows, np.float32)

    def std(self, chunk: int = 1024) -> float:
        """The standard deviation of all numbers about their overall mean, in float64."""
        starts, count = range(0, len(self), chunk), self.nbytes // 4
        mean = sum(self[i : i + chunk].sum(dtype=np.float64) for i in starts) / count
        squares = sum(np.square(self[i : i + chunk] - mean, dtype=np.float64).sum() for i in starts)
        return float(np.sqrt(squares / count))

    @property
    def nbytes(self) -> int:
        """Memory that all of them take as float32."""
        return 4 * len(self) * int(np.prod(self.stored.shape[1:]))


@dataclass(frozen=True)
class Dataset:
    """A training and a held-out split: samples (N, *shape); labels (N,) int32 in [0, classes), or None.

    `train` and `held_out` are whole float32 arrays; sets that are too large for that are read through the rows.
    """

    train_rows: Rows
    held_out_rows: Rows
    train_labels: np.ndarray | None = None
    held_out_labels: np.ndarray | None = None
    classes: int | None = None
    drawn: bool = False  # by jax, of a law: the last bits, and so the split, are those of this kind of device

    @cached_property
    def train(self) -> np.ndarray:
        """The training samples (N, *shape) float32."""
        return self.train_rows[:]

    @cached_property
    def held_out(self) -> np.ndarray:
        """The held-out samples (N, *shape) float32."""
        return self.held_out_rows[:]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.train_rows.stored.shape[1:]


def load(
    name: str,
    *,
    held_out: float = 0.2,
    data_dir: str | None = None,
    image_size: int | None = None,
    classes: int | None = None,
) -> Dataset:
    """The data set `name`: "digits", a toy, a prepared tfds name, a folder of images, or an .npy or .npz file.

    An .npz holds arrays, or a distribution that gd.save wrote, from which samples are drawn. held_out: fraction held
    out of training where the set has no test split of its own. data_dir: folder of prepared tensorflow-datasets.
    image_size: side to which a folder's images are cropped and resized. classes: of a run that was started with so
    many, of which not all need to occur; otherwise they must. Nothing is ever downloaded. ValueError for an unknown
    name and for data that cannot be used; FileNotFoundError for a file that is not there and, with the command that
    prepares it, for a tensorflow-datasets set that is not on this machine.
    """
    check("image_size", image_size)
    path = Path(name).expanduser()
    is_folder = name not in OFFLINE and _is_folder(name, data_dir)
    if image_size is not None and not is_folder:
        raise ValueError(
            f"image_size: expected None for {name!r}, got {image_size}; only a folder's images are "
            "resized: drop --image-size"
        )
    if name in OFFLINE:
        return OFFLINE[name](held_out=held_out)
    if is_folder:
        return _assembled(*folder.read(path, image_size), held_out)
    if path.suffix in (".npy", ".npz"):
        return _from_file(path, held_out, classes)
    if not prepared.is_known(name, data_dir):
        raise ValueError(_unknown(name))
    return _assembled(*prepared.read(name, data_dir, classes), held_out)


def load_for(config: Config, classes: int | None = None) -> Dataset:
    """The data set that the settings ask for; classes: as in `load`."""
    options: Any = {"held_out": config.held_out, "data_dir": config.data_dir, "image_size": config.image_size}
    return load(config.data, classes=classes, **options)


def from_arrays(samples: Any, labels: Any = None, *, held_out: float = 0.2) -> Dataset:
    """The data set of samples (N, H, W, C), (N, H, W) or (N, D), bytes or floats, and labels (N,), split.

    labels: integers, every class from 0 on. ValueError, with what to write instead, for anything else.
    """
    pair = _array(samples, "data"), None if labels is None else _array(labels, "labels")
    return _assembled(*arrays.checked({"train": pair}), held_out)


def from_distribution(law: gd.Distribution, count: int = DRAWN, seed: int = 0, *, held_out: float = 0.2) -> Dataset:
    """`count` samples of the law, always the same ones for one seed, split."""
    keys = jax.random.split(jax.random.key(seed), count)
    # A few at a time: a mixture gathers the axes of every sample's component.
    samples = jax.lax.map(law.sample, keys, batch_size=100)
    return dataclasses.replace(from_arrays(samples, held_out=held_out), drawn=True)


def check_classes(dataset: Dataset) -> None:
    """ValueError where a network that is conditioned on the labels would have a class without training samples.

    Or a sample without a class, in a Dataset that a program made.
    """
    if dataset.classes is None or dataset.train_labels is None:
        return
    for labels in (dataset.train_labels, dataset.held_out_labels):
        if labels is not None and not ((labels >= 0) & (labels < dataset.classes)).all():
            raise ValueError(
                f"labels: expected 0 <= label < {dataset.classes}, the classes of the Dataset, got {labels.min()} to "
                f"{labels.max()}; make it with data.from_arrays, which checks them"
            )
    counts = np.bincount(dataset.train_labels, minlength=dataset.classes)
    if missing := np.flatnonzero(counts == 0).tolist():
        held_out = 0 if dataset.held_out_labels is None else int(np.isin(dataset.held_out_labels, missing).sum())
        raise ValueError(
            f"labels: expected training samples of every class from 0 to {dataset.classes - 1}, got none of "
            f"{arrays.listing([str(label) for label in missing])}, with {held_out} held-out samples; add samples of "
            "these classes, leave the classes out, or train without --labels"
        )


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` places evenly spread over `count`: of a set in the order of its classes, some of each."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def read_images(path: Path) -> np.ndarray:
    """All samples of an .npy or .npz file as float32, without a split; ValueError where it has none."""
    return Rows(arrays.read(path, least=1)[0]["train"][0])[:]


def images(pixels: np.ndarray) -> np.ndarray:
    """Bytes 0 .. 255 as float32 in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def split(samples: np.ndarray, labels: np.ndarray | None, classes: int | None, held_out: float) -> Dataset:
    """Split by content: held out are the samples whose hash, as a number in [0, 1), is below `held_out`.

    What is hashed are the float32 numbers: a picture falls on one side, whatever file it came in.
    """
    rows = Rows(samples)
    places = np.array([_fraction(rows[i : i + 1]) for i in range(len(rows))])
    out = places < held_out
    if out.all() or not out.any():
        raise ValueError(
            f"held_out: expected samples in both splits, got {out.sum()} of {len(samples)} held out at {held_out}; "
            f"{_other_fraction(places)}"
        )
    split_labels = (None, None) if labels is None else (labels[~out], labels[out])
    return Dataset(Rows(samples, np.flatnonzero(~out)), Rows(samples, np.flatnonzero(out)), *split_labels, classes)


def _other_fraction(places: np.ndarray) -> str:
    """What splits samples whose hashes are at these places in [0, 1): a fraction in the widest gap between two."""
    different = np.unique(places)
    if len(different) == 1:
        return "all of them are equal, and copies stay on one side: add other samples"
    widest = int(np.diff(different).argmax())
    fraction = float(different[widest : widest + 2].mean())
    return f"set held_out (--held-out) to {fraction:.4g}, or add samples"


def _from_file(path: Path, held_out: float, classes: int | None) -> Dataset:
    if arrays.is_law(path):
        return from_distribution(gd.load(path), held_out=held_out)
    return _assembled(*arrays.read(path, classes=classes), held_out)


def _assembled(splits: Splits, classes: int | None, held_out: float) -> Dataset:
    samples, labels = splits["train"]
    if "test" not in splits:
        return split(samples, labels, classes, held_out)
    test, test_labels = splits["test"]
    return Dataset(Rows(samples), Rows(test), labels, test_labels, classes)


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of unlike lengths
        raise ValueError(f"{name}: expected one array, got {error}; give all samples one shape") from error


def _fraction(sample: np.ndarray) -> float:
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest()[:8], "little") / 2**64


def _is_folder(name: str, data_dir: str | None) -> bool:
    """A bare name that tensorflow-datasets knows is that set: a folder of such a name is written ./name."""
    explicit = name.startswith((".", "~")) or Path(name).is_absolute()
    return Path(name).expanduser().is_dir() and (explicit or not prepared.is_known(name, data_dir))


def _digits(held_out: float) -> Dataset:
    # Read where scikit-learn has them: importing it takes a second. A line is 64 pixels from 0 to 16, and the label.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("data: the digits come with scikit-learn; install it: pip install scikit-learn")
    lines = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return from_arrays(lines[:, :-1].reshape(-1, 8, 8, 1) / 8 - 1, lines[:, -1].astype(int), held_out=held_out)


def _toy(name: str, held_out: float) -> Dataset:
    return from_distribution(toys.law(name), held_out=held_out)


OFFLINE: dict[str, Callable[..., Dataset]] = {"digits": _digits, **{name: partial(_toy, name) for name in TOYS}}


def _unknown(name: str) -> str:
    known = [*OFFLINE, *prepared.known_names()]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return (
        f"data: expected a known data set, a folder of images, or an .npy or .npz file, got {name!r}.{hint} Known "
        f"offline: {', '.join(OFFLINE)}. Also any set of tensorflow-datasets that is prepared on this machine, such as "
        f"{', '.join(prepared.EXAMPLES)}."
    )
