"""A program for test_hosts.py, one of two processes: what one of them cannot do, both hear of at once.

    python tests/hosts.py FOLDER ADDRESS PROCESS

Prints one line of JSON for each task: what it was, and what was raised here, or found.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import training
from training import devices
from training.storage import checkpoint, lock

TINY = training.Config(
    data="toy-gaussian", channels=8, blocks=1, channel_mult=(1,), attention=(), batch=16, steps=2, sharding="full"
)
SIZE = 40_000


def tell(what: str, act: Callable[[], Any]) -> None:
    begin = time.perf_counter()
    try:
        said: dict[str, Any] = {"found": act()}
    except Exception as error:
        said = {"raised": type(error).__name__, "said": str(error)}
    print(json.dumps({"what": what, **said, "seconds": time.perf_counter() - begin}), flush=True)


def only_on(host: int) -> int:
    """Return the number of this host, which must not be `host`."""
    if jax.process_index() == host:
        raise KeyError(f"host {host}")
    return jax.process_index()


@contextmanager
def small_files(host: int) -> Iterator[None]:
    """The disk of one host takes no file beyond 10 kB: a true failure of write(), for root as well."""
    none = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000 if jax.process_index() == host else none, none))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (none, none))


def values(step: int) -> np.ndarray:
    return np.random.default_rng(step).normal(size=SIZE).astype(np.float32)


def save(run: Path, step: int, failing: int = -1) -> None:
    """Save an array of which each host holds one half."""
    state = {"cut": devices.place(values(step), devices.spread()), "same": devices.place(step, devices.everywhere())}
    with small_files(failing):
        checkpoint.save_shards(run, step, state, {"at": step})


def found(run: Path) -> list[Any]:
    """The step gone on from, where all its bits are right, and what lies about."""
    last = checkpoint.latest(run)
    if last is None or not np.array_equal(last.arrays["['cut']"], values(last.step)):
        return ["wrong"]
    return [last.step, int(last.arrays["['same']"]), sorted(path.name for path in (run / "checkpoints").iterdir())]


def step_of(run: Path) -> int | None:
    found = checkpoint.latest(run)
    return None if found is None else found.step


def twice(run: Path) -> None:
    with lock.exclusive(run), lock.exclusive(run):
        pass


def once(run: Path) -> list[bool]:
    with lock.exclusive(run):
        there = (run / lock.NAME).exists()
        devices.any_host(False)  # both have looked
        return [there]


def main(folder: Path, address: str, process: int) -> None:
    jax.distributed.initialize(address, 2, process)
    tell("nothing fails", lambda: devices.together(lambda: only_on(-1), "count"))
    tell("first fails", lambda: devices.on_first_host(lambda: only_on(0), "count"))
    tell("second does not matter", lambda: devices.on_first_host(lambda: only_on(1), "count"))
    tell("second fails", lambda: devices.together(lambda: only_on(1), "count"))
    tell("held", lambda: once(folder / "held"))
    tell("held twice", lambda: twice(folder / "held"))
    tell("held again", lambda: once(folder / "held"))
    for step, failing in ((1, -1), (2, 1), (2, 0), (3, -1)):
        tell(
            f"save {step} failing on {failing}", lambda step=step, failing=failing: save(folder / "run", step, failing)
        )
        devices.any_host(False)  # the first host has cleared away what could not be saved
        tell("there", lambda: found(folder / "run"))
        devices.any_host(False)  # and both have looked
    np.save(folder / "data.npy", np.asarray(jnp.sin(jnp.arange(200.0)).reshape(100, 2)))
    other = training.Config(**{**vars(TINY), "learning_rate": (1e-3, 2e-3)[process]})
    tell("other settings", lambda: training.train(other, folder / "unlike"))
    mine = training.Config(**{**vars(TINY), "data": str(folder / ("data.npy", "none.npy")[process])})
    tell("no data", lambda: training.train(mine, folder / "unread"))
    np.save(folder / f"data-{process}.npy", np.load(folder / "data.npy"))
    for steps in (1, 2):  # each host has the same data in a place of its own
        own = training.Config(**{**vars(TINY), "data": str(folder / f"data-{process}.npy"), "steps": steps})
        tell("own places", lambda own=own: training.train(own, folder / "own") and step_of(folder / "own"))
    if process == 0:
        (folder / "stuck" / "train.jsonl").mkdir(parents=True)
        (folder / "mute" / "index.html").mkdir(parents=True)
    tell("not tidied", lambda: training.train(TINY, folder / "stuck"))
    tell("no page", lambda: training.train(TINY, folder / "mute"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
