"""Distributions in files: one plain .npz of arrays, no pickle, so that a file can be read anywhere and runs no code.

The class is named inside, beside the version of the layout. This is all the input and output that the engine does.
"""

import dataclasses
import json
import zipfile
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gaussdiff.denoiser import Distribution
from gaussdiff.diagonal import Diagonal
from gaussdiff.empirical import Empirical
from gaussdiff.gaussian import Gaussian
from gaussdiff.mixture import GaussianMixture

VERSION = 1
CLASSES = (Gaussian, Diagonal, GaussianMixture, Empirical)


def save(path, distribution: Distribution) -> None:
    """Write a Gaussian, Diagonal, GaussianMixture or Empirical to `path`, an .npz, bit for bit.

    Arrays keep their shapes and dtypes. TypeError for any other class, ValueError for a path that does not end in .npz.
    """
    if isinstance(path, eqx.Module):
        raise TypeError(f"path: expected a file name, got {type(path).__name__}. Write gd.save(path, distribution).")
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz, got {path}.")
    if type(distribution) not in CLASSES:
        raise TypeError(f"distribution: expected one of {_names()}, got {type(distribution).__name__}.")
    arrays: dict[str, np.ndarray] = {}
    tree = _describe(distribution, "", arrays)
    head = json.dumps({"gaussdiff": VERSION, "tree": tree})
    np.savez(path, allow_pickle=False, **{"gaussdiff.json": np.array(head)}, **arrays)


def load(path) -> Distribution:
    """The distribution that `save` wrote. ValueError for a file of another kind or of a later version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file["gaussdiff.json"]))
            arrays = {name: file[name] for name in file.files if name != "gaussdiff.json"}
    except (KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"path: expected a file that gd.save wrote, got {path}.") from error
    if head["gaussdiff"] > VERSION:
        raise ValueError(f"path: expected layout {VERSION}, got {head['gaussdiff']} in {path}. Update gaussdiff.")
    return _build(head["tree"], "", arrays)


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
            raise TypeError(f"distribution: expected arrays and numbers, got {field.name} of {type(value).__name__}.")
    return {"class": type(module).__name__, "fields": fields}


def _build(tree: dict, prefix: str, arrays: dict[str, np.ndarray]) -> Distribution:
    """Field by field, past __init__, whose sums and products would not give the same bits again."""
    known = {each.__name__: each for each in CLASSES}
    if tree["class"] not in known:
        raise ValueError(f"path: expected one of {_names()}, got {tree['class']}. Update gaussdiff.")
    made = object.__new__(known[tree["class"]])
    for field in dataclasses.fields(made):
        name = prefix + field.name
        if name in arrays:
            value = jnp.asarray(arrays[name])
        elif field.name in tree["fields"]:
            value = tree["fields"][field.name]
            value = _build(value, f"{name}.", arrays) if isinstance(value, dict) else value
        else:
            raise ValueError(f"path: expected a file with {name}, which is missing. Save it again.")
        object.__setattr__(made, field.name, value)
    return made


def _names() -> str:
    return ", ".join(each.__name__ for each in CLASSES)
