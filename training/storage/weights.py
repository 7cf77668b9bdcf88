"""The weights of a run as one file in the safetensors format, which alone is enough to load them.

Its arrays are named as in "layers.0.hidden.kernel"; its header also holds the settings of the run as JSON.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import KeyPath, keystr
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from training.networks.params import Params
from training.storage import disk
from training.storage.checkpoint import Checkpoint

FORMAT = 1


def name(path: KeyPath) -> str:
    """The name in the file of the array at `path` among the weights."""
    return keystr(path, simple=True, separator=".")


def write(out: Path, params: Params, step: int, settings: Mapping[str, Any]) -> None:
    """Write the file `out`: as it was before, or whole, at any time. OSError where that cannot be done."""
    arrays = {name(path): np.array(leaf, order="C") for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    # One fact, not several, which the library would write in an order of its own each time.
    content = save(arrays, {"gaussdiff": json.dumps({"format": FORMAT, "step": step, "settings": settings})})
    with disk.explained(out, lambda: "make room or make the folder writable"):
        disk.make(out.parent)
        disk.write(out, content)


def read(path: Path) -> Checkpoint:
    """What `write` wrote; ValueError where the file `path` is not whole or was written by something else."""
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {}).get("gaussdiff", '{"format": "none"}'))
            if facts["format"] != FORMAT:
                raise ValueError(
                    f"path (--run): expected weights of format {FORMAT} as `python -m training export` writes, got "
                    f"{path}, whose header says {facts['format']}; export them again"
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"path (--run): {path} is no whole safetensors file ({error}); export it again") from error
    return Checkpoint(path, facts["step"], arrays, facts["settings"])
