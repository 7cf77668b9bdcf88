"""Findings: verdicts and words from criteria, and the page of findings, which names runs by the step they reached."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_analysis_page import earlier_entry, entry

from analysis.experiments import STANDARD
from analysis.harness import finding
from analysis.harness.experiment import Headline
from analysis.harness.finding import DIRECTIONS, LEARNING, SCALE, Criterion, Finding, meet
from analysis.measures.bootstrap import Interval
from benchmarks import findings


def criterion(holds: bool | None, **others: Any) -> Criterion:
    return Criterion("height", 1.0, "below 2", holds, **others)


def test_the_verdict_follows_from_the_criteria():
    yes, no, unjudged, essential = criterion(True), criterion(False), criterion(None), criterion(False, essential=True)
    verdicts = {
        "agrees": [(yes,), (yes, yes), (yes, unjudged), (criterion(np.bool_(True)),)],
        "agrees in part": [(yes, no), (no, yes, unjudged)],
        "differs": [(no,), (no, unjudged), (yes, essential), (criterion(np.bool_(False)),)],
    }
    for verdict, cases in verdicts.items():
        assert [Finding("", case, {}).verdict for case in cases] == [verdict] * len(cases)
    with pytest.raises(ValueError, match=r"criteria: expected at least one that is judged, got none"):
        _ = Finding("", (unjudged,), {}).verdict


def test_controls_count_only_where_the_network_meets_the_criterion():
    holds = {"network": True, "untrained": True, "shuffled_weights": False, "gaussian": True}
    assert meet(holds, ("untrained", "shuffled_weights", "other")) == ("untrained",)
    assert meet(holds | {"network": False}, ("untrained",)) == ()


def test_an_entry_is_plain_json_with_null_for_what_is_not_known():
    unknown = Interval(0.5, float("nan"), float("nan"))
    judged = Criterion("share", unknown, "above 0", np.bool_(True), controls=("shuffled_spectrum",))
    written = json.loads(json.dumps(Finding("It is so.", (judged,), {"x": [list(unknown)]}).to_json(), allow_nan=False))
    assert written["numbers"] == {"x": [[0.5, None, None]]}
    assert written["criteria"][0]["measured"] == [0.5, None, None]
    assert written["criteria"][0]["holds"] is True
    columns, rows = finding.table({"": written})
    assert columns == ["criterion", "measured", "expected"]
    assert rows == [["share", "✓ 0.5 (no interval: too many draws have no value)", "above 0"]]


def test_the_table_of_several_runs_has_a_column_for_each_and_a_dash_where_one_lacks_a_criterion():
    first = Finding("", (Criterion("height", 1.234567, "below 2", True), Criterion("count", 1234, "any", None)), {})
    second = Finding("", (Criterion("height", Interval(3, 2.5, 3.5), "below 1.9", False),), {})
    columns, rows = finding.table({"one": first.to_json(), "other": second.to_json(), "old": {"found": "It rose."}})
    assert columns == ["criterion", "one", "other", "old", "expected"]
    assert rows == [
        ["height", "✓ 1.23", "✗ 3 (2.5 to 3.5)", "–", "below 2 / below 1.9"],
        ["count", "· 1,234", "–", "–", "any"],
    ]


@pytest.mark.parametrize(
    ("controls", "takes", "words"),
    [
        (("untrained", "shuffled_spectrum"), LEARNING, "(untrained; shuffled spectrum), so it takes no learning."),
        (("shuffled_spectrum",), LEARNING, f"(shuffled spectrum), so it takes {DIRECTIONS}."),
        (("isotropic",), SCALE, f"(isotropic), so it takes {SCALE}."),
    ],
)
def test_what_controls_meet_is_said_with_what_it_takes(controls, takes, words):
    written = Finding("", (criterion(True, controls=controls, takes=takes),), {}, ("Last.",)).to_json()
    assert finding.details(written) == [f"Height: controls meet it too {words}", "Last."]
    assert finding.without_learning(written)
    noted = Finding("", (criterion(True, controls=controls, takes=takes, note="By hand 2."),), {}).to_json()
    assert finding.details(noted) == [f"Height: By hand 2. Controls meet it too {words}"]


def test_nothing_is_said_of_controls_that_meet_nothing():
    written = Finding("It is so.", (criterion(True),), {}).to_json()
    assert finding.details(written) == []
    assert not finding.without_learning(written)
    assert finding.sentence(written) == "It is so."


def test_entries_of_earlier_versions_are_read():
    old = earlier_entry("A1", "agrees")
    assert finding.sentence(old).startswith("It fell. Controls")
    assert finding.without_learning(old)
    assert finding.details(old) == finding.table({"": old})[1] == []


def test_claims_are_counted_by_verdict():
    verdicts = ["differs", "agrees", "agrees", "failed", "not measured"]
    counted = finding.counted([{"verdict": verdict} for verdict in verdicts])
    assert counted == "2 agree, 1 differs, 1 could not be measured, 1 failed"


def test_a_headline_is_read_from_the_numbers_that_it_names():
    headline = Headline("height", ("heights", "network"))
    numbers: dict[str, Any] = {"heights": {"network": [0.5, 0.4, 0.6]}}
    assert headline.of({"numbers": numbers}) == "0.5 (0.4 to 0.6)"
    assert headline.of({"numbers": {"heights": {"network": [0.5, None, None]}}}) == "0.5"
    assert headline.of({"numbers": {"heights": {"network": 2}}}) == "2"
    for without in ({}, {"heights": 3}, {"heights": {}}):
        assert headline.of({"numbers": without}) == "–"


def test_every_experiment_names_what_its_headline_is():
    assert all(one.headline.label and one.headline.keys for one in STANDARD)


@pytest.fixture
def steps(monkeypatch) -> dict[Path, int]:
    """The step of each run, by its folder; measuring a run writes that step."""
    reached: dict[Path, int] = {}
    metrics = {"experiments": {}, "quality": {}, "data": {}}
    monkeypatch.setattr(findings, "open_run", lambda place: SimpleNamespace(step=reached[place]))
    monkeypatch.setattr(findings.study, "stages", lambda place, _: reached[place])

    def write(step: int, out: Path) -> SimpleNamespace:
        (out / "metrics.json").write_text(json.dumps({**metrics, "step": step}))
        return SimpleNamespace(failed=())

    monkeypatch.setattr(findings.write, "write", write)
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
    monkeypatch.setattr(findings.study, "stages", lambda *_: 1200)
    with pytest.raises(ValueError, match=r"expected .* to stay at step 1,000, got 1,200"):
        findings.measure([tmp_path])


def test_an_experiment_that_fails_leaves_the_page_as_it_was(steps, tmp_path, monkeypatch):
    steps[tmp_path] = 1000
    failed = SimpleNamespace(experiment=STANDARD[0])
    monkeypatch.setattr(findings.write, "write", lambda *_: SimpleNamespace(failed=(failed,)))
    with pytest.raises(SystemExit, match=f"{STANDARD[0].name} failed on"):
        findings.measure([tmp_path])


def test_the_page_says_first_what_was_learned_and_then_each_claim_with_a_table():
    """A1 is met by a control on both runs, D1 was written by an earlier version, A8 could not be measured."""
    names = [one.name for one in STANDARD]
    first = {name: entry(name, "agrees", x=1) for name in names}
    for one in first.values():
        one["criteria"][0]["controls"] = []
    first["A1"] = entry("A1", "agrees", x=1)
    first["A8"] = entry("A8", "not measured")
    last = first | {"A3": entry("A3", "differs", x=1) | {"sentence": "It fell | again."}}
    last["D1"] = earlier_entry("D1", "agrees", x=1)
    first["A2"]["criterion"] = "Agrees always."
    runs = {f"{step} steps": {"experiments": each} for step, each in zip((1, 2), (first, last), strict=True)}
    text = findings.page({"data": {"training": 3, "held_out": 4}, "runs": runs})
    screen, rest = text.split("## How to read this page")
    count = len(names)
    assert f"Of {count} claims of the literature" in screen
    assert (
        f"after 1 steps {count - 1} agree, 1 could not be measured; after 2 steps {count - 2} agree, 1 differs"
        in screen
    )
    assert "- It fell | again. ([A3](#a3-outline-first-details-later))" in screen
    assert "Controls that have learned nothing of a claim meet some criterion of A1, A3, D1 as well." in screen
    assert len(screen.splitlines()) <= 20
    assert "| [A1: One path is nearly flat](#a1-one-path-is-nearly-flat) | agrees † | agrees † |" in rest
    assert "## A1: One path is nearly flat\n\n- **1 steps and 2 steps: agrees.** It agrees <here>.\n" in rest
    assert "| criterion | 1 steps | 2 steps | expected |" in rest
    assert "| flatness | ✓ 0.9 (0.8 to 1) | ✗ 0.9 (0.8 to 1) | at least 0.5 |" in rest
    assert "- **2 steps: differs.** It fell | again." in rest
    assert "**To be measured anew**: A2 had other criteria than today's." in rest
    shown = re.sub(r"<details>.*?</details>", "", rest, flags=re.DOTALL)
    for name in ("A1", "A3", "A8", "D1"):
        assert f"Rule: {first[name]['criterion']}" in rest
        assert first[name]["criterion"] not in shown
