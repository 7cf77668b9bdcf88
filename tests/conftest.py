"""Every test runs in float64, with shapes checked while the code runs and no silent broadcasting of ranks."""

import os

# The suite compiles thousands of small programs that run once: quick compilation takes a third of the usual time.
# `XLA_FLAGS= make test` compiles as users do. Before the first import of jax, which reads it.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

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
