"""The experiments on samplers, and the search for few calls: on a Gaussian every number has a closed form."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from settings import documented, exact_gaussian, exact_setting

import gaussdiff as gd
import training
from analysis import __main__ as commands
from analysis.experiments import a09_teleportation, d04_denoised_first, d09_time_grids, d11_few_calls
from analysis.harness.finding import SCALE, Finding
from analysis.measures import endpoints
from analysis.measures.bootstrap import Interval
from analysis.solvers import accelerate, candidates, least_w2
from gaussdiff.design.error import spectrum
from training import commands as program
from training.evaluation import explain


@pytest.fixture(scope="module")
def setting():
    return exact_setting(starts=32, steps=24)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Intervals of Frechet distances from few draws: each takes roots of 64 x 64 matrices."""
    monkeypatch.setattr(a09_teleportation, "DRAWS", 20)
    monkeypatch.setattr(d04_denoised_first, "DRAWS", 10)


transfer = eqx.filter_jit(gd.transfer)


@pytest.fixture(scope="module")
def exact_apart(setting):
    """What ends.apart must give, from the gain of each mode and no path: a function of a sampler and a grid."""
    gaussian = setting.gaussian
    mean = np.asarray(gaussian.mean).ravel()
    coefficients = (np.asarray(setting.few).reshape(len(setting.few), -1) - mean) @ np.asarray(gaussian.eigvecs)
    fine = transfer(gd.DPMSolverPP3M(), gd.grids.karras(endpoints.FINE), gaussian.eigvals)

    def squares(sampler, levels) -> np.ndarray:
        gains = np.asarray(transfer(sampler, levels, gaussian.eigvals) - fine)
        return np.mean((coefficients * gains) ** 2, axis=1)

    return squares


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [gd.IPNDM(4), gd.Heun()], ids=["iPNDM", "Heun"])
def test_ends_are_those_of_sample_and_so_is_the_path(sampler, setting):
    levels, starts = gd.grids.karras(6), setting.few[:4]
    sampler = gd.SwitchAt(gd.GaussianExact(setting.gaussian), sampler, endpoints.between(levels, 2))
    mixture = setting.models["mixture"]  # whose paths are no lines of modes
    expected = jax.vmap(gd.sample, in_axes=(None, None, 0, None))(sampler, mixture, starts, levels)
    path = endpoints.path(sampler, mixture, starts, levels)
    np.testing.assert_allclose(path.x, expected.x, atol=1e-9)
    np.testing.assert_allclose(path.denoised, expected.denoised, atol=1e-9)
    np.testing.assert_array_equal(endpoints.ends(sampler, mixture, starts, levels), path.samples)


@pytest.mark.slow
@pytest.mark.parametrize("name", d11_few_calls.SAMPLERS)
def test_two_paths_give_the_exact_error_on_a_gaussian(name):
    gaussian = gd.Gaussian.from_samples(np.asarray(jax.random.normal(jax.random.key(3), (40, 5))) * np.arange(5), 3)
    levels, sampler = gd.grids.uniform_log_snr(4, final_zero=False), d11_few_calls.SAMPLERS[name]
    found = endpoints.gaussian_error(sampler, levels, gaussian)
    np.testing.assert_allclose(found, gd.wasserstein2(sampler, levels, gaussian), rtol=1e-6)


@pytest.mark.slow
def test_the_fine_solution_of_a_gaussian_is_its_flow(setting):
    exact = jax.vmap(gd.gaussian_flow, in_axes=(None, 0, None, None))(
        setting.gaussian, setting.few, setting.levels[0], gd.NoiseLevel(1.0, 0.0)
    )
    assert endpoints.root_mean(endpoints.squared_distances(setting.fine_ends, np.asarray(exact))) < 2e-3


