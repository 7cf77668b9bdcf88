"""The choice of a solver: what is always among the choices, and what its words and numbers say of their ranges."""

import json

import jax.numpy as jnp
import pytest

import gaussdiff as gd
import training
from analysis.measures.bootstrap import Interval
from analysis.solvers import accelerate, candidates
from training.data import dataset


@pytest.mark.slow
def test_where_no_other_choice_reaches_its_quality_the_usual_one_is_chosen(monkeypatch, tmp_path):
    """Three calls are too few for a Gaussian of two unlike directions, and the budget is that of EDM's 35."""
    network = gd.Gaussian.from_moments(jnp.zeros(2), jnp.diag(jnp.array([1.44, 0.09])))
    monkeypatch.setattr(training, "load_config", lambda _: training.Config(data="toy-gaussian"))
    monkeypatch.setattr(training, "load", lambda _: network)
    monkeypatch.setattr(accelerate, "load_data", lambda _: dataset.load("toy-gaussian"))
    monkeypatch.setattr(accelerate, "candidates", lambda *_: iter(()))
    monkeypatch.setattr(accelerate, "screen", lambda *_: [])
    settings = accelerate.Settings(calls=(3, 35), starts=16, points=50)
    few = accelerate.run(tmp_path, accelerate.Settings(calls=(3,), starts=16, points=50))
    assert few.found
    assert few.chosen is few.usual
    assert "35 calls, Heun on the grid EDM" in accelerate.sentence(few)
    assert accelerate.pareto(few.judged)[-1] is few.usual
    judged = accelerate.run(tmp_path, settings).judged
    assert [(each.choice.solver, each.choice.calls) for each in judged].count(("Heun", 35)) == 1
    accelerate.write(few, tmp_path / "out")
    assert candidates.from_file(tmp_path / "out" / "recipe.json").calls == 35


@pytest.mark.parametrize(
    ("quality", "meaning"),
    [("distance", "95 % intervals over resampled paths"), ("frechet", "not intervals of the choices")],
)
def test_the_ranges_of_numbers_from_other_starts_are_said_to_be_what_they_are(quality, meaning):
    choice = candidates.Choice("Euler", "any", None, 5, gd.Euler(), gd.grids.karras(5))
    judged = accelerate.Judged(choice, 0.1, 1.0)
    result = accelerate.Result(
        data="any",
        settings=accelerate.Settings(quality=quality),
        usual=judged,
        budget=2.0,
        judged=[judged],
        fine_frechet=1.0,
        floor=accelerate.Floor(1.0, 0.1),
        features="any",
        chosen=judged,
        again=Interval(1.0, 0.8, 1.2),
        usual_again=Interval(1.0, 0.8, 1.2),
        seconds=1.0,
    )
    assert accelerate.sentence(result).endswith(f"{meaning}.")
    assert json.loads(json.dumps(accelerate.record(result)))["ranges_from_other_starts"].endswith(meaning)
