"""Controls of A4, D5, D6 and D7: measured as the network is, and said to show a claim where they do."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from settings import exact_setting

import gaussdiff as gd
from analysis.experiments.a04_perturbation import PERTURBATION
from analysis.experiments.a04_pushes import STEPS
from analysis.experiments.d05_mean_shift import MEAN_SHIFT
from analysis.experiments.d06_score_deviation import SCORE_DEVIATION
from analysis.experiments.d07_interpolation import INTERPOLATION
from analysis.harness import controls
from analysis.harness.experiment import judged
from analysis.reporting.study import LEAST, MEMORY, MODELS, Settings, noise_and_grid


@pytest.fixture(scope="module")
def setting():
    """Beside the Gaussian with a shuffled spectrum, a white one, which is what an untrained network is."""
    found = exact_setting(starts=24, steps=40)
    white = gd.Gaussian.isotropic(found.gaussian.mean, float(found.gaussian.eigvals.mean()))
    return replace(found, controls={**found.controls, "untrained": white})


def test_shuffled_weights_are_the_same_numbers_in_other_places():
    model = gd.Gaussian.from_moments(jnp.arange(3.0), jnp.diag(jnp.array([1.0, 2.0, 3.0])))
    mixed = controls.shuffled(model, jax.random.key(0))
    pairs = list(zip(jax.tree.leaves(model), jax.tree.leaves(mixed), strict=True))
    for own, other in pairs:
        np.testing.assert_array_equal(np.sort(np.ravel(own)), np.sort(np.ravel(other)))
    assert any(not np.array_equal(own, other) for own, other in pairs)
    again = controls.shuffled(model, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, mixed, again)


def test_the_sentence_says_that_the_shuffled_spectrum_alone_has_learned_the_variances():
    told = controls.as_well("fall", ["shuffled_spectrum"])
    assert told == " Controls fall as well (shuffled spectrum): it takes the data's variances, not their directions."
    assert controls.as_well("fall", ["untrained", "shuffled_spectrum"]).endswith(": it takes no learning.")


def test_parts_of_a_criterion_are_named_where_some_hold():
    assert judged({"one": True, "other": True}, "Found.", {}).found == "Found."
    assert judged({"one": False, "other": False}, "Found.", {}).verdict == "differs"
    some = judged({"one": True, "other": np.bool_(False), "last": True}, "Found.", {})
    assert some.verdict == "agrees in part"
    assert some.found == "Found. Holds: one; last. Does not hold: other."


def test_the_sentence_names_the_controls_and_is_empty_without_any():
    told = controls.as_well("fall", ["untrained", "another"])
    assert told == " Controls fall as well (untrained; another): it takes no learning."
    assert controls.as_well("fall", []) == ""
    assert controls.as_well("fall", ["untrained"], "order") == " Controls fall as well (untrained): it takes no order."
    held = {"network": (True, True, False), "a": (True, False, True), "b": (True, False, False)}
    told = controls.also(("rise", "fall", "stay"), held, ("a", "b"))  # what the network does not is none that others
    assert told == " Controls rise as well (a; b): it takes no learning."


@pytest.mark.slow
def test_pushes_of_controls_end_as_the_solver_s_gain_on_their_own_variance_says(setting):
    record = PERTURBATION.measure(setting)
    assert record.controls == ("shuffled_spectrum", "untrained")
    for name in record.controls:
        assert record.changes[name].shape == (4, *record.pushes.shape)
        law = setting.controls[name]
        variance = law.eigvals[1] if law.rank else law.residual  # of the direction that is the data's second component
        for place, sigma in enumerate(record.sigma):
            levels = gd.grids.karras(STEPS, float(setting.sigma[-2]), float(sigma))
            gains = record.changes[name][:, place, 1] / record.pushes[place, 1]
            np.testing.assert_allclose(gains, abs(gd.transfer(gd.Heun(), levels, variance[None])[0]), rtol=1e-5)
    # white: a random push keeps its direction, and its share of outline; only how two directions are weighed changes
    np.testing.assert_allclose(np.ptp(record.coarse["untrained"], axis=1), 0, atol=0.05)
    found = PERTURBATION.find(record)
    assert found.verdict == "agrees"
    assert "outline when pushed late" not in found.found
    # made: a control that does all that the network does is named at each part
    same = replace(
        record,
        changes={**record.changes, "untrained": record.changes["network"]},
        coarse={**record.coarse, "untrained": record.coarse["network"]},
    )
    told = PERTURBATION.find(same).found
    for part in ("rank as predicted", "change by as much", "change less of the outline when pushed late"):
        assert f"Controls {part} as well (" in told
        assert "untrained): it takes" in told


@pytest.mark.slow
def test_controls_that_climb_are_named(setting):
    record = MEAN_SHIFT.measure(setting)
    points = setting.data.train.reshape(400, -1).astype(np.float64)
    i = int(np.flatnonzero(setting.sigma == record.sigma[2])[0])
    path, width = setting.control_paths["untrained"], float(record.sigma[3])

    def log_density(x):
        return np.logaddexp.reduce(-((points - x.reshape(-1)) ** 2).sum(1) / (2 * width**2))

    by_hand = log_density(path.denoised[5, i]) - log_density(path.x[5, i])
    assert record.gain["untrained"][5, 2, 3] == pytest.approx(by_hand, rel=1e-4)
    assert "Controls climb as often as well (" in MEAN_SHIFT.find(record).found
    never = {name: -np.abs(one) if name in record.controls else one for name, one in record.gain.items()}
    assert "Controls" not in MEAN_SHIFT.find(replace(record, gain=never)).found


@pytest.mark.slow
def test_controls_come_back_to_the_optimum_on_its_path_as_any_denoiser_does(setting):
    """At small noise a white Gaussian returns what it sees, and on the optimal path that is a training image."""
    record = SCORE_DEVIATION.measure(setting)
    best, i = setting.paths["data_set"], 30
    x, level = jnp.asarray(best.x[3, i]), setting.levels[i]
    difference = setting.controls["untrained"].denoise(x, level) - setting.models["data_set"].denoise(x, level)
    assert record.deviations["untrained"]["optimal"][3, i] == pytest.approx(
        float(jnp.linalg.norm(difference)), rel=1e-4
    )
    told = SCORE_DEVIATION.find(record).found
    assert "Controls come back on the optimal path as well (shuffled spectrum; untrained)" in told
    assert "Controls stay away on their own path as well (shuffled spectrum; untrained)" in told
    flat = {version: np.ones_like(one) for version, one in record.deviations["untrained"].items()}
    made = replace(record, deviations={**record.deviations, "untrained": flat})
    assert "come back on the optimal path as well (shuffled spectrum):" in SCORE_DEVIATION.find(made).found


@pytest.mark.slow
def test_interpolation_of_controls_is_that_of_their_affine_maps(setting):
    record = INTERPOLATION.measure(setting)
    first, second = (np.asarray(part) for part in (setting.starts[::2], setting.starts[1::2]))
    white, mean = setting.controls["untrained"], np.asarray(setting.gaussian.mean)
    gain = float(gd.transfer(gd.DPMSolverPP2M(), thin(setting), white.residual[None])[0])
    ends, half = (mean + gain * (x - mean) for x in (first, (first + second) / 2))
    away = [((x - ends.mean(0)) ** 2).sum((1, 2, 3)) for x in (half, ends)]
    np.testing.assert_allclose(record.controls["untrained"]["linear"], away[0] / away[1].mean(), rtol=1e-5)
    kept = {"ends": np.ones(4), "linear": np.full(4, 0.5), "spherical": np.ones(4), "rescaled": np.ones(4)}
    lost = {**kept, "linear": np.ones(4)}
    made = replace(record, power=kept, controls={"untrained": kept, "shuffled_weights": lost})
    told = INTERPOLATION.find(made).found
    assert "Controls fade on the straight line as well (untrained):" in told
    assert "keep the variance on the other two as well (untrained; shuffled weights):" in told
    short = INTERPOLATION.find(replace(made, power=lost))  # a network that does not fade: no control does as well
    assert short.verdict == "agrees in part"
    assert "fade on the straight line as well" not in short.found
    assert short.found.endswith(" Holds: (2), the other two. Does not hold: (1), the straight line.")
    gone = {**lost, "spherical": np.full(4, 0.2)}
    assert [INTERPOLATION.find(replace(made, power=p)).verdict for p in (kept, gone)] == ["agrees", "differs"]


def thin(setting):
    """The grid of D7: 16 of 40 steps."""
    return setting.levels[np.linspace(0, 40, 17).round().astype(int)]


def test_large_images_have_fewer_paths():
    def count(shape, **settings):
        return jax.eval_shape(lambda: noise_and_grid(Settings(**settings), shape)[0]).shape[0]

    def held(starts, size, steps=32):
        """Bytes of float32 states and denoised images of all models."""
        return MODELS * starts * (steps + 1 + steps) * size * 4

    assert count((8, 8, 1)) == count((28, 28, 1)) == count((32, 32, 3)) == 256
    for shape, settings in (((64, 64, 3), {}), ((32, 32, 3), {"full": True})):
        fewer, size = count(shape, **settings), int(np.prod(shape))
        assert held(fewer, size) <= MEMORY < held(fewer + 1, size)
    assert count((512, 512, 3)) == LEAST
    assert count((64, 64, 3), starts=8) == 8
