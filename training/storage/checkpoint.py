"""Checkpoints of a run: plain arrays in .npz, settings in JSON, and a manifest of checksums that is written last.

    RUN/checkpoints/step-00000500/{state.npz, config.json, manifest.json}

A state whose shards lie on several hosts is written by all of them, into a folder "state" in place of state.npz.

A checkpoint is written to a folder beside its place, flushed to the disk, and renamed; one that goes loses its name
first. So whatever moment a run is killed at, every folder named step-* is whole; one damaged later is recognised by its
checksums and skipped.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import KeyPath, keystr

from gaussdiff import archives
from training import devices
from training.storage import disk, shards

WHOLE, SHARDED = 3, 4  # formats: a state in state.npz, and one in the folder "state"
DAMAGE = (OSError, ValueError)  # what reading a damaged checkpoint may raise
_PREFIX = "step-"


class Checkpoint(NamedTuple):
    """One whole checkpoint: where it is, its step, its arrays by name, and what was written in config.json."""

    path: Path
    step: int
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]


class Keep(NamedTuple):
    """Which checkpoints stay: the last ones, those at multiples of `every` (0: none), and at powers of two."""

    last: int = 2
    every: int = 0
    powers: bool = False

    def stays(self, step: int) -> bool:
        """Whether the checkpoint of `step` stays, however old it is."""
        return (self.every > 0 and step % self.every == 0) or (self.powers and is_power(step))


USUAL = Keep()


def save(run: Path, step: int, state: Any, settings: Mapping[str, Any], keep: Keep = USUAL) -> Path:
    """Write `state` (a pytree of arrays) and `settings` (for JSON) as the checkpoint of `step`.

    On return it is on the disk and whole, and of the earlier ones those that `keep` names. OSError where it cannot be
    written: the earlier ones all stay.
    """
    final = _place(run, step)
    writing = _aside(final, str(os.getpid()))
    arrays: dict[str, Any] = {**flatten(state)}
    with disk.explained(final, lambda: _cure(run)):
        disk.make(final.parent)
        try:
            writing.mkdir()
            with open(writing / "state.npz", "wb") as file:
                np.savez(file, **arrays)
                disk.flush(file)
            _finish(writing, final, WHOLE, {"step": step, **settings})
        finally:
            shutil.rmtree(writing, ignore_errors=True)
        _thin(run, step, keep)
    return final


def save_shards(run: Path, step: int, state: Any, settings: Mapping[str, Any], keep: Keep = USUAL) -> Path:
    """Do as `save` for a state whose shards lie on several hosts, all of which must call; each writes its own.

    Where one of them cannot, all raise OSError, and say what that one says.
    """
    # Its collectives and those below could meet in another order on each host.
    jax.block_until_ready(state)
    final = _place(run, step)
    writing = _aside(final, "all")
    explained = partial(disk.explained, final, lambda: _cure(run))

    def begin() -> None:
        with explained():
            disk.make(final.parent)
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir()
            (writing / "state").mkdir()

    def write() -> None:
        with explained():
            shards.write(writing / "state", by_name(state))

    def finish() -> None:
        with explained():
            shards.join(writing / "state")
            disk.flush_all(writing / "state")
            _finish(writing, final, SHARDED, {"step": step, **settings})
            _thin(run, step, keep)

    try:
        devices.on_first_host(begin, "save the state")
        devices.together(write, "save its shards of the state")
        devices.on_first_host(finish, "save the state")
    finally:
        if devices.is_first_host():
            shutil.rmtree(writing, ignore_errors=True)
    return final


def _place(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"{_PREFIX}{step:08d}"


def _aside(final: Path, who: str) -> Path:
    return final.with_name(f"{disk.TEMPORARY}{final.name}-{who}")


def _finish(writing: Path, final: Path, form: int, settings: Mapping[str, Any]) -> None:
    """Vouch for the state that lies in `writing`, and give it its name."""
    _write_json(writing / "config.json", settings)
    sums = {name: checksum(writing / name) for name in _names(writing, form)}
    _write_json(writing / "manifest.json", {"format": form, "sha256": sums, "versions": versions()})
    disk.flush_folder(writing)
    if final.exists():  # damaged, or the run would have gone on from it
        disk.remove(final)
    os.replace(writing, final)
    disk.flush_folder(final.parent)


def _names(folder: Path, form: int) -> list[str]:
    """The files that the manifest vouches for."""
    if form == WHOLE:
        return ["state.npz", "config.json"]
    inside = (path for path in (folder / "state").rglob("*") if path.is_file())
    return [*sorted(path.relative_to(folder).as_posix() for path in inside), "config.json"]


def _thin(run: Path, step: int, keep: Keep) -> None:
    for old in _superfluous(run, step, keep):
        disk.remove(old)


def _superfluous(run: Path, step: int, keep: Keep) -> list[Path]:
    """The checkpoints to remove; not those past `step`, which are damaged and must not push out whole ones."""
    past = [path for path in _all(run) if _step(path) <= step]
    return [path for path in past[keep.last :] if not keep.stays(_step(path))]


def is_power(step: int) -> bool:
    """Whether `step` is 1, 2, 4, 8, .."""
    return step.bit_count() == 1


def _cure(run: Path) -> str:
    newest = next(filter(_is_whole, _all(run)), None)
    then = "begins the run again" if newest is None else f"continues from {newest.name}, which is whole"
    return f"make room or make the folder writable: the same command then {then}"


def latest(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint of `run`, or None where it has none. A damaged one is named in a warning.

    ValueError where there are checkpoints and every one is damaged.
    """
    damaged = []
    for path in _all(run):
        try:
            saved = read(path)
            if saved.step != _step(path):
                raise ValueError(f"it holds step {saved.step}: it was renamed or exchanged for another")
            return saved
        except DAMAGE as error:
            if not path.exists():  # the run trains, and has newer ones now
                return latest(run)
            damaged.append(f"{path} ({error})")
            warnings.warn(f"skipped a damaged checkpoint: {damaged[-1]}", stacklevel=2)
    if damaged:
        raise ValueError(
            f"run: every checkpoint of {run} is damaged: {'; '.join(damaged)}; train again into another folder"
        )
    return None


