"""XLA's flags for the tests: only those that the installed version knows.

XLA reads XLA_FLAGS when it first compiles. At a flag that it does not know it prints one line and ends the process,
with no exception and no traceback. Which flags there are changes with jaxlib (0.12 has no xla_cpu_use_fusion_emitters)
and stands in no module, so a process of its own is asked: it makes the options of a compilation and ends, in 0.4 s. A
table of versions would cost nothing, be right until the next release, and miss the flags that the user sets.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

GIVEN = os.environ.get("XLA_FLAGS")
# Little optimization, and not the newer emitters of fused loops: together a third of the time of compilation.
QUICK = ("--xla_cpu_use_fusion_emitters=false", "--xla_backend_optimization_level=0")
READ_THEM = "from jaxlib import xla_client; xla_client.CompileOptions()"


def complaint(flags: str) -> str:
    """Return what the installed XLA says against `flags`, empty where it takes them."""
    done = subprocess.run(
        [sys.executable, "-c", READ_THEM], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True
    )
    return (done.stderr.strip() or f"exit status {done.returncode}") if done.returncode else ""


def known(flags: Sequence[str]) -> str:
    """Return those of `flags` that the installed XLA takes, as a value of XLA_FLAGS."""
    if not complaint(" ".join(flags)):
        return " ".join(flags)
    return " ".join(flag for flag in flags if not complaint(flag))


def chosen() -> str:
    """Return the XLA_FLAGS that are set, and where none are (set to nothing is set) those of `QUICK` that are known."""
    return known(QUICK) if GIVEN is None else GIVEN


def without(name: str) -> str:
    """Return the XLA_FLAGS of this process without the flag `name`."""
    return " ".join(flag for flag in os.environ["XLA_FLAGS"].split() if flag.split("=")[0] != f"--{name}")
