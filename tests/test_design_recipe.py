"""The command that makes a recipe from data: it beats the usual choice, its file works, and bad settings are named."""

import jax
import numpy as np
import pytest

import gaussdiff as gd
import training
from analysis import __main__ as commands
from analysis.harness import twins
from analysis.solvers import recipe
from training import commands as program


@pytest.mark.slow
def test_a_recipe_from_toy_data_is_nearer_to_the_flow_than_the_usual_choice(tmp_path, capsys):
    """By a factor of 4 when it was written; judged on 512 starts that the search did not see."""
    out = tmp_path / "made" / "recipe.json"
    arguments = ["recipe", "--data", "toy-mixture", "--calls", "5", "--descent", "40", "--points", "300"]
    assert commands.main([*arguments, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    sampler, levels = gd.load_recipe(out)
    assert sampler.nfe(len(levels) - 1) == 5
    law = twins.stand_in(recipe.load("toy-mixture"), 300, 0)
    test = gd.EndError.of(law, jax.random.key(77), 512)
    assert test(sampler, levels, law) < test(gd.DPMSolverPP2M(), gd.grids.karras(5), law) / 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--calls", "1"], "calls: expected at least 2, got 1"),
        (["--calls", "5", "--points", "1"], "points: expected at least 2, got 1"),
        (["--calls", "5", "--descent", "-1"], "descent: expected at least 0, got -1"),
        (["--calls", "5", "--run", "nowhere"], "nowhere"),
        (["--calls", "5", "--data", "no-such-set"], "no-such-set"),
    ],
)
def test_bad_settings_are_named(arguments, named, capsys):
    assert commands.main(["recipe", *arguments]) == 2
    assert named in capsys.readouterr().err


def test_a_run_on_other_data_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(training, "load_config", lambda run: training.Config(data="digits"))
    assert commands.main(["recipe", "--calls", "5", "--data", "toy-ring", "--run", "some"]) == 2
    assert "run: expected one trained on toy-ring, got some, trained on digits" in capsys.readouterr().err


@pytest.mark.slow
def test_training_sample_follows_a_recipe(tmp_path):
    """Sample i is that of gd.sample_batch with the recipe's sampler and grid."""
    run, out, levels = tmp_path / "run", tmp_path / "samples.npz", gd.grids.uniform_log_snr(3)
    train = ["train", "--data", "toy-ring", "--steps", "0", "--channels", "8", "--blocks", "1", "--out", str(run)]
    assert program.main(train) == 0
    gd.save_recipe(tmp_path / "recipe.json", gd.DPMSolverPP2M(), levels)
    options = ["--recipe", str(tmp_path / "recipe.json"), "--n", "3", "--seed", "4"]
    assert program.main(["sample", "--run", str(run), "--out", str(out), *options]) == 0
    model, key = training.load(run), jax.random.key(4)
    expected = gd.sample_batch(gd.DPMSolverPP2M(), model, levels, count=3, shape=model.shape, key=key)
    found = np.load(out)
    np.testing.assert_allclose(found["samples"], expected, rtol=1e-5, atol=1e-5)
    assert found["steps"] == 3
