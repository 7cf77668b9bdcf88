"""Files of unknown origin: JSON and NumPy arrays that are whole, or an error that names the file.

Nothing in a file is run: no pickle, no code. What a file says of its sizes is compared with the file before memory is
taken, and what is written takes its place when it is whole.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedIOBase, BufferedReader, BufferedWriter
from pathlib import Path
from typing import IO, Any

import numpy as np

JSON_BYTES = 2**24  # of a file of facts and numbers at most
ARCHIVE_BYTES = 2**30  # that an .npz may expand to, whatever its own size
EXPANSION = 200  # times its own size that a larger .npz may expand to: images and weights stay far below
TEMPORARY = ".writing-"  # how the names begin of what a killed process may leave half written or half removed
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class UnreadableError(ValueError):
    """A file that is not what its reader expects. reason: why, in words."""

    def __init__(self, path: str | Path, reason: object):
        super().__init__(f"{path} cannot be read: {reason}")
        self.reason = str(reason)


def read_json(path: str | Path, most: int = JSON_BYTES) -> Any:
    """The content of a JSON file of at most `most` bytes; UnreadableError where it is no such file."""
    with opened(path, most) as file:
        return json.loads(file.read())


def names(path: str | Path) -> list[str]:
    """The names of the arrays in an .npz file; UnreadableError where it is none."""
    with opened(path) as file, _archive(file) as archive:
        return list(_members(archive, file))


def read_npz(path: str | Path, only: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or those in `only`; UnreadableError where it is none or not whole."""
    with opened(path) as file, _archive(file) as archive:
        members = _members(archive, file)
        return {name: _array(archive, members[name]) for name in (members if only is None else only)}


def map_npy(path: str | Path) -> np.ndarray:
    """The array of an .npy file, mapped and not loaded; UnreadableError where it is none or not whole."""
    with opened(path) as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            raise ValueError("it is no .npy file inside")
        file.seek(0)
        expected = _bytes_of(file) + file.tell()
        if (size := os.fstat(file.fileno()).st_size) != expected:
            raise ValueError(f"its header says that it has {expected:,} bytes, it has {size:,}")
        return np.load(path, mmap_mode="r", allow_pickle=False)


def digest(facts: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over facts, as JSON with sorted keys, and the name, dtype, shape and bytes of each array."""
    total = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[BufferedWriter]:
    """Give a file that replaces `path` in the end: at any moment, and after any failure, `path` is the old or the new.

    OSError names `path`.
    """
    aside = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            with suppress(OSError):  # it is new, or the disk has no modes
                shutil.copymode(path, aside)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        flush_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def flush_folder(path: Path) -> None:
    """Wait until the names in the folder `path` are on the disk; Windows and some network disks have no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def parsing(path: str | Path) -> Iterator[None]:
    """Make of whatever goes wrong with the content of a file one UnreadableError, which names it."""
    try:
        yield
    except UnreadableError:
        raise
    except MemoryError as error:
        raise MemoryError(f"{path} takes more memory than there is ({error})") from error
    except KeyError as error:
        raise UnreadableError(path, f"it lacks {error}") from error
    except Exception as error:  # parsers raise a dozen kinds between them
        raise UnreadableError(path, f"{error}" or type(error).__name__) from error


@contextmanager
def opened(path: str | Path, most: int | None = None) -> Iterator[BufferedReader]:
    """Give a regular file to parse; UnreadableError for more than `most` bytes, and for a pipe, which may never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UnreadableError(path, "it is no file but a folder or a device")
    with open(path, "rb") as file, parsing(path):
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise ValueError(f"it has {size:,} bytes, more than the {most:,} that are read")
        yield file


def _archive(file: BufferedReader) -> zipfile.ZipFile:
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no .npz file inside, or was cut short")
    return zipfile.ZipFile(file)


def _members(archive: zipfile.ZipFile, file: BufferedReader) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of their arrays; ValueError where their sizes cannot be true or be taken."""
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise ValueError("one name stands for two arrays")
    for name, info in members.items():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in a way that np.savez does not use")
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
            raise ValueError(f"{name} has two sizes, {info.compress_size:,} and {info.file_size:,} bytes")
    total, size = sum(info.file_size for info in members.values()), os.fstat(file.fileno()).st_size
    if total > max(ARCHIVE_BYTES, EXPANSION * size):
        raise ValueError(f"it would expand from {size:,} to {total:,} bytes, more than {EXPANSION} times its size")
    return members


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        expected = _bytes_of(member) + member.tell()
    if info.file_size != expected:
        raise ValueError(f"the header of {info.filename} says {expected:,} bytes, the archive {info.file_size:,}")
    with archive.open(info) as member:  # anew: a member that was read backwards loses its checksum
        array = np.lib.format.read_array(member, allow_pickle=False)
        member.read(1)  # to its end, where the checksum is compared
    return array


def _bytes_of(file: BufferedIOBase | IO[bytes]) -> int:
    """The bytes of the array after the header, to whose end the file is read; ValueError for Python objects."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"it has arrays of format {version}, which hold no plain numbers")
    shape, _, dtype = HEADERS[version](file)
    if dtype.hasobject or (dtype.itemsize == 0 and math.prod(shape) > 1):
        raise ValueError(f"it holds Python objects or nothing, {dtype}")
    return math.prod(shape) * dtype.itemsize
