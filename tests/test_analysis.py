"""The measuring code, on models whose answers are known, and the report it makes of a real run.

One report on a tiny run goes from end to end in processes of its own, as users have it; what pages say is tested on
made results in test_analysis_page.py. Whole reports, with all experiments, are marked exhaustive.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
import xla_flags
from PIL import Image
from settings import exact_setting
from test_analysis_page import browse, check, check_slider, entry

import gaussdiff as gd
import training
from analysis import __main__ as command
from analysis.comparison import runs, verdicts
from analysis.experiments import STANDARD, named
from analysis.harness import experiment, twins
from analysis.measures import paths as compare
from analysis.measures import quality
from analysis.reporting import clock, study, write
from analysis.solvers import accelerate
from training.data.dataset import Dataset, Rows, load
from training.evaluation import explain
from training.evaluation.features import learn_features

ROOT = Path(__file__).parents[1]
LEVELS = gd.grids.karras(60, sigma_min=0.005)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Correlated 4 x 4 images whose variances span four decades."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(16, 16)) * np.logspace(0, -2, 16)
    return (rng.normal(size=(2000, 16)) @ mixing.T).reshape(-1, 4, 4, 1)


@pytest.fixture(scope="module")
def gaussian(images) -> gd.Gaussian:
    return gd.Gaussian.from_samples(images)


@pytest.fixture(scope="module")
def paths(gaussian) -> dict[str, compare.Paths]:
    starts = LEVELS.sigma[0] * jax.random.normal(jax.random.key(0), (64, 4, 4, 1))
    models = {"network": gaussian, "gaussian": gd.Gaussian.isotropic(gaussian.mean, 0.5)}
    return compare.follow(models, gd.Heun(), starts, LEVELS)


def test_a_gaussian_commits_its_components_at_the_closed_form_levels(gaussian, paths):
    measured = compare.commitment_levels({"network": paths["network"]}, gaussian, 8)["network"]
    np.testing.assert_allclose(measured, gd.emergence(gaussian.eigvals[:8]), rtol=0.02)


def test_components_that_never_settle_are_nan(gaussian):
    always = compare.Paths(np.array([2.0, 1.0, 0.0]), np.ones((3, 3, 4, 4, 1)), np.ones((3, 2, 4, 4, 1)))
    assert np.isnan(compare.commitment_levels({"network": always}, gaussian, 2)["network"]).all()


def test_distance_to_network_is_that_of_the_final_samples_and_starts_at_zero(paths):
    state = compare.distance_to_network(paths)["state"]["gaussian"]
    difference = paths["network"].samples - paths["gaussian"].samples
    assert state[0] == 0
    assert len(state) == len(LEVELS)
    np.testing.assert_allclose(state[-1], np.linalg.norm(difference) / np.sqrt(difference.size), rtol=1e-6)


def test_a_twin_equal_to_the_network_explains_all_of_it_and_its_error_is_the_posterior_spread(images, gaussian):
    models = {"network": gaussian, "gaussian": gaussian, "isotropic": explain.isotropic(images)}
    measured = compare.explained_variance(models, images, np.array([0.1, 1.0]), jax.random.key(0))
    np.testing.assert_allclose(measured["denoiser"]["gaussian"], 1, atol=1e-12)
    np.testing.assert_allclose(measured["score"]["gaussian"], 1, atol=1e-12)
    assert (measured["denoiser"]["isotropic"] < 0.999).all()
    # E|x0 - E[x0 | x]|^2 = sum of lam sigma^2 / (lam + sigma^2); 2,000 images put the estimate within a few per cent
    for sigma, error in zip((0.1, 1.0), measured["error"]["gaussian"], strict=True):
        lam = np.asarray(gaussian.eigvals)
        np.testing.assert_allclose(error**2, (lam * sigma**2 / (lam + sigma**2)).mean(), rtol=0.05)


def test_twins_share_the_moments_they_are_named_for(images):
    fitted = twins.fit(images, components=3)
    assert len(fitted.mixture.log_weights) == 3
    assert fitted.data_set.shape == (4, 4, 1)
    np.testing.assert_allclose(np.trace(np.cov(images.reshape(2000, -1).T, bias=True)), fitted.gaussian.eigvals.sum())
    np.testing.assert_allclose(explain.isotropic(images).residual, fitted.gaussian.eigvals.mean())


def test_copies_have_ratio_zero_unseen_images_one_and_noise_more():
    data = load("digits")
    noise = np.random.default_rng(0).uniform(-1, 1, size=(100, 8, 8, 1))
    judged = quality.judge(
        {"copies": data.train[:100], "unseen": data.held_out, "noise": noise}, data, learn_features(data)
    )
    assert judged["copies"]["nearest_training_ratio"] == 0
    assert judged["unseen"]["nearest_training_ratio"] == 1
    assert judged["unseen"]["frechet"] < 1e-6
    assert judged["noise"]["nearest_training_ratio"] > 1.5
    assert judged["noise"]["frechet"] > 5 * judged["real"]["frechet"]


def test_data_without_labels_is_judged_on_its_principal_components(images):
    features = learn_features(Dataset(Rows(images[:1000]), Rows(images[1000:])))
    assert features.name.startswith("the first 16 principal components")
    assert features.extract(images[:5]).shape == (5, 16)


def test_rank_correlation_ignores_what_is_not_finite():
    a = np.array([1.0, 2.0, np.nan, 4.0])
    assert compare.rank_correlation(a, np.array([10.0, 20.0, 0.0, 30.0])) == pytest.approx(1)
    assert compare.rank_correlation(a, np.array([3.0, 2.0, 9.0, 1.0])) == pytest.approx(-1)


def test_rank_correlation_of_equal_values_is_scipy_s():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.integers(4, size=(2, 30)).astype(float)
    assert compare.rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(compare.rank_correlation(a, np.ones(30)))


SMALL = ("--channels", "16", "--blocks", "1", "--batch", "64")
QUICK = ("--starts", "48", "--steps", "12", "--components", "4")
TINY = ("--starts", "8", "--steps", "6", "--components", "2")
OF_COLOURS = ["A1", "A5", "A6", "A10", "A11", "D7", "C2"]  # those that look at pixels, channels and patches
OF_DIGITS = [one.name for one in STANDARD if one.name in ("A1", "A6", "C2") or one.name not in OF_COLOURS]


def run(*arguments: str) -> subprocess.CompletedProcess:
    env = os.environ | {"XLA_FLAGS": xla_flags.without("xla_cpu_use_fusion_emitters")}  # they compile networks faster
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=1500)


def test_a_setting_that_makes_no_study_is_a_plain_error(tmp_path, capsys):
    code = command.main(["report", "--run", str(tmp_path), "--out", str(tmp_path / "out"), "--starts", "0"])
    assert code == 2
    assert capsys.readouterr().err.startswith("error: starts: expected at least 2, got 0")


def test_a_report_on_no_run_says_what_to_do_and_writes_nothing(tmp_path, capsys):
    code = command.main(["report", "--run", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert code == 2
    assert "python -m training train" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_experiment_that_is_none_is_named_before_the_run_is_opened(tmp_path, capsys):
    assert command.main(["report", "--run", str(tmp_path / "none"), "--experiments", "A1", "B1"]) == 2
    assert re.search(r"error: name: expected one of A1, .* got 'B1'", capsys.readouterr().err)


def test_a_report_that_is_interrupted_before_it_measures_says_so_and_writes_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "open_run", interrupted)
    code = command.main(["report", "--run", str(tmp_path), "--out", str(tmp_path / "out")])
    assert code == 130
    assert capsys.readouterr().err == "interrupted; nothing was written: run the same command again\n"
    assert not (tmp_path / "out").exists()


def broken(name: str, part: str, error: BaseException) -> experiment.Experiment:
    """The experiment with one of its three functions broken on purpose."""

    def fails(_):
        raise error

    return dataclasses.replace(named(name), **{part: fails})


@pytest.fixture
def report(trained, tmp_path, monkeypatch, capsys):
    """Runs the command for a report on these experiments; returns its exit code, folder, output and errors."""

    def reported(*experiments: experiment.Experiment):
        monkeypatch.setattr(study, "STANDARD", experiments)
        code = command.main(["report", "--run", str(trained), "--out", str(tmp_path / "out"), *TINY])
        said = capsys.readouterr()
        return code, tmp_path / "out", said.out, said.err

    return reported


@pytest.mark.slow
def test_an_experiment_that_fails_is_no_finding_and_costs_no_other(report):
    fault = "expected a square & got <a circle>"
    failing = broken("D1", "measure", TypeError(fault)), broken("D2", "draw", ZeroDivisionError("no width"))
    code, out, said, errors = report(named("A1"), *failing, named("A3"))
    assert code == 1
    assert f"TypeError: {fault}" in errors
    assert "Traceback" in errors
    assert "failed: D1 " in said
    entries = json.loads((out / "metrics.json").read_text())["experiments"]
    verdicts = {name: one["verdict"] for name, one in entries.items()}
    assert verdicts.pop("A1") in ("agrees", "agrees in part", "differs")
    assert verdicts == {"D1": "failed", "D2": "failed", "A3": "not measured"}
    assert entries["D1"]["sentence"].endswith(f"TypeError: {fault}")
    assert entries["D2"]["error"].startswith("Traceback")
    assert (entries["D1"]["criteria"], entries["D1"]["numbers"], entries["A3"]["error"]) == ([], {}, "")
    assert {path.stem for path in (out / "figures").iterdir()} == {"trajectories", "samples", "A1"}
    page = (out / "report.html").read_text()
    assert page.count('<span class="verdict failed">') == 4  # in the table of claims and above each section
    assert page.count('<span class="verdict not-measured">') == 2
    assert "expected a square &amp; got &lt;a circle&gt;" in page
    assert "1 could not be measured, 2 failed." in page
    assert "till running" not in page
    assert "location.reload" not in page


@pytest.mark.slow
def test_one_experiment_that_fails_gives_its_exit_code_too(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.experiments, "STANDARD", (named("A1"), broken("D1", "find", KeyError("sigma"))))
    for name, expected in (("a1", 0), ("d1", 1)):
        assert command.main(["experiment", name, "--run", str(trained), "--out", str(tmp_path), *TINY]) == expected
    said = capsys.readouterr()
    assert "verdict: failed. It failed" in said.out
    assert "KeyError: 'sigma'" in said.err
    assert "criterion" in said.out
    assert f"written: {tmp_path / 'A1.json'}, {tmp_path / 'A1.png'}, {tmp_path / 'A1.pdf'}" in said.out
    assert f"written: {tmp_path / 'D1.json'}\n" in said.out
    assert json.loads((tmp_path / "D1.json").read_text())["verdict"] == "failed"


@pytest.mark.slow
def test_a_report_that_is_interrupted_leaves_a_page_that_says_so(report):
    code, out, _, errors = report(named("A1"), broken("D1", "measure", KeyboardInterrupt()), named("D2"))
    assert code == 130
    assert errors.endswith(
        "interrupted; " + str(out / "report.html") + " has 1 of 3 experiments, other files may be missing: "
        "run the same command again\n"
    )
    page = (out / "report.html").read_text()
    assert "<strong>Interrupted.</strong> 1 of 3 experiments have run, not D1, D2." in page
    assert '<section id="A1">' in page
    assert "location.reload" not in page
    assert page.rstrip().endswith("</html>")


@pytest.mark.slow
def test_the_page_of_a_report_grows_and_says_what_is_still_to_come(trained, tmp_path):
    pages = []

    def stages():
        for one in study.stages(trained, study.Settings(starts=8, steps=6, components=2), ("D1", "A1")):
            pages.append((tmp_path / "report.html").read_text() if one.results else "")
            yield one

    finished = write.write(stages(), tmp_path)
    assert [result.experiment.name for result in finished.results] == ["A1", "D1"]
    first, second = pages[1:]  # what a reader sees while the next experiment runs
    assert "0 of 2 experiments have run; still to come: A1, D1." in first
    assert "1 of 2 experiments have run; still to come: D1." in second
    assert ("location.reload" in first, "<section" in first, '<section id="A1">' in second) == (True, False, True)
    last = (tmp_path / "report.html").read_text()
    assert "still to come" not in last
    assert "location.reload" not in last
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert set(write.earlier(tmp_path)) == {"open", "follow", "judge", "A1", "D1"}
    assert write.earlier(tmp_path / "none") == {}


@pytest.mark.parametrize("earlier", [{"open": 2.0, "A1": 3.0, "A2": 10.0}, {"A1": 3.0}, {}])
def test_the_time_left_is_the_usual_one_times_how_much_slower_this_report_is(capsys, monkeypatch, earlier):
    """An earlier report says it, of a run twice as slow as usual here; the usual seconds stand in for what it lacks."""
    now = iter([0.0, 4.0, 10.0, 11.0, 13.0])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(clock, "USUAL", {"open": 1.0, "A1": 1.5, "A2": 5.0, "A3": 50.0})
    lines = clock.Clock(("open", "A1", "A2", "A3"), earlier)
    for part in ("open", "A1", "A2", "A3"):
        lines.lap(part, "done")
    assert capsys.readouterr().out.splitlines() == [
        "open        4.0 s  done (about 4 min left)",  # 4 times the usual 1 s, and 56.5 s to come
        "A1          6.0 s  done (about 4 min left)",
        "A2          1.0 s  done (about 73 s left)",
        "A3          2.0 s  done",
    ]


def test_the_usual_times_are_of_every_part_of_a_report():
    assert set(clock.USUAL) == {*study.SHARED, *(one.name for one in STANDARD)}
    assert all(seconds > 0 for seconds in clock.USUAL.values())


def test_a_part_that_runs_for_long_says_so_with_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(clock, "BEAT", 0.01)
    with clock.Clock(("open", "A1"), {"open": 1000.0, "A1": 500.0}) as lines:
        while not (said := capsys.readouterr().out):
            pass
        lines.lap("open", "opened")
    assert said.splitlines()[0] == "open        0.0 s  so far (about 25 min left)"


@pytest.mark.slow
def test_without_a_folder_to_write_to_it_is_one_in_the_run_s_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "open_run", lambda *_: exact_setting(starts=8, steps=8))
    assert command.main(["experiment", "D1", "--run", str(tmp_path)]) == 0
    assert (tmp_path / "experiments" / "D1.json").is_file()
    assert f"written: {tmp_path / 'experiments' / 'D1'}.json" in capsys.readouterr().out
    weights = tmp_path / "exported" / "weights.safetensors"
    weights.parent.mkdir()
    weights.touch()
    assert command.main(["experiment", "D1", "--run", str(weights)]) == 0
    assert (weights.parent / "experiments" / "D1.json").is_file()


def test_a_report_is_written_to_the_run_s_folder_and_a_search_into_one_of_its_own(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(command, "stages", lambda *_: "growing")
    monkeypatch.setattr(accelerate, "run", lambda *_: "measured")
    finished = dataclasses.make_dataclass("Finished", ["failed"])(())
    monkeypatch.setattr(write, "write", lambda *what, aside: (written.append(what), finished)[1])
    monkeypatch.setattr(accelerate, "write", lambda *what: written.append(what))
    for name in ("report", "accelerate"):
        assert command.main([name, "--run", str(tmp_path)]) == 0
        assert command.main([name, "--run", str(tmp_path), "--out", "elsewhere"]) == 0
    folders = tmp_path, Path("elsewhere"), tmp_path / "accelerate", Path("elsewhere")
    assert [folder for _, folder in written] == list(folders)
    assert [what for what, _ in written] == ["growing", "growing", "measured", "measured"]


@pytest.mark.slow
def test_a_report_from_end_to_end(trained, tmp_path):
    """In float32, its figures in a second process: what was measured, what was not, and a table of an experiment."""
    chosen = ["A1", "A3", "A6", "D1"]
    done = run("analysis", "report", "--run", str(trained), "--out", str(tmp_path), *TINY, "--experiments", *chosen)
    assert done.returncode == 0, done.stderr
    assert "drawn without a second process" not in done.stderr
    assert set(_check_files(tmp_path, chosen)) == {"A3"}
    assert "Explained variance of the network" in done.stdout
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["step"] == 2
    page = (tmp_path / "report.html").read_text()
    _check_page(page)
    assert "Explained variance of the network" in page
    seen = browse(page, tmp_path, 360, dark=False)
    check_slider(seen)


@pytest.mark.slow
def test_two_runs_side_by_side_with_an_experiment_measured_on_both(trained, tmp_path, capsys):
    assert command.main(["compare", str(trained), str(trained), "--out", str(tmp_path)]) == 2
    assert "expected different folders" in capsys.readouterr().err
    copy = shutil.copytree(trained, tmp_path / "copy")
    out = tmp_path / "both"
    asked = ["compare", str(trained), str(copy), "--out", str(out), *TINY, "--experiments", "a1"]
    assert command.main(asked) == 0
    compared = json.loads((out / "compare.json").read_text())
    same, other = compared["runs"].values()
    assert same == other
    assert np.array(compared["distances"]) == pytest.approx(np.zeros((2, 2)))
    judged = list(compared["experiments"].values())
    assert [list(one["entries"]) for one in judged] == [["A1"], ["A1"]]
    assert judged[0]["made"] == judged[1]["made"] == "measured now: 8 starts, 6 steps, seed 0; of step 2"
    assert judged[0]["entries"]["A1"]["criteria"] == judged[1]["entries"]["A1"]["criteria"]
    files = {"compare.html", "compare.json", "compare.png", "compare.pdf", "compare_samples.png"}
    assert files == {path.name for path in out.iterdir()}


@pytest.mark.slow
def test_what_a_run_s_own_report_says_is_read_and_doubted_where_it_is_of_another_state(trained, tmp_path):
    assert verdicts.read(trained) == verdicts.Judgements({}, verdicts.UNKNOWN)
    copy = shutil.copytree(trained, tmp_path / "copy")
    a1 = entry("A1", "agrees", two_components={"network": [0.5, 0.4, 0.6]})
    metrics = {
        "step": 2,
        "settings": {"steps": 12, "seed": 0, "full": False},
        "quality": {"samples": 48},
        "training": training.load_config(trained).to_json(),
        "versions": {"gaussdiff": "1"},
        "experiments": {"A1": a1},
    }
    old = {"experiments": {"A1": a1 | {"criterion": "Agrees always."}}, "step": 1}
    doubts = []
    for change in ({}, {"step": 1}, {"training": metrics["training"] | {"channels": 99}}, old):
        (copy / "metrics.json").write_text(json.dumps(metrics | change))
        judged = verdicts.read(copy)
        doubts.append(judged.doubt)
    gone_on = "the run is at step 2 now"
    unlike = "it is of a run with other settings (channels)"
    assert doubts == ["", gone_on, unlike, f"{gone_on}; the criteria of A1 were others"]
    assert "48 starts, 12 steps, seed 0" in judged.made
    assert verdicts.cell(judged.entries["A1"], "A1") == ("agrees", "0.5 (0.4 to 0.6)")
    (copy / "metrics.json").write_text("[")
    with pytest.raises(ValueError, match=r"runs: expected a report's metrics.json, got .*copy"):
        verdicts.read(copy)


def test_runs_are_named_by_the_ends_of_their_paths():
    places = [Path("/a/one/run"), Path("/b/two/run")]
    assert list(runs.labels(places)) == ["one/run", "two/run"]
    assert list(runs.labels([Path("/a/x"), Path("/a/y")])) == ["x", "y"]
    with pytest.raises(ValueError, match="runs: expected different folders"):
        runs.labels([Path("/a/x"), Path("/a/x")])


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory) -> Path:
    """A run of 150 steps on images, with its first state."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    states = ("--keep-every", "150")
    done = run("training", "train", "--data", "digits", "--steps", "150", "--out", str(directory), *SMALL, *states)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.slow
