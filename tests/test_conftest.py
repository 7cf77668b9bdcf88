"""How the suite starts, with flags of XLA that the installed version may lack, and what it says when a process dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import xla_flags

ROOT = Path(__file__).parents[1]
UNKNOWN, COMMON = "--xla_no_such_flag=1", "--xla_backend_optimization_level=1"


def run_pytest(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess:
    """Run pytest by this project's settings, as somebody would who is not inside a test."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", *arguments]
    return subprocess.run(command, cwd=ROOT, env=outside | environment, capture_output=True, text=True, timeout=300)


def test_flags_that_the_installed_version_lacks_are_left_out():
    assert xla_flags.known((UNKNOWN, COMMON)) == COMMON


def test_the_complaint_names_the_flag_that_is_not_known():
    assert xla_flags.complaint("") == xla_flags.complaint(COMMON) == ""
    assert UNKNOWN in xla_flags.complaint(f"{COMMON} {UNKNOWN}")


def test_this_run_has_flags_that_are_known():
    assert xla_flags.complaint(os.environ["XLA_FLAGS"]) == ""


def test_one_flag_is_taken_out_by_its_whole_name(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1 --xla_ab=2 --xla_b")
    assert xla_flags.without("xla_a") == "--xla_ab=2 --xla_b"
    assert xla_flags.without("xla_b") == "--xla_a=1 --xla_ab=2"


def test_an_unknown_flag_of_the_user_is_named_with_its_cure():
    done = run_pytest("-n", "2", "tests/test_exact_flow.py", XLA_FLAGS=f"{COMMON} {UNKNOWN}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"Unknown flag in XLA_FLAGS: {UNKNOWN}" in done.stderr
    assert "run `unset XLA_FLAGS`" in done.stderr
    assert "Traceback" not in done.stderr


DEATHS = """
import os, signal

def test_that_compiled_code_ends():
    os.write(2, b"F0000 a reason that only compiled code knows\\n")
    os._exit(3)

def test_that_the_system_ends():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_that_dies_says_why(tmp_path):
    tests = tmp_path / "test_deaths.py"
    tests.write_text(DEATHS)
    # without the suite's conftest.py and other plugins, which take their time: this one is all that the suite adds
    bare = {"PYTHONPATH": str(ROOT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = run_pytest("-p", "xdist", "-p", "workers", "--rootdir", tmp_path, "-n", "1", tests, **bare)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "a reason that only compiled code knows" in done.stdout + done.stderr
    assert "worker gw0 ended by exit status 3" in done.stdout
    assert "worker gw1 ended by SIGKILL, most often for want of memory" in done.stdout
