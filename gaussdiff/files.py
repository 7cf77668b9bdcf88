"""Distributions and solver recipes in files that can be read anywhere and run no code.

A distribution is one plain .npz of arrays, no pickle. A recipe, that is a sampler and its grid, is text: JSON, whose
decimals give every float back bit for bit. The class is named inside, beside the version of the layout. This is all the
input and output that the engine does.
"""

import dataclasses
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gaussdiff import samplers, schedules
from gaussdiff.denoiser import Distribution
from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.empirical import Empirical
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.distributions.mixture import GaussianMixture
from gaussdiff.numerics.arrays import floating
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.samplers import Sampler
from gaussdiff.samplers.base import check_grid, check_sampler
from gaussdiff.schedules import NoiseLevel, Schedule

VERSION = 1
CLASSES = (Gaussian, Diagonal, GaussianMixture, Empirical)
# what a recipe may be made of
PARTS = (
    *(part for part in vars(samplers).values() if isinstance(part, type) and issubclass(part, Sampler)),
    *(part for part in vars(schedules).values() if isinstance(part, type) and issubclass(part, Schedule)),
    *(NoiseLevel, Gaussian),
)


def save(path, distribution: Distribution) -> None:
    """Write a Gaussian, Diagonal, GaussianMixture or Empirical to `path`, an .npz, bit for bit.

    Arrays keep their shapes and dtypes. TypeError for any other class, ValueError for a path that does not end in .npz.
    """
    path = _named(path, ".npz", "gd.save(path, distribution)")
    if type(distribution) not in CLASSES:
        raise TypeError(
            f"distribution: expected one of {_names(CLASSES)}, got {described(distribution)}. The path comes first."
        )
    arrays: dict[str, Any] = {}
    tree = _describe(distribution, "", arrays)
    head = json.dumps({"gaussdiff": VERSION, "tree": tree})
    np.savez(path, **{"gaussdiff.json": np.array(head)}, **arrays)


def load(path) -> Distribution:
    """The distribution that `save` wrote. ValueError for a file of another kind or of a later version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file["gaussdiff.json"]))
            arrays = {name: file[name] for name in file.files if name != "gaussdiff.json"}
    except (KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"path: expected a file that gd.save wrote, got {path}.") from error
    _check_version(head, path)
    return _build(head["tree"], "", arrays, CLASSES)


def save_recipe(path, sampler: Sampler, levels: NoiseLevel) -> None:
    """Write a sampler and the grid (n+1,) that it takes to `path`, a .json that people can read, bit for bit.

    TypeError for anything but a sampler of this package and a grid, ValueError for a grid that the sampler cannot take
    or a path that does not end in .json.
    """
    path = _named(path, ".json", "gd.save_recipe(path, sampler, levels)")
    check_sampler(sampler)
    check_grid(levels)
    sampler.check_steps(len(levels) - 1)
    if type(sampler) not in PARTS:
        raise TypeError(f"sampler: expected one of {_names(PARTS)}, got {type(sampler).__name__}.")
    arrays: dict[str, np.ndarray] = {}
    parts = {name: _describe(part, f"{name}.", arrays) for name, part in (("sampler", sampler), ("levels", levels))}
    values = {name: {"dtype": str(value.dtype), "values": value.tolist()} for name, value in arrays.items()}
    path.write_text(json.dumps({"gaussdiff": VERSION, **parts, "arrays": values}, indent=1) + "\n")


def load_recipe(path) -> tuple[Sampler, NoiseLevel]:
    """The sampler and the levels that `save_recipe` wrote. ValueError for another file or a later version."""
    try:
        head = json.loads(Path(path).read_text())
        arrays = {name: np.asarray(entry["values"], entry["dtype"]) for name, entry in head["arrays"].items()}
        _check_version(head, path)
        sampler, levels = (_build(head[name], f"{name}.", arrays, PARTS) for name in ("sampler", "levels"))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"path: expected a file that gd.save_recipe wrote, got {path}.") from error
    return sampler, levels


def _named(path, suffix: str, call: str) -> Path:
    check_kind(path, str | os.PathLike, "path", "a file name", f"Write {call}.")
    path = Path(path)
    if path.suffix != suffix:
        raise ValueError(f"path: expected a name that ends in {suffix}, got {path}. Rename it.")
    return path


def _check_version(head: dict, path) -> None:
    if head["gaussdiff"] > VERSION:
        raise ValueError(f"path: expected layout {VERSION}, got {head['gaussdiff']} in {path}. Update gaussdiff.")


def _describe(module: eqx.Module, prefix: str, arrays: dict[str, np.ndarray]) -> dict:
    """The class and its plain fields; arrays go into `arrays` under their dotted name."""
    fields = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        if isinstance(value, eqx.Module):
            fields[field.name] = _describe(value, f"{prefix}{field.name}.", arrays)
        elif eqx.is_array(value):
            arrays[prefix + field.name] = np.asarray(value)
        elif value is None or isinstance(value, bool | int | float | str):
            fields[field.name] = value
        else:
            raise TypeError(
                f"{type(module).__name__}: expected arrays and numbers, got {field.name} of {type(value).__name__}."
            )
    return {"class": type(module).__name__, "fields": fields}


def _build(tree: dict, prefix: str, arrays: dict[str, np.ndarray], classes: tuple[type, ...]) -> Any:
    """Field by field, past __init__, whose sums and products would not give the same bits again."""
    known = {each.__name__: each for each in classes}
    if tree["class"] not in known:
        raise ValueError(f"path: expected one of {_names(classes)}, got {tree['class']}. Update gaussdiff.")
    made = object.__new__(known[tree["class"]])
    for field in dataclasses.fields(made):
        name = prefix + field.name
        if name in arrays:
            value = jnp.asarray(arrays[name])
            value = floating(value) if jnp.issubdtype(value.dtype, jnp.floating) else value
        elif field.name in tree["fields"]:
            value = tree["fields"][field.name]
            value = _build(value, f"{name}.", arrays, classes) if isinstance(value, dict) else value
        elif field.name == "noisy":  # a file older than this field: what the amount of noise says
            value = any(bool(arrays.get(prefix + amount, 0)) for amount in ("eta", "churn"))
        else:
            raise ValueError(f"path: expected a file with {name}, which is missing. Save it again.")
        object.__setattr__(made, field.name, value)
    return made


def _names(classes: tuple[type, ...]) -> str:
    return ", ".join(each.__name__ for each in classes)
