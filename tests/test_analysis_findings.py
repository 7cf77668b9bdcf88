"""The page of findings: runs are told apart by the step that they have reached."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.experiments import STANDARD
from benchmarks import findings


@pytest.fixture
def steps(monkeypatch) -> dict[Path, int]:
    """The step of each run, by its folder; measuring a run writes that step."""
    reached: dict[Path, int] = {}
    metrics = {"experiments": {}, "quality": {}, "data": {}}
    monkeypatch.setattr(findings, "open_run", lambda place: SimpleNamespace(step=reached[place]))
    monkeypatch.setattr(findings.study, "run", lambda place, _: reached[place])

    def write(step: int, out: Path) -> None:
        (out / "metrics.json").write_text(json.dumps({**metrics, "step": step}))

    monkeypatch.setattr(findings.report, "write", write)
    return reached


def test_each_run_is_named_by_its_step(steps, tmp_path):
    runs = [tmp_path / "short", tmp_path / "long"]
    for run, step in zip(runs, (1000, 12000), strict=True):
        run.mkdir()
        steps[run] = step
    assert list(findings.measure(runs)["runs"]) == ["1,000 steps", "12,000 steps"]


def test_two_runs_at_one_step_are_refused_before_anything_is_measured(steps, tmp_path):
    steps |= {tmp_path / "a": 1000, tmp_path / "b": 1000}
    with pytest.raises(
        ValueError, match=r"runs: expected runs at different steps, got .*a and .*b, both at step 1,000"
    ):
        findings.measure(list(steps))
    assert not (tmp_path / "a").exists()


def test_a_run_that_goes_on_while_it_is_measured_is_refused(steps, tmp_path, monkeypatch):
    steps[tmp_path] = 1000
    monkeypatch.setattr(findings.study, "run", lambda *_: 1200)
    with pytest.raises(ValueError, match=r"expected .* to stay at step 1,000, got 1,200"):
        findings.measure([tmp_path])


def test_the_page_says_alike_findings_once_and_marks_what_controls_show_too():
    about = dict.fromkeys(("title", "claim", "published"), "") | {"criterion": STANDARD[0].criterion}
    plain = {**about, "verdict": "agrees", "found": "It falls."}
    both = {**plain, "found": "It falls. Controls fall as well (untrained): it takes no learning."}
    entries = [{**dict.fromkeys((one.name for one in STANDARD), plain), "A1": first} for first in (plain, both)]
    runs = {f"{step} steps": {"experiments": each} for step, each in zip((1, 2), entries, strict=True)}
    text = findings.page({"data": {"training": 1, "held_out": 1}, "runs": runs})
    assert "| [A1](#a1) |  | agrees | agrees † |" in text
    assert text.count("- **1 steps and 2 steps: agrees.** It falls.") == len(STANDARD) - 1
    assert "- **1 steps: agrees.** It falls.\n- **2 steps: agrees.** It falls. Controls" in text
    assert "**To be measured anew**: A2, " in text
