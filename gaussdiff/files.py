"""Distributions and solver recipes in files that can be read anywhere and run no code.

A distribution is one plain .npz of arrays, no pickle. A recipe, that is a sampler and its grid, is text: JSON, whose
decimals give every float back bit for bit. The class is named inside, beside the version of the layout and a SHA-256 of
all the rest: a file that was damaged or changed is refused. Files of layout 1, which have none, still open.
"""

import dataclasses
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, jaxtyped

from gaussdiff import archives, samplers, schedules
from gaussdiff.denoiser import Distribution
from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.empirical import Empirical
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.distributions.mixture import GaussianMixture
from gaussdiff.numerics.arrays import floating
from gaussdiff.numerics.checks import check_chunk
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.samplers import Sampler
from gaussdiff.samplers.base import check_grid, check_sampler
from gaussdiff.schedules import NoiseLevel, Schedule

VERSION = 2
RECIPE_BYTES = 2**29  # at most: as text, the covariance of 3,072 pixels has half as many
CLASSES = (Gaussian, Diagonal, GaussianMixture, Empirical)
# what a recipe may be made of
PARTS = (
    *(part for part in vars(samplers).values() if isinstance(part, type) and issubclass(part, Sampler)),
    *(part for part in vars(schedules).values() if isinstance(part, type) and issubclass(part, Schedule)),
    *(NoiseLevel, Gaussian),
)
NO_ARRAYS: Mapping[str, np.ndarray] = {}


def save(path, distribution: Distribution) -> None:
    """Write a Gaussian, Diagonal, GaussianMixture or Empirical to `path`, an .npz, bit for bit.

    Arrays keep their shapes and dtypes. TypeError for any other class, ValueError for a path that does not end in .npz,
    OSError where it cannot be written: what was there stays.
    """
    path = _named(path, ".npz", "gd.save(path, distribution)")
    if type(distribution) not in CLASSES:
        raise TypeError(
            f"distribution: expected one of {_names(CLASSES)}, got {described(distribution)}. The path comes first."
        )
    arrays: dict[str, Any] = {}
    tree = _describe(distribution, "", arrays)
    head = _signed({"gaussdiff": VERSION, "tree": tree}, arrays)
    with archives.writing(path) as file:
        np.savez(file, **{"gaussdiff.json": np.array(json.dumps(head))}, **arrays)


def load(path) -> Distribution:
    """The distribution that `save` wrote. ValueError for one that is not whole, of another kind or a later version."""
    with _content_of(path, "gd.save"):
        arrays = archives.read_npz(path)
        head = json.loads(str(arrays.pop("gaussdiff.json")))
        _check(head, arrays)
        law = _build(head["tree"], "", arrays, CLASSES)
        _check_law(law)
    return law


