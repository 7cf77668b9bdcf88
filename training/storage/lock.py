"""One training at a time in a run's folder: two would write over each other's states.

The lock is the kernel's and ends with its process, however that ends; the file RUN/.lock only names the process.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from training import devices
from training.storage import disk

NAME = ".lock"


@contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """Lock the folder `run`, made where it is not there; of several hosts the first one does.

    ValueError where another training has locked it. Where the disk cannot be written or knows no locks, nothing is
    locked. A folder that was made for this and is empty in the end is removed.
    """
    descriptors: list[int] = []
    made = not run.exists()
    devices.on_first_host(lambda: descriptors.extend(_take(run)), "lock the folder of the run")
    try:
        yield
    finally:
        for descriptor in descriptors:
            _give_back(run, descriptor, made)


def _take(run: Path) -> list[int]:
    try:
        disk.make(run)
        descriptor = _open(run / NAME)
    except OSError:  # the first save says better what is wrong
        return []
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _note(descriptor)
        os.close(descriptor)
        raise ValueError(
            f"out: expected a folder that no other training writes to, got {run}, locked by {holder}; "
            "wait for it, stop it, or choose another --out"
        ) from error
    except OSError:  # some network file systems
        pass
    with suppress(OSError):  # of a full disk, or a file that somebody else made
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return [descriptor]


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # in a folder that is shared, somebody else's: it can be locked all the same
        return os.open(file, os.O_RDONLY)


def _note(descriptor: int) -> str:
    with suppress(OSError):
        return os.read(descriptor, 1000).decode(errors="replace") or "another one"
    return "another one"


def _give_back(run: Path, descriptor: int, made: bool) -> None:
    with suppress(OSError):  # the folder may be gone, or hold what is not ours
        if made and [path.name for path in run.iterdir()] == [NAME]:
            (run / NAME).unlink()
            run.rmdir()
    with suppress(OSError):  # a child that was forked would hold on to it
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
