"""One training at a time in a run's folder: two would write over each other's states.

The lock is the kernel's and ends with its process, however that ends; the file RUN/.lock only names the process.
"""

import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from training import devices
from training.storage import disk

NAME = ".lock"


class Lock:
    """The lock of the folder `run`; without a descriptor where the disk cannot be written or knows no locks."""

    def __init__(self, run: Path):
        self.run, self.descriptor = run, _take(run)
        self.folder = _identity(run)

    def follow(self, step: int) -> None:
        """Lock a folder that is made anew where the run's was moved, renamed or deleted before `step`, with a warning.

        ValueError where another training has locked the one that stands there now.
        """
        if self.descriptor is None or _identity(self.run / NAME) == _identity(self.descriptor):
            return
        self.release()
        self.descriptor = _take(self.run)
        before, self.folder = self.folder, _identity(self.run)
        if self.folder != before:
            warnings.warn(
                f"{self.run} was moved, renamed or deleted while it trains; from step {step} on its states lie in "
                "a new folder of that name. The earlier ones are where the folder went: the same command with that "
                "folder as --out continues from those, with this one from the new ones",
                stacklevel=2,
            )

    def release(self) -> None:
        """Give the lock back."""
        if self.descriptor is not None:
            with suppress(OSError):  # a child that was forked would hold on to it
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            os.close(self.descriptor)
            self.descriptor = None


@contextmanager
def exclusive(run: Path) -> Iterator[Lock | None]:
    """Lock the folder `run`, made where it is not there; of several hosts the first one does, and has the Lock.

    ValueError where another training has locked it. Where the disk cannot be written or knows no locks, nothing is
    locked. A folder that was made for this and is empty in the end is removed.
    """
    locks: list[Lock] = []
    made = not run.exists()
    devices.on_first_host(lambda: locks.append(Lock(run)), "lock the folder of the run")
    try:
        yield locks[0] if locks else None
    finally:
        for each in locks:
            _remove_empty(run, made)
            each.release()


def _take(run: Path) -> int | None:
    try:
        disk.make(run)
        descriptor = _open(run / NAME)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(
                f"out: expected {run / NAME} to be a file, got a link, which would be written through; remove it"
            ) from error
        return None  # the first save says better what is wrong
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
    return descriptor


def _identity(file: Path | int) -> tuple[int, int] | None:
    """What stays the same of a file or folder when it is renamed; None where it is not there."""
    with suppress(OSError):
        status = os.stat(file)
        return status.st_dev, status.st_ino
    return None


def _open(file: Path) -> int:
    """Open the file itself: a link in the folder of somebody else's run may lead anywhere."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:  # in a folder that is shared, somebody else's: it can be locked all the same
        return os.open(file, os.O_RDONLY | os.O_NOFOLLOW)


def _note(descriptor: int) -> str:
    with suppress(OSError):
        return os.read(descriptor, 1000).decode(errors="replace") or "another one"
    return "another one"


def _remove_empty(run: Path, made: bool) -> None:
    with suppress(OSError):  # the folder may be gone, or hold what is not ours
        if made and [path.name for path in run.iterdir()] == [NAME]:
            (run / NAME).unlink()
            run.rmdir()
