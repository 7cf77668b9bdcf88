"""The weights of a run as one file in the safetensors format, which alone is enough to load them.

Its arrays are named as in "layers.0.hidden.kernel"; its header also holds the settings of the run as JSON, and a
SHA-256 of these and the arrays, since the format itself has no checksum. Files of format 1, without it, still open.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import KeyPath, keystr
from safetensors import safe_open
from safetensors.numpy import save

from gaussdiff import archives
from training.networks.params import Params
from training.storage import disk
from training.storage.checkpoint import Checkpoint

FORMAT = 2


def name(path: KeyPath) -> str:
    """The name in the file of the array at `path` among the weights."""
    return keystr(path, simple=True, separator=".")


def write(out: Path, params: Params, step: int, settings: Mapping[str, Any]) -> None:
    """Write the file `out`: as it was before, or whole, at any time. OSError where that cannot be done."""
    arrays = {name(path): np.array(leaf, order="C") for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    # One fact, not several, which the library would write in an order of its own each time.
    facts = {"format": FORMAT, "step": step, "settings": settings}
    facts["sha256"] = archives.digest(facts, arrays)
    content = save(arrays, {"gaussdiff": json.dumps(facts)})
    with disk.explained(out, lambda: "make room or make the folder writable"):
        disk.make(out.parent)
        disk.write(out, content)


def read(path: Path) -> Checkpoint:
    """What `write` wrote; ValueError where the file `path` is not whole or was written by something else."""
    try:
        with archives.parsing(path), safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {}).get("gaussdiff", '{"format": "none"}'))
            arrays = {name: file.get_tensor(name) for name in file.keys()} if _known(facts) else {}  # noqa: SIM118
    except archives.UnreadableError as error:
        raise ValueError(
            f"path (--run): {path} is no whole safetensors file ({error.reason}); export it again"
        ) from error
    if not _known(facts):
        form = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
        raise ValueError(
            f"path (--run): expected weights of format {FORMAT} as `python -m training export` writes, got {path}, "
            f"whose header says {form}; export them again"
        )
    written = facts.pop("sha256", None)
    if (facts["format"] > 1 or written is not None) and written != archives.digest(facts, arrays):
        raise ValueError(
            f"path (--run): {path} is damaged: its content does not have the checksum that it was written with; "
            "take another copy, or export it again"
        )
    return Checkpoint(path, facts["step"], arrays, facts["settings"])


def _known(facts: Any) -> bool:
    match facts:
        case {"format": 1 | 2, "step": int(), "settings": dict()}:
            return True
    return False
