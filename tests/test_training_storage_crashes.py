"""Whatever a save is interrupted by, and at whatever change of the disk: the old state or the new one, whole."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import crashes
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("crashes")


@cache
def reports(form: str, folder: Path) -> list[dict]:
    """One record for each fault at each change: see tests/crashes.py."""
    line = [sys.executable, ROOT / "tests" / "crashes.py", folder / "run", form]
    program = subprocess.run(line, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, capture_output=True)
    assert program.returncode == 0, program.stderr
    return [json.loads(line) for line in program.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "new", "how"), [(form, *fault) for form, faults in crashes.FAULTS.items() for fault in faults]
)
def test_the_old_state_or_the_new_one_is_there_whole(form, new, how, folder):
    """And what is said names it, nothing half written stays on a full disk, and the next save gets through."""
    chosen = [report for report in reports(form, folder) if (report["new"], report["how"]) == (new, how)]
    changes = chosen[-1]["done"]
    assert [report["done"] for report in chosen] == [changes[:i] for i in range(len(changes) + 1)]
    old = None if new else 5
    moment = [report["found"] for report in chosen].index(10)
    assert 0 < moment < len(chosen)
    for i, report in enumerate(chosen):
        assert (report["found"], report["whole"]) == (old if i < moment else 10, True)
        assert report["again"] == {"found": 10, "whole": True, "left": []}
        if how in ("full", "readonly") and report is not chosen[-1]:
            then = "begins the run again" if report["found"] is None else f"from step-{report['found']:08d}"
            assert then in report["said"]
            assert {"full": "No space left", "readonly": "Read-only file system"}[how] in report["said"]
        if how == "full":
            assert all(name.endswith("-old") for name in report["left"])
    assert (chosen[-1]["said"], chosen[-1]["found"]) == ("saved", 10)
