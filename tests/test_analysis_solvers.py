"""python -m analysis solvers: the table of a data set, its words and files, and what it refuses."""

import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd
from analysis import __main__ as command
from analysis.solvers import table


def even_angles(n: int) -> gd.NoiseLevel:
    """From sigma = 80 to 0 in equal angles arctan(sigma / sqrt 2): the best grid of DDIM for a variance of 2."""
    angles = jnp.linspace(jnp.arctan(80 / jnp.sqrt(2.0)), 0, n + 1)
    return gd.NoiseLevel(1.0, jnp.sqrt(2.0) * jnp.tan(angles))


@pytest.fixture
def few(monkeypatch):
    """A table of two samplers and two grids: every number of steps of every sampler takes a second to compile."""
    monkeypatch.setattr(gd.design, "standard_samplers", lambda: {"DDIM": gd.DDIM(), "Heun": gd.Heun()})
    grids = {"edm": gd.grids.karras, "angles": even_angles}
    monkeypatch.setattr(gd.design, "standard_grids", lambda: grids)


@pytest.mark.slow
def test_one_mode_is_given_its_known_best(few, tmp_path, capsys):
    """DDIM in equal angles turns sqrt(lam) into cos^n(turn / n) of the flow's end; the words and files hold that."""
    np.save(tmp_path / "one.npy", np.array([2.0]))
    out = tmp_path / "out"
    spectrum = ["--spectrum", str(tmp_path / "one.npy")]
    assert command.main(["solvers", *spectrum, "--calls", "1", "6", "--out", str(out)]) == 0
    turn = np.arctan(80 / np.sqrt(2))
    error = np.sqrt(2) - np.sqrt(2) * 80 / np.hypot(80, np.sqrt(2)) * np.cos(turn / 6) ** 6
    record = json.loads((out / "solvers.json").read_text())
    best = record["best"][1]
    assert (best["calls"], best["steps"], best["sampler"], best["grid"]) == (6, 6, "DDIM", "angles")
    assert best["w2"] == pytest.approx(error, rel=1e-9)
    assert record["w2"][0][1][1] == best["w2"]
    said = capsys.readouterr().out
    assert f"For one.npy at 6 calls: DDIM on the grid “angles”, 6 steps, W2 = {error:.3g} ({error / 2**0.5:.1%}" in said
    assert "below, data are not Gaussian" in said
    assert "* " in said


def test_the_files_hold_the_same_finite_numbers(few, tmp_path):
    np.save(tmp_path / "some.npy", np.array([4.0, 0.25, 0.0]))
    arguments = ["solvers", "--spectrum", str(tmp_path / "some.npy"), "--calls", "3", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    record = json.loads((tmp_path / "solvers.json").read_text())
    assert set(record) == {
        *("data", "settings", "samplers", "grids", "calls", "steps", "w2", "kl", "start", "truncation"),
        *("discretisation", "best", "caveat", "versions"),
    }
    assert record["data"] == {"name": "some.npy", "standard_deviation": pytest.approx(np.sqrt(4.25))}
    assert np.shape(record["w2"]) == (2, 2, 1)
    with open(tmp_path / "solvers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["w2"]) for row in rows] == pytest.approx(np.ravel(record["w2"]).tolist(), rel=1e-7)
    assert [row["grid"] for row in rows] == ["edm", "angles"] * 2
    assert (tmp_path / "solvers.png").read_bytes().startswith(b"\x89PNG")


def test_a_point_is_reached_exactly_by_every_sampler(few, tmp_path):
    """Data without variance are the mean, which a last step to sigma = 0 returns: no error, and no division by it."""
    np.save(tmp_path / "point.npy", np.zeros(3))
    arguments = ["solvers", "--spectrum", str(tmp_path / "point.npy"), "--calls", "3", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    record = json.loads((tmp_path / "solvers.json").read_text())
    np.testing.assert_allclose(record["w2"], 0, atol=1e-12)
    assert np.abs(np.array(record["kl"])).max() == 0


def test_a_budget_that_no_sampler_fits_is_null(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gd.design, "standard_samplers", lambda: {"two rows": gd.LinearMultistep(jnp.zeros((2, 1)))})
    monkeypatch.setattr(gd.design, "standard_grids", lambda: {"edm": gd.grids.karras})
    np.save(tmp_path / "one.npy", np.array([1.0]))
    arguments = ["solvers", "--spectrum", str(tmp_path / "one.npy"), "--calls", "1", "2", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    record = json.loads((tmp_path / "solvers.json").read_text())
    assert record["w2"][0][0][0] is None
    assert [choice["calls"] for choice in record["best"]] == [2]
    assert "–" in capsys.readouterr().out


@pytest.mark.slow
def test_a_data_set_is_fitted_with_its_mean(few, tmp_path):
    found = table.run(table.Settings(data="toy-gaussian", calls=(2,)))
    assert found.name == "toy-gaussian"
    # the toy's ellipse has standard deviations 1.2 and 0.3; 10,000 samples put the total within a few per cent
    assert found.scale == pytest.approx(np.hypot(1.2, 0.3), rel=0.05)
    # from sigma = 80 the mean of the prior is missed, so the start is not that of centred data
    assert found.choices[0].start > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "data, spectrum: expected one of the two, got neither"),
        (["--data", "digits", "--spectrum", "a.npy"], "data, spectrum: expected one of the two, got both"),
        (["--data", "didgits"], "data: expected a known data set, a folder of images, or an .npy or .npz file, got"),
        (["--data", "mnist", "--data-dir", "nowhere"], "data: 'mnist' is a set of tensorflow-datasets that is not"),
        (["--spectrum", "none.npy"], "spectrum: expected a .npy file of numbers, got none.npy, which is none"),
        (["--spectrum", "text.npy"], "spectrum: expected a .npy file of numbers"),
        (["--spectrum", "square.npy"], "spectrum: expected variances of shape (K,), got (2, 2)"),
        (["--spectrum", "negative.npy"], "spectrum: expected variances >= 0 and finite, got -1"),
        (["--data", "toy-ring", "--calls", "0"], "calls: expected integers >= 1"),
        (["--data", "toy-ring", "--rank", "3"], "rank: expected"),
    ],
)
def test_what_cannot_be_measured_is_a_plain_error(few, arguments, message, tmp_path, capsys, monkeypatch, unchecked):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npy").write_text("1 2 3")
    np.save(tmp_path / "square.npy", np.ones((2, 2)))
    np.save(tmp_path / "negative.npy", np.array([1.0, -1.0]))
    assert command.main(["solvers", *arguments, "--out", "out"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_table_says_so_and_writes_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "run", interrupted)
    assert command.main(["solvers", "--data", "digits", "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "interrupted; nothing was written: run the same command again\n"
    assert not (tmp_path / "out").exists()