def read(path: Path) -> Checkpoint:
    """The checkpoint in the folder `path`; OSError or ValueError where it is not whole."""
    form = _verify(path)
    settings = archives.read_json(path / "config.json")
    if not isinstance(settings, dict) or not isinstance(settings.get("step"), int):
        raise ValueError("config.json has no step")
    return Checkpoint(path, settings.pop("step"), _arrays(path, form), settings)


def _arrays(path: Path, form: int) -> dict[str, np.ndarray]:
    if form == SHARDED:
        with archives.parsing(path / "state"):
            return shards.read(path / "state")
    return archives.read_npz(path / "state.npz")


def _verify(path: Path) -> int:
    """The format of a checkpoint; ValueError where its files are not those it was written with, byte for byte."""
    manifest = archives.read_json(path / "manifest.json")
    match manifest:
        case {"format": int(form), "sha256": dict(sums)}:
            pass
        case _:
            raise ValueError("manifest.json is no list of checksums")
    if form not in (WHOLE, SHARDED):
        raise ValueError(f"expected format {WHOLE} or {SHARDED}, got {form}")
    if unlike := set(sums) ^ set(_names(path, form)):
        raise ValueError(f"{', '.join(sorted(unlike))}: not there, or not written with the others")
    for name, written in sums.items():
        _check_place(path, name)
        if checksum(path / name) != written:
            raise ValueError(f"{name} does not have the checksum it was written with")
    return form


def _check_place(folder: Path, name: str) -> None:
    """ValueError where a file of a checkpoint is not a file that lies in its folder: a link may lead anywhere."""
    file = folder / name
    if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name} is no file, or a link out of its folder; put the file itself there")


def _is_whole(path: Path) -> bool:
    try:
        _verify(path)
    except DAMAGE:
        return False
    return True


def steps(run: Path) -> dict[int, Path]:
    """The folders of the checkpoints of `run` by step, increasing, whole or not."""
    return {_step(path): path for path in reversed(_all(run))}


def clean(run: Path) -> None:
    """Remove the unfinished files of a killed process."""
    for folder in (run, run / "checkpoints"):
        disk.clean(folder)


def flatten(state: Any) -> dict[str, np.ndarray]:
    """The leaves of a pytree as host arrays by name, such as ".params['out']['bias']"."""
    return {name: np.asarray(leaf) for name, leaf in by_name(state).items()}


def by_name(state: Any) -> dict[str, Any]:
    """The leaves of a pytree by name, as they are."""
    return {keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def restore(like: Any, arrays: Mapping[str, np.ndarray], name_of: Callable[[KeyPath], str] = keystr) -> Any:
    """The pytree of the shapes and dtypes in `like`, filled from `arrays`; ValueError where they do not fit."""

    def leaf(path: KeyPath, expected: Any) -> np.ndarray:
        name = name_of(path)
        array = arrays.get(name)
        if array is None or array.shape != expected.shape or array.dtype != expected.dtype:
            got = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
            raise ValueError(
                f"checkpoint: expected {expected.dtype} of shape {expected.shape} at {name}, got {got}; "
                "it was written for another network: load it with the config.json beside it"
            )
        return array

    return jax.tree_util.tree_map_with_path(leaf, like)


def _all(run: Path) -> list[Path]:
    """The folders of the finished checkpoints, newest first."""
    paths = (run / "checkpoints").glob(f"{_PREFIX}*")
    return sorted((path for path in paths if path.name.removeprefix(_PREFIX).isdecimal()), key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """The versions of the packages that a state depends on."""
    return {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax", "numpy")}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with open(path, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        disk.flush(file)
