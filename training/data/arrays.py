"""Arrays as data: what an array must be, and the files .npy (mapped, not loaded) and .npz.

Bytes are pixels 0 .. 255, which become [-1, 1]; floats are taken as they are.
"""

import warnings
from collections.abc import Collection, Iterable
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


def read(path: Path, least: int = 2, classes: int | None = None) -> tuple[Splits, int | None]:
    """The splits of an .npy or .npz file, and the number of classes or None; ValueError says what is wrong.

    least: the number of samples that a split must have. classes: as in `checked`.
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
        return checked({"train": splits[""]}, least, classes)
    named = {name: each for name in ("train", "test") if (each := splits[name]) is not None}
    if splits[""] is not None or "train" not in named:
        raise ValueError(
            f"data: expected in {path} one array {_listed(WHOLE)}, or {_listed(TRAIN)} and {_listed(TEST)}, got "
            f"{', '.join(inside) or 'nothing'}; rename its arrays"
        )
    return checked(named, least, classes)


def is_law(path: Path) -> bool:
    """Whether `path` is a distribution that gd.save wrote."""
    if path.suffix != ".npz":
        return False
    _check_there(path)
    try:
        return LAW in archives.names(path)
    except archives.UnreadableError as error:
        raise _unreadable(path, error.reason) from error


def checked(splits: Splits, least: int = 2, classes: int | None = None) -> tuple[Splits, int | None]:
    """The splits with samples (N, H, W, C) or (N, D), N >= least, and labels int32, and the number of classes.

    Images (N, H, W) get a channel. Every class from 0 on must occur; classes: of a run that was started with so many,
    of which not all need to. ValueError where an array is none of these, has NaN or infinity, or where samples and
    labels do not belong together; a warning where the values or the shape are unlikely to be meant.
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
        raise ValueError(
            "labels: expected them for both splits or for none, got one split with labels; add or remove labels"
        )
    numbered = _numbered(known, classes)
    return {name: (x, each) for (name, (x, _)), each in zip(made.items(), numbered, strict=True)}, _count(known)


def _count(known: list[np.ndarray]) -> int:
    return 1 + max(int(labels.max()) for labels in known)


def _numbered(known: list[np.ndarray], classes: int | None) -> list[np.ndarray]:
    """The labels of each split as int32; ValueError, with the mapping, where they are not the classes 0, 1, ..."""
    occurring, counts = np.unique(np.concatenate(known), return_counts=True)
    as_begun = classes is not None and occurring[0] >= 0 and occurring[-1] == classes - 1
    if not as_begun and not np.array_equal(occurring, np.arange(len(occurring))):
        pairs = enumerate(zip(occurring, counts, strict=True))
        rows = [f"{label} ({count}) -> {i}" for i, (label, count) in pairs]
        cure = "np.unique(labels, return_inverse=True)[1]"
        if len(known) > 1:
            cure = "np.searchsorted(np.unique(np.concatenate([train_labels, test_labels])), labels)  # in both splits"
        raise ValueError(
            f"labels: expected every class from 0 to {len(occurring) - 1}, got {len(occurring)} classes from "
            f"{occurring[0]} to {occurring[-1]}; number those that occur, label (samples) -> class: "
            f"{listing(rows)}; labels = {cure}"
        )
    return [labels.astype(np.int32) for labels in known]


def _samples(x: np.ndarray, least: int) -> np.ndarray:
    _check_numbers(x)
    if x.ndim not in (2, 3, 4) or 0 in x.shape[1:]:
        raise ValueError(
            "data: expected images (N, H, W, C) or (N, H, W), or vectors (N, D), "
            f"got shape {x.shape}; {_other_shape(x)}"
        )
    if x.ndim == 4 and x.shape[1] in (1, 3, 4) and x.shape[1] < min(x.shape[2:]) and x.shape[3] > 4:
        raise ValueError(
            f"data: expected images (N, H, W, C), got shape {x.shape}, which has its channels first; "
            "x = x.transpose(0, 2, 3, 1)"
        )
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise ValueError(
            f"data: expected bytes (uint8, pixels 0 .. 255) or floats, got {x.dtype}{_span(x)}; x = "
            f"{_as_floats_or_bytes(x)}"
        )
    if len(x) < least:
        raise ValueError(f"data: expected at least {least} samples, got {len(x)}; add more")
    if x.dtype.kind == "f":
        low, high = _finite_range(x)
        if x.ndim > 2:
            _warn_of_range(low, high)
    if x.ndim == 3:
        _warn_of_shape(x.shape)
        x = x[..., None]
    return x


