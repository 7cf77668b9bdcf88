"""The manifold tools, and the experiments on manifold, retrieval, mean shift and shape, where answers are known."""

import io
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from settings import documented, exact_gaussian, exact_setting

import gaussdiff as gd
from analysis.experiments import a10_manifold as manifold_experiment
from analysis.experiments import a11_retrieval, d08_shape
from analysis.experiments.a10_manifold import MANIFOLD, OUTLINE
from analysis.experiments.a11_retrieval import RETRIEVAL
from analysis.experiments.d05_mean_shift import MEAN_SHIFT
from analysis.experiments.d06_score_deviation import SCORE_DEVIATION
from analysis.experiments.d07_interpolation import INTERPOLATION
from analysis.experiments.d08_shape import SHAPE
from analysis.harness import experiment
from analysis.measures import latent, latent_model, manifold


@pytest.fixture(scope="module")
def setting():
    return exact_setting(starts=48, steps=40)


@pytest.fixture(autouse=True, scope="module")
def short_training():
    """The autoencoder of A10 is proven in test_latent_model.py: here it is trained for a tenth of its steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent_model, "STEPS", 200)
        yield


@pytest.fixture(scope="module")
def bent(setting):
    """D8 of a network that is the Gaussian."""
    return experiment.run(SHAPE, setting)


def with_network(setting, network):
    """The same setting, of the same shapes, with another network."""
    return replace(setting, models={**setting.models, "network": network})


@pytest.fixture(scope="module")
def components():
    """Mean (D,), variances (D,) and axes (D, D) of exact_gaussian, by NumPy."""
    gaussian = exact_gaussian()
    return tuple(np.asarray(part) for part in (gaussian.mean.reshape(-1), gaussian.eigvals, gaussian.eigvecs))


def centered(components, x):
    mean, _, axes = components
    return (np.asarray(x).reshape(*x.shape[: x.ndim - 3], -1) - mean) @ axes


# --- tools ---


@pytest.mark.slow
def test_what_a_gaussian_leaves_undecided_is_the_inverse_of_added_precisions(setting, components):
    _, variances, axes = components
    level, x = setting.levels[20], setting.starts[:2]
    found = manifold.principal_variations(setting.gaussian, x, level, 4, jax.random.key(0))
    dense = np.linalg.inv(np.linalg.inv(axes * variances @ axes.T) + np.eye(64) / float(level.sigma) ** 2)
    falling = np.sort(np.linalg.eigvalsh(dense))[::-1]
    np.testing.assert_allclose(found.variances, np.stack([falling[:4]] * 2), rtol=1e-3)
    vectors = np.asarray(found.directions).reshape(2, 4, 64)
    np.testing.assert_allclose(manifold.principal_share(vectors, axes[:, :4]), 1, atol=1e-3)


def test_a_random_direction_lies_in_a_subspace_by_its_share_of_the_dimensions():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4000, 8))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert manifold.principal_share(directions, np.eye(8)[:, :3]).mean() == pytest.approx(3 / 8, abs=0.02)


@pytest.mark.slow
def test_a_walk_that_is_denoised_again_keeps_the_wiener_share_of_its_steps(setting, components):
    mean, variances, axes = components
    level, steps = setting.levels[25], np.array([-2.0, 0.0, 2.0])
    direction = axes[:, 3].reshape(8, 8, 1)
    walked = manifold.walk(mean.reshape(8, 8, 1), direction, steps)
    noise = jax.random.normal(jax.random.key(1), (8, 8, 1))
    again = np.asarray(manifold.redenoise(setting.gaussian, jnp.asarray(walked), noise, level))
    kept = np.sum((again[2] - again[0]) * direction) / 4
    assert kept == pytest.approx(variances[3] / (variances[3] + float(level.sigma) ** 2), rel=1e-9)


@pytest.mark.parametrize("kind", [manifold.linear, manifold.spherical, manifold.rescaled])
def test_interpolations_start_and_end_at_the_two_noises(kind):
    a, b = np.random.default_rng(0).normal(size=(2, 5, 5, 1))
    np.testing.assert_allclose(kind(a, b, 0.0), a, atol=1e-12)
    np.testing.assert_allclose(kind(a, b, 1.0), b, atol=1e-12)


def test_the_arc_keeps_length_and_angle_and_the_rescaled_line_keeps_the_law():
    a, b = np.array([3.0, 0.0]), np.array([0.0, 3.0])
    third = manifold.spherical(a, b, 1 / 3)
    np.testing.assert_allclose(third, 3 * np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)]))
    many = np.random.default_rng(1).normal(size=(2, 200_000))
    assert manifold.rescaled(*many, 0.3).var() == pytest.approx(1, abs=0.02)
    assert manifold.linear(*many, 0.3).var() == pytest.approx(0.58, abs=0.02)
    np.testing.assert_allclose(manifold.spherical(a, 2 * a, 0.5), 1.5 * a)
    with pytest.raises(ValueError, match="not opposite"):
        manifold.spherical(a, -a, 0.5)
    with pytest.raises(ValueError, match="above 0 in length"):
        manifold.spherical(a, 0 * a, 0.5)


@pytest.mark.slow
def test_retrieval_is_a_softmax_of_distances(setting):
    points = setting.data.train.reshape(400, -1).astype(np.float64)
    states = np.asarray(setting.paths["network"].x[:3, 20:30:4], np.float64)
    levels = setting.levels[20:30:4]
    found = manifold.retrieve(setting.models["data_set"], jnp.asarray(states), levels)
    squares = ((states.reshape(3, 3, 1, 64) - points) ** 2).sum(-1)
    exponents = -squares / 2 / np.asarray(levels.sigma)[:, None] ** 2
    weights = np.exp(exponents - exponents.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_array_equal(found.likeliest, weights.argmax(-1))
    np.testing.assert_allclose(found.weight, weights.max(-1), rtol=1e-5)
    entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-300)), -1)
    np.testing.assert_allclose(found.neighbours, np.exp(entropy), rtol=1e-4)


@pytest.mark.slow
def test_a_small_change_of_a_gaussian_s_noise_becomes_what_its_flow_makes_of_any_change(setting):
    directions = jnp.asarray(np.random.default_rng(2).normal(size=(2, 8, 8, 1)))
    levels = setting.levels[10:]
    found = manifold.perturbation_maps(setting.gaussian, gd.Heun(), setting.starts[0], levels, directions)
    for delta, change in zip(directions, found, strict=True):
        exact, _ = gd.exact.gaussian_perturbation(setting.gaussian, delta, levels[0], levels[-1])
        np.testing.assert_allclose(change, exact, atol=0.02 * float(jnp.abs(exact).max()))


@pytest.mark.slow
def test_the_stretches_of_a_map_are_the_singular_values_of_its_jacobian(setting):
    """Of a mixture, whose map is no Gaussian's, beside the dense Jacobian by forward derivatives and NumPy's SVD."""
    model, levels, x = setting.models["mixture"], manifold.thinned(setting.levels, 4), setting.starts[:2] / 40
    found = latent.stretches(model, gd.Heun(), x, levels, 3, jax.random.key(3), 40)
    dense = jax.jit(jax.vmap(jax.jacfwd(lambda x: gd.sample(gd.Heun(), model, x, levels).x[-1])))(x)
    _, values, rows = np.linalg.svd(np.asarray(dense).reshape(2, 64, 64))
    np.testing.assert_allclose(found.values, values[:, :3], rtol=1e-5)
    np.testing.assert_array_less(found.residual, 1e-3)
    aligned = np.einsum("bkd,bkd->bk", np.asarray(found.directions).reshape(2, 3, 64), rows[:, :3])
    np.testing.assert_allclose(np.abs(aligned), 1, atol=1e-4)
    short = latent.stretches(model, gd.Heun(), x, levels, 3, jax.random.key(3), 5)
    assert (np.asarray(short.values) <= values[:, :3] * (1 + 1e-9)).all()
    off = np.abs(np.asarray(short.values)[:, :, None] - values[:, None]).min(-1).max(1)
    assert (off <= np.asarray(short.residual) * np.asarray(short.values)[:, 0]).all()
    assert (np.asarray(short.residual) > 1e-3).all()
    with pytest.raises(ValueError, match=r"count: expected 1 to min\(depth, D\) = 5, got 6"):
        latent.stretches(model, gd.Heun(), x, levels, 6, jax.random.key(3), 5)


@pytest.mark.slow
def test_a_map_that_stretches_all_directions_alike_has_one_singular_value(setting):
    """The products of Lanczos stay in the span: the basis must go on with others."""
    for variance in (2.0, 0.0):  # without any variance the map is one point, and its derivative 0
        white = gd.Gaussian.isotropic(setting.gaussian.mean, variance)
        found = latent.stretches(white, gd.Heun(), setting.starts[:1], setting.levels, 6, jax.random.key(0), 12)
        gain = abs(float(gd.transfer(gd.Heun(), setting.levels, jnp.asarray([variance]))[0]))
        np.testing.assert_allclose(found.values, gain, rtol=1e-6, atol=1e-12)
        directions = np.asarray(found.directions).reshape(6, 64)
        np.testing.assert_allclose(directions @ directions.T, np.eye(6), atol=1e-9)


@pytest.mark.slow
def test_components_of_one_gaussian_path_emerge_at_the_closed_form_levels(setting, components):
    levels = gd.grids.karras(80, 0.002)
    path = gd.exact.gaussian_path(setting.gaussian, setting.starts[0], levels)
    denoised, final = (centered(components, part) for part in (path.denoised, path.x[-1:]))
    found = manifold.emergence_map(denoised, final[0], np.zeros(64), np.asarray(levels.sigma), least=0.0)
    np.testing.assert_allclose(found[:20], gd.emergence(setting.gaussian.eigvals[:20]), rtol=0.02)
    some = manifold.emergence_map(denoised, final[0], np.zeros(64), np.asarray(levels.sigma), least=0.5)
    small = np.abs(final[0]) < 0.5 * np.abs(final[0]).max()
    assert small.any()
    np.testing.assert_array_equal(np.isnan(some), small)


def test_a_thinned_grid_keeps_both_ends():
    levels = gd.grids.karras(40)
    for steps in (7, 8, 40, 99):
        thin = manifold.thinned(levels, steps)
        assert len(thin) == min(steps, 40) + 1
        assert (thin.sigma[0], thin.sigma[-1]) == (levels.sigma[0], 0)


# --- A10 ---


@pytest.mark.slow
def test_a_gaussian_s_undecided_directions_are_its_components_and_its_map_has_their_gains(setting):
    record = MANIFOLD.measure(setting)
    np.testing.assert_allclose(record.fractions["network"], 1, atol=1e-3)
    np.testing.assert_allclose(record.variances, np.broadcast_to(record.expected[:, None], (4, 8, 10)), rtol=1e-3)
    latent = record.latent
    np.testing.assert_allclose(latent.gains, np.broadcast_to(latent.solver, latent.gains.shape), rtol=1e-6)
    np.testing.assert_allclose(latent.values["network"], np.broadcast_to(latent.expected, (2, 8)), rtol=1e-3)
    np.testing.assert_allclose(latent.values["shuffled_spectrum"], latent.values["network"], rtol=1e-3)
    np.testing.assert_allclose(latent.fractions["network"], 1, atol=1e-2)
    assert latent.fractions["shuffled_spectrum"].mean() < 0.5
    # a walk moves the image along its own component alone, by the step times the deviation
    np.testing.assert_allclose(latent.along, 1, rtol=1e-6)
    np.testing.assert_allclose(latent.inside, 1, rtol=1e-6)
    common = set(np.asarray(setting.controls["shuffled_spectrum"].eigvals).argsort()[-10:]) & set(range(10))
    np.testing.assert_allclose(record.fractions["shuffled_spectrum"], len(common) / 10, atol=1e-3)
    finding = MANIFOLD.find(record)
    assert finding.verdict == "agrees"
    assert [criterion.measured.value for criterion in finding.criteria] == pytest.approx([1, 1], abs=1e-3)
    assert finding.criteria[0].controls == ()
    # made: a control whose directions are components too
    fractions = {**record.fractions, "shuffled_spectrum": record.fractions["network"][[OUTLINE]]}
    same = MANIFOLD.find(replace(record, fractions=fractions))
    assert [criterion.controls for criterion in same.criteria] == [("shuffled_spectrum",), ()]


@pytest.mark.slow
def test_a_model_of_other_directions_has_another_manifold(setting):
    other = with_network(setting, setting.controls["shuffled_spectrum"])
    result = experiment.run(MANIFOLD, other)
    assert result.finding.verdict == "differs"
    assert result.record.fractions["network"][OUTLINE].mean() < 0.5
    assert [criterion.holds for criterion in result.finding.criteria] == [False, False]
    assert " only " in result.finding.sentence
    numbers, latent = result.finding.numbers, result.record.latent
    assert set(numbers) == documented("A10")
    # how far off gains are, resampled here with other draws; a factor is 1 or more
    away = lambda rows: np.exp(np.median(np.abs(np.log(rows.mean(0) / latent.solver))))  # noqa: E731
    picks = np.random.default_rng(5).integers(8, size=(4000, 8))
    ends = np.quantile([away(latent.gains[pick]) for pick in picks], [0.025, 0.975])
    assert numbers["gain_factor"][0] == pytest.approx(away(latent.gains))
    assert list(result.finding.criteria[1].measured) == numbers["gain_factor"]
    np.testing.assert_allclose(numbers["gain_factor"][1:], ends, rtol=0.05)


# --- A11 ---


@pytest.mark.slow
def test_a_path_decides_where_the_image_tells_as_much_as_there_are_names(setting):
    isotropic = a11_retrieval.collapse(np.full(10, 3.0), 500)
    assert isotropic == pytest.approx(np.sqrt(3 / (500 ** (2 / 10) - 1)), rel=1e-6)
    record = RETRIEVAL.measure(setting)
    assert np.median(record.decided["data_set"]) == pytest.approx(record.expected, rel=0.3)
    assert np.median(record.decided["network"]) == pytest.approx(record.expected, rel=0.3)
    finding = RETRIEVAL.find(record)
    assert finding.verdict == "agrees"
    assert set(finding.numbers) == documented("A11")
    low, high = finding.numbers["nearest_is_training"]["network"][1:]
    assert low - 0.1 < record.even < high + 0.1


@pytest.mark.slow
def test_a_model_that_remembers_is_found_out(setting):
    finding = experiment.run(RETRIEVAL, with_network(setting, setting.models["data_set"])).finding
    assert finding.verdict == "agrees in part"
    assert [criterion.holds for criterion in finding.criteria] == [True, False]
    assert finding.numbers["copies"]["network"][0] == finding.criteria[1].measured.value == 1
    assert finding.sentence == "100.0% of the network's samples are copies of training images."


# --- D5 ---


class Away(gd.Denoiser):
    """Believes in images twice as far from 0 as what it sees."""

    def denoise(self, x, level):
        return 2 * x


@pytest.mark.slow
def test_the_data_set_s_denoiser_is_mean_shift_and_likelihood_rises_where_it_must(setting):
    record = MEAN_SHIFT.measure(setting)
    finding = MEAN_SHIFT.find(record)
    assert record.identity < 1e-6
    assert finding.numbers["mean_shift_rises"] == 1
    assert sum(finding.numbers["condition_broken"].values()) == 0
    assert 0.5 < finding.numbers["condition_holds"]["network"] <= 1
    # log p_h from distances, by NumPy
    points = setting.data.train.reshape(400, -1).astype(np.float64)
    i = int(np.flatnonzero(setting.sigma == record.sigma[3])[0])
    path = setting.paths["network"]
    x, to = (part[5, i].reshape(-1) for part in (path.x, path.denoised))
    by_hand = _log_density(points, to, record.sigma[4]) - _log_density(points, x, record.sigma[4])
    assert record.gain["network"][5, 3, 4] == pytest.approx(by_hand, rel=1e-4)
    assert (record.gain["network"] >= record.bound["network"] - record.rounding["network"]).all()


def _log_density(points: np.ndarray, x: np.ndarray, width: float) -> float:
    return float(np.logaddexp.reduce(-((points - x) ** 2).sum(1) / (2 * float(width) ** 2)))


@pytest.mark.slow
def test_a_denoiser_that_leads_away_lowers_the_likelihood(setting):
    found = experiment.run(MEAN_SHIFT, with_network(setting, Away())).finding
    assert found.verdict == "agrees in part"
    assert found.numbers["rises"]["network"][0] < 0.1
    assert set(found.numbers) == documented("D5")


# --- D6 ---


@pytest.mark.slow
def test_the_four_deviations_are_those_of_the_two_denoisers(setting):
    record = SCORE_DEVIATION.measure(setting)
    own, best = setting.paths["network"], setting.paths["data_set"]
    i, level = 22, setting.levels[22]
    data_set, gaussian = setting.models["data_set"], setting.gaussian
    x, x_best = jnp.asarray(own.x[7, i]), jnp.asarray(best.x[7, i])
    by_hand = {
        "paths": x - x_best,
        "beliefs": gaussian.denoise(x, level) - data_set.denoise(x_best, level),
        "own": gaussian.denoise(x, level) - data_set.denoise(x, level),
        "optimal": gaussian.denoise(x_best, level) - data_set.denoise(x_best, level),
    }
    for version, difference in by_hand.items():
        found = record.deviations["network"][version][7, i]
        assert found == pytest.approx(np.linalg.norm(np.asarray(difference)), rel=1e-4), version
    # at noise without end both denoisers know the mean alone
    far = np.linalg.norm(setting.data.train.mean(0, dtype=np.float64) - np.asarray(gaussian.mean))
    np.testing.assert_allclose(record.deviations["network"]["own"][:, 0], far, rtol=0.1)
    assert record.replay.max() < 1e-3
    assert SCORE_DEVIATION.find(record).verdict == "agrees"


@pytest.mark.slow
def test_the_optimum_does_not_deviate_from_itself(setting):
    found = experiment.run(SCORE_DEVIATION, with_network(setting, setting.models["data_set"])).finding
    assert found.verdict == "agrees in part"
    assert found.numbers["peak_on_optimal_path"][0] < 1e-3
    assert set(found.numbers) == documented("D6")


# --- D7 ---


@pytest.mark.slow
def test_a_gaussian_maps_the_straight_line_to_one_of_half_the_variance_half_way(setting):
    record = INTERPOLATION.measure(setting)
    rows = record.rows["linear"]
    blend = record.fractions.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(rows, (1 - blend) * rows[0] + blend * rows[-1], atol=1e-4)
    assert record.lengths["linear"][4] == pytest.approx(np.sqrt(0.5), abs=0.03)
    assert record.lengths["spherical"][4] == pytest.approx(1, abs=0.03)
    ratio = record.power["rescaled"].mean() / record.power["linear"].mean()
    assert ratio == pytest.approx(2, rel=0.1)
    assert record.power["linear"].mean() == pytest.approx(0.5, abs=0.15)
    np.testing.assert_allclose(record.power["linear"], record.gaussian["linear"])
    assert set(INTERPOLATION.find(record).numbers) == documented("D7")


# --- D8 ---


def test_turning_and_twist_of_a_helix():
    radius, pitch = 2.0, 0.5
    u = np.linspace(1, 5, 400)
    velocity = np.stack([-radius * np.sin(u), radius * np.cos(u), np.full_like(u, pitch)], -1)[None]
    turning, twist = d08_shape.bends(velocity, u)
    speed = np.hypot(radius, pitch)
    np.testing.assert_allclose(turning[0, 5:-5], u[5:-5] * speed * radius / speed**2, rtol=1e-3)
    np.testing.assert_allclose(twist[0, 5:-5], u[5:-5] * speed * pitch / speed**2, rtol=1e-3)


def test_turning_finds_a_rotation_or_reflection():
    points = np.random.default_rng(0).normal(size=(30, 2))
    for matrix in (np.array([[0.6, -0.8], [0.8, 0.6]]), np.array([[0.6, 0.8], [0.8, -0.6]])):
        np.testing.assert_allclose(d08_shape.turn(points, points @ matrix), matrix, atol=1e-12)


@pytest.mark.slow
def test_the_closed_form_shape_is_that_of_the_expected_gram_matrix_and_of_its_derivatives(bent, setting):
    record = bent.record
    # without a path: what the Gram matrix of differences leaves when the chord is projected out
    gram = np.asarray(gd.exact.gram_matrix(setting.gaussian, setting.levels))
    away = gram - gram[:, -1:] - gram[-1:] + gram[-1, -1]
    rest = away - np.outer(away[:, 0], away[0]) / away[0, 0]
    variances = np.sort(np.linalg.eigvalsh(rest))[::-1]
    np.testing.assert_allclose((record.expected.beside[0] ** 2).sum(0), variances[:2], rtol=1e-4)
    assert record.expected.planar[0] == pytest.approx(variances[:2].sum() / variances.sum(), rel=1e-4)
    # turning from the derivatives of S = sqrt(lam + sigma^2) in sigma
    lam, sigma = np.asarray(setting.gaussian.eigvals), setting.sigma[5:-3, None].astype(np.float64)
    first, second = sigma / np.sqrt(lam + sigma**2), lam / (lam + sigma**2) ** 1.5
    speed, bend, both = ((a * b).sum(1) for a, b in ((first, first), (second, second), (first, second)))
    exact = sigma[:, 0] * np.sqrt(bend * speed - both**2) / speed
    np.testing.assert_allclose(record.expected.turning[0, 5:-2], exact, rtol=0.1)


@pytest.mark.slow
def test_paths_share_the_closed_form_shape_the_better_the_more_modes_there_are(bent, setting):
    finding = bent.finding
    assert set(finding.numbers) == documented("D8")
    assert finding.verdict == "agrees in part"  # a few modes hold most of the variance, and sums over few vary
    few = finding.numbers["shared_with_closed_form"]["network"][0]
    flat = gd.Gaussian(setting.gaussian.mean, jnp.linspace(2.0, 1.0, 64), setting.gaussian.eigvecs)
    finding = experiment.run(SHAPE, with_gaussian(setting, flat)).finding
    assert finding.verdict == "agrees"
    assert finding.numbers["shared_with_closed_form"]["network"][0] > max(few, 0.95)


def with_gaussian(setting, gaussian):
    return replace(setting, models={"network": gaussian, "gaussian": gaussian})


@pytest.mark.slow
def test_a_path_that_stays_on_its_chord_has_no_shape(setting):
    isotropic = gd.Gaussian.isotropic(setting.gaussian.mean, 0.5)
    straight = experiment.run(SHAPE, with_network(setting, isotropic)).finding
    assert straight.verdict == "differs"
    assert "network" in straight.numbers["straight"]


# --- data and settings that are too small ---


def of_one_number(setting):
    line = gd.Gaussian.isotropic(jnp.zeros(1), 1.0)
    return replace(setting, models={"gaussian": line, "network": line}, controls={}, starts=setting.starts[:, 0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("one", [SHAPE, INTERPOLATION], ids=["D8", "D7"])
def test_data_of_one_number_have_neither_shape_nor_arc(one, setting):
    result = experiment.run(one, of_one_number(setting))
    assert result.verdict == "not measured"
    assert "of one number" in result.reason


@pytest.mark.slow
def test_data_of_equal_variances_have_no_shape_and_three_pairs_no_variance(setting):
    isotropic = gd.Gaussian.isotropic(setting.gaussian.mean, 0.5)
    result = experiment.run(SHAPE, with_gaussian(setting, isotropic))
    assert (result.verdict, "straight" in result.reason) == ("not measured", True)
    result = experiment.run(SHAPE, replace(setting, levels=gd.grids.karras(2)))
    assert (result.verdict, "3 noise levels" in result.reason) == ("not measured", True)
    result = experiment.run(INTERPOLATION, replace(setting, starts=setting.starts[:7]))
    assert (result.verdict, "Raise --starts to 8" in result.reason) == ("not measured", True)


@pytest.mark.slow
def test_controls_that_share_their_shape_are_named(bent):
    record = bent.record
    alike = replace(record.shapes["network"], beside=np.broadcast_to(record.expected.beside, (48, 41, 2)))
    unlike = replace(alike, beside=np.random.default_rng(0).normal(size=(48, 41, 2)))

    def shared(**shapes):
        return SHAPE.find(replace(record, shapes={**record.shapes, **shapes})).criteria[1]

    assert shared(network=alike, shuffled_spectrum=alike).controls == ("shuffled_spectrum",)
    assert shared(network=alike, shuffled_spectrum=unlike).controls == ()
    lonely = shared(network=unlike, shuffled_spectrum=alike)
    assert (lonely.holds, lonely.controls) == (False, ()), "only what the network does too"


@pytest.mark.slow
def test_two_starts_and_components_without_variance_are_measured_and_drawn(setting):
    variances = jnp.where(jnp.arange(64) < 12, setting.gaussian.eigvals, 0)
    flat = gd.Gaussian(setting.gaussian.mean, variances, setting.gaussian.eigvecs)
    two = replace(setting, models={"network": flat, "gaussian": flat}, controls={}, starts=setting.starts[:2])
    record = MANIFOLD.measure(two)
    assert record.latent.gains.shape == (2, 12)
    assert len(record.finals["network"]) == 2
    json.dumps(MANIFOLD.find(record).numbers, allow_nan=False)
    nowhere = {name: np.full_like(maps, np.nan) for name, maps in record.emergence.items()}
    for shown in (record, replace(record, emergence=nowhere)):
        assert MANIFOLD.draw(shown).savefig(io.BytesIO()) is None


def test_the_level_of_a_pixel_is_the_mean_over_channels_that_committed():
    nan = np.nan
    levels = np.array([[2.0, 4, nan], [nan, nan, nan], [1, 2, 3]])
    np.testing.assert_array_equal(manifold_experiment._over_channels(levels), [3, nan, 2])


@pytest.mark.slow
def test_an_entry_that_does_not_move_has_nothing_to_commit_to():
    still = np.zeros((2, 1))
    with np.errstate(all="raise"):
        assert np.isnan(manifold.emergence_map(still[None], still, still, np.array([1.0]))).all()
