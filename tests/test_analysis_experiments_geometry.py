"""Experiments on the geometry of paths, on a Gaussian whose paths, levels, gains and bends are known exactly."""

import dataclasses
import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from settings import documented, exact_gaussian, exact_setting

import gaussdiff as gd
from analysis.experiments import a01_dimension
from analysis.experiments.a01_dimension import DIMENSION
from analysis.experiments.a02_rotation import ROTATION
from analysis.experiments.a03_emergence import EMERGENCE, slope
from analysis.experiments.a04_perturbation import PERTURBATION
from analysis.experiments.a04_pushes import SOLVER, remaining
from analysis.experiments.d01_norms import NORMS, sampling_error
from analysis.experiments.d02_boomerang import BOOMERANG
from analysis.experiments.d03_distances import DISTANCES, cosines
from analysis.harness import experiment
from analysis.harness.finding import DIRECTIONS
from analysis.harness.setting import Setting
from analysis.measures import geometry
from analysis.measures.paths import Paths
from training.data.dataset import Dataset, Rows

ALL = (ROTATION, EMERGENCE, PERTURBATION, NORMS, BOOMERANG, DISTANCES)


@pytest.fixture(scope="module")
def setting() -> Setting:
    """The network is the Gaussian; sixty steps, so that the solver's share of each number is small."""
    found = exact_setting(starts=48)
    return dataclasses.replace(found, models={n: found.models[n] for n in ("network", "gaussian")})


@pytest.fixture(scope="module")
def measured(setting) -> Callable[[experiment.Experiment], Any]:
    """What an experiment measures of the setting, once for all tests."""
    return cache(lambda about: about.measure(setting))


@pytest.fixture(scope="module")
def turns(measured):
    return measured(ROTATION)


@pytest.fixture(scope="module")
def pushes(measured):
    return measured(PERTURBATION)


@pytest.fixture(scope="module")
def wrong(setting) -> Setting:
    """The network is white where the data are not: every direction has the variance that the largest has."""
    white = gd.Gaussian.isotropic(setting.gaussian.mean, 4.0)
    return dataclasses.replace(setting, models={"network": white, "gaussian": setting.gaussian}, controls={})


@pytest.fixture(scope="module")
def white_noise(setting) -> np.ndarray:
    """z (B, D), what every mode of a path keeps: its coefficient over its standard deviation."""
    centered = (np.asarray(setting.starts) - np.asarray(setting.gaussian.mean)).reshape(len(setting.starts), -1)
    return (centered @ np.asarray(setting.gaussian.eigvecs)) / spread(setting, setting.sigma[:1])


