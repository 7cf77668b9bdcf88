"""The measuring code, on models whose answers are known, and the report it makes of a real run."""

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
from test_analysis_page import browse, check, check_slider

import gaussdiff as gd
from analysis import __main__ as command
from analysis.comparison import runs, verdicts
from analysis.experiments import STANDARD
from analysis.harness import twins
from analysis.measures import paths as compare
from analysis.measures import quality
from analysis.reporting import write
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


def run(*arguments: str) -> subprocess.CompletedProcess:
    env = os.environ | {"XLA_FLAGS": xla_flags.without("xla_cpu_use_fusion_emitters")}  # they compile networks faster
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=1500)


SMALL = ("--channels", "16", "--blocks", "1", "--batch", "64")
QUICK = ("--starts", "48", "--steps", "12", "--components", "4")
# The report on points takes all experiments, and of those on images each takes place in one.
OF_COLOURS = ["A1", "A5", "A6", "A10", "A11", "D7", "C2"]  # those that look at pixels, channels and patches
OF_DIGITS = [one.name for one in STANDARD if one.name in ("A1", "A6", "C2") or one.name not in OF_COLOURS]


@pytest.mark.slow
def test_a_report_on_no_run_says_what_to_do(tmp_path):
    done = run("analysis", "report", "--run", str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "python -m training train" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_setting_that_makes_no_study_is_a_plain_error(tmp_path, capsys):
    code = command.main(["report", "--run", str(tmp_path), "--out", str(tmp_path / "out"), "--starts", "0"])
    assert code == 2
    assert capsys.readouterr().err.startswith("error: starts: expected at least 2, got 0")


def test_an_experiment_that_is_none_is_named_before_the_run_is_opened(tmp_path, capsys):
    assert command.main(["report", "--run", str(tmp_path / "none"), "--experiments", "A1", "B1"]) == 2
    assert re.search(r"error: name: expected one of A1, .* got 'B1'", capsys.readouterr().err)


def test_an_interrupted_report_says_so_and_writes_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    code = command.main(["report", "--run", str(tmp_path), "--out", str(tmp_path / "out")])
    assert code == 130
    assert capsys.readouterr().err == "interrupted; nothing was written: run the same command again\n"
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize(
    ("name", "module", "inside"), [("report", write, ""), ("accelerate", accelerate, "accelerate")]
)
def test_a_report_is_written_to_the_run_s_folder_and_a_search_into_one_of_its_own(
    name, module, inside, tmp_path, monkeypatch
):
    written = []
    monkeypatch.setattr(command, "run", lambda *_: "measured")
    monkeypatch.setattr(accelerate, "run", lambda *_: "measured")
    monkeypatch.setattr(module, "write", lambda *what: written.append(what))
    assert command.main([name, "--run", str(tmp_path)]) == 0
    assert command.main([name, "--run", str(tmp_path), "--out", "elsewhere"]) == 0
    assert written == [("measured", tmp_path / inside), ("measured", Path("elsewhere"))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "run"
    kept = ("--keep-every", "150")  # the first state, too
    done = run("training", "train", "--data", "digits", "--steps", "150", "--out", str(directory), *SMALL, *kept)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def reported(trained) -> Path:
    out = trained.parent / "report"
    done = run("analysis", "report", "--run", str(trained), "--out", str(out), *QUICK, "--experiments", *OF_DIGITS)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_train_and_report_from_end_to_end(trained, reported):
    losses = [json.loads(line)["loss"] for line in (trained / "train.jsonl").read_text().splitlines() if "loss" in line]
    # an untrained network has loss 1 or more: EDM's weight makes it so
    assert losses[-1] < 0.75
    missing = _check_files(reported, OF_DIGITS)
    # 150 steps are few: a component may be learned before the second kept state, and C2 says so
    assert set(missing) <= {"C2"}, missing
    metrics = json.loads((reported / "metrics.json").read_text())
    assert metrics["quality"]["data_set"]["nearest_training_ratio"] < 0.05
    assert metrics["step"] == 150
    of_a6 = metrics["experiments"]["A6"]["numbers"]
    assert metrics["explained_variance"]["denoiser"] == of_a6["held_out"]["denoiser"]
    _check_page((reported / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_page_of_a_report_in_a_browser(reported, tmp_path):
    page = (reported / "report.html").read_text(encoding="utf-8")
    windows = ((1000, False), (360, False), (1000, True))
    light, narrow, dark = (browse(page, tmp_path, width, dark) for width, dark in windows)
    for seen in (light, narrow, dark):
        check_slider(seen)
    assert light["colours"] != dark["colours"]


@pytest.mark.slow
def test_a_run_beside_itself_and_its_own_beginning(trained, tmp_path):
    begun = trained / "checkpoints" / "step-00000000"
    done = run("analysis", "compare", str(trained), str(trained), "--out", str(tmp_path))
    assert done.returncode == 2
    assert "expected different folders" in done.stderr
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    done = run(
        "analysis",
        "compare",
        *map(str, (trained, copy, copy / begun.relative_to(trained))),
        *QUICK,
        "--out",
        str(tmp_path),
        "--experiments",
        "A1",
        "a3",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "compare.json").read_text())
    same, other, untrained = found["runs"].values()
    assert same == other
    assert untrained["step"] == 0
    # the last layer of an untrained network is 0, which leaves D = c x, c = sd^2 / (sigma^2 + sd^2)
    sigma, power = np.array(found["sigma"]), float((load("digits").held_out ** 2).mean())
    kept = 0.75**2 / (sigma**2 + 0.75**2)
    expected = np.sqrt((1 - kept) ** 2 * power + kept**2 * sigma**2)
    np.testing.assert_allclose(untrained["error"], expected, rtol=0.02)
    assert np.array(found["apart"])[0] == pytest.approx([0, 0, found["apart"][2][0]])
    assert found["apart"][0][2] > 0.1
    written = {"compare.html", "compare.png", "compare.pdf", "compare_samples.png"}
    assert written <= {path.name for path in tmp_path.iterdir()}
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "from the same noise: one noise for each column." in page
    check(browse(page, tmp_path, 360, dark=True))
    first, second, begun = (told["entries"] for told in found["experiments"].values())
    assert list(first) == list(begun) == ["A1", "A3"]
    assert first["A3"]["numbers"] == second["A3"]["numbers"] != begun["A3"]["numbers"]
    made = [told["made"] for told in found["experiments"].values()]
    assert made[2] == "measured now: 48 starts, 12 steps, seed 0; of step 0"
    assert made[0] == made[1] != made[2]


@pytest.mark.slow
def test_what_a_run_s_own_report_says_is_read_and_doubted_where_it_is_of_another_state(trained, reported, tmp_path):
    assert verdicts.read(trained) == verdicts.Told({}, verdicts.UNKNOWN)
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    metrics = json.loads((reported / "metrics.json").read_text())
    doubts = []
    entries = metrics["experiments"]
    old = {"experiments": entries | {"A1": entries["A1"] | {"criterion": "Agrees always."}}, "step": 100}
    for change in ({}, {"step": 100}, {"training": metrics["training"] | {"channels": 8}}, old):
        (copy / "metrics.json").write_text(json.dumps(metrics | change))
        told = verdicts.read(copy)
        doubts.append(told.doubt)
    gone_on = "the run is at step 150 now"
    unlike = "it is of a run with other settings (channels)"
    assert doubts == ["", gone_on, unlike, f"{gone_on}; the criteria of A1 were others"]
    assert "48 starts, 12 steps, seed 0" in told.made
    measured = {name: verdicts.cell(one, name)[1] for name, one in told.entries.items() if one["numbers"]}
    # C2 may have too few components that fall
    assert {name for name, number in measured.items() if number == "–"} <= {"C2"}
    (copy / "metrics.json").write_text("[")
    with pytest.raises(ValueError, match=r"runs: expected a report's metrics.json, got .*copy"):
        verdicts.read(copy)


def test_runs_are_told_apart_by_the_ends_of_their_paths():
    places = [Path("/a/one/run"), Path("/b/two/run")]
    assert list(runs.labels(places)) == ["one/run", "two/run"]
    assert list(runs.labels([Path("/a/x"), Path("/a/y")])) == ["x", "y"]
    with pytest.raises(ValueError, match="runs: expected different folders"):
        runs.labels([Path("/a/x"), Path("/a/x")])


@pytest.mark.slow
def test_a_report_on_vectors(tmp_path):
    directory = tmp_path / "toy"
    trained = run(
        "training", "train", "--data", "toy-ring", "--steps", "60", "--out", str(directory), "--channels", "16"
    )
    assert trained.returncode == 0, trained.stderr
    done = run("analysis", "report", "--run", str(directory), "--out", str(directory), *QUICK)
    assert done.returncode == 0, done.stderr
    missing = _check_files(directory)
    assert not any("failed here" in reason for reason in missing.values()), missing
    assert {"A3", "C1"} <= set(missing)


@pytest.mark.slow
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
    trained = run("training", "train", *data, *tiny, "--out", str(directory))
    assert trained.returncode == 0, trained.stderr
    few = ("--starts", "8", "--steps", "6", "--components", "2")
    asked = [OF_COLOURS[1].lower(), *OF_COLOURS[:1], *OF_COLOURS[2:]]  # in any case and order
    done = run("analysis", "report", "--run", str(directory), *few, "--experiments", *asked)
    assert done.returncode == 0, done.stderr
    missing = _check_files(directory, OF_COLOURS)
    assert not any("failed here" in reason for reason in missing.values()), missing
    assert json.loads((directory / "metrics.json").read_text())["data"]["shape"] == [8, 6, 3]
    page = (directory / "report.html").read_text(encoding="utf-8")
    _check_page(page)
    check_slider(browse(page, tmp_path, 360, dark=False))
    assert '"shape": [8, 6, 3]' in page


def _check_files(out: Path, names: Sequence[str] = tuple(one.name for one in STANDARD)) -> dict[str, str]:
    """Everything that a report on these experiments writes; returns what could not be measured, and why."""
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"explained_variance", "path_distance", "commitment", "quality", "settings", "versions"} <= set(metrics)
    assert {"network", "gaussian", "mixture", "data_set", "real"} <= set(metrics["quality"])
    pictures = {path.name for path in (out / "figures").iterdir()}
    assert {"trajectories.png", "trajectories.pdf", "samples.png", "A1.png", "A1.pdf"} <= pictures
    assert list(metrics["experiments"]) == list(names)
    for name, entry in metrics["experiments"].items():
        _check_entry(entry, f"{name}.png" in pictures)
    with np.load(out / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["network_x"].shape[1] == len(arrays["sigma"])
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
        assert "allow_pickle" not in arrays.files  # an array to an older NumPy, an option of writing to a newer one
    return {name: entry["found"] for name, entry in metrics["experiments"].items() if not entry["numbers"]}


def _check_entry(entry: dict, drawn: bool) -> None:
    assert {"claim", "published", "criterion", "found", "verdict", "numbers", "seconds"} <= set(entry)
    assert entry["verdict"] in ("agrees", "agrees in part", "differs", "not measured")
    assert drawn == (entry["verdict"] != "not measured")
    assert bool(entry["numbers"]) == drawn
    numbers = (leaf for leaf in _leaves(entry["numbers"]) if not (leaf is None or isinstance(leaf, str)))
    assert all(np.isfinite(number) for number in numbers)


def _leaves(value):
    if isinstance(value, dict | list):
        return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(part)]
    return [value]


def _check_page(page: str) -> None:
    assert page.count("data:image/png;base64,") >= 3
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page), "the page must hold everything that it shows"
    assert "$" not in re.sub(r"base64,[^\"]*|<script>.*?</script>", "", page, flags=re.DOTALL), "a placeholder was left"
    for words in ("outline", "Gaussian", "All numbers", "How it was made", "The claims"):
        assert words in page
