"""Compiled code that the programs keep between runs, in the user's cache folder: JAX's persistent compilation cache.

    ~/.cache/gaussdiff/KEY/            or below XDG_CACHE_HOME; ~/Library/Caches on macOS; %LOCALAPPDATA% on Windows

Code is made for one processor: on another one it may end the process with an illegal instruction. So KEY is a digest of
the processor's features and of the version of jaxlib; JAX's own keys, of the program, its flags and devices, come on
top. GAUSSDIFF_CACHE=off or --no-cache does without, GAUSSDIFF_CACHE=DIR chooses the folder, and whoever sets
JAX_COMPILATION_CACHE_DIR has said where, and all else is left to JAX.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import jax
import jaxlib

VARIABLE = "GAUSSDIFF_CACHE"
LIMIT_BYTES = 10**9  # of all keys together; what was used least recently goes first
MINIMAL_SECONDS = 0.05  # of a compilation that is worth a file
CPU_FACTS = ("vendor_id", "model name", "flags", "CPU implementer", "CPU part", "Features", "isa")  # in /proc/cpuinfo


def enable(wanted: bool = True) -> Path | None:
    """Keep compiled code between runs; the folder, or None where it was switched off or cannot be written."""
    setting = os.environ.get(VARIABLE, "")
    if not wanted or setting == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    if (theirs := jax.config.values["jax_compilation_cache_dir"]) is not None:
        return Path(theirs)
    folder = (Path(setting).expanduser().resolve() if setting else user_folder() / "gaussdiff") / key()
    try:
        _make_writable(folder)
    except OSError as error:
        cure = f"set {VARIABLE} to another folder, or to off"
        print(f"compiled code is not kept: {folder}: {error.strerror or error}; {cure}", file=sys.stderr)
        return None
    prune(folder.parent, LIMIT_BYTES)
    # The disk may still run full: what cannot be written is compiled again by the next run.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MINIMAL_SECONDS)
    return folder


def user_folder() -> Path:
    """The folder where this system expects programs to cache files."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return chosen if chosen.is_absolute() else Path.home() / ".cache"  # as the XDG specification has it


def key() -> str:
    """A digest of all that makes compiled code foreign: the processor and the version of jaxlib."""
    facts = platform.system(), platform.machine(), processor(), jaxlib.__version__
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def processor() -> str:
    """Model and features of the processor, as the operating system tells them."""
    with suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, check=True, text=True, timeout=10).stdout
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.partition(":")[0].strip() in CPU_FACTS}))
    return platform.processor()


def prune(root: Path, limit: int) -> None:
    """Remove the entries below `root` that were used least recently, until all together have at most `limit` bytes.

    JAX's own limit needs one more package, reads the whole folder at every write, and knows one version's folder alone.
    """
    entries = []
    for path in root.glob("*/*-cache"):
        with suppress(OSError):  # another process may remove it as well
            status = path.stat()
            entries.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            return
        with suppress(OSError):
            path.unlink()
        total -= size


def _make_writable(folder: Path) -> None:
    """OSError where `folder` cannot be made and written, or its disk has no room."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f"probe-{os.getpid()}"
    try:
        probe.write_bytes(bytes(2**16))
    finally:
        probe.unlink(missing_ok=True)
    if shutil.disk_usage(folder).free < 2**27:
        raise OSError("its disk has less than 128 MiB of room")
