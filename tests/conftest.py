"""Every test runs in float64, with shapes checked while the code runs and no silent broadcasting of ranks."""

import os

# The suite compiles thousands of small programs that run once; without the newer emitters of fused loops that takes
# half the time. `XLA_FLAGS= make test` compiles as users do. Before the first import of jax, which reads it. (No
# optimization at all would be faster still, but loops compiled so gave NaN where no operation makes one.)
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# before the first import of gaussdiff anywhere: the hook rewrites modules as they are imported
jaxtyping.install_import_hook("gaussdiff", "beartype.beartype")


@pytest.fixture
def unchecked(monkeypatch):
    """Without the check of annotations, which users do not have and which would speak before our own errors."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(autouse=True, scope="module")
def memory():
    """Compiled programs pile up to gigabytes in a long run: every file of tests drops its own."""
    yield
    jax.clear_caches()
