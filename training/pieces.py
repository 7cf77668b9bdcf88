"""Arrays that lie in pieces on several hosts, in one folder that all of them write, through orbax.

No host sends its pieces to another, or needs memory for the whole. The folder must be on a disk that all of them share.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

Arrays = Mapping[str, Array]


def write(folder: Path, arrays: Arrays) -> None:
    """Write the arrays to a `folder` that is not there yet; all hosts must call, and wait for each other."""
    # Imported here: it takes seconds, and one host alone never needs it.
    import orbax.checkpoint as ocp

    ocp.PyTreeCheckpointer().save(folder, dict(arrays))


def read(folder: Path) -> dict[str, np.ndarray]:
    """Return whole what `write` wrote, however many hosts and devices there were; each host reads for itself."""
    import orbax.checkpoint as ocp

    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(here, {here}, f"host{here}")
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        names: Any = reader.metadata(folder).item_metadata.tree
        whole = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
        return dict(reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=whole)))
