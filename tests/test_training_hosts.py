"""Two hosts: where one of them fails, both end at once and say why, and nothing is lost."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def reports(folder) -> list[list[dict]]:
    """What each host said, task by task: see tests/hosts.py."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    line = [sys.executable, ROOT / "tests" / "hosts.py", folder, address]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    hosts = [subprocess.Popen([*line, str(process)], env=env, **pipes) for process in range(2)]
    said = []
    for host in hosts:
        printed, errors = host.communicate(timeout=900)
        assert host.returncode == 0, errors
        said.append([json.loads(line) for line in printed.splitlines() if line.startswith("{")])
    return said


def of(reports: list[list[dict]], what: str) -> list[dict]:
    return [next(report for report in host if report["what"] == what) for host in reports]


@pytest.mark.slow
def test_where_one_host_fails_all_raise_and_say_what_it_says(reports):
    assert [host["found"] for host in of(reports, "nothing fails")] == [0, 1]
    assert [host["found"] for host in of(reports, "second does not matter")] == [None, None]
    for what, failing in (("first fails", 0), ("second fails", 1)):
        said = of(reports, what)
        assert said[failing]["raised"] == "KeyError"
        other = said[1 - failing]
        assert (other["raised"], other["said"]) == ("OSError", f"host {failing} could not count: 'host {failing}'")


@pytest.mark.slow
def test_the_first_host_holds_the_folder_for_both(reports):
    assert [host["found"] for host in of(reports, "held") + of(reports, "held again")] == [[True]] * 4
    first, second = of(reports, "held twice")
    assert (first["raised"], second["raised"]) == ("ValueError", "OSError")
    assert "expected a folder that no other training writes to" in first["said"]
    assert second["said"] == f"host 0 could not lock the folder of the run: {first['said']}"


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
def test_a_host_whose_disk_is_full_ends_the_save_on_all_and_the_last_state_stays(failing, reports):
    said = of(reports, f"save 2 failing on {failing}")
    assert [host["raised"] for host in said] == ["OSError", "OSError"]
    here, other = said[failing]["said"], said[1 - failing]["said"]
    assert "step-00000002: File too large (" in here
    assert here.endswith("the same command then continues from step-00000001, which is whole")
    assert other == f"host {failing} could not save its shards of the state: {here}"
    assert max(host["seconds"] for host in said) < 30
    one, both = ["step-00000001"], ["step-00000001", "step-00000003"]
    for host in reports:
        there = [report["found"] for report in host if report["what"] == "there"]
        assert there == [[1, 1, one], [1, 1, one], [1, 1, one], [3, 3, both]]


@pytest.mark.slow
def test_hosts_that_were_asked_for_different_things_do_not_begin(reports, folder):
    for host, rate in zip(of(reports, "other settings"), ("0.001", "0.002"), strict=True):
        assert host["raised"] == "ValueError"
        assert host["said"].startswith("config: expected the same settings on all hosts")
        assert f"'learning_rate': {rate}" in host["said"]
    assert not (folder / "unlike").exists()


@pytest.mark.slow
def test_data_that_one_host_lacks_and_a_folder_that_the_first_cannot_tidy_or_write_end_both(reports, folder):
    first, second = of(reports, "no data")
    assert (first["raised"], second["raised"]) == ("OSError", "FileNotFoundError")
    assert first["said"] == f"host 1 could not read the data: {second['said']}"
    assert not (folder / "unread").exists()
    assert [[report["found"] for report in host if report["what"] == "own places"] for host in reports] == [[1, 2]] * 2
    first, second = of(reports, "not tidied")
    assert first["said"] == f"{folder / 'stuck' / 'train.jsonl'} cannot be read: it is no file but a folder or a device"
    assert second["said"] == f"host 0 could not tidy the folder of the run: {first['said']}"
    first, second = of(reports, "no page")
    assert first["said"].startswith(f"could not write {folder / 'mute' / 'index.html'}: Is a directory")
    assert second["said"] == f"host 0 could not write the page: {first['said']}"
