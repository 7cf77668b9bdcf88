"""Sets that tensorflow-datasets has prepared on this machine, read without TensorFlow, network or worker processes.

Preparing is left to the user, because it downloads: the error for a missing set gives the command.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gaussdiff import archives
from training.data.arrays import Split, Splits

EXAMPLES = ("mnist", "fashion_mnist", "cifar10")


def folder(name: str, data_dir: str | None = None) -> Path | None:
    """The newest prepared version of `name` ("mnist", "emnist/letters"), or None where there is none."""
    versions = [path.parent for path in (_root(data_dir) / name).glob("*/dataset_info.json")]
    return max((path for path in versions if not _is_unfinished(path)), key=_version, default=None)


def known_names() -> list[str]:
    """The names that tensorflow-datasets knows, without asking the network; [] where it is not installed."""
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        return []
    return tfds.list_builders(with_community_datasets=False)


def is_known(name: str, data_dir: str | None = None) -> bool:
    """Whether `name` is prepared here or is a set that tensorflow-datasets could prepare."""
    return folder(name, data_dir) is not None or name.split("/")[0] in known_names()


def read(name: str, data_dir: str | None = None, classes: int | None = None) -> tuple[Splits, int | None]:
    """Return {split: (images (N, H, W, C) uint8, labels (N,) int32 or None)} of "train" and "test", and the classes.

    Classes that do not occur are left out, and the others numbered anew in their order, with a warning; classes: of a
    run that was started with so many, where not all occur. A set with a sample of no class has no labels.
    FileNotFoundError, at once and with the cure, where the set is not prepared; ValueError where it is damaged, has no
    images of one size and 8 bits, or was prepared in a format that only TensorFlow reads.
    """
    where = folder(name, data_dir)
    if where is None:
        raise FileNotFoundError(_missing(name, data_dir))
    import tensorflow_datasets as tfds

    with _whole(name, where):
        _check_classes(where)
        builder: Any = tfds.builder_from_directory(where)
    features, known = builder.info.features, builder.info.splits
    if "image" not in features or "train" not in known or features["image"].np_dtype != np.uint8:
        raise ValueError(f"data: {name!r} expected a split 'train' with a feature 'image' of bytes, got {features}")
    labelled = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
    splits = {each: _read_split(builder, name, each, labelled) for each in ("train", "test") if each in known}
    return _numbered(name, splits, features["label"].num_classes, classes) if labelled else (splits, None)


def _numbered(name: str, splits: Splits, declared: int, begun: int | None) -> tuple[Splits, int | None]:
    """The splits with labels of classes that occur, and how many these are."""
    known = np.unique(np.concatenate([labels for _, labels in splits.values() if labels is not None]))
    if known[0] < 0:  # how a test split without answers is marked
        return {each: (images, None) for each, (images, _) in splits.items()}, None
    if len(known) == declared or begun == declared:
        return splits, declared
    warnings.warn(
        f"data: {len(known)} of the {declared} classes of {name!r} occur; numbered from 0, class i is label "
        f"{known.tolist()}[i] of the set",
        stacklevel=2,
    )
    numbered: Splits = {
        each: (x, np.searchsorted(known, np.asarray(labels)).astype(np.int32)) for each, (x, labels) in splits.items()
    }
    return numbered, len(known)


def _read_split(builder: Any, name: str, split_name: str, labelled: bool, chunk: int = 2000) -> Split:
    with _whole(name, Path(builder.data_dir)):
        source = builder.as_data_source(split=split_name)
        # In this thread: decoding holds Python's lock, so threads gain nothing, and a fork after JAX can deadlock.
        images = np.empty((len(source), *source[0]["image"].shape), np.uint8)
        labels = np.empty(len(source), np.int32) if labelled else None
        sizes = {images.shape[1:]}
        for start in range(0, len(source), chunk):
            places = range(start, min(start + chunk, len(source)))
            for place, record in zip(places, source.__getitems__(places), strict=True):
                sizes.add(record["image"].shape)
                if len(sizes) == 1:
                    images[place] = record["image"]
                if labels is not None:
                    labels[place] = record["label"]
    if len(sizes) != 1:
        raise ValueError(
            f"data: expected images of one size, got {name!r} with {len(sizes)} sizes; write them "
            "into a folder and set --image-size"
        )
    return images, labels


def _check_classes(where: Path) -> None:
    """ValueError where a prepared set has pipes, or names classes of other packages, which reading would import."""
    for path in where.iterdir():
        if not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path.name} is no file")
    asked = [archives.read_json(where / "features.json")] if (where / "features.json").exists() else []
    while asked:
        match asked.pop():
            case {"pythonClassName": str(kind)} if not kind.startswith("tensorflow_datasets."):
                raise ValueError(f"features.json asks for the foreign class {kind}")
            case dict(inside):
                asked += inside.values()
            case list(inside):
                asked += inside


@contextmanager
def _whole(name: str, where: Path) -> Iterator[None]:
    try:
        yield
    except (NotImplementedError, ImportError) as error:
        raise ValueError(
            f"data: {name!r} is prepared in {where} in a format that needs TensorFlow; {_command(name)}"
        ) from error
    except MemoryError as error:
        raise MemoryError(f"data: {name!r} in {where} takes more memory than there is ({error})") from error
    except Exception as error:  # the readers of JSON, records and images each raise errors of their own
        raise ValueError(
            f"data: expected {name!r} to be whole, got a damaged or half-prepared folder {where} ({error}); delete it "
            f"and {_command(name)}"
        ) from error


def _root(data_dir: str | None) -> Path:
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(number) if number.isdigit() else -1 for number in path.name.split("."))


def _command(name: str) -> str:
    code = (
        f"import tensorflow_datasets as tfds; tfds.builder('{name}', file_format='array_record').download_and_prepare()"
    )
    return f'prepare it where there is a network:\n    python -c "{code}"'


def _is_unfinished(version: Path) -> bool:
    """Whether preparing was broken off: it works in a folder 1.0.0.incompleteABC, renamed at the end."""
    return ".incomplete" in version.name


def _missing(name: str, data_dir: str | None) -> str:
    begun = [path for path in (_root(data_dir) / name).glob("[0-9]*") if path.is_dir()]
    unfinished = f" (preparing it was interrupted: delete {begun[0]})" if begun else ""
    return (
        f"data: {name!r} is a set of tensorflow-datasets that is not prepared in {_root(data_dir)}{unfinished}, and "
        f"nothing is downloaded without your asking. Either set TFDS_DATA_DIR (or --data-dir) to its folder, or "
        f"{_command(name)}\n(some sets need TensorFlow for that one step, none needs it afterwards)"
    )