def save_recipe(path, sampler: Sampler, levels: NoiseLevel) -> None:
    """Write a sampler and the grid (n+1,) that it takes to `path`, a .json that people can read, bit for bit.

    TypeError for anything but a sampler of this package and a grid, ValueError for a grid that the sampler cannot take
    or a path that does not end in .json, OSError where it cannot be written: what was there stays.
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
    head = _signed({"gaussdiff": VERSION, **parts, "arrays": values})
    with archives.writing(path) as file:
        file.write((json.dumps(head, indent=1) + "\n").encode())


def load_recipe(path) -> tuple[Sampler, NoiseLevel]:
    """The sampler and the levels that `save_recipe` wrote. ValueError for a changed file or another."""
    with _content_of(path, "gd.save_recipe"):
        head = archives.read_json(path, RECIPE_BYTES)
        _check(head)
        arrays = {name: _numbers(entry["values"], entry["dtype"]) for name, entry in head["arrays"].items()}
        sampler, levels = (_build(head[name], f"{name}.", arrays, PARTS) for name in ("sampler", "levels"))
        for part in (sampler, levels):
            _check_fields(part)
            _check_values(part)
        check_sampler(sampler)
        check_grid(levels)
        sampler.check_steps(len(levels) - 1)
    return sampler, levels


def _named(path, suffix: str, call: str) -> Path:
    check_kind(path, str | os.PathLike, "path", "a file name", f"Write {call}.")
    path = Path(path)
    if path.suffix != suffix:
        raise ValueError(f"path: expected a name that ends in {suffix}, got {path}. Rename it.")
    return path


@contextmanager
def _content_of(path, call: str) -> Iterator[None]:
    """Make of whatever the content of a file leads to one ValueError that names it."""
    try:
        with archives.parsing(path):
            yield
    except archives.UnreadableError as error:
        raise ValueError(
            f"path: expected a file that {call} wrote, got {path}: {error.reason.rstrip('.')}. Take another copy, save "
            "it again, or, where a later version wrote it, update gaussdiff."
        ) from error


def _signed(head: dict, arrays: Mapping[str, np.ndarray] = NO_ARRAYS) -> dict:
    return {**head, "sha256": archives.digest(head, arrays)}


def _check(head: dict, arrays: Mapping[str, np.ndarray] = NO_ARRAYS) -> None:
    """ValueError where the layout is a later one, or the SHA-256 is not that of the content."""
    version, written = head["gaussdiff"], head.pop("sha256", None)
    if version > VERSION:
        raise ValueError(f"expected layout {VERSION}, got {version}")
    if (version > 1 or written is not None) and written != archives.digest(head, arrays):
        raise ValueError("its content does not have the checksum that it was written with")


def _numbers(values: Any, dtype: str) -> np.ndarray:
    if np.dtype(str(dtype)).kind not in "biuf":  # others may claim any size for one number
        raise ValueError(f"it has numbers of type {dtype}")
    return np.asarray(values, dtype)


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


def _build(tree: dict, prefix: str, arrays: Mapping[str, np.ndarray], classes: tuple[type, ...]) -> Any:
    """Field by field, past __init__, whose sums and products would not give the same bits again."""
    known = {each.__name__: each for each in classes}
    if tree["class"] not in known:
        raise ValueError(f"expected one of {_names(classes)}, got {tree['class']}")
    made = object.__new__(known[tree["class"]])
    for field in dataclasses.fields(made):
        name = prefix + field.name
        if name in arrays:
            value = jnp.asarray(arrays[name])
            value = floating(value) if jnp.issubdtype(value.dtype, jnp.floating) else value
        elif field.name == "noisy" and field.name not in tree["fields"]:  # an older file: what the amount of noise says
            value = any(bool(arrays.get(prefix + amount, 0)) for amount in ("eta", "churn"))
        else:
            value = tree["fields"][field.name]
            value = _build(value, f"{name}.", arrays, classes) if isinstance(value, dict) else value
        object.__setattr__(made, field.name, value)
    return made


def _check_law(law: Any) -> None:
    """ValueError where the fields of a law, or of a stack of laws, do not fit together."""
    stack = _stack(law)
    if isinstance(law, GaussianMixture):
        if not isinstance(law.components, Gaussian | Diagonal) or _stack(law.components) != law.log_weights.shape:
            raise ValueError(f"its weights {law.log_weights.shape} are not one for each component")
        _check_law(law.components)
        return
    if any(leaf.shape[: len(stack)] != stack for leaf in jax.tree.leaves(law)):
        raise ValueError(f"its fields do not share the leading axes {stack}")
    one = law if not stack else jax.tree.map(lambda x: jnp.asarray(np.zeros(x.shape[len(stack) :], x.dtype)), law)
    _check_fields(one)
    if isinstance(one, Empirical):
        check_chunk(one.chunk)


def _stack(law: Any) -> tuple[int, ...]:
    """The leading axes of a stack of laws, such as the components of a mixture; () of one law."""
    match law:
        case Gaussian():
            return law.residual.shape
        case Empirical():
            return law.bandwidth.shape
        case Diagonal():
            return law.eigvals.shape[:-1]
        case _:
            return law.log_weights.shape[:-1]


def _check_fields(module: Any) -> None:
    """ValueError where a field is not what its annotation says; a name of an axis stands for one size in a module."""
    with jaxtyped("context"):
        for field in dataclasses.fields(module):
            value, expected = getattr(module, field.name), cast(Any, field.type)
            axes = getattr(expected, "dim_str", None)
            fits = isinstance(value, expected)
            if fits and axes == "*event":  # which has D numbers
                fits = isinstance(np.broadcast_to(0.0, value.size), cast(Any, Float[np.ndarray, "D"]))
            if not fits:
                kind = getattr(expected, "__name__", expected) if axes is None else f"floats of shape ({axes.strip()})"
                got = f"{value.dtype} of shape {value.shape}" if eqx.is_array(value) else type(value).__name__
                raise ValueError(f"expected {kind} as {field.name} of {type(module).__name__}, got {got}")
    for field in dataclasses.fields(module):
        if isinstance(value := getattr(module, field.name), eqx.Module):
            _check_fields(value)


def _check_values(module: Any) -> None:
    """ValueError where a class that is made of its fields would refuse their values."""
    fields = {field.name: getattr(module, field.name) for field in dataclasses.fields(module)}
    arguments = inspect.signature(type(module)).parameters
    if arguments.keys() <= fields.keys():
        type(module)(**{name: fields[name] for name in arguments})
    for value in fields.values():
        if isinstance(value, eqx.Module):
            _check_values(value)


def _names(classes: tuple[type, ...]) -> str:
    return ", ".join(each.__name__ for each in classes)
