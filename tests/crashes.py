"""A program for test_crashes.py: one checkpoint saved again and again, each time with something going wrong on the way.

    python tests/crashes.py FOLDER FORM

FORM is "whole" (checkpoint.save) or "pieces" (checkpoint.save_shards, of one host). Every save runs in a process of
its own, forked before jax and orbax have threads, in a run that is new, or of which step 5 is whole, step 10, which is
to be saved again, is damaged, and step 4 is to go. Where it is about to make its i-th change on the disk,

    killed      it ends at once, as by kill -9;
    power       it ends, and what was not flushed is lost: what files hold, their names, and renames;
    full        the disk is full, once;
    readonly    the disk is read-only, from there on.

Orbax makes its files outside Python, where no change can be counted, and now and then one more of them, so that their
flushes are not counted either; what was not flushed of them is lost all the same. Of the pieces, which take longer,
"power" and "full" are tried, in a run that is not new.

Prints one line of JSON for each, up to the i that is never reached: what was done and said, and what was found then.
"""

import builtins
import errno
import itertools
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from training.storage import checkpoint

CHANGES = ("mkdir", "replace", "fsync", "unlink", "rmdir")
FORMS: dict[str, Callable[..., Path]] = {"whole": checkpoint.save, "pieces": checkpoint.save_shards}
FAULTS = {
    "whole": list(itertools.product((True, False), ("killed", "power", "full", "readonly"))),
    "pieces": [(False, "power"), (False, "full")],
}
ERRORS = {"full": errno.ENOSPC, "readonly": errno.EROFS}


def state(step: int) -> dict[str, np.ndarray]:
    return {"a": np.full(40, step, np.float32), "b": np.asarray(step)}


def save(run: Path, step: int, form: str) -> Path:
    return FORMS[form](run, step, state(step), {"at": step}, checkpoint.Keep(last=2))


def prepare(run: Path, new: bool) -> None:
    shutil.rmtree(run, ignore_errors=True)
    if not new:
        for step in (5, 10, 4):
            path = save(run, step, "whole")
            if step == 10:
                (path / "state.npz").write_bytes(b"harm")


class Fault:
    """Stands before every call that changes the disk; lets `reach` of them pass, and the next go wrong."""

    def __init__(self, run: Path, how: str, reach: int):
        self.run, self.how, self.reach, self.struck = run, how, reach, False
        self.done: list[str] = []
        self.safe = {path.stat().st_ino for path in run.rglob("*")}  # inodes that were there, or were flushed since
        self.known = {*self.safe, run.parent.stat().st_ino}  # inodes that were there, or were made by Python
        self.unflushed: list[tuple[int, Callable[[], Any]]] = []  # an inode to be flushed, and what is lost before
        for name in CHANGES:
            setattr(os, name, self.guarded(name, getattr(os, name)))
        builtins.open = self.guarded("open", builtins.open)

    def guarded(self, name: str, call: Callable) -> Callable:
        def instead(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not {"w", "wb"} & set(arguments[1:]):
                return call(*arguments, **options)
            if name == "fsync" and os.fstat(arguments[0]).st_ino not in self.known:
                self.safe.add(os.fstat(arguments[0]).st_ino)
                return call(*arguments, **options)
            if len(self.done) == self.reach and not (self.struck and self.how == "full"):
                self.strike()
            result = call(*arguments, **options)
            if not self.struck:
                self.done.append(name)
                self.owe(name, arguments, result)
            return result

        return instead

    def strike(self) -> None:
        self.struck = True
        if self.how in ERRORS:
            raise OSError(ERRORS[self.how], os.strerror(ERRORS[self.how]))
        self.end("")

    def end(self, said: str) -> None:
        """End the process, and print what it says."""
        self.reach, self.struck = -1, True  # from here on calls are our own
        if self.how == "power":
            for _, lose in reversed(self.unflushed):
                lose()
            self.lose_the_rest()
        print(json.dumps({"done": self.done, "said": said}), flush=True)
        os._exit(0)

    def lose_the_rest(self) -> None:
        """Lose what was made outside Python: names in folders, and contents of files, that were not flushed."""
        for path in sorted(self.run.rglob("*"), reverse=True):  # what is in a folder before the folder
            if path.is_dir() and path.stat().st_ino not in self.safe:
                shutil.rmtree(path)
                path.mkdir()
            elif path.stat().st_ino not in self.safe:
                os.truncate(path, 0)

    def owe(self, name: str, arguments: tuple, result: Any) -> None:
        if name == "fsync":
            flushed = os.fstat(arguments[0]).st_ino
            self.safe.add(flushed)
            self.unflushed = [(inode, lose) for inode, lose in self.unflushed if inode != flushed]
            return
        path = Path(arguments[1] if name == "replace" else arguments[0])
        folder = os.open(path.parent, os.O_RDONLY)  # follows the folder when it is renamed
        inode = os.fstat(folder).st_ino
        if name == "mkdir":
            self.known.add(path.stat().st_ino)
            self.unflushed.append((inode, lambda: shutil.rmtree(path.name, ignore_errors=True, dir_fd=folder)))
        if name == "open":
            file = os.dup(result.fileno())
            self.known.add(os.fstat(file).st_ino)
            self.unflushed.append((inode, lambda: os.unlink(path.name, dir_fd=folder)))
            self.unflushed.append((os.fstat(file).st_ino, lambda: os.ftruncate(file, 0)))
        if name == "replace" and path.exists():
            self.unflushed.append((inode, lambda: path.exists() and path.rename(arguments[0])))


def apart(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `act` returns in a process of its own, or what that process prints when it ends before."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.dup2(writing, 1)
        print(json.dumps(act()), flush=True)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said)


def attempt(run: Path, form: str, how: str, reach: int) -> dict[str, Any]:
    """What is said by a save of step 10 with a fault in its way; it ends the process."""
    fault = Fault(run, how, reach)
    try:
        save(run, 10, form)
    except OSError as error:
        fault.end(str(error))
    fault.end("saved")
    return {}


def again(run: Path, form: str) -> dict[str, Any]:
    """What is found after the fault, and after a save that nothing stops."""
    found = look(run)
    checkpoint.clean(run)
    save(run, 10, form)
    return {**found, "again": look(run)}


def look(run: Path) -> dict[str, Any]:
    """The step that would be gone on from, whether it is all there, and what lies about unfinished."""
    found = checkpoint.latest(run)
    left = [path.name for path in run.glob("checkpoints/.*")]
    if found is None:
        return {"found": None, "whole": True, "left": left}
    same = checkpoint.flatten(state(found.step))
    whole = found.settings == {"at": found.step} and found.arrays.keys() == same.keys()
    whole = whole and all(np.array_equal(value, found.arrays[name]) for name, value in same.items())
    return {"found": found.step, "whole": whole, "left": left}


def main(run: Path, form: str) -> None:
    warnings.simplefilter("ignore")
    for new, how in FAULTS[form]:
        for reach in itertools.count():
            prepare(run, new)
            words = {"new": new, "how": how, **apart(lambda how=how, reach=reach: attempt(run, form, how, reach))}
            words |= apart(lambda: again(run, form))
            print(json.dumps(words), flush=True)
            if words["said"] == "saved" and len(words["done"]) <= reach:
                break


if __name__ == "__main__":
    import orbax.checkpoint  # noqa: F401  once, before the forks; it starts no thread

    main(Path(sys.argv[1]), sys.argv[2])
