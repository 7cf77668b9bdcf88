"""Controls of A4, D5, D6 and D7: measured as the network is, and said to show a claim where they do."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from settings import exact_setting

import gaussdiff as gd
from analysis.experiments.a04_perturbation import PERTURBATION
from analysis.experiments.a04_pushes import SOLVER, STEPS
from analysis.experiments.d05_mean_shift import MEAN_SHIFT
from analysis.experiments.d06_score_deviation import SCORE_DEVIATION
from analysis.experiments.d07_interpolation import INTERPOLATION
from analysis.harness import controls, twins
from analysis.harness.finding import Finding
from analysis.reporting.study import LEAST_STARTS, MEMORY, Settings, noise_and_grid, open_run, paths_held


@pytest.fixture(scope="module")
def setting():
    """Beside the Gaussian with a shuffled spectrum, a white one, which is what an untrained network is."""
    exact = exact_setting(starts=24, steps=40)
    white = gd.Gaussian.isotropic(exact.gaussian.mean, float(exact.gaussian.eigvals.mean()))
    return replace(exact, controls={**exact.controls, "untrained": white})


def of_controls(finding: Finding) -> list[tuple[str, ...]]:
    """The controls that meet each criterion."""
    return [criterion.controls for criterion in finding.criteria]


def test_shuffled_weights_are_the_same_numbers_in_other_places():
    model = gd.Gaussian.from_moments(jnp.arange(3.0), jnp.diag(jnp.array([1.0, 2.0, 3.0])))
    mixed = controls.shuffled(model, jax.random.key(0))
    pairs = list(zip(jax.tree.leaves(model), jax.tree.leaves(mixed), strict=True))
    for own, other in pairs:
        np.testing.assert_array_equal(np.sort(np.ravel(own)), np.sort(np.ravel(other)))
    assert any(not np.array_equal(own, other) for own, other in pairs)
    again = controls.shuffled(model, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, mixed, again)


@pytest.mark.slow
def test_pushes_of_controls_end_as_the_solver_s_gain_on_their_own_variance_says(setting):
    record = PERTURBATION.measure(setting)
    assert record.controls == ("shuffled_spectrum", "untrained")
    for name in record.controls:
        assert record.changes[name].shape == (2, *record.pushes.shape)
        law = setting.controls[name]
        variance = law.eigvals[1] if law.rank else law.residual  # of the direction that is the data's second component
        for place, sigma in enumerate(record.sigma):
            levels = gd.grids.karras(STEPS, float(setting.sigma[-2]), float(sigma))
            gains = record.changes[name][:, place, 1] / record.pushes[place, 1]
            np.testing.assert_allclose(gains, abs(gd.transfer(SOLVER, levels, variance[None])[0]), rtol=1e-5)
    # white: a random push keeps its direction, and its share of outline; only how two directions are weighed changes
    np.testing.assert_allclose(np.ptp(record.coarse["untrained"], axis=1), 0, atol=0.05)
    finding = PERTURBATION.find(record)
    assert finding.verdict == "agrees"
    assert of_controls(finding)[2] == ()
    # made: a control that does all that the network does is named at each criterion
    same = replace(
        record,
        changes={**record.changes, "untrained": record.changes["network"]},
        coarse={**record.coarse, "untrained": record.coarse["network"]},
    )
    assert all("untrained" in names for names in of_controls(PERTURBATION.find(same)))


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
    assert of_controls(MEAN_SHIFT.find(record))[1] != ()
    never = {name: -np.abs(one) if name in record.controls else one for name, one in record.gain.items()}
    assert of_controls(MEAN_SHIFT.find(replace(record, gain=never))) == [(), ()]


@pytest.mark.slow
def test_controls_come_back_to_the_optimum_on_its_path_as_any_denoiser_does(setting):
    """At small noise a white Gaussian returns its input, and on the optimal path that is a training image."""
    record = SCORE_DEVIATION.measure(setting)
    best, i = setting.paths["data_set"], 30
    x, level = jnp.asarray(best.x[3, i]), setting.levels[i]
    difference = setting.controls["untrained"].denoise(x, level) - setting.models["data_set"].denoise(x, level)
    assert record.deviations["untrained"]["optimal"][3, i] == pytest.approx(
        float(jnp.linalg.norm(difference)), rel=1e-4
    )
    _, returns, stays, _ = of_controls(SCORE_DEVIATION.find(record))
    assert returns == stays == ("shuffled_spectrum", "untrained")
    flat = {version: np.ones_like(one) for version, one in record.deviations["untrained"].items()}
    made = replace(record, deviations={**record.deviations, "untrained": flat})
    assert of_controls(SCORE_DEVIATION.find(made))[1] == ("shuffled_spectrum",)


@pytest.mark.slow
def test_interpolation_of_controls_is_that_of_their_affine_maps(setting):
    record = INTERPOLATION.measure(setting)
    first, second = (np.asarray(part) for part in (setting.starts[::2], setting.starts[1::2]))
    white, mean = setting.controls["untrained"], np.asarray(setting.gaussian.mean)
    gain = float(gd.transfer(gd.DPMSolverPP2M(), thin(setting), white.residual[None])[0])
    ends, half = (mean + gain * (x - mean) for x in (first, (first + second) / 2))
    power = [((x - ends.mean(0)) ** 2).sum((1, 2, 3)) for x in (half, ends)]
    np.testing.assert_allclose(record.controls["untrained"]["linear"], power[0] / power[1].mean(), rtol=1e-5)
    halves = {"ends": np.ones(4), "linear": np.full(4, 0.5), "spherical": np.ones(4), "rescaled": np.ones(4)}
    level = {**halves, "linear": np.ones(4)}
    made = replace(record, power=halves, controls={"untrained": halves, "shuffled_weights": level})
    assert of_controls(INTERPOLATION.find(made)) == [("untrained",), ("untrained", "shuffled_weights")]
    # of a network that does not lose variance on the straight line no control counts as one that does so as well
    partly = INTERPOLATION.find(replace(made, power=level))
    assert partly.verdict == "agrees in part"
    assert [criterion.holds for criterion in partly.criteria] == [False, True]
    assert of_controls(partly)[0] == ()
    neither = {**level, "spherical": np.full(4, 0.2)}
    assert [INTERPOLATION.find(replace(made, power=p)).verdict for p in (halves, neither)] == ["agrees", "differs"]


def thin(setting):
    """The grid of D7: 16 of 40 steps."""
    return setting.levels[np.linspace(0, 40, 17).round().astype(int)]


def test_large_images_have_fewer_paths():
    def count(shape, **settings):
        return jax.eval_shape(lambda: noise_and_grid(Settings(**settings), shape)[0]).shape[0]

    def in_memory(starts, size, steps=32):
        """Bytes of float32 states and denoised images of all models."""
        return paths_held() * starts * (steps + 1 + steps) * size * 4

    assert count((8, 8, 1)) == count((28, 28, 1)) == count((32, 32, 3)) == 128
    for shape, settings in (((64, 64, 3), {}), ((32, 32, 3), {"full": True})):
        fewer, size = count(shape, **settings), int(np.prod(shape))
        assert in_memory(fewer, size) <= MEMORY < in_memory(fewer + 1, size)
    assert count((512, 512, 3)) == LEAST_STARTS
    assert count((64, 64, 3), starts=8) == 8


@pytest.mark.slow
def test_as_many_paths_are_counted_as_a_setting_can_have(setting, trained):
    """The models and controls of a whole setting, the closed form, and the further twins."""
    whole = open_run(trained, Settings(starts=2, steps=2, components=2))
    assert tuple(whole.controls) == controls.USUAL
    assert set(setting.more) == set(twins.MORE)
    assert paths_held() == len(whole.models) + len(whole.controls) + 1 + len(setting.more) == 11
