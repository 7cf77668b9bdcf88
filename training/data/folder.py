"""A folder of images as bytes (N, H, W, C), of one channel where all are grey and of three otherwise.

Subfolders are classes where every image lies in one, and "train" beside "test" or "val" is a split already made.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from training.data import pictures
from training.data.arrays import Splits, listing

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
HELD_OUT = ("test", "val")
SYSTEM = (  # what systems put beside a user's files without a dot before it, in lower case
    *("__macosx", "@eadir", "@recycle", "#recycle", "#snapshot"),
    *("$recycle.bin", "system volume information", "lost+found"),
)


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
            f"data: expected the classes of {pictures.shown(folders['train'])} in {pictures.shown(folders['test'])}, "
            f"got {listing(map(pictures.shown, unknown)) or 'images in no class'}; give both the same subfolders"
        )
    every = [path for paths in files.values() for path in paths]
    pixels = _pixels(every, size)
    labels = None if classes is None else np.array([classes.index(path.parent.name) for path in every], np.int32)
    spans = {"train": slice(len(files["train"])), "test": slice(len(files["train"]), None)}
    splits = {name: (pixels[spans[name]], None if labels is None else labels[spans[name]]) for name in files}
    return splits, None if classes is None else len(classes)


def _splits(root: Path) -> dict[str, Path]:
    inside = {path.name: path for path in _entries(root) if path.is_dir()}
    held_out = [name for name in HELD_OUT if name in inside]
    if "train" in inside and held_out:
        return {"train": inside["train"], "test": inside[held_out[0]]}
    return {"train": root}


def _files(folder: Path) -> list[Path]:
    """The images in a folder of any depth, sorted; links are followed, but in a circle, and no folder is read twice."""
    images: list[Path] = []
    read: set[Path] = set()
    folders = [folder]
    while folders:
        # Links last: of a folder and a link to it the folder counts.
        folders.sort(key=lambda path: path.is_symlink(), reverse=True)
        here = folders.pop()
        if (real := here.resolve()) in read:
            continue
        read.add(real)
        inside = _entries(here)
        folders += [path for path in inside if path.is_dir() and not _is_circle(folder, path)]
        images += [path for path in inside if not path.is_dir() and (_is_image(path) or _is_broken(path))]
    if not images:
        raise ValueError(
            f"data: expected images ({', '.join(sorted(SUFFIXES))}) in the folder {pictures.shown(folder)}, got none; "
            "correct --data"
        )
    if bad := [path for path in images if not path.is_file() or path.stat().st_size == 0]:
        listed = listing([f"{pictures.shown(path)} ({_why_empty(path)})" for path in sorted(bad)], 5)
        raise ValueError(f"data: expected images, got {len(bad)} files without one: {listed}; replace or remove them")
    return sorted(images)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _is_broken(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _is_circle(folder: Path, path: Path) -> bool:
    """Whether `path` leads to a folder that contains `folder`."""
    return folder.resolve().is_relative_to(path.resolve())


def _entries(folder: Path) -> list[Path]:
    """What is in the folder, but for what systems and programs put beside a user's own files."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise ValueError(
            f"data: expected folders that can be read, got {pictures.shown(folder)} ({error.strerror}); make it "
            "readable, or remove it"
        ) from error
    return [folder / name for name in sorted(names) if not name.startswith(".") and name.lower() not in SYSTEM]


def _why_empty(path: Path) -> str:
    if path.is_file():
        return "0 bytes"
    return "a link to nothing" if _is_broken(path) else "no file"


def _classes(folder: Path, paths: Sequence[Path]) -> list[str] | None:
    """The names of the subfolders where every image lies in exactly one; ValueError where one of them is empty."""
    if not all(path.parent.parent == folder for path in paths):
        return None
    names = {path.parent.name for path in paths}
    real = {path.parent.resolve() for path in paths}
    inside = [path for path in _entries(folder) if path.is_dir() and not _is_circle(folder, path)]
    if empty := [path.name for path in inside if path.resolve() not in real]:
        raise ValueError(
            f"data: expected images in each subfolder of {pictures.shown(folder)}, as each is a class, got none in "
            f"{listing(map(pictures.shown, empty), 5)}; remove such folders, or begin their names with a dot"
        )
    return sorted(names)


def _pixels(paths: Sequence[Path], size: int | None) -> np.ndarray:
    # Threads: Pillow lets go of Python's lock while it decodes.
    with ThreadPoolExecutor() as pool:
        looked = list(pool.map(pictures.look, paths))
        pictures.warn_of_profiles([path for path, each in zip(paths, looked, strict=True) if each.profiled], len(paths))
        mode = "L" if all(each.grey for each in looked) else "RGB"
        pixels = np.empty((0,), np.uint8)
        for i, image in enumerate(pool.map(partial(pictures.decode, mode=mode, size=size), paths)):
            if i == 0:
                pixels = np.empty((len(paths), *image.shape), np.uint8)
            if image.shape != pixels.shape[1:]:
                first, other = _size(pixels[0], paths[0]), _size(image, paths[i])
                raise ValueError(
                    f"data: expected images of one size, got {first} and {other}; set --image-size to crop and resize "
                    "them"
                )
            pixels[i] = image
    return pixels if pixels.ndim == 4 else pixels[..., None]


def _size(image: np.ndarray, path: Path) -> str:
    return f"{image.shape[1]} x {image.shape[0]} in {pictures.shown(path)}"
