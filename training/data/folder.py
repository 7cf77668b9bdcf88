"""A folder of images as bytes (N, H, W, C), of one channel where all are grey and of three otherwise.

Subfolders are classes where every image lies in one, and "train" beside "test" or "val" is a split already made.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gaussdiff import archives
from training.data.arrays import Splits

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")  # no others: of EPS, for one, Pillow runs the program inside
HELD_OUT = ("test", "val")
GREY = frozenset({"1", "L", "LA", "La"})
DEEP = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})  # more than 8 bits, which would be cut off


def read(root: Path, size: int | None) -> tuple[Splits, int | None]:
    """The images of "train", and of "test" where there is one, with their labels, and the number of classes.

    size: side to which images are cropped, about their centre, and resized; None: as they are, and all alike.
    Transparency is dropped. ValueError, naming the file, for no or unlike images and for one that cannot be read.
    """
    folders = _splits(root)
    files = {name: _files(folder) for name, folder in folders.items()}
    names = {name: _classes(folders[name], paths) for name, paths in files.items()}
    classes = names["train"]
    unknown = sorted(set(names.get("test") or ()) - set(classes or ()))
    if unknown or any((each is None) != (classes is None) for each in names.values()):
        raise ValueError(
            f"data: expected the classes of {folders['train']} in {folders['test']}, "
            f"got {', '.join(unknown) or 'images in no class'}; give both the same subfolders"
        )
    every = [path for paths in files.values() for path in paths]
    pixels = _pixels(every, size)
    labels = None if classes is None else np.array([classes.index(path.parent.name) for path in every], np.int32)
    spans = {"train": slice(len(files["train"])), "test": slice(len(files["train"]), None)}
    splits = {name: (pixels[spans[name]], None if labels is None else labels[spans[name]]) for name in files}
    return splits, None if classes is None else len(classes)


def _splits(root: Path) -> dict[str, Path]:
    inside = {path.name: path for path in root.iterdir() if path.is_dir()}
    held_out = [name for name in HELD_OUT if name in inside]
    if "train" in inside and held_out:
        return {"train": inside["train"], "test": inside[held_out[0]]}
    return {"train": root}


def _files(folder: Path) -> list[Path]:
    images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not images:
        raise ValueError(
            f"data: expected images ({', '.join(sorted(SUFFIXES))}) in the folder {folder}, got none; correct --data"
        )
    return images


def _classes(folder: Path, paths: Sequence[Path]) -> list[str] | None:
    return sorted({path.parent.name for path in paths}) if all(p.parent.parent == folder for p in paths) else None


def _pixels(paths: Sequence[Path], size: int | None) -> np.ndarray:
    # Threads: Pillow lets go of Python's lock while it decodes.
    with ThreadPoolExecutor() as pool:
        mode = "L" if all(list(pool.map(_is_grey, paths))) else "RGB"  # a list: every file is looked at
        pixels = np.empty((0,), np.uint8)
        for i, image in enumerate(pool.map(partial(_decode, mode=mode, size=size), paths)):
            if i == 0:
                pixels = np.empty((len(paths), *image.shape), np.uint8)
            if image.shape != pixels.shape[1:]:
                raise ValueError(
                    f"data: expected images of one size, got {_size(pixels[0])} in {paths[0]} and {_size(image)} in "
                    f"{paths[i]}; set --image-size to crop and resize them"
                )
            pixels[i] = image
    return pixels if pixels.ndim == 4 else pixels[..., None]


def _is_grey(path: Path) -> bool:
    with _opened(path) as image:
        mode = image.mode
    if mode in DEEP:
        raise ValueError(
            f"data: expected 8 bits per channel, got more in {path} (mode {mode}); "
            "convert the images to 8 bits, or give an .npy of floats in [-1, 1]"
        )
    return mode in GREY


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Give the image in a file; ValueError where it is none, is damaged, or has more pixels than Pillow takes."""
    try:
        with archives.parsing(path), archives.opened(path) as file, _identified(file) as image:
            yield image
    except archives.UnreadableError as error:
        raise _unreadable(path, error.reason) from error


def _identified(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"cannot identify it as {', '.join(FORMATS)}") from error


def _decode(path: Path, mode: str, size: int | None) -> np.ndarray:
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image).convert(mode)
    return np.asarray(upright if size is None else ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS))


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(f"data: expected an image, got {path}, which cannot be read ({reason}); replace or remove it")
