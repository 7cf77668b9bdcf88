"""Writing that is whole or not there: flushed aside and renamed; and errors of a full or read-only disk, explained."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gaussdiff.archives import TEMPORARY, flush_folder, writing


def make(folder: Path) -> None:
    """Make `folder` where it is missing, with those above it; on return their names are on the disk."""
    if not folder.exists():
        make(folder.parent)
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)


def check_folder(out: Path, argument: str = "out") -> None:
    """ValueError where `out`, a folder to write to, or one above it is a file: before any work is done for it."""
    nearest = next(path for path in (out, *out.parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(
            f"{argument}: expected a folder to write to, got {out}, where {nearest} is a file; choose another "
            f"--{argument}"
        )


def check_file(out: Path, suffix: str, argument: str = "out") -> None:
    """ValueError unless `out` is the name of a file that ends in `suffix`, in what is or can be a folder."""
    cure = out.with_suffix(suffix) if out.name else f"NAME{suffix}"
    if out.suffix != suffix:
        raise ValueError(f"{argument}: expected a name that ends in {suffix}, got {out}; set --{argument} to {cure}")
    if out.is_dir():
        raise ValueError(f"{argument}: expected the name of a file, got {out}, a folder; choose another --{argument}")
    check_folder(out.parent, argument)


def write(path: Path, content: bytes) -> None:
    """Write the file `path`: whatever moment the process is killed at, it has its old content or the new."""
    with writing(path) as file:
        file.write(content)


def remove(folder: Path) -> None:
    """Remove a folder, which first loses its name: a process that is killed meanwhile leaves no half of it there."""
    going = folder.with_name(f"{TEMPORARY}{folder.name}-{os.getpid()}-old")
    os.replace(folder, going)
    _delete(going)


def clean(folder: Path) -> None:
    """Remove the unfinished files of a killed process in `folder`; OSError names what cannot be removed."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with explained(path):
            _delete(path)


def _delete(path: Path) -> None:
    """Delete a file or a folder with all in it; of a link the link alone."""
    path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)


def flush(file: IO) -> None:
    """Wait until what was written to `file` is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_all(folder: Path) -> None:
    """Wait until what anyone wrote to the files below `folder`, and their names, are on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        else:
            flush_folder(path)
    flush_folder(folder)


def continues() -> str:
    """The cure where a run loses nothing by a failed write."""
    return "make room or make the folder writable: the same command then continues from the last saved state"


@contextmanager
def explained(path: Path, cure: Callable[[], str] = continues) -> Iterator[None]:
    """Raise an OSError from within again with what could not be written, why, the room on the disk, and the cure."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"could not write {path}: {reason} ({_room(path)}); {cure()}") from error


def _room(path: Path) -> str:
    there = next(folder for folder in path.absolute().parents if folder.exists())
    return f"{shutil.disk_usage(there).free / 1e6:,.1f} MB free on the disk of {there}"