@pytest.mark.slow
def test_a_closed_form_start_on_a_gaussian_leaves_the_error_of_the_later_steps_alone(setting, exact_apart):
    record, shuffled = a09_teleportation.measure(setting), setting.controls["shuffled_spectrum"]
    np.testing.assert_allclose(record.sigma[1:], [28.4, 19.4, 12.9, 8.4], atol=0.05)  # as published
    np.testing.assert_array_equal(record.calls, [35, 29, 27, 25, 23])
    levels = gd.grids.karras(18)
    for i, m in enumerate(a09_teleportation.SKIPS):
        jump = gd.SwitchAt(gd.GaussianExact(setting.gaussian), gd.Heun(), endpoints.between(levels, m))
        np.testing.assert_allclose(record.jump[i], exact_apart(jump, levels), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(record.plain[-1], exact_apart(gd.Heun(), gd.grids.karras(12)), rtol=1e-6, atol=1e-12)
    assert (np.diff(record.exact) < 0).all()
    for name, law in (("isotropic", setting.more["isotropic"]), ("shuffled_spectrum", shuffled)):
        jump = gd.SwitchAt(gd.GaussianExact(law), gd.Heun(), endpoints.between(levels, a09_teleportation.SKIPS[-1]))
        by_sample = jax.vmap(gd.sample, (None, None, 0, None))(jump, setting.gaussian, setting.few[:3], levels)
        found = endpoints.squared_distances(np.asarray(by_sample.x[:, -1]), setting.fine_ends[:3])
        np.testing.assert_allclose(record.controls[name][:3], found, rtol=1e-6)
    finding = a09_teleportation.find(record)
    assert finding.verdict == "agrees"
    assert finding.numbers["saved_at_equal_frechet"] == pytest.approx(12 / 35)
    json.dumps(finding.numbers, allow_nan=False)


def test_jumps_by_wrong_covariances_are_named_where_they_are_nearer_too():
    """Made records: the Gaussian's jump ends at half of plain Heun's distance; one control at .8 of it, one at 2."""
    rng = np.random.default_rng(0)
    plain, features = rng.uniform(1, 2, size=(5, 40)), np.repeat(rng.normal(size=(1, 40, 2)), 5, 0)

    def find(jump: float, moved: float = 0.0) -> Finding:
        record = a09_teleportation.Record(
            sigma=np.arange(5.0)[::-1],
            calls=np.array([35, 29, 27, 25, 23]),
            jump=jump**2 * plain,
            plain=plain,
            jump_features=features + moved * (np.arange(5) > 0)[:, None, None],
            plain_features=features,
            target=rng.normal(size=(60, 2)),
            exact=np.ones(5),
            controls={"isotropic": 0.8**2 * plain[-1], "shuffled_spectrum": 4 * plain[-1]},
        )
        return a09_teleportation.find(record)

    near, far = find(0.5), find(2.0)
    assert (near.verdict, far.verdict) == ("agrees", "differs")
    partly = find(0.5, moved=9.0)  # nearer, but to samples of another law
    assert partly.verdict == "agrees in part"
    unsure = find(0.5, moved=0.2)  # an interval with its upper end beyond the margin, its lower within
    assert (near.numbers["saved_at_equal_frechet"], unsure.numbers["saved_at_equal_frechet"]) == (12 / 35, 0)
    assert [[one.holds for one in finding.criteria] for finding in (partly, far)] == [[False, True], [False, False]]
    assert [finding.sentence for finding in (near, partly, far)] == [
        "A closed-form start saves 34% of the 35 calls at an equal Fréchet distance.",
        "A closed-form start saves none of the 35 calls at an equal Fréchet distance.",
        "A closed-form start saves 34% of the 35 calls at an equal Fréchet distance, but plain Heun with fewer steps "
        "does as well.",
    ]
    assert far.criteria[0].expected == "at least 0.15, and more than the 0.343 of plain Heun with fewer steps"
    assert set(near.numbers) == documented("A9")
    assert near.criteria[0].controls == ()
    assert (near.criteria[1].controls, near.criteria[1].takes) == (("isotropic",), a09_teleportation.COVARIANCE)
    assert near.criteria[1].measured == pytest.approx([0.5] * 3)
    assert near.numbers["ratio_to_controls"]["isotropic"] == pytest.approx([0.625] * 3)
    assert near.numbers["controls_ratio_to_plain"]["shuffled_spectrum"] == pytest.approx([2.0] * 3)
    assert far.criteria[1].controls == ()  # a bound that the Gaussian's jump misses is none that others meet as well


@pytest.mark.slow
def test_a_start_by_the_wrong_gaussian_is_no_gain(setting):
    wrong = eqx.tree_at(lambda g: g.mean, setting.gaussian, setting.gaussian.mean + 40)
    models = {**setting.models, "gaussian": wrong}
    finding = a09_teleportation.find(a09_teleportation.measure(dataclasses.replace(setting, models=models)))
    assert finding.verdict == "differs"


@pytest.mark.slow
def test_the_denoised_image_of_a_gaussian_is_ahead_by_the_closed_form_and_a_jump_is_a_broken_grid(setting, exact_apart):
    record = d04_denoised_first.measure(setting)
    modes, variances = np.asarray(setting.gaussian.eigvecs), np.asarray(setting.gaussian.eigvals)
    cov = (modes * variances) @ modes.T
    for i in (0, 12, 20):
        marginal = cov + record.sigma[i] ** 2 * np.eye(len(cov))
        for found, law in ((record.x_w2[i], marginal), (record.denoised_w2[i], cov @ np.linalg.inv(marginal) @ cov)):
            np.testing.assert_allclose(found, _dense_w2(cov, law), rtol=1e-6)
    assert (record.denoised_w2 < record.x_w2).all()
    long = gd.grids.karras(d04_denoised_first.STEPS)
    assert record.calls[2] == 8
    broken = gd.NoiseLevel(1.0, jnp.append(long.sigma[:8], 0.0))
    np.testing.assert_allclose(record.jump[2], exact_apart(gd.Euler(), broken), rtol=1e-6)
    np.testing.assert_allclose(record.whole[2], exact_apart(gd.Euler(), gd.grids.karras(8)), rtol=1e-6)
    finding = d04_denoised_first.find(record)
    assert finding.verdict == "agrees in part"
    json.dumps(finding.numbers, allow_nan=False)
    few = {part: one[..., :3] for part, one in record.features.items()}  # the same order, and quick
    swapped = {"x": few["denoised"], "denoised": few["x"]}
    early = dataclasses.replace(record, features=swapped, target=record.target[:, :3], jump=record.whole)
    assert d04_denoised_first.find(early).verdict == "agrees in part"  # it settles first
    own = {"x": record.own["network"]["denoised"], "denoised": record.own["network"]["x"]}
    late = dataclasses.replace(early, own={**record.own, "network": own})
    assert d04_denoised_first.find(late).verdict == "differs"
    assert set(finding.numbers) == documented("D4")
    assert finding.numbers["share_of_steps_ahead"][0] >= d04_denoised_first.AHEAD
    _settles_where_the_closed_form_says(setting, record, finding)


def _settles_where_the_closed_form_says(setting, record, finding) -> None:
    """A tenth of the variance is left where sum (S - sqrt lam)^2 z^2 is, for x, or r^2 times as much in each mode.

    On exact paths: 24 steps of Heun's method move the scale by up to a tenth. Interpolation is within a hundredth.
    """
    exact = d04_denoised_first._own(setting.closed_form)
    lam, axes = (np.asarray(part) for part in (setting.gaussian.eigvals, setting.gaussian.eigvecs))
    begun = (np.asarray(setting.starts) - np.asarray(setting.gaussian.mean)).reshape(len(setting.starts), -1) @ axes
    z2 = (begun**2).mean(0) / (lam + setting.sigma[0] ** 2)
    scales = np.geomspace(0.01, 80, 20_000)
    spread = np.sqrt(lam + scales[:, None] ** 2)
    left, value = (spread - np.sqrt(lam)) ** 2 * z2, {}
    for part, curve in (("x", left), ("denoised", left * lam / spread**2)):
        expected = scales[np.flatnonzero(curve.mean(1) <= d04_denoised_first.SETTLED * lam.mean())[-1]]
        assert d04_denoised_first._settled(record, exact[part]) == pytest.approx(expected, rel=0.01)
        value[part], low, high = finding.numbers["settled_sigma"][part]
        assert low < value[part] < high
        assert value[part] == pytest.approx(expected, rel=0.15)
    assert finding.numbers["settles_sooner_by"]["network"][1] > 0
    assert finding.criteria[1].holds
    assert finding.criteria[1].controls == ("shuffled_spectrum",)
    # a path that began at other noise settles at the same scale
    far = record.sigma < 20
    kept = {part: rows[:, far] for part, rows in record.own["network"].items()}
    later = dataclasses.replace(record, sigma=record.sigma[far], own={"network": kept})
    for part in d04_denoised_first.PARTS:
        assert d04_denoised_first._settled(later, kept[part]) == pytest.approx(value[part], rel=1e-9)


def test_a_curve_settles_where_it_crosses_its_bound_for_good():
    sigma = np.geomspace(80, 0.01, 60)
    assert d04_denoised_first.settled(sigma, sigma**2, 0.25) == pytest.approx(
        0.5, rel=1e-12
    )  # a power is a line in logs
    back = np.where((sigma > 0.2) & (sigma < 1), 9.0, sigma**2)  # below the bound on the way, and above it again
    assert 0.17 < d04_denoised_first.settled(sigma, back, 1.0) <= 0.25
    assert d04_denoised_first.settled(sigma, 0 * sigma, 1.0) == 80
    assert d04_denoised_first.settled(sigma, sigma + 2, 1.0) == pytest.approx(0.01)


def _dense_w2(a: np.ndarray, b: np.ndarray) -> float:
    """Of two centred Gaussians, without their shared modes."""
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    return np.sqrt(np.trace(a) + np.trace(b) - 2 * cross)


@pytest.mark.slow
def test_grids_of_a_network_that_is_the_gaussian_are_the_gaussian_s(setting, exact_apart):
    record = d09_time_grids.measure(setting)
    for k, n in enumerate(record.calls):
        np.testing.assert_array_equal(record.grids[d09_time_grids.OWN][k], record.grids["GITS, Gaussian"][k])
        assert {len(grids[k]) for grids in record.grids.values()} == {n + 1}
        least = record.w2["least W2, Gaussian"][k]
        assert least == min(w2[k] for w2 in record.w2.values())
    white = explain.isotropic(setting.data.train)
    of_scale = gd.gits_grid(white, int(record.calls[0]), setting.key("D9"), paths=d09_time_grids.PATHS[0])
    np.testing.assert_allclose(record.grids[d09_time_grids.CONTROL][0], of_scale.sigma)
    assert not np.allclose(record.grids[d09_time_grids.CONTROL][0], record.grids["GITS, Gaussian"][0])
    levels = gd.NoiseLevel(1.0, jnp.asarray(record.grids[d09_time_grids.OWN][0]))
    np.testing.assert_allclose(
        record.distances[d09_time_grids.OWN][0], exact_apart(d09_time_grids.SAMPLER, levels), rtol=1e-5
    )
    finding = d09_time_grids.find(record)
    json.dumps(finding.numbers, allow_nan=False)
    assert set(finding.numbers) == documented("D9")
    shares = finding.numbers["distance_share_of_edm"]
    assert shares[d09_time_grids.OWN] == shares["GITS, Gaussian"]
    for factor, verdict in ((0.01, "agrees"), (100, "differs")):
        usual = record.distances[d09_time_grids.USUAL]
        distances = {name: usual if name == d09_time_grids.USUAL else factor * usual for name in record.distances}
        assert d09_time_grids.find(dataclasses.replace(record, distances=distances)).verdict == verdict
    better = {d09_time_grids.OWN: 0.01 * usual, d09_time_grids.CONTROL: 0.01 * usual}
    own, twin = d09_time_grids.find(dataclasses.replace(record, distances=distances | better)).criteria
    assert (own.holds, own.controls, own.takes) == (True, ("isotropic",), SCALE)
    assert (twin.holds, twin.controls) == (False, ())
    lost = dataclasses.replace(record, distances=distances | {d09_time_grids.CONTROL: 0.01 * usual})
    assert not any(one.controls for one in d09_time_grids.find(lost).criteria)  # what no grid that is judged does
    # made: the network's own grid wins at the fewest calls alone, the Gaussian's at all, the data set's at none
    usual = record.distances[d09_time_grids.USUAL]
    factors = {d09_time_grids.OWN: [0.5, *[2] * (len(usual) - 1)], "GITS, Gaussian": [0.5] * len(usual)}
    distances = {
        n: usual * np.array(factors.get(n, [2 if n != d09_time_grids.USUAL else 1] * len(usual)))[:, None]
        for n in record.distances
    }
    mixed = d09_time_grids.find(dataclasses.replace(record, distances=distances))
    assert mixed.verdict == "agrees in part"
    few, every = str(record.calls[0]), ", ".join(map(str, record.calls))
    assert mixed.notes[1].endswith(
        f"“GITS, network” at {few}; “GITS, data set” at none; “GITS, Gaussian” at {every}; “GITS, isotropic” at none."
    )
    assert [(one.holds, one.controls) for one in mixed.criteria] == [(False, ()), (True, ())]
    assert [one.measured.value for one in mixed.criteria] == pytest.approx([2**0.5, 0.5**0.5])  # the largest ratio
    assert mixed.criteria[1].note == "The better of two is that of the Gaussian."


@pytest.fixture(scope="module")
def few_calls_record(setting):
    return d11_few_calls.measure(setting)


@pytest.mark.slow
def test_few_calls_on_a_gaussian_are_known_from_gains(few_calls_record, setting, exact_apart):
    record = few_calls_record
    for sampler, rows in zip(d11_few_calls.SAMPLERS.values(), record.distances, strict=True):
        np.testing.assert_allclose(rows[1], exact_apart(sampler, gd.grids.karras(5)), rtol=1e-5)
    for k, n in enumerate((5, 8, 10)):
        grid = gd.gits_grid(setting.gaussian, n, setting.key("D9"), paths=d09_time_grids.PATHS[0])
        np.testing.assert_allclose(record.gits.distances[k], exact_apart(gd.IPNDM(4), grid), rtol=1e-5)
        assert record.gits.w2[k] == pytest.approx(endpoints.gaussian_error(gd.IPNDM(4), grid, setting.gaussian))
    finding = d11_few_calls.find(record)
    json.dumps(finding.numbers, allow_nan=False)
    assert set(finding.numbers) == documented("D11")
    on_gits = finding.numbers["gits"]
    expected = np.array(on_gits["distance"]) / np.array(finding.numbers["distance"]["iPNDM-4"])[1:]
    np.testing.assert_allclose(np.array(on_gits["distance_over_edm"])[:, 0], expected)
    assert on_gits["published_fid_cifar10"] == [8.4, 3.2, 2.5]
    assert "at 5 calls (exact W2 " in finding.notes[2]
    assert "published FID 0.62)" in finding.notes[2]
    assert finding.numbers["rank_correlation_w2_distance"][0] > 0.8
    against = dataclasses.replace(
        record, w2=1 / np.sqrt(record.distances.mean(-1)), published=1 / record.distances.mean(-1)
    )
    assert d11_few_calls.find(against).verdict == "differs"
    one = d11_few_calls.find(dataclasses.replace(against, published=record.distances.mean(-1)))
    assert one.verdict == "agrees in part"
    assert [criterion.holds for criterion in one.criteria] == [False, True]
    assert d11_few_calls.find(against).criteria[0].controls == ()
    known = d11_few_calls.find(dataclasses.replace(record, w2_isotropic=record.w2)).criteria[0]
    assert (known.holds, known.controls, known.takes) == (True, ("isotropic",), SCALE)
    assert d11_few_calls.find(dataclasses.replace(record, w2_isotropic=1 / record.w2)).criteria[0].controls == ()


@pytest.mark.slow
def test_the_isotropic_control_of_few_calls_is_the_error_in_one_mode_for_all(few_calls_record, setting):
    samples = setting.data.train
    law = gd.Gaussian.isotropic(samples.mean(0), float(((samples - samples.mean(0)) ** 2).mean()))
    for sampler, w2 in zip(d11_few_calls.SAMPLERS.values(), few_calls_record.w2_isotropic, strict=True):
        assert w2[1] == pytest.approx(float(gd.wasserstein2(sampler, gd.grids.karras(5), law)), rel=1e-3)


def test_pairs_in_order_are_counted():
    a = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    b = np.array([[1.0, 3.0], [2.0, 2.0], [0.0, 1.0]])
    np.testing.assert_array_equal(d11_few_calls.in_order(a, b).mean(), 1 / 6)  # of (1, 2), (1, 3), (2, 3), twice each


class Late(gd.Denoiser):
    """The Gaussian, but not above a noise scale, where it is asked in vain."""

    gaussian: gd.Gaussian
    highest: float

    def denoise(self, x, level):
        return jnp.where(level.sigma > self.highest, jnp.nan, self.gaussian.denoise(x, level))


@pytest.mark.slow
def test_a_recipe_with_a_closed_form_start_is_saved_and_makes_as_many_calls_as_it_says(tmp_path):
    gaussian = exact_gaussian()
    sampler, levels = candidates.teleported(gaussian, gd.IPNDM(4), gd.grids.karras(5, sigma_max=10.0))
    gd.save_recipe(tmp_path / "recipe.json", sampler, levels)
    choice = candidates.from_file(tmp_path / "recipe.json")
    assert choice.calls == 5
    start = 80 * jax.random.normal(jax.random.key(0), gaussian.shape)
    found = gd.sample(choice.sampler, Late(gaussian, 10.1), start, choice.levels).x[-1]
    np.testing.assert_array_equal(found, gd.sample(sampler, gaussian, start, levels).x[-1])
    assert np.isfinite(np.asarray(found)).all()
    coarse = gd.sample(sampler, gaussian, start.astype(jnp.float32), levels).x[-1]
    assert coarse.dtype == jnp.float32
    np.testing.assert_allclose(coarse, found, atol=1e-4)


def judged(calls: int, distance: float, frechet: float = 1.0) -> accelerate.Judged:
    choice = candidates.Choice("Euler", "any", None, calls, gd.Euler(), gd.grids.karras(calls))
    return accelerate.Judged(choice, distance, frechet)


@pytest.mark.parametrize(
    ("there", "anew", "reached", "words"),
    [
        (0.1, 0.1, True, "the fewest calls for a distance of 0.2000"),
        (0.1, 0.3, False, "from other starts, where the budget is not kept"),
        (0.3, 0.1, False, "no choice reached a distance of 0.2000 from the fine solution; the best"),
    ],
)
def test_a_budget_is_reached_where_it_is_kept_from_other_starts_too(there, anew, reached, words):
    again = Interval(anew, anew, anew)
    result = accelerate.Result(
        data="any",
        settings=accelerate.Settings(),
        usual=judged(35, 0.2),
        budget=0.2,
        judged=[],
        fine_frechet=1.0,
        floor=accelerate.Floor(1.0, 0.1),
        features="any",
        chosen=judged(5, there),
        again=again,
        usual_again=again,
        seconds=1.0,
    )
    assert result.reached is reached
    assert words in accelerate.sentence(result)
    assert ("not kept" in accelerate.sentence(result)) == ("not kept" in words)


def test_of_the_choices_within_the_budget_that_of_fewest_calls_is_taken():
    found = [judged(10, 0.1), judged(5, 0.3), judged(5, 0.25), judged(8, 0.4), judged(20, 0.2)]
    assert accelerate.choose(found, 0.3) is found[2]
    assert accelerate.choose(found, 0.15) is found[0]
    assert accelerate.choose(found, 0.01) is found[0]
    assert accelerate.pareto(found) == [found[2], found[0]]


def test_a_budget_of_frechet_distance_is_judged_by_that_alone():
    found = [judged(10, 0.1, 3.0), judged(5, 0.3, 2.0), judged(8, 0.2, 1.0)]
    assert accelerate.choose(found, 2.5, "frechet") is found[1]
    assert accelerate.choose(found, 0.5, "frechet") is found[2]
    assert accelerate.pareto(found, "frechet") == [found[1], found[2]]


@pytest.mark.slow
@pytest.mark.parametrize("solver", [gd.IPNDM(4), gd.DPMSolverPP2M(), gd.UniPC(3)], ids=["ipndm", "2m", "unipc"])
def test_a_grid_that_ends_early_in_a_longer_array_has_the_w2_of_the_grid_alone(solver):
    gaussian = exact_gaussian(4)
    numbers = jnp.linspace(0.3, -0.5, 9)
    for count in (2, 5, 9):
        padded = least_w2.levels_of(numbers, count, 80.0)
        assert (np.asarray(padded.sigma) > 0).sum() == count
        found = eqx.filter_jit(least_w2.w2)(solver, padded, spectrum(gaussian), 80.0)  # where no grid is checked
        np.testing.assert_allclose(found, gd.wasserstein2(solver, padded[: count + 1], gaussian), rtol=1e-9)


@pytest.mark.slow
def test_grids_of_least_w2_are_near_those_of_optimal_grid_also_after_a_closed_form_start():
    """Judged by gd.wasserstein2 of the whole sampler, which knows nothing of the way the grids were found."""
    gaussian, solver = exact_gaussian(4), gd.DPMSolverPP2M()
    found = least_w2.least_w2(solver, gaussian, (3, 6), (80.0, 5.0), 80.0)
    alone, usual = (gd.wasserstein2(solver, one, gaussian) for one in (found[6, 80.0], gd.grids.karras(6)))
    best = gd.wasserstein2(solver, gd.optimal_grid(gaussian, solver, 6, steps=100, tries=1), gaussian)
    assert alone < 1.1 * best
    assert alone < usual / 4
    jumped = gd.wasserstein2(*candidates.teleported(gaussian, solver, found[3, 5.0]), gaussian)
    plain = gd.wasserstein2(*candidates.teleported(gaussian, solver, gd.grids.karras(3, sigma_max=5.0)), gaussian)
    assert jumped < plain / 2
    np.testing.assert_allclose(jumped, least_w2.w2(solver, found[3, 5.0], spectrum(gaussian), 80.0), rtol=1e-4)


@pytest.mark.slow
def test_accelerate_writes_a_recipe_that_sampling_follows(trained, tmp_path, monkeypatch):
    """With one solver beside Heun's and one closed-form start: more would be compiled one by one."""
    monkeypatch.setattr(candidates, "SOLVERS", {"iPNDM-4": candidates.SOLVERS["iPNDM-4"]})
    monkeypatch.setattr(candidates, "KNOWN", {name: candidates.KNOWN[name] for name in ("iPNDM-4", "Heun")})
    monkeypatch.setattr(candidates, "SWITCHES", (None, 5.0))
    run, out, samples = trained, tmp_path / "out", tmp_path / "samples.npz"
    search = ["--calls", "4", "6", "--starts", "16", "--tried", "1", "--points", "100"]
    assert commands.main(["accelerate", "--run", str(run), "--out", str(out), *search]) == 0
    record = json.loads((out / "accelerate.json").read_text())
    assert {path.name for path in out.iterdir()} == {
        "accelerate.json",
        "accelerate.png",
        "accelerate.pdf",
        "recipe.json",
    }
    assert record["chosen"]["calls"] == candidates.from_file(out / "recipe.json").calls
    within = [d <= record["budget"] for d in (record["chosen"]["distance"], record["chosen_from_other_starts"][0])]
    assert (record["reached_where_chosen"], record["reached"]) == (within[0], all(within))
    again = ["--recipes", str(out / "recipe.json"), "--budget", "100"]
    assert commands.main(["accelerate", "--run", str(run), "--out", str(out), *search, *again]) == 0
    cheap = json.loads((out / "accelerate.json").read_text())
    assert (cheap["chosen"]["calls"], cheap["reached"]) == (3, True)  # Heun's, which cannot make 4
    assert "recipe" in {each["solver"] for each in cheap["judged"]}
    # the samples of the command are those of what was chosen, not only of what was read back
    result = accelerate.run(run, accelerate.Settings((4, 6), "frechet", starts=16, tried=1, points=100))
    accelerate.write(result, out)
    assert json.loads((out / "accelerate.json").read_text())["settings"]["quality"] == "frechet"
    assert result.budget == pytest.approx(result.usual.frechet + result.floor.spread)
    draw = ["sample", "--run", str(run), "--out", str(samples), "--n", "3", "--recipe", str(out / "recipe.json")]
    assert program.main(draw) == 0
    choice, model = result.chosen.choice, training.load(run)
    expected = gd.sample_batch(choice.sampler, model, choice.levels, count=3, shape=(2,), key=jax.random.key(0))
    np.testing.assert_allclose(np.load(samples)["samples"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--calls", "2"], "calls: expected numbers of at least 3"),
        (["--budget", "-1"], "budget: expected a number above 0"),
        (["--tried", "0"], "tried: expected at least 1, got 0"),
    ],
)
def test_bad_settings_of_accelerate_are_named(arguments, named, capsys):
    assert commands.main(["accelerate", "--run", "nowhere", "--out", "nowhere", *arguments]) == 2
    assert named in capsys.readouterr().err
