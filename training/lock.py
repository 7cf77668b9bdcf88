"""One training at a time in a run's folder: two would write over each other's states.

The lock is the kernel's and goes with the process that holds it, however that ends; the file RUN/.lock only names it.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import devices, disk

NAME = ".lock"


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold the folder `run`, made where it is not there; of several hosts the first one does.

    ValueError where another training holds it. Where the disk cannot be written or knows no locks, nothing is held. A
    folder that is empty in the end goes.
    """
    taken: list[int] = []
    devices.on_first_host(lambda: taken.extend(_take(run)), "hold the folder of the run")
    try:
        yield
    finally:
        for descriptor in taken:
            _give_back(run, descriptor)


def _take(run: Path) -> list[int]:
    try:
        disk.make(run)
        descriptor = os.open(run / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # the first save says better what is wrong
        return []
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 1000).decode(errors="replace")
        os.close(descriptor)
        raise ValueError(
            f"out: expected a folder that no other training writes to, got {run}, held by {holder or 'another one'}; "
            "wait for it, stop it, or choose another --out"
        ) from error
    except OSError:  # some network file systems
        pass
    with suppress(OSError):  # of a full disk
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return [descriptor]


def _give_back(run: Path, descriptor: int) -> None:
    with suppress(OSError):  # the folder may be gone, or hold what is not ours
        if [path.name for path in run.iterdir()] == [NAME]:
            (run / NAME).unlink()
            run.rmdir()
    os.close(descriptor)
