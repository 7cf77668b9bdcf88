"""The tables of the zoo as users run them: float32, x64 off, no check of shapes, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zoo

TABLES = Path(__file__).with_name("float32_tables.py")
LENGTHS = 1, 2, 18, 40


@pytest.mark.slow
def test_the_tables_hold_in_float32(tmp_path):
    grids = zoo.grids(*LENGTHS).items()
    levels = {f"{name} {one.sigma.size - 1}": [one.alpha, one.sigma] for name, same in grids for one in same}
    np.savez(tmp_path / "grids.npz", **{name: np.array(pair) for name, pair in levels.items()})
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--noconftest", "-p", "no:cacheprovider", str(TABLES)],
        capture_output=True,
        text=True,
        timeout=1800,
        cwd=TABLES.parents[1],
        env=settings | {"GAUSSDIFF_GRIDS": str(tmp_path / "grids.npz")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
