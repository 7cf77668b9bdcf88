"""Where arrays live: one mesh over all devices of all hosts, with one axis, along which batches are spread.

Weights are the same everywhere ("replicated"), or every large array is cut along its longest even axis and gathered
when it is used ("full"). One device is the smallest case of the same program. The result does not depend on the number
of devices but for rounding: every draw belongs to an image's place in the batch.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
MINIMAL_ENTRIES = 2**10  # of an array that is worth cutting
REPORT_BYTES = 2000  # at most, of the report that one host sends the others of its failure

Result = TypeVar("Result")


def join_hosts() -> None:
    """Become one of several hosts: as SLURM or a TPU pod say, or by three environment variables.

    JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID. ValueError for a number that
    is none, and where the hosts cannot meet.
    """
    count, process = (_number(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    try:
        jax.distributed.initialize(num_processes=count, process_id=process)
    except RuntimeError as error:
        raise ValueError(f"distributed: the hosts could not meet: {error}") from error


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if text is not None and not text.isdecimal():
        raise ValueError(f"{name}: expected a whole number, got {text!r}; set it on every host")
    return None if text is None else int(text)


def is_first_host() -> bool:
    """Whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def everywhere() -> NamedSharding:
    """The placement of an array of which every device holds a copy."""
    return NamedSharding(_mesh(), PartitionSpec())


def spread() -> NamedSharding:
    """The placement of an array that is cut along its first axis, one shard for each device."""
    return NamedSharding(_mesh(), PartitionSpec(AXIS))


def of_state(state: Any, sharding: str) -> Any:
    """The placement of every leaf of `state`: copies, or for "full" shards of the large ones."""
    return jax.tree.map(lambda leaf: _cut(leaf.shape) if sharding == "full" else everywhere(), state)


def place(tree: Any, placements: Any) -> Any:
    """The arrays of a tree, of any kind, with the given placement (a tree, or one for all leaves)."""

    def one(leaf: Any, placement: NamedSharding) -> Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, placement, lambda index: array[index])

    if isinstance(placements, NamedSharding):
        return jax.tree.map(lambda leaf: one(leaf, placements), tree)
    return jax.tree.map(one, tree, placements)


def fetch(tree: Any) -> Any:
    """A tree of placed arrays as NumPy arrays; all hosts must ask, because the shards may lie on others."""

    def one(leaf: Array) -> np.ndarray:
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(one, tree)


def one_host() -> bool:
    """Whether this process is alone."""
    return jax.process_count() == 1


def any_host(flag: bool) -> bool:
    """Whether the flag is set on any host; all hosts must ask."""
    return flag if one_host() else bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def agree(number: int) -> bool:
    """Whether all hosts say the same number; all hosts must ask."""
    return one_host() or len(np.unique(multihost_utils.process_allgather(np.array(number)))) == 1


def together(act: Callable[[], Result], what: str) -> Result:
    """Call `act` and return its result; all hosts must call, and where it fails on one all raise.

    That one raises its error, the others OSError.

    Inside `act` no host may wait for another. `what` says in a few words what was to be done.
    """
    results: list[Result] = []
    failed = None
    try:
        results.append(act())
    except Exception as error:
        failed = error
    # The others wait here, and would for ever if one went on without them.
    reports = _reports("" if failed is None else f"host {jax.process_index()} could not {what}: {failed}")
    if failed is not None:
        raise failed
    if any(reports):
        raise OSError("; ".join(filter(None, reports)))
    return results[0]


def on_first_host(act: Callable[[], object], what: str) -> None:
    """Call `act` on the first host alone; otherwise as `together`."""
    together(act if is_first_host() else lambda: None, what)


def _reports(report: str) -> list[str]:
    """The reports of all hosts, in their order."""
    if one_host():
        return [report]
    text = report.encode(errors="backslashreplace")[:REPORT_BYTES]
    letters = np.frombuffer(text.ljust(REPORT_BYTES, b"\0"), np.uint8)
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in multihost_utils.process_allgather(letters)]


def constrain(tree: Any) -> Any:
    """Inside jit: spread the first axis of every leaf over the devices."""
    return jax.lax.with_sharding_constraint(tree, spread())


def map_spread(function: Callable, args: Any, chunk: int = 256) -> Any:
    """`function` over the first axis of `args`, `chunk` examples at a time, each chunk spread over the devices."""
    count = len(jax.tree.leaves(args)[0])
    chunks = -(-count // chunk)
    rows = jnp.minimum(jnp.arange(chunks * chunk).reshape(chunks, chunk), count - 1)  # the last ones once more

    def one(rows: Array) -> Any:
        return jax.vmap(function)(jax.tree.map(lambda leaf: leaf[rows], args))

    chunked = jax.lax.map(lambda rows: one(constrain(rows)), rows)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], chunked)


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), (AXIS,))


def _cut(shape: tuple[int, ...]) -> NamedSharding:
    """The placement of one array under "full": cut along the longest axis that the devices divide evenly."""
    count = jax.device_count()
    even = [axis for axis, size in enumerate(shape) if size % count == 0]
    if not even or np.prod(shape) < MINIMAL_ENTRIES:
        return everywhere()
    longest = max(even, key=lambda axis: shape[axis])
    return NamedSharding(_mesh(), PartitionSpec(*[AXIS if axis == longest else None for axis in range(len(shape))]))
