"""Every test runs in float64, with shapes checked while the code runs and no silent broadcasting of ranks."""

import fcntl
import gc
import os
from pathlib import Path

import pytest
import xla_flags
from workers import pytest_testnodedown as pytest_testnodedown

# The suite compiles thousands of small programs that run once: so it compiles the quick way, which keeps their
# roundings, but for a digit. `XLA_FLAGS= make test` compiles as users do. What took a while to compile is kept on disk,
# for the suite's other processes, which train the same small networks, and for its next run. Before jax is imported.
os.environ["XLA_FLAGS"] = xla_flags.chosen()
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # who called what is not written into every program
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax
import jaxlib
import jaxtyping

# Tracing makes many objects and few circles: looking for these less often saves a twentieth of the time.
gc.set_threshold(100_000, 50, 100)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# before the first import of gaussdiff anywhere: the hook rewrites modules as they are imported
jaxtyping.install_import_hook("gaussdiff", "beartype.beartype")


def pytest_configure(config):
    """Say which of the user's XLA_FLAGS is unknown, before the first compilation ends the process over it."""
    if hasattr(config, "workerinput") or not xla_flags.GIVEN:  # a worker of pytest-xdist inherits what was checked
        return
    if complaint := xla_flags.complaint(xla_flags.GIVEN):
        raise pytest.UsageError(
            f"XLA_FLAGS: expected flags that the installed XLA (jaxlib {jaxlib.__version__}) knows, "
            f"got {xla_flags.GIVEN!r}. It says\n{complaint}\n"
            "Leave that flag out, or run `unset XLA_FLAGS`: the tests then set flags that it knows."
        )


@pytest.fixture
def unchecked(monkeypatch):
    """Without the check of annotations, which users do not have and which would speak before our own errors."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of a small run that is trained once for all processes of the suite: to be read, not written to."""
    import settings  # after the hook, like all of gaussdiff

    import training

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        training.train(settings.TRAINED, folder)  # whoever comes later finds it finished
    return folder


@pytest.fixture(autouse=True, scope="module")
def memory():
    """Compiled programs pile up to gigabytes in a long run: every file of tests drops its own."""
    yield
    jax.clear_caches()