@pytest.mark.exhaustive
def test_train_and_report_from_end_to_end(digits_run, tmp_path):
    chosen = ("--experiments", *OF_DIGITS)
    done = run("analysis", "report", "--run", str(digits_run), "--out", str(tmp_path), *QUICK, *chosen)
    assert done.returncode == 0, done.stderr
    assert "drawn without a second process" not in done.stderr
    lines = (digits_run / "train.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if "loss" in line]
    # an untrained network has loss 1 or more: EDM's weight makes it so
    assert losses[-1] < 0.75
    missing = _check_files(tmp_path, OF_DIGITS)
    # 150 steps are few: a component may be learned before the second saved state, and C2 says so
    assert set(missing) <= {"C2"}, missing
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["quality"]["data_set"]["nearest_training_ratio"] < 0.05
    assert metrics["step"] == 150
    headlines = {name: verdicts.cell(one, name)[1] for name, one in metrics["experiments"].items() if one["numbers"]}
    # C2 may have too few components that fall
    assert {name for name, number in headlines.items() if number == "–"} <= {"C2"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    _check_page(page)
    windows = ((1000, False), (360, False), (1000, True))
    light, narrow, dark = (browse(page, tmp_path, width, dark) for width, dark in windows)
    for seen in (light, narrow, dark):
        check_slider(seen)
    assert light["colours"] != dark["colours"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_run_beside_its_own_beginning(digits_run, tmp_path):
    begun = digits_run / "checkpoints" / "step-00000000"
    places = map(str, (digits_run, begun))
    done = run("analysis", "compare", *places, *QUICK, "--out", str(tmp_path), "--experiments", "A1", "a3")
    assert done.returncode == 0, done.stderr
    compared = json.loads((tmp_path / "compare.json").read_text())
    _, untrained = compared["runs"].values()
    assert untrained["step"] == 0
    # the last layer of an untrained network is 0, which leaves D = c x, c = sd^2 / (sigma^2 + sd^2)
    sigma, power = np.array(compared["sigma"]), float((load("digits").held_out ** 2).mean())
    c = 0.75**2 / (sigma**2 + 0.75**2)
    expected = np.sqrt((1 - c) ** 2 * power + c**2 * sigma**2)
    np.testing.assert_allclose(untrained["error"], expected, rtol=0.02)
    assert compared["distances"][0][1] > 0.1
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "from the same noise: one noise for each column." in page
    check(browse(page, tmp_path, 360, dark=True))
    trained, begun = (one["entries"] for one in compared["experiments"].values())
    assert list(trained) == list(begun) == ["A1", "A3"]
    assert trained["A3"]["numbers"] != begun["A3"]["numbers"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_report_on_vectors(tmp_path):
    directory = tmp_path / "toy"
    done = run("training", "train", "--data", "toy-ring", "--steps", "60", "--out", str(directory), "--channels", "16")
    assert done.returncode == 0, done.stderr
    done = run("analysis", "report", "--run", str(directory), "--out", str(directory), *QUICK)
    assert done.returncode == 0, done.stderr
    assert "drawn without a second process" not in done.stderr
    assert {"A3", "C1"} <= set(_check_files(directory))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_report_on_a_folder_of_rectangular_colour_images(tmp_path):
    """Discs and rectangles of one colour on another: pictures, patches and slider in colour, and nothing that fails."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:8, :6]
    (tmp_path / "shapes").mkdir()
    for i in range(80):
        back, front = rng.integers(0, 256, (2, 3))
        down, across, reach = np.abs(y - rng.uniform(2, 6)), np.abs(x - rng.uniform(2, 4)), rng.uniform(1, 3)
        inside = np.hypot(down, across) < reach if i % 2 else np.maximum(down, across) < reach
        picture = np.where(inside[..., None], front, back).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "shapes" / f"{i}.png")
    directory = tmp_path / "run"
    tiny = ("--channels", "8", "--channel-mult", "1", "--attention", "8", "--blocks", "1", "--batch", "8")
    tiny += ("--objective", "noise")  # untrained it leaves everything as it is
    data = ("--data", str(tmp_path / "shapes"), "--steps", "20", "--keep-powers")
    done = run("training", "train", *data, *tiny, "--out", str(directory))
    assert done.returncode == 0, done.stderr
    few = ("--starts", "8", "--steps", "6", "--components", "2")
    asked = [OF_COLOURS[1].lower(), *OF_COLOURS[:1], *OF_COLOURS[2:]]  # in any case and order
    done = run("analysis", "report", "--run", str(directory), *few, "--experiments", *asked)
    assert done.returncode == 0, done.stderr
    _check_files(directory, OF_COLOURS)
    assert json.loads((directory / "metrics.json").read_text())["data"]["shape"] == [8, 6, 3]
    page = (directory / "report.html").read_text(encoding="utf-8")
    _check_page(page)
    check_slider(browse(page, tmp_path, 360, dark=False))
    assert '"shape": [8, 6, 3]' in page


def _check_files(out: Path, names: Sequence[str] = tuple(one.name for one in STANDARD)) -> dict[str, str]:
    """Everything that a report on these experiments writes; returns what could not be measured, and why."""
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"path_distance", "commitment", "quality", "settings", "versions"} <= set(metrics)
    assert {"network", "gaussian", "mixture", "data_set", "real"} <= set(metrics["quality"])
    pictures = {path.name for path in (out / "figures").iterdir()}
    assert {"trajectories.png", "trajectories.pdf", "samples.png", "A1.png", "A1.pdf"} <= pictures
    assert list(metrics["experiments"]) == list(names)
    for name, one in metrics["experiments"].items():
        _check_entry(one, f"{name}.png" in pictures)
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["network_x"].shape[1] == len(arrays["sigma"])
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
        assert "allow_pickle" not in arrays.files  # an array to an older NumPy, an option of writing to a newer one
    return {name: one["sentence"] for name, one in metrics["experiments"].items() if not one["numbers"]}


def _check_entry(one: dict, drawn: bool) -> None:
    assert {"claim", "published", "criterion", "sentence", "criteria", "verdict", "numbers", "seconds"} <= set(one)
    assert one["verdict"] in ("agrees", "agrees in part", "differs", "not measured"), one["error"]
    assert drawn == (one["verdict"] != "not measured")
    assert bool(one["numbers"]) == bool(one["criteria"]) == drawn
    numbers = (leaf for leaf in _leaves(one["numbers"]) if not (leaf is None or isinstance(leaf, str)))
    assert all(np.isfinite(number) for number in numbers)


def _leaves(value):
    if isinstance(value, dict | list):
        return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(part)]
    return [value]


def _check_page(page: str) -> None:
    assert page.count("data:image/png;base64,") >= 3
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page), "the page must hold everything that it shows"
    assert "$" not in re.sub(r"base64,[^\"]*|<script>.*?</script>", "", page, flags=re.DOTALL), "a placeholder was left"
    for words in ("outline", "Gaussian", "All numbers", "How it was made", "What was found"):
        assert words in page