def _check_numbers(x: np.ndarray) -> None:
    """ValueError where the array does not hold numbers."""
    if x.dtype.kind in "biufc":
        return
    if x.dtype.names:
        cure = "np.stack([x[name] for name in x.dtype.names], -1)  # where its fields are numbers"
    else:
        cure = "np.array(x.tolist(), np.float32)  # where they can be read as numbers of one shape"
    raise ValueError(f"data: expected numbers, got {x.dtype} of shape {x.shape}; x = {cure}")


def _other_shape(x: np.ndarray) -> str:
    """How an array of another shape becomes samples."""
    if 0 in x.shape[1:] or x.ndim == 0:
        return "give samples of at least one number"
    if x.ndim == 1:
        return "for samples of one number: x = x[:, None]"
    return "for images in a row, such as films: x = x.reshape(-1, *x.shape[-3:])"


def _span(x: np.ndarray) -> str:
    return "" if x.dtype.kind == "c" or not x.size else f" from {x.min()} to {x.max()}"


def _as_floats_or_bytes(x: np.ndarray) -> str:
    """The expression that takes x to what is expected, of its own range: no cast may wrap or cut off."""
    if x.dtype.kind == "c":
        return "np.concatenate([x.real, x.imag], -1)"
    if x.dtype.kind == "b":
        return "x * np.float32(2) - 1"
    low, high = (int(x.min()), int(x.max())) if x.size else (0, 0)
    if low >= 0 and 1 < high <= 255:
        return "x.astype(np.uint8)  # as pixels 0 .. 255"
    if low == high:
        return "x.astype(np.float32)"
    return f"(x.astype(np.float64) - {low}) * {2 / (high - low)!r} - 1  # of the range that they have"


def _finite_range(x: np.ndarray, chunk: int = 1024) -> tuple[float, float]:
    """The least and largest number; ValueError for NaN and for what is infinite as float32."""
    low, high = np.inf, -np.inf
    for start in range(0, len(x), chunk):
        with np.errstate(over="ignore"):
            rows = x[start : start + chunk].astype(np.float32)
        finite = np.isfinite(rows).reshape(len(rows), -1).all(1)
        if not finite.all():
            bad = start + int(np.flatnonzero(~finite)[0])
            raise ValueError(
                f"data: expected finite float32 numbers, got NaN or infinity in sample {bad}; leave such samples, and "
                "their labels, out; x = x[np.isfinite(x.astype(np.float32)).reshape(len(x), -1).all(1)]"
            )
        low, high = min(low, float(rows.min())), max(high, float(rows.max()))
    return low, high


def _warn_of_range(low: float, high: float) -> None:
    """Say where the floats of images lie in [0, 1] or [0, 255]: the noise levels are made for [-1, 1]."""
    if low < 0 or high > 255 or 1 < high < 16 or low == high:
        return
    cure = "2 * x - 1" if high <= 1 else "x / 127.5 - 1"
    warnings.warn(
        f"data: expected images of floats in about [-1, 1], got {low:.3g} to {high:.3g}, which is trained on as it is: "
        f"grey pictures, and a worse likelihood; rescale it: x = {cure}",
        stacklevel=2,
    )


def _warn_of_shape(shape: tuple[int, ...]) -> None:
    """Say what (N, H, W) is taken for where it is a strip: rather points, or one image of several channels."""
    if min(shape[1:]) <= 3:
        one = "for one image: x = x[None], " if shape[2] in (1, 3) else ""
        warnings.warn(
            f"data: shape {shape} is taken for {shape[0]} images of {shape[1]} x {shape[2]} pixels and one channel; "
            f"{one}for vectors: x = x.reshape(len(x), -1)",
            stacklevel=2,
        )


def _labels(labels: np.ndarray | None, count: int) -> np.ndarray | None:
    """Integers (count,), of any values."""
    if labels is None:
        return None
    if labels.ndim == 2 and labels.shape[0] == count and labels.shape[1] > 1:
        raise ValueError(
            f"labels: expected one integer for each sample, got shape {labels.shape}; where a row is 1 in the place of "
            "its class and 0 elsewhere: labels = labels.argmax(1)"
        )
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(
            f"labels: expected shape ({count},), one for each sample, got {labels.shape}; give one for each, or none"
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels: expected integers, got {labels.dtype}{_named(labels)}; "
            "number the classes; labels = np.unique(labels, return_inverse=True)[1]"
        )
    return labels.reshape(count)


def _named(labels: np.ndarray) -> str:
    """The classes that occur, as they are called."""
    if labels.dtype.kind not in "bfUS":
        return ""
    pairs = zip(*np.unique(labels, return_counts=True), strict=True)
    rows = [f"{str(name)!r} ({count})" for name, count in pairs]
    return f", label (samples): {listing(rows)}"


def listing(rows: Iterable[object], most: int = 12) -> str:
    """The first of the rows, and how many more there are."""
    every = [str(row) for row in rows]
    return ", ".join([*every[:most], *([f".. {len(every) - most} more"] if len(every) > most else [])])


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
