"""Arrays whose shards lie on several hosts, in one folder that all of them write, through orbax.

No host sends its shards to another, or needs memory for the whole. The folder must be on a disk that all of them share.
Nothing here waits for another host: a Checkpointer of orbax would, for minutes, where one of them has failed.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

Arrays = Mapping[str, Array]


def write(folder: Path, arrays: Arrays) -> None:
    """Write this host's shards of the arrays to `folder`, which is there and empty before the first one begins.

    All hosts must call. OSError where it cannot be written.
    """
    with _orbax(folder) as (ocp, handler, place):
        handler.save(place, args=ocp.args.PyTreeSave(dict(arrays)))


def join(folder: Path) -> None:
    """Join the shards that all hosts wrote to `folder`: for one of them to call, when the last has written."""
    with _orbax(folder) as (_, handler, place):
        handler.finalize(place)


def read(folder: Path) -> dict[str, np.ndarray]:
    """The whole arrays that were written and joined, however many hosts wrote them; each host reads for itself."""
    with _orbax(folder) as (ocp, handler, place):
        whole = dict.fromkeys(handler.metadata(place).tree, ocp.RestoreArgs(restore_type=np.ndarray))
        return dict(handler.restore(place, args=ocp.args.PyTreeRestore(restore_args=whole)))


@contextmanager
def _orbax(folder: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Give orbax, its handler and `folder` as it wants it; what it says of the disk becomes an OSError, and no more."""
    # Imported here: it takes seconds, and one host alone never needs it.
    import orbax.checkpoint as ocp
    from etils import epath  # which orbax brings

    its_log = logging.getLogger("absl")
    level = its_log.level
    its_log.setLevel(logging.CRITICAL)  # it prints the stacks of its threads, beside raising their errors
    try:
        with closing(ocp.PyTreeCheckpointHandler()) as handler:
            yield ocp, handler, epath.Path(folder)
    except (ValueError, RuntimeError) as error:
        raise _of_the_disk(error) from error
    finally:
        its_log.setLevel(level)


def _of_the_disk(error: Exception) -> OSError:
    """What tensorstore says of a disk in a paragraph, as the operating system says it."""
    number = re.search(r"(?:OS error |os_error_code=')(\d+)", str(error))
    return OSError(str(error)) if number is None else OSError(int(number[1]), os.strerror(int(number[1])))
