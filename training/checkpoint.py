"""Saved states of a run: plain arrays in .npz, settings in JSON, and a manifest of checksums that is written last.

    RUN/checkpoints/step-00000500/{state.npz, config.json, manifest.json}

A checkpoint is written to a folder beside its place, flushed to the disk, and renamed. So whatever moment a run is
killed at, every folder named step-* is whole; one damaged later is found by its checksums and passed over.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

FORMAT = 2
_PREFIX, _TEMPORARY = "step-", ".writing-"


class Checkpoint(NamedTuple):
    """One whole checkpoint: where it is, its step, its arrays by name, and what was written in config.json."""

    path: Path
    step: int
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]


def save(run: Path, step: int, state: Any, settings: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `state` (a pytree of arrays) and `settings` (for JSON) as the checkpoint of `step`; keep the last `keep`.

    On return the checkpoint is on the disk and whole. OSError where it cannot be written; the earlier ones then stay.
    """
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    writing, final = folder / f"{_TEMPORARY}{step:08d}-{os.getpid()}", folder / f"{_PREFIX}{step:08d}"
    writing.mkdir()
    with open(writing / "state.npz", "wb") as file:
        np.savez(file, allow_pickle=False, **flatten(state))
        _flush(file)
    _write_json(writing / "config.json", settings)
    sums = {name: _checksum(writing / name) for name in ("state.npz", "config.json")}
    _write_json(writing / "manifest.json", {"format": FORMAT, "step": step, "sha256": sums, "versions": _versions()})
    _flush_folder(writing)
    if final.exists():
        shutil.rmtree(final)
    os.replace(writing, final)
    _flush_folder(folder)
    for old in _all(run)[keep:]:
        shutil.rmtree(old)
    return final


def latest(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of `run`, or None where it has none. A damaged one is named in a warning.

    ValueError where there are checkpoints and every one is damaged.
    """
    damaged = []
    for path in _all(run):
        try:
            return read(path)
        except (OSError, ValueError, KeyError) as error:
            damaged.append(f"{path} ({error})")
            warnings.warn(f"skipped a damaged checkpoint: {damaged[-1]}", stacklevel=2)
    if damaged:
        raise ValueError(
            f"run: every checkpoint of {run} is damaged: {'; '.join(damaged)}; train again into another folder"
        )
    return None


def read(path: Path) -> Checkpoint:
    """Return the checkpoint in the folder `path`; OSError, ValueError or KeyError where it is not whole."""
    manifest = json.loads((path / "manifest.json").read_text())
    if manifest["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}, got {manifest['format']}")
    for name, expected in manifest["sha256"].items():
        if _checksum(path / name) != expected:
            raise ValueError(f"{name} does not have the checksum it was written with")
    with np.load(path / "state.npz", allow_pickle=False) as arrays:
        return Checkpoint(path, manifest["step"], dict(arrays), json.loads((path / "config.json").read_text()))


def clean(run: Path) -> None:
    """Remove what a killed process left half written."""
    for path in (run / "checkpoints").glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path)


def flatten(state: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a pytree as host arrays by name, such as ".params['out']['bias']"."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def restore(like: Any, arrays: Mapping[str, np.ndarray], prefix: str = "") -> Any:
    """Return the pytree of the shapes and dtypes in `like` filled from `arrays`; ValueError where they do not fit."""

    def leaf(path: Any, expected: Any) -> jax.Array:
        name = prefix + jax.tree_util.keystr(path)
        found = arrays.get(name)
        if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
            got = "nothing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise ValueError(
                f"checkpoint: expected {expected.dtype} of shape {expected.shape} at {name}, got {got}; "
                "it was written by another version of this program"
            )
        return jax.numpy.asarray(found)

    return jax.tree_util.tree_map_with_path(leaf, like)


def _all(run: Path) -> list[Path]:
    """The folders of the finished checkpoints, newest first."""
    paths = {path.name.removeprefix(_PREFIX): path for path in (run / "checkpoints").glob(f"{_PREFIX}*")}
    return [paths[step] for step in sorted(filter(str.isdigit, paths), key=int, reverse=True)]


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax", "numpy")}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with open(path, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        _flush(file)


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
