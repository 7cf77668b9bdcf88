"""Arrays as data: what an array must be, and the files .npy (mapped, not loaded) and .npz.

Bytes are pixels 0 .. 255, which become [-1, 1]; floats are taken as they are.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from gaussdiff import archives

Split = tuple[np.ndarray, np.ndarray | None]
Splits = dict[str, Split]  # "train", and "test" where the set has one: samples as they are stored, and their labels

# The names under which an .npz may hold samples and labels, of the whole set or of its splits.
WHOLE = (("samples", "images", "x"), ("labels", "y"))
TRAIN = (("train", "train_images", "x_train"), ("train_labels", "y_train"))
TEST = (("test", "test_images", "x_test"), ("test_labels", "y_test"))
LAW = "gaussdiff.json"  # what gd.save puts into its files, and nobody else


def read(path: Path, least: int = 2) -> tuple[Splits, int | None]:
    """The splits of an .npy or .npz file, and the number of classes or None; ValueError says what is wrong.

    least: the number of samples that a split must have.
    """
    _check_there(path)
    try:
        if path.suffix == ".npy":
            return checked({"train": (archives.map_npy(path), None)}, least)
        inside = archives.names(path)
        splits = {name: _split(path, keys, inside) for name, keys in (("", WHOLE), ("train", TRAIN), ("test", TEST))}
    except archives.UnreadableError as error:
        raise _unreadable(path, error.reason) from error
    if splits[""] is not None and splits["train"] is None and splits["test"] is None:
        return checked({"train": splits[""]}, least)
    named = {name: each for name in ("train", "test") if (each := splits[name]) is not None}
    if splits[""] is not None or "train" not in named:
        raise ValueError(
            f"data: expected in {path} one array {_listed(WHOLE)}, or {_listed(TRAIN)} and {_listed(TEST)}, got "
            f"{', '.join(inside) or 'nothing'}; rename its arrays"
        )
    return checked(named, least)


def is_law(path: Path) -> bool:
    """Whether `path` is a distribution that gd.save wrote."""
    if path.suffix != ".npz":
        return False
    _check_there(path)
    try:
        return LAW in archives.names(path)
    except archives.UnreadableError as error:
        raise _unreadable(path, error.reason) from error


def checked(splits: Splits, least: int = 2) -> tuple[Splits, int | None]:
    """The splits with samples (N, H, W, C) or (N, D), N >= least, and labels int32, and the number of classes.

    Images (N, H, W) get a channel. ValueError where an array is none of these, has NaN or infinity, or where samples
    and labels do not belong together.
    """
    made = {name: (_samples(x, least), _labels(labels, len(x))) for name, (x, labels) in splits.items()}
    shapes = dict.fromkeys(x.shape[1:] for x, _ in made.values())
    if len(shapes) > 1:
        raise ValueError(
            f"data: expected one shape in both splits, got {' and '.join(map(str, shapes))}; make them alike"
        )
    known = [labels for _, labels in made.values() if labels is not None]
    if not known:
        return made, None
    if len(known) < len(made):
        raise ValueError("labels: expected them for both splits or for none, got one split with labels; add the others")
    classes = 1 + max(int(labels.max()) for labels in known)
    if classes > sum(map(len, known)):
        raise ValueError(
            f"labels: expected classes counted from 0, got a label {classes - 1} among {sum(map(len, known))} samples; "
            "number the classes with np.unique(labels, return_inverse=True)[1]"
        )
    return made, classes


def _samples(x: np.ndarray, least: int) -> np.ndarray:
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim not in (2, 4) or 0 in x.shape[1:]:
        raise ValueError(
            f"data: expected images (N, H, W, C) or (N, H, W), or vectors (N, D), got shape {x.shape}; reshape it"
        )
    if x.ndim == 4 and x.shape[1] in (1, 3, 4) and x.shape[1] < min(x.shape[2:]) and x.shape[3] > 4:
        raise ValueError(
            f"data: expected images (N, H, W, C), got shape {x.shape}, which has its channels first; "
            "write x.transpose(0, 2, 3, 1)"
        )
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise ValueError(
            f"data: expected bytes (uint8, pixels 0 .. 255) or floats, got {x.dtype}; convert with x.astype(np.uint8) "
            "or x.astype(np.float32)"
        )
    if len(x) < least:
        raise ValueError(f"data: expected at least {least} samples, got {len(x)}; add more")
    if x.dtype.kind == "f":
        _check_finite(x)
    return x


def _check_finite(x: np.ndarray, chunk: int = 1024) -> None:
    for start in range(0, len(x), chunk):
        with np.errstate(over="ignore"):
            finite = np.isfinite(x[start : start + chunk].astype(np.float32)).reshape(len(x[start : start + chunk]), -1)
        if not finite.all():
            bad = start + int(np.flatnonzero(~finite.all(1))[0])
            raise ValueError(
                f"data: expected finite float32 numbers, got NaN or infinity in sample {bad}; leave such samples out"
            )


def _labels(labels: np.ndarray | None, count: int) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(f"labels: expected shape ({count},), one for each sample, got {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels: expected integers, got {labels.dtype}; "
            "number the classes with np.unique(labels, return_inverse=True)[1]"
        )
    if labels.min() < 0:
        raise ValueError(f"labels: expected classes counted from 0, got {labels.min()}; number the classes from 0")
    return labels.reshape(count).astype(np.int32)


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"data: expected a file, got {path}, which is not there; correct --data")


def _split(path: Path, names: tuple[tuple[str, ...], tuple[str, ...]], inside: Collection[str]) -> Split | None:
    x, labels = (_one(path, each, inside) for each in names)
    return None if x is None else (x, labels)


def _one(path: Path, names: tuple[str, ...], inside: Collection[str]) -> np.ndarray | None:
    present = [name for name in names if name in inside]
    if len(present) > 1:
        raise _unreadable(path, f"it has both {' and '.join(present)}, of which one must be meant; remove the other")
    return archives.read_npz(path, present)[present[0]] if present else None


def _listed(names: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    return " or ".join(map(repr, names[0]))


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"data: expected plain arrays of numbers, got {path}, which cannot be read ({reason}); "
        f"write it again with np.{'save' if path.suffix == '.npy' else 'savez'}, without Python objects"
    )