def spread(setting: Setting, sigma) -> np.ndarray:
    """sqrt(lam + sigma^2), (points, D)."""
    return np.sqrt(np.asarray(setting.gaussian.eigvals) + np.asarray(sigma)[:, None] ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("about", ALL, ids=lambda about: about.name)
def test_the_exact_gaussian_agrees_and_its_numbers_are_finite(about, measured, setting):
    result = experiment.run(dataclasses.replace(about, measure=lambda _: measured(about)), setting)
    assert result.finding.verdict == "agrees", result.finding.criteria
    assert set(result.finding.numbers) == documented(about.name)
    json.dumps(result.to_json(), allow_nan=False)
    assert result.figure is not None


CONTROLLED = (DIMENSION, ROTATION, EMERGENCE, NORMS, BOOMERANG, DISTANCES)  # by one control, at every criterion


def with_control(record, of):
    """The record with other numbers of its one control, `of` those of the network in each of its fields."""
    by_model = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    by_model = {name: one for name, one in by_model.items() if isinstance(one, dict) and "network" in one}
    return dataclasses.replace(
        record, **{n: {**one, "shuffled_spectrum": of(one["network"])} for n, one in by_model.items()}
    )


@pytest.mark.slow
@pytest.mark.parametrize("about", CONTROLLED, ids=lambda about: about.name)
def test_a_control_that_meets_a_criterion_of_the_network_s_is_named_there(about, measured):
    """Made: a control that is the network, and one of noise, which meets no criterion."""
    record = measured(about)
    for criterion in about.find(with_control(record, lambda own: own)).criteria:
        assert criterion.holds
        assert criterion.controls == ("shuffled_spectrum",), criterion.name
        assert criterion.to_json()["takes"] == DIRECTIONS
    rng = np.random.default_rng(0)
    noise = with_control(record, lambda own: jax.tree.map(lambda one: 10 * rng.normal(size=one.shape), own))
    assert not any(criterion.controls for criterion in about.find(noise).criteria)


@pytest.mark.slow
def test_what_the_network_does_not_show_no_control_shows_as_well(measured):
    record = measured(DIMENSION)
    bent = {part: 0.5 * values for part, values in record.fractions["network"].items()}
    changed = dataclasses.replace(record, fractions={**record.fractions, "network": bent})
    assert record.fractions["shuffled_spectrum"]["states"][:, 1].mean() >= a01_dimension.FLAT
    finding = DIMENSION.find(changed)
    assert [(criterion.holds, criterion.controls) for criterion in finding.criteria] == [(False, ())] * 2
    assert finding.sentence == "Two principal components hold only 50.0% of the variance of a path on average."


@pytest.mark.slow
def test_levels_and_peaks_are_chosen_once_and_intervals_hold_their_numbers(setting, turns):
    """Of paths of one length the numbers do not move; a far path among them moves the upper end alone."""
    still = dataclasses.replace(turns, turn={name: np.repeat(left[:1], 48, 0) for name, left in turns.turn.items()})
    value, low, high = ROTATION.find(still).numbers["distance_to_closed_form_over_its_peak"]["network"]
    assert value == pytest.approx(low) == pytest.approx(high)
    rows, peak = turns.turn["closed_form"], int(geometry.rms(turns.turn["closed_form"]).argmax())
    other = {**turns.turn, "network": rows + np.eye(1, 61, peak)}  # longer by 1 at one level
    value, low, high = ROTATION.find(dataclasses.replace(turns, turn=other)).numbers[
        "distance_to_closed_form_over_its_peak"
    ]["network"]
    picks = np.random.default_rng(7).integers(48, size=(4000, 48))
    drawn = [np.sqrt(((rows[p, peak] + 1) ** 2).mean() / (rows[p, peak] ** 2).mean()) - 1 for p in picks]
    np.testing.assert_allclose([low, high], np.quantile(drawn, [0.025, 0.975]), rtol=0.03)
    assert low < value < high


@pytest.mark.slow
def test_a_noise_that_keeps_its_length_is_said_to(measured, setting):
    record = measured(NORMS)
    lasting = {**record.norms["network"], "noise": np.full_like(record.norms["network"]["noise"], 8.0)}
    finding = NORMS.find(dataclasses.replace(record, norms={**record.norms, "network": lasting}))
    assert "never falls below .99 of that (closed form: falls below" in finding.criteria[1].note
    assert set(finding.numbers["sigma_where_noise_leaves_its_shell"]) == {"closed_form"}
    level = finding.numbers["sigma_where_noise_leaves_its_shell"]["closed_form"]
    # sum sigma^2 / (lam + sigma^2) of 64 modes, of which .98 is left at the level and more at the one before
    left = [np.mean(s**2 / (np.asarray(setting.gaussian.eigvals) + s**2)) for s in (level, setting.sigma[0])]
    assert left[0] / left[1] < 0.99**2 * 1.02


@pytest.mark.slow
def test_the_turn_leaves_out_what_the_closed_form_of_each_mode_says(setting, turns, white_noise):
    np.testing.assert_allclose(turns.turn["network"], turns.turn["closed_form"], atol=0.02)
    assert turns.turn["closed_form"].max() > 1
    # without a path or a rotation: S - alpha sqrt(lam) - sigma per mode, times z
    scale = np.hypot(1, setting.sigma)[:, None]
    left = (spread(setting, setting.sigma) - np.sqrt(setting.gaussian.eigvals) - setting.sigma[:, None]) / scale
    expected = np.linalg.norm(left * white_noise[:, None], axis=-1)
    np.testing.assert_allclose(turns.turn["closed_form"], expected, atol=1e-9)


@pytest.mark.slow
def test_the_best_plane_leaves_out_the_singular_values_beyond_two(setting, turns):
    states = geometry.preserved(setting.closed_form)
    singular = np.linalg.svd(states, compute_uv=False)
    np.testing.assert_allclose((turns.plane["closed_form"] ** 2).sum(1), (singular[:, 2:] ** 2).sum(1), rtol=1e-8)
    assert (turns.plane["network"] ** 2).sum() < (turns.turn["network"] ** 2).sum()


@pytest.mark.slow
def test_a_white_law_turns_worst_where_signal_and_noise_are_equal(wrong):
    """It loses (sqrt 2 - 1)^2 of its squared length at sigma = 2, its mean apart; and lies in a plane with its mean."""
    centered = eqx.tree_at(lambda g: g.mean, wrong.network, jnp.zeros_like(wrong.gaussian.mean))
    found = experiment.run(ROTATION, dataclasses.replace(wrong, models={**wrong.models, "network": centered}))
    worst = found.finding.numbers["worst_share_left_by_turn"]["network"][0]
    assert worst == pytest.approx((np.sqrt(2) - 1) ** 2, rel=0.02)
    assert "but for as much as 17." in found.finding.sentence
    assert found.finding.criteria[0].measured.value == worst
    assert found.finding.numbers["worst_share_left_by_best_plane"]["network"][0] < 1e-9
    assert found.finding.verdict == "differs"


@pytest.mark.slow
def test_components_of_a_gaussian_emerge_at_the_root_of_three_variances(measured, setting):
    record = measured(EMERGENCE)
    np.testing.assert_allclose(record.levels("network"), np.sqrt(3 * record.variances), rtol=0.02)
    assert slope(record, record.levels("network")) == pytest.approx(0.5, abs=0.005)
    # a second way: the progress of a mode is the share of its variance that a state tells of, square-rooted
    sigma = setting.sigma[:-1, None]
    left = jax.vmap(_left, in_axes=(None, 0, None))(setting.gaussian, sigma[:, 0], len(record.variances))
    known = 1 - np.asarray(left) / record.variances
    np.testing.assert_allclose(record.progress("network") ** 2, known, atol=0.03)


@partial(jax.jit, static_argnums=2)
def _left(gaussian: gd.Gaussian, sigma: jax.Array, modes: int) -> jax.Array:
    """Posterior variances of the first modes, by the derivative of the denoiser."""
    directions = gaussian.eigvecs.T[:modes].reshape(modes, *gaussian.shape)
    operator = gd.posterior_covariance(gaussian, gaussian.mean, gd.NoiseLevel(1.0, sigma))
    return (jax.vmap(operator.matvec)(directions) * directions).sum((1, 2, 3))


@pytest.mark.slow
def test_an_order_that_is_not_the_data_s_differs(setting):
    shuffled = setting.controls["shuffled_spectrum"]
    found = experiment.run(EMERGENCE, dataclasses.replace(setting, models={**setting.models, "network": shuffled}))
    assert found.finding.verdict == "differs"
    order = found.finding.criteria[0]
    assert (order.essential, order.holds) == (True, False)
    assert abs(order.measured.value) < 0.6
    assert order.measured.value == found.finding.numbers["rank_correlation"]["network"]
    assert "are not decided in the order of their variance" in found.finding.sentence


@pytest.mark.slow
def test_components_that_never_settle_are_said_and_drawn(measured):
    """A network whose denoised images hold nothing of their ends, but for four components."""
    record = measured(EMERGENCE)
    products = record.products["network"].copy()
    products[..., 4:] = 0
    few = dataclasses.replace(record, products={**record.products, "network": products})
    finding = EMERGENCE.find(few)
    assert finding.verdict == "differs"
    (criterion,) = finding.criteria
    assert (criterion.measured, criterion.expected, criterion.holds) == (4, "at least 5", False)
    assert finding.sentence == "Of 40 principal components only 4 are decided within the grid."
    assert finding.numbers["settled"]["network"] == len(finding.numbers["measured_level_by_component"]["network"]) == 4
    assert EMERGENCE.draw(few).get_suptitle().startswith("Too few")


def test_two_components_have_no_order():
    result = experiment.run(EMERGENCE, vectors())
    assert (result.verdict, result.finding, result.error) == ("not measured", None, "")
    assert "at least 5 principal components" in result.reason


@pytest.mark.slow
def test_pushes_grow_by_the_solver_s_own_gain_and_nearly_as_in_closed_form(setting, pushes):
    measured, exact = pushes.changes["network"] / pushes.pushes, pushes.predicted / pushes.pushes
    np.testing.assert_allclose(measured, np.broadcast_to(exact, measured.shape), rtol=0.2)
    lam = np.asarray(setting.gaussian.eigvals)[[0, 1, 2, 10, 45]]
    for level, sigma in enumerate(pushes.sigma):
        grid = remaining(setting, int(np.abs(setting.sigma - sigma).argmin()))
        gains = np.abs(gd.transfer(SOLVER, grid, lam))[:, None]
        np.testing.assert_allclose(measured[:, level, :5], np.broadcast_to(gains, (len(measured), 5, 4)), rtol=1e-6)
        std = np.sqrt(lam + sigma**2)[:, None]
        np.testing.assert_allclose(pushes.pushes[level, :5], std * np.array([10, 5, 5, 10]), rtol=1e-6)
        np.testing.assert_allclose(exact[level, :5], np.broadcast_to(np.sqrt(lam)[:, None] / std, (5, 4)))


@pytest.mark.slow
def test_a_random_push_is_counted_in_the_marginal_s_deviation_and_ends_as_its_components_do(setting, pushes):
    lam, directions = (np.asarray(part) for part in (setting.gaussian.eigvals, setting.gaussian.eigvecs))
    random = np.asarray(jax.random.normal(setting.key("perturbation"), (2, 64)))[-1]
    unit = random / np.linalg.norm(random)
    for level, sigma in enumerate(pushes.sigma):
        covariance = (directions * lam) @ directions.T + sigma**2 * np.eye(64)
        push = 5 * np.sqrt(unit @ covariance @ unit)
        np.testing.assert_allclose(pushes.pushes[level, -1, 2], push, rtol=1e-9)
        coefficients = unit @ directions * np.sqrt(lam / (lam + sigma**2))
        np.testing.assert_allclose(pushes.predicted[level, -1, 2], push * np.linalg.norm(coefficients), rtol=1e-9)


@pytest.mark.slow
def test_the_outline_s_share_of_a_random_change_falls_from_that_of_the_variance(setting, pushes):
    """Early a push in any direction ends with coefficients v sqrt(lam) / sigma, late with v itself."""
    gaussian = setting.gaussian
    lam = np.asarray(gaussian.eigvals)
    half = int(np.searchsorted(np.cumsum(lam) / lam.sum(), 0.5)) + 1
    random = np.asarray(jax.random.normal(setting.key("perturbation"), (2, 64)))
    unit = random / np.linalg.norm(random, axis=1, keepdims=True)
    v = (unit @ np.asarray(gaussian.eigvecs)) ** 2
    for level, sigma in enumerate(pushes.sigma):
        ends = v * lam / (lam + sigma**2) * (v @ (lam + sigma**2))[:, None]  # of pushes by one standard deviation
        assert pushes.coarse["closed_form"][0, level] == pytest.approx(ends[:, :half].sum() / ends.sum(), rel=1e-6)
    np.testing.assert_allclose(pushes.coarse["network"].mean(0), pushes.coarse["closed_form"][0], atol=0.05)


@pytest.mark.slow
def test_a_model_that_passes_pushes_in_other_sizes_does_not_agree(wrong):
    finding = experiment.run(PERTURBATION, wrong).finding
    assert finding.verdict != "agrees"
    assert finding.numbers["measured_over_predicted"]["network"][0] > 2
    assert list(finding.criteria[1].measured) == finding.numbers["measured_over_predicted"]["network"]
    assert finding.criteria[1].holds is False
    assert finding.numbers["measured_over_predicted"]["gaussian"][0] == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_norms_are_those_of_the_marginal(measured, setting):
    """E|x|^2 = |mu|^2 + tr(Sigma + sigma^2), and so on: 48 starts in 64 dimensions are within a few per cent."""
    record, lam = measured(NORMS), np.asarray(setting.gaussian.eigvals)
    mean, sigma = float(jnp.linalg.norm(setting.gaussian.mean)), setting.sigma[:-1, None]
    expected = {
        "state": np.sqrt(mean**2 + (lam + sigma**2).sum(1)),
        "denoised": np.sqrt(mean**2 + (lam**2 / (lam + sigma**2)).sum(1)),
        "noise": np.sqrt((sigma**2 / (lam + sigma**2)).sum(1)),
    }
    for part, norm in expected.items():
        for name in ("network", "closed_form"):
            np.testing.assert_allclose(geometry.rms(record.norms[name][part]), norm, rtol=0.1)
    np.testing.assert_allclose(record.norms["network"]["state"], record.norms["closed_form"]["state"], rtol=0.01)


@pytest.mark.slow
def test_a_first_noise_of_few_paths_may_be_off_by_what_white_noise_is(measured):
    """Its length varies as the root of chi^2 with D B degrees of freedom; beyond that and 2 % it is not white."""
    record = measured(NORMS)
    squares = np.random.default_rng(0).chisquare(48 * record.size, 100_000) / (48 * record.size)
    error = sampling_error(48, record.size)
    np.testing.assert_allclose(error, 3 * np.sqrt(squares).std(), rtol=0.02)
    first = geometry.rms(record.norms["network"]["noise"][:, 0]) / record.size**0.5
    for length, verdict in ((1.019 + error, "agrees"), (1.021 + error, "agrees in part")):
        norms = {part: values.copy() for part, values in record.norms["network"].items()}
        norms["noise"][:, 0] *= length / first
        # the closed form is made the same: only the length beside sqrt(D) is asked for
        judged = dataclasses.replace(record, norms={**record.norms, "network": norms, "closed_form": norms})
        assert NORMS.find(judged).verdict == verdict


@pytest.mark.slow
def test_norms_of_a_white_model_differ_from_the_data_s(wrong):
    away = experiment.run(NORMS, wrong).finding.numbers["largest_relative_distance_to_closed_form"]
    assert min(one[0] for one in away.values()) > 0.2


@pytest.mark.slow
def test_deviation_from_the_chord_is_the_engine_s_and_that_of_the_modes(measured, setting, white_noise):
    record = measured(BOOMERANG)
    engine = jax.vmap(gd.exact.chord_deviation)
    for part, points in (("state", setting.closed_form.x), ("denoised", setting.closed_form.denoised)):
        np.testing.assert_allclose(record.deviations["closed_form"][part], engine(jnp.asarray(points)), atol=1e-9)
    # a second way, without states: the area of the triangle of the two ends and the point, from the modes alone
    points = spread(setting, setting.sigma) * white_noise[:, None]
    away, chord = points - points[:, -1:], points[:, :1] - points[:, -1:]
    squares = [(a * b).sum(-1) for a, b in ((away, away), (chord, chord), (away, chord))]
    height = np.sqrt(np.maximum(squares[0] - squares[2] ** 2 / squares[1], 0))
    np.testing.assert_allclose(record.deviations["closed_form"]["state"], height, atol=1e-5)
    np.testing.assert_allclose(record.deviations["network"]["state"], height, atol=0.05)


@pytest.mark.slow
def test_one_variance_makes_a_straight_path_that_the_data_s_does_not_explain(wrong):
    found = experiment.run(BOOMERANG, wrong).finding
    assert found.verdict == "agrees in part"  # straight it is
    assert found.numbers["peak"]["state"]["network"][0] < 1e-6
    assert found.numbers["explained_by_closed_form"]["state"][0] < 0


@pytest.mark.slow
def test_a_bend_as_large_in_another_direction_is_not_second_order(measured):
    """Peaks are equal, but the network's deviation is turned by a right angle: nothing of it is explained."""
    record = measured(BOOMERANG)
    assert record.missed["network"]["state"].max() > 0
    turned = {part: np.sqrt(2) * lengths for part, lengths in record.deviations["network"].items()}
    finding = BOOMERANG.find(dataclasses.replace(record, missed={**record.missed, "network": turned}))
    assert finding.verdict == "agrees in part"
    assert finding.numbers["explained_by_closed_form"]["denoised"][0] == pytest.approx(-1)


def test_points_that_return_to_their_start_have_no_chord():
    loop = np.array([[[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]])
    np.testing.assert_array_equal(geometry.off_chord(loop), loop)


@pytest.mark.slow
def test_a_gaussian_s_paths_come_nearer_at_every_step_with_the_cosine_of_the_modes(measured, setting, white_noise):
    record = measured(DISTANCES)
    for name in ("network", "closed_form"):
        assert (np.diff(record.distances[name]["state"], axis=1) < 0).all()
        assert (np.diff(record.distances[name]["denoised"], axis=1) < 1e-9).all()
    root, std = np.sqrt(setting.gaussian.eigvals), spread(setting, setting.sigma[:-1])
    away, seen = (std - root) * white_noise[:, None], setting.sigma[:-1, None] / std * white_noise[:, None]
    expected = (away * seen).sum(-1) / np.sqrt((away**2).sum(-1) * (seen**2).sum(-1))
    np.testing.assert_allclose(record.cosines["closed_form"], expected, atol=1e-5)
    np.testing.assert_allclose(record.cosines["network"][:, :40], expected[:, :40], atol=0.01)


@pytest.mark.slow
def test_paths_that_wander_off_differ(measured, setting):
    rng = np.random.default_rng(0)
    x, denoised = rng.normal(size=(8, 61, 8, 8, 1)), rng.normal(size=(8, 60, 8, 8, 1))
    record = measured(DISTANCES)
    wandering = {part: np.abs(rng.normal(size=(8, 60))) for part in ("state", "denoised")}
    angles = cosines(Paths(setting.sigma, x, denoised))
    changed = dataclasses.replace(
        record,
        distances={**record.distances, "network": wandering},
        cosines={**record.cosines, "network": angles},
    )
    assert DISTANCES.find(changed).verdict == "differs"


def test_a_state_that_has_arrived_points_nowhere_and_counts_as_aligned():
    still = Paths(np.array([2.0, 1.0, 0.0]), np.ones((3, 3, 2)), np.ones((3, 2, 2)))
    np.testing.assert_array_equal(cosines(still), 1)


def vectors() -> Setting:
    """Two coordinates, eight starts, no control, no history; the Gaussian is the network."""
    law = gd.Gaussian.from_moments(np.array([0.5, 0.0]), np.array([[1.0, 0.3], [0.3, 0.2]]))
    rows = np.asarray(jax.vmap(law.sample)(jax.random.split(jax.random.key(0), 40)))
    levels = gd.grids.karras(12, 0.01)
    starts = levels.sigma[0] * jax.random.normal(jax.random.key(1), (8, 2))
    data = Dataset(Rows(rows[:30]), Rows(rows[30:]))
    return Setting("vectors", data, {"network": law, "gaussian": law}, starts, levels)


@pytest.mark.slow
@pytest.mark.parametrize("about", [e for e in ALL if e is not EMERGENCE], ids=lambda about: about.name)
def test_vectors_and_few_starts_are_measured_and_drawn(about):
    result = experiment.run(about, vectors())
    assert result.finding.verdict != "not measured"
    json.dumps(result.to_json(), allow_nan=False)
    assert result.figure is not None


@pytest.mark.slow
def test_the_closed_form_is_the_limit_of_small_steps(setting):
    ends = np.asarray(setting.closed_form.samples)
    np.testing.assert_allclose(setting.paths["gaussian"].samples, ends, atol=0.05)
    stds = np.sqrt(np.asarray(exact_gaussian().eigvals))
    flat = (ends - np.asarray(setting.gaussian.mean)).reshape(len(ends), -1) @ np.asarray(setting.gaussian.eigvecs)
    # 48 paths: a standard deviation is within half of itself but for one in a million
    np.testing.assert_allclose(flat.std(0), stds, rtol=0.5)
    assert geometry.preserving(setting.levels).sigma[0] < 1
