"""A5 to A8, C1 and C2 on models whose answers are known in closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from settings import documented, exact_setting

import gaussdiff as gd
from analysis.experiments import (
    a05_closed_form,
    a06_explained,
    a07_order_of_learning,
    a08_rank,
    c01_linear_learning,
    c02_learning_speed,
    c02_patches,
)
from analysis.harness.controls import shuffled
from analysis.harness.experiment import NotMeasuredError, run
from analysis.harness.finding import LEARNING, SCALE
from analysis.measures import patches, probes
from analysis.measures.bootstrap import Interval
from analysis.measures.crossing import exponent, half_way
from analysis.measures.paths import rank_correlation
from training.evaluation import explain


@pytest.fixture(scope="module")
def setting():
    return exact_setting(starts=24, steps=12)


def with_network(setting, network):
    """The same setting for another network, with the twins that were fitted already and without patches."""
    other = dataclasses.replace(setting, models={**setting.models, "network": network})
    other.__dict__.update(more=setting.more, local=None)
    return other


@pytest.fixture(scope="module")
def by_mixture(setting):
    """A5 of a network that is the mixture."""
    return run(a05_closed_form.CLOSED_FORM, with_network(setting, setting.models["mixture"]))


@pytest.fixture(scope="module")
def explanation(setting):
    """A6 of a network that is the Gaussian."""
    return run(a06_explained.EXPLAINED, setting)


def part(record, name):
    return record.parts["held_out"].explained[name]


# A5


@pytest.mark.slow
def test_the_solver_s_error_in_closed_form_is_that_of_its_paths(setting):
    """The Gaussian by Heun's method against its exact flow by the change of variables, mode by mode and in sum."""
    setting = with_network(setting, setting.gaussian)
    record = a05_closed_form.measure(setting)
    gaussian, levels = setting.gaussian, setting.levels
    flow = jax.vmap(lambda x: gd.gaussian_flow(gaussian, x, levels[0], levels[-1]))
    exact = np.asarray(flow(setting.starts))
    apart = setting.paths["gaussian"].samples - exact
    modes = apart.reshape(len(apart), -1) @ np.asarray(gaussian.eigvecs)
    np.testing.assert_allclose(record.solver, modes[:, : record.solver.shape[1]] ** 2, rtol=1e-6, atol=1e-20)
    # here the network is the Gaussian: all of the error is the solver's, and nothing finer is nearer
    np.testing.assert_allclose(record.total, record.solver, rtol=1e-6, atol=1e-20)
    assert record.solver.sum() > 1e-5
    assert not record.score.any()
    assert not record.state["gaussian"].any()
    assert run(a05_closed_form.CLOSED_FORM, setting).finding.verdict == "agrees in part"


@pytest.mark.slow
def test_distances_are_those_of_the_solver_s_gains(setting):
    """Two isotropic Gaussians: each end is the mean plus a known gain of the start, so their distance is known."""
    network, baseline = gd.Gaussian.isotropic(setting.gaussian.mean, 1.3), setting.more["isotropic"]
    control = gd.Gaussian.isotropic(setting.gaussian.mean, 0.2)
    asked = dataclasses.replace(with_network(setting, network), controls={"untrained": control})
    asked.__dict__.update(more=setting.more)
    record = a05_closed_form.measure(asked)
    noise, s2 = setting.starts - setting.gaussian.mean[None], float(setting.levels.sigma[0]) ** 2
    first = ((1.3 / (1.3 + s2) - 0.2 / (0.2 + s2)) ** 2 * noise**2).mean((1, 2, 3))
    np.testing.assert_allclose(record.controls["untrained"][:, 0], first, rtol=1e-4)
    ends = []
    for model in (network, baseline):
        gain = gd.transfer(gd.Heun(), setting.levels, model.residual[None])[0]
        ends.append(model.mean[None] + gain * (setting.starts - model.mean[None]))
    expected = ((ends[0] - ends[1]) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(record.state["isotropic"][:, -1], expected, rtol=1e-6)


@pytest.mark.slow
def test_a_network_that_is_a_finer_model_is_seen_as_such(by_mixture, setting):
    finding = by_mixture.finding
    assert set(finding.numbers) == documented("A5")
    assert finding.numbers["nearest_finer_model"] == "mixture"
    assert finding.numbers["nearer_than_gaussian_by"][1] > 0
    assert list(finding.criteria[1].measured) == finding.numbers["nearer_than_gaussian_by"]
    assert finding.criteria[1].note == "The finer model is the mixture."
    early = finding.numbers["early_denoised_error_over_data_variance"]
    assert early["nearest"] == [0, 0, 0]
    assert early["beyond"] == early["gaussian"]
    far = gd.Gaussian.isotropic(setting.gaussian.mean + 40, 1.0)
    assert run(a05_closed_form.CLOSED_FORM, with_network(setting, far)).finding.verdict == "differs"


@pytest.mark.slow
def test_what_no_twin_shares_is_no_fault_of_the_gaussian_s(by_mixture):
    """Made records: a network that is off alike from all twins, and one that a twin knows and the Gaussian does not."""
    record = by_mixture.record

    def judged(gaussian, others):
        apart = {
            name: np.full_like(one, record.unit * (gaussian if name == "gaussian" else others))
            for name, one in record.denoised.items()
        }
        return a05_closed_form.find(dataclasses.replace(record, denoised=apart))

    findings = near, shared, far = [judged(*distances) for distances in ((0.09, 0.08), (0.09, 0.01), (0.2, 0.2))]
    assert [finding.verdict for finding in findings] == ["agrees", "agrees in part", "agrees in part"]
    early = [finding.criteria[0] for finding in findings]
    assert [criterion.holds for criterion in early] == [True, False, False]
    assert [criterion.measured.value for criterion in early] == pytest.approx([0.01, 0.08, 0])
    assert "by at most 0.09 variances of the data" in near.sentence
    assert "by as much as 0.09" in shared.sentence
    assert "by as much as 0.2" in far.sentence
    # what knows less than the Gaussian, where it is as near
    assert [criterion.controls for criterion in early] == [("isotropic",), (), ()]
    assert early[0].takes == SCALE


@pytest.mark.slow
def test_controls_that_stay_as_near_are_named(by_mixture):
    record = by_mixture.record
    far = {**record.denoised, "isotropic": np.full_like(record.denoised["gaussian"], record.unit)}
    nearest = {"untrained": record.denoised["gaussian"], "shuffled_weights": far["isotropic"]}
    early = a05_closed_form.find(dataclasses.replace(record, denoised=far, controls=nearest)).criteria[0]
    assert (early.controls, early.takes) == (("untrained",), LEARNING)


@pytest.mark.slow
def test_a_grid_that_starts_within_the_data_is_not_measured(setting):
    low = dataclasses.replace(setting, levels=gd.grids.karras(8, 0.01, 1.0))
    result = run(a05_closed_form.CLOSED_FORM, low)
    assert result.verdict == "not measured"
    assert result.reason.endswith("Raise --sigma-max.")


# A6


@pytest.mark.slow
def test_the_isotropic_gaussian_explains_what_its_expectation_says(explanation, setting):
    """Network = exact Gaussian. E|D|^2 per mode lam^2 / (lam + s^2), of the residual (w - w0)^2 (lam + s^2)."""
    record, finding = explanation.record, explanation.finding
    lam = np.asarray(setting.gaussian.variances)
    shift = np.asarray(setting.data.train.mean(0) - setting.gaussian.mean)
    base = float(((setting.data.train - setting.data.train.mean(0)) ** 2).mean())
    for i, sigma in enumerate(record.sigma):
        whole, w, w0 = lam + sigma**2, lam / (lam + sigma**2), base / (base + sigma**2)
        left = ((w - w0) ** 2 * whole).sum() + ((1 - w0) ** 2 * shift**2).sum()
        found = {name: 1 - part(record, name)["isotropic"][i] for name in ("denoiser", "score")}
        assert found["denoiser"] == pytest.approx(left / (w**2 * whole).sum(), rel=0.25)
        assert found["score"] == pytest.approx(left / ((1 - w) ** 2 * whole).sum(), rel=0.25)
    for name in ("denoiser", "score"):
        np.testing.assert_allclose(part(record, name)["gaussian"], 1)
    np.testing.assert_allclose(record.modes, 1)
    assert [criterion.holds for criterion in finding.criteria] == [True, True, False]
    assert finding.sentence == "At every large noise level the Gaussian explains 1.000 of the network's score or more."
    assert finding.numbers["finest_beyond_gaussian_at_small_noise"][2] < 0
    assert list(finding.criteria[2].measured) == finding.numbers["finest_beyond_gaussian_at_small_noise"]


@pytest.mark.slow
def test_shares_of_sums_are_the_one_definition(setting):
    """Explained variances from each sample's squares, as they are resampled, equal training.evaluation.explain's."""
    held_out = setting.held_out
    belief = probes.ask(setting.models["data_set"], held_out.noisy, held_out.sigma)
    curves = probes.explained(held_out, {"data_set": belief})
    residuals = probes.squared_residuals(held_out, belief)
    for name in ("denoiser", "score"):
        whole = probes.to_explain(held_out, name)
        mine = [probes.fraction_explained(*rows).value for rows in zip(residuals, whole, strict=True)]
        np.testing.assert_allclose(mine, curves[name]["data_set"], rtol=1e-6)


@pytest.mark.slow
def test_the_gain_is_one_number_for_scores_and_denoised_samples(explanation):
    record = explanation.record
    for name in ("denoiser", "score"):
        curves = part(record, name)
        gain = 1 - (1 - curves["data_set"]) / (1 - curves["isotropic"])
        np.testing.assert_allclose(
            a06_explained.gains(record.parts["held_out"])["data_set"], gain, rtol=1e-3, atol=1e-3
        )


@pytest.mark.slow
def test_a_data_set_is_no_gaussian(setting):
    """The network is the data set: explained by it wholly, and by the Gaussian less at small noise."""
    network = setting.models["data_set"]
    found = run(a06_explained.EXPLAINED, with_network(setting, network))
    np.testing.assert_allclose(part(found.record, "score")["data_set"], 1)
    assert found.finding.verdict != "agrees"
    assert set(found.finding.numbers) == documented("A6")
    held_out, far = found.record.parts["held_out"], np.flatnonzero(a06_explained.large(found.record))
    value, low, high = found.finding.numbers["least_at_large_noise"]
    assert found.finding.criteria[0].measured == (value, low, high)
    assert value == pytest.approx(held_out.explained["score"]["gaussian"][far].min(), rel=1e-6)
    i = far[held_out.explained["score"]["gaussian"][far].argmin()]
    left, whole = held_out.residuals["gaussian"][i], held_out.whole["score"][i]
    picks = np.random.default_rng(3).integers(len(left), size=(4000, len(left)))
    drawn = np.quantile(left[picks].sum(1) / whole[picks].sum(1), [0.975, 0.025])
    np.testing.assert_allclose([1 - low, 1 - high], drawn, rtol=0.1)


@pytest.mark.slow
def test_data_beyond_all_noise_scales_have_no_large_noise(setting):
    """A deviation of 41: twice that is above 80, the largest scale."""
    wide = gd.Gaussian.isotropic(setting.gaussian.mean, 41.0**2)
    result = run(a06_explained.EXPLAINED, dataclasses.replace(setting, models={**setting.models, "gaussian": wide}))
    assert result.verdict == "not measured"
    assert "deviation of at most 40, half of the largest noise scale that is measured, got 41. Divide" in result.reason


def test_patches_that_are_too_expensive_are_not_measured_and_it_is_said():
    """N H W (H + W) products: 100 images of 40 x 40 take 12.8 million, of 20 x 20 an eighth of that."""
    assert patches.too_expensive(np.zeros((100, 20, 20, 3))) == ""
    assert "an answer takes 12,800,000 products, and 5,000,000 are allowed." in patches.too_expensive(
        np.zeros((100, 40, 40, 3))
    )


@pytest.mark.slow
def test_published_scales_and_the_untrained_control_are_what_expectations_say(setting):
    """Isotropic networks under the exact Gaussian: what it leaves of their score is sum (w - w0)^2 (lam + s^2)."""
    lam, mean = np.asarray(setting.gaussian.variances), setting.gaussian.mean
    network, control = gd.Gaussian.isotropic(mean, 1.3), gd.Gaussian.isotropic(mean, 0.2)
    asked = dataclasses.replace(setting, controls={"untrained": control})
    asked.__dict__.update(more=setting.more)
    record = a06_explained.measure(with_network(asked, network))

    def expected(base, sigma):
        whole, w, w0 = lam + sigma**2, lam / (lam + sigma**2), base / (base + sigma**2)
        return ((w - w0) ** 2 * whole).sum() / ((1 - w0) ** 2 * whole).sum()

    for i, sigma in enumerate((0.1, 1.0, 2.0)):
        left = 1 - record.quoted.explained["score"]["gaussian"][i]
        assert left == pytest.approx(expected(1.3, sigma), rel=0.2)
    for i in (2, 8, 12):
        assert record.untrained is not None
        left = 1 - record.untrained.explained["score"]["gaussian"][i]
        assert left == pytest.approx(expected(0.2, record.sigma[i]), rel=0.2)
    fraction = record.untrained.explained["score"]["gaussian"][a06_explained.large(record)].min()
    note = a06_explained.find(record).criteria[0].note
    assert note.endswith(f"Of an untrained network's score the Gaussian explains at least {fraction:.3f}.")


@pytest.mark.slow
def test_scales_that_no_twin_explains_are_not_held_against_the_gaussian(explanation):
    """Made records: an error of the network's own, as large as what the isotropic Gaussian leaves, at some scales."""
    record = explanation.record
    part = record.parts["held_out"]
    far = np.flatnonzero(a06_explained.large(record))
    small = int(np.argmin(np.abs(np.log(record.sigma / (record.deviation / 5)))))
    assert record.deviation / 5 < 0.1

    def judged(scales, name, finer=0.9):
        left = {twin: one.copy() for twin, one in part.residuals.items()}
        left["gaussian"][small] = 0.1 * part.whole["score"][small]
        for i, twin in enumerate(a06_explained.FINER):
            left[twin][small] = (finer + 0.3 * i) * left["gaussian"][small]
        for twin in left if name == "all" else [name]:
            left[twin][scales] = left["isotropic"][scales][:, : left[twin].shape[1]]
        parts = {**record.parts, "held_out": dataclasses.replace(part, residuals=left)}
        return a06_explained.find(dataclasses.replace(record, parts=parts))

    one = judged(far[-1:], "all")
    assert one.verdict == "agrees"
    assert one.criteria[1].note.endswith("at which some twin explains half; at the other 1 none does.")
    assert one.numbers["finest_beyond_gaussian_at_small_noise"] == pytest.approx([0.01] * 3)
    assert one.numbers["finest_at_small_noise"] == a06_explained.FINER[0]
    coarse = judged(far[-1:], "all", finer=1.1)
    assert coarse.numbers["finest_beyond_gaussian_at_small_noise"] == pytest.approx([-0.01] * 3)
    assert coarse.verdict == "agrees in part"
    assert [criterion.holds for criterion in coarse.criteria] == [True, True, False]
    assert judged(far, "all").verdict == "agrees in part"
    beyond = judged(far, "all").criteria[1]
    assert (beyond.measured, beyond.holds) == ("no twin explains half of it", False)
    assert (
        max(one[far[0]] for name, one in a06_explained.gains(part).items() if name != "gaussian") >= a06_explained.HALF
    )
    assert judged(far[:1], "gaussian").verdict == "agrees in part"
    assert [criterion.holds for criterion in judged(far[:1], "gaussian").criteria] == [True, False, True]


@pytest.mark.slow
def test_patches_of_the_size_that_the_network_sees_are_found(setting):
    images = setting.data.train[:60]
    network = gd.LocalScore(images, 5)
    fitted = patches.fit(images, probes.probe(network, setting.data.held_out, 6, jax.random.key(0)))
    assert fitted is not None
    assert set(fitted.sizes[4:12]) == {5}
    x = jnp.asarray(setting.data.held_out[0])
    level = gd.NoiseLevel(1.0, probes.SIGMAS[8])
    np.testing.assert_allclose(fitted.model.denoise(x, level), network.denoise(x, level), rtol=1e-10)
    assert patches.fit(np.zeros((100_000, 28, 28, 1), np.float32), setting.held_out) is None


# A8


@pytest.mark.slow
def test_truncated_gaussians_leave_what_real_ones_do(setting):
    """The running sum over components against Gaussians that are truncated in earnest, on a mixture as network."""
    network = setting.models["mixture"]
    asked = setting.held_out.first(20).by(network)
    left = a08_rank.truncated(asked, setting.gaussian)
    g = setting.gaussian
    for kept in (0, 3, 40, 64):
        small = gd.Gaussian(g.mean, g.eigvals[:kept], g.eigvecs[:, :kept])
        expected = probes.squared_residuals(asked, probes.ask(small, asked.noisy, asked.sigma))
        np.testing.assert_allclose(left[..., kept], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_the_rank_needed_is_the_closed_form_s(setting):
    record = a08_rank.measure(setting)
    found = [a08_rank.needed(*pair) for pair in zip(record.residuals, record.whole["denoiser"], strict=True)]
    assert np.all(np.abs(found - record.expected) <= np.maximum(2, 0.15 * record.expected))
    # by simulation of modes, without gaussdiff
    rng, lam, i = np.random.default_rng(0), np.asarray(setting.gaussian.eigvals), 8
    noisy = rng.normal(size=(200_000, 64)) * np.sqrt(lam + record.sigma[i] ** 2)
    power = (noisy * lam / (lam + record.sigma[i] ** 2)).var(0)
    kept = np.cumsum(power) / power.sum()
    assert abs(int((kept >= 1 - a08_rank.CLOSE).argmax()) + 1 - record.expected[i]) <= 1
    assert a08_rank.find(record).verdict == "agrees"
    numbers = a08_rank.find(record).numbers
    assert set(numbers) == documented("A8")
    # each draw's ranks from plain sums over copied rows, the judged scales chosen once
    judged = np.isin(record.sigma, numbers["scales_judged"])
    picks = np.random.default_rng(4).integers(record.residuals.shape[1], size=(200, record.residuals.shape[1]))
    left, whole = record.residuals[judged], record.whole["denoiser"][judged]
    draws = [[a08_rank.needed(a[pick], b[pick]) for a, b in zip(left, whole, strict=True)] for pick in picks]
    ordered = np.quantile([rank_correlation(-record.sigma[judged], np.array(one)) for one in draws], [0.025, 0.975])
    np.testing.assert_allclose(numbers["order_correlation"][1:], ordered, atol=0.02)
    for place, one in zip(np.flatnonzero(judged), np.array(draws).T, strict=True):
        ends = np.quantile(one, [0.025, 0.975]) / record.expected[place]
        ratio = numbers["ratio_intervals"][f"{record.sigma[place]:.3g}"]
        np.testing.assert_allclose(ratio[1:], ends, atol=2 / record.expected[place])
    # one scale that needs three times as many as the closed form is enough to differ from it
    wrong = record.expected.copy()
    wrong[i] = found[i] // 3
    finding = a08_rank.find(dataclasses.replace(record, expected=wrong))
    assert finding.verdict == "agrees in part"
    assert [criterion.holds for criterion in finding.criteria] == [True, False]
    assert finding.criteria[1].measured.value == numbers["rank_needed"]["denoiser"][i] / wrong[i]
    assert finding.criteria[1].note == f"They differ most at σ = {record.sigma[i]:.2g}."
    # two noise levels at which the Gaussian explains half are too few to judge an order
    unexplained = record.residuals + np.where(np.arange(16) < 2, 0, 1e9)[:, None, None]
    too_few = a08_rank.find(dataclasses.replace(record, residuals=unexplained))
    assert [(one.measured, one.holds) for one in too_few.criteria] == [(2, False)]
    assert (too_few.verdict, set(too_few.numbers)) == ("differs", documented("A8"))


@pytest.mark.slow
def test_a_network_of_one_component_needs_one(setting):
    g = setting.gaussian
    network = gd.Gaussian(g.mean, g.eigvals[:1], g.eigvecs[:, :1])
    finding = run(a08_rank.RANK, with_network(setting, network)).finding
    judged = np.array(finding.numbers["explained_by_all"]) >= a08_rank.JUDGED
    assert judged.any()
    assert set(np.array(finding.numbers["rank_needed"]["denoiser"])[judged]) == {1}
    assert finding.verdict == "differs"


# A7


def with_history(setting, models):
    return dataclasses.replace(setting, history={step: lambda m=model: m for step, model in models.items()})


class Blend(gd.Denoiser):
    """On the way from one denoiser to another; the weight is an array, so that all weights are one program."""

    first: gd.Denoiser
    second: gd.Denoiser
    weight: jax.Array

    def denoise(self, x, level):
        return (1 - self.weight) * self.first.denoise(x, level) + self.weight * self.second.denoise(x, level)


def blend(first: gd.Denoiser, second: gd.Denoiser, weight: float) -> gd.Denoiser:
    return Blend(first, second, jnp.asarray(weight))


@pytest.mark.slow
def test_a_network_that_goes_from_the_mean_by_the_gaussian_to_the_data_set_agrees(setting):
    gaussian, data_set = setting.gaussian, setting.models["data_set"]
    start = explain.isotropic(setting.data.train)
    models = {
        0: start,
        1: start,
        4: blend(start, gaussian, 0.9),
        16: blend(gaussian, data_set, 0.2),
        64: blend(gaussian, data_set, 0.6),
        256: data_set,
    }
    record = a07_order_of_learning.measure(with_history(setting, models))
    finding = a07_order_of_learning.find(record)
    assert finding.verdict == "agrees"
    assert finding.numbers["step_of_gaussian_least"] == 4
    # another way: explained variances of the training program, on the same samples
    asked = setting.held_out.first(64).scales(np.isin(setting.held_out.sigma, record.sigma)).by(models[16])
    curves = probes.explained(asked, {"gaussian": probes.ask(gaussian, asked.noisy, asked.sigma)})
    left = finding.numbers["left_of_score_by_sigma"]["gaussian"][list(record.steps).index(16)]
    np.testing.assert_allclose(left, 1 - curves["score"]["gaussian"], rtol=1e-6)


def test_the_step_of_the_least_is_chosen_on_all_samples():
    """Made records of one noise scale, against the same resampling of plain sums. Least that draws find themselves are
    lower than it on average, and would put an interval above its value."""
    rng, steps = np.random.default_rng(0), np.array([1, 10, 100, 1000, 10000])
    left = rng.exponential(size=(5, 1, 40)) * np.array([5, 1, 1, 1.02, 2])[:, None, None]
    whole = {"score": np.ones((5, 1, 40)), "denoiser": np.ones((5, 1, 40))}
    record = a07_order_of_learning.Record(steps, np.ones(1), {"gaussian": left, "data_set": left}, whole)
    finding = a07_order_of_learning.find(record)
    numbers = finding.numbers
    assert set(numbers) == documented("A7")
    assert finding.verdict == "agrees in part"
    assert [criterion.holds for criterion in finding.criteria] == [True, False]
    assert list(finding.criteria[0].measured) == numbers["gaussian_last_over_least"]
    assert "is nearest to its Gaussian at step 1" in finding.sentence
    for factors, said in (((1, 2, 3, 4, 5), "leaves its Gaussian from the first"), ((5, 4, 3, 2, 1), "not clearly")):
        curve = left[:1] * np.array(factors)[:, None, None]
        other = a07_order_of_learning.find(
            dataclasses.replace(record, residuals={"gaussian": curve, "data_set": curve})
        )
        assert (other.criteria[0].holds, said in other.sentence) == (False, True)
    grown = Interval(*numbers["gaussian_last_over_least"])
    resampled = np.random.default_rng(1).integers(40, size=(20_000, 40))
    curves = left[:, 0][:, resampled].mean(2)
    expected = np.quantile(curves[-1] / curves[left[:, 0].mean(1).argmin()], [0.025, 0.975])
    np.testing.assert_allclose(grown[1:], expected, rtol=0.05)
    assert grown.holds(grown.value)
    assert np.quantile(curves[-1] / curves.min(0), 0.025) > 1.05 * expected[0]


@pytest.mark.slow
def test_a_dip_that_the_total_variance_makes_is_told_from_the_gaussian_s(setting):
    """Networks on their way from white by the Gaussian to the data set; the spectrum dealt otherwise is never neared.

    Where it is all that is neared, as by these on their way to white, the control dips too, and it is said.
    """
    start, data_set = explain.isotropic(setting.data.train), setting.models["data_set"]
    other = setting.controls["shuffled_spectrum"]
    toward = {1: start, 4: blend(start, other, 0.9), 16: blend(other, data_set, 0.5), 64: data_set}
    record = a07_order_of_learning.measure(with_history(setting, toward))
    assert set(a07_order_of_learning.controls(record)) == {"shuffled_spectrum"}
    finding = a07_order_of_learning.find(record)
    assert finding.numbers["controls_last_over_least"]["shuffled_spectrum"][0] > 2
    assert finding.criteria[0].holds is False
    assert finding.criteria[0].controls == ()  # for the network does not dip
    least = int(a07_order_of_learning.residual(record.residuals["gaussian"], record.whole["score"]).argmin())
    assert least == 0 or finding.criteria[0].measured.low < a07_order_of_learning.GROWN
    assert "and then leaves it" not in finding.sentence
    both = dataclasses.replace(
        record, residuals={**record.residuals, "gaussian": record.residuals["shuffled_spectrum"]}
    )
    dips = a07_order_of_learning.find(both)
    assert (dips.criteria[0].controls, dips.criteria[1].controls) == (("shuffled_spectrum",), ())
    assert "and then leaves it" in dips.sentence
    alone = {1: start, 4: blend(start, setting.gaussian, 0.5), 16: setting.gaussian, 64: setting.gaussian}
    finding = run(a07_order_of_learning.ORDER_OF_LEARNING, with_history(setting, alone)).finding
    assert finding.criteria[0].controls == ()


@pytest.mark.slow
def test_checkpoints_of_shuffled_weights_are_asked_what_the_checkpoints_are(setting):
    """White networks have one weight, and shuffling it changes nothing: the control's record is the record."""
    models = {step: gd.Gaussian.isotropic(jnp.zeros((8, 8, 1)), 0.1 * step) for step in (1, 2, 4, 8)}
    asked = dataclasses.replace(with_history(setting, models), controls={"shuffled_weights": setting.gaussian})
    record = a07_order_of_learning.measure(asked)
    assert record.shuffled is not None
    for name in a07_order_of_learning.TWINS:
        np.testing.assert_allclose(record.shuffled.residuals[name], record.residuals[name])
    models = {step: shuffled(setting.gaussian, jax.random.key(step)) for step in (1, 2, 4, 8)}
    record = a07_order_of_learning.measure(dataclasses.replace(asked, history=with_history(setting, models).history))
    assert record.shuffled is not None
    assert np.abs(record.shuffled.residuals["gaussian"] / record.residuals["gaussian"] - 1).max() > 0.1


@pytest.mark.slow
def test_a_network_that_only_nears_the_gaussian_differs(setting):
    start = explain.isotropic(setting.data.train)
    models = {step: blend(start, setting.gaussian, w) for step, w in ((1, 0.0), (4, 0.5), (16, 0.9), (64, 1.0))}
    assert run(a07_order_of_learning.ORDER_OF_LEARNING, with_history(setting, models)).finding.verdict != "agrees"


@pytest.mark.slow
def test_too_few_checkpoints_say_how_to_get_more(setting):
    few = with_history(setting, {0: setting.gaussian, 5: setting.gaussian})
    for one in (a07_order_of_learning.ORDER_OF_LEARNING, c02_learning_speed.LEARNING_SPEED):
        result = run(one, few)
        assert result.verdict == "not measured"
        assert "--keep-powers" in result.reason


def test_checkpoints_are_chosen_evenly_in_log():
    assert a07_order_of_learning.chosen([0, *(2**k for k in range(12))], 4) == [1, 16, 128, 2048]
    assert a07_order_of_learning.chosen(list(range(0, 1001, 25)), 3) == [25, 150, 1000]
    with pytest.raises(NotMeasuredError, match="--keep-powers"):
        a07_order_of_learning.chosen([0, 1, 2, 3], 8)


# C1


@pytest.fixture(scope="module")
def linear(setting):
    return c01_linear_learning.measure(setting)


@pytest.mark.slow
def test_descent_follows_the_closed_form(linear):
    for name in linear.weights:
        np.testing.assert_allclose(linear.weights[name], linear.flow[name], atol=c01_linear_learning.WEIGHTS)
        np.testing.assert_allclose(linear.generated[name], linear.expected[name], rtol=0.25)
        # the integral of the flow's weights over the noise scales is the exponential integrals of the closed form
        flow = c01_linear_learning.generated(linear.flow[name], linear.sigma)
        np.testing.assert_allclose(flow, linear.expected[name], rtol=0.01)
    # the discrete law of one layer is exact, not only near
    law = c01_linear_learning.learnings(linear.rates, linear.deviation)["one_layer"]
    for i in (0, 12, 23):
        level = gd.NoiseLevel(1.0, linear.sigma[i])
        exact = np.stack([law.weight_after(linear.variances, level, int(n)) for n in linear.steps])
        np.testing.assert_allclose(linear.weights["one_layer"][:, i], exact, atol=1e-9)


@pytest.mark.slow
def test_exponents_of_linear_learning(linear):
    finding = c01_linear_learning.find(linear)
    assert finding.verdict == "agrees", finding.criteria
    off = {name: weights + 1 for name, weights in linear.weights.items()}
    partly = c01_linear_learning.find(dataclasses.replace(linear, weights=off))
    assert partly.verdict == "agrees in part"
    assert [criterion.holds for criterion in partly.criteria] == [False, True]
    assert finding.numbers["exponent"]["two_layers"][0] == pytest.approx(-1, abs=0.2)
    # the small modes' own law: half of the way at .28 sigma_data / (eta sqrt(lam))
    lam, law = np.logspace(-7, -5, 9), gd.PreconditionedLayer(1.0, 0.5)
    steps = jnp.append(0, jnp.geomspace(1, 1e8, 400))
    curves = jax.vmap(lambda t: gd.exact.generated_variance(law, lam, 80.0, 1e-6, t))(steps)
    assert exponent(lam, half_way(np.asarray(steps), np.asarray(curves))) == pytest.approx(-0.5, abs=0.02)


@pytest.mark.slow
def test_an_exponent_of_too_few_modes_is_said_in_words(linear):
    """With one mode below half of the data's variance the preconditioned layer has no exponent."""
    finding = c01_linear_learning.find(
        dataclasses.replace(linear, deviation=float(np.sqrt(2.1 * linear.variances[-1])))
    )
    _, exponents = finding.criteria
    assert exponents.holds is False
    assert exponents.measured.endswith("; too few modes")
    assert "too few modes for preconditioned" in exponents.note
    assert not any("nan" in text for text in (finding.sentence, exponents.measured, exponents.note, *finding.notes))
    assert "preconditioned" not in finding.numbers["exponent"]
    assert set(finding.numbers) == documented("C1")
    # two modes have an exponent, which is judged, but no range
    small = dataclasses.replace(linear, deviation=float(np.sqrt(2 * linear.variances[-3])))
    _, exponents = c01_linear_learning.find(small).criteria
    two = (linear.variances[-2:], half_way(linear.steps, linear.generated["preconditioned"])[-2:])
    assert exponents.measured.endswith(f"; {exponent(*two):.3f} (of too few modes for a range)")
    assert "nan" not in exponents.note
    assert "nan" not in c01_linear_learning.draw(dataclasses.replace(linear, deviation=0.0)).get_suptitle()


def test_equal_variances_have_no_exponent():
    with pytest.raises(NotMeasuredError, match="unlike variance"):
        c01_linear_learning.spread_modes(np.array([0.5, 0.49]))


def test_half_way_and_exponent():
    times = np.geomspace(1, 1e4, 200)
    lam = np.array([1.0, 0.1, 0.01])
    curves = np.exp(-np.exp(-lam * times[:, None]))  # log goes from near -1 to 0
    np.testing.assert_allclose(half_way(times, curves)[1:], np.log(2 / np.exp(-lam[1:])) / lam[1:], rtol=0.02)
    assert exponent(lam, 3 * lam**-0.7) == pytest.approx(-0.7)
    assert np.isnan(half_way(times, np.ones((200, 1))))
    assert np.isnan(exponent(lam[:1], lam[:1]))


# C2


class Learner(gd.Denoiser):
    """The preconditioned linear denoiser of a Gaussian after a time of training; `alike`: all modes at one speed."""

    gaussian: gd.Gaussian
    law: gd.PreconditionedLayer
    time: jax.Array
    alike: bool

    def denoise(self, x, level):
        g = self.gaussian
        gains = self.law.weight(g.eigvals, level, self.time)
        if self.alike:
            first, last = (self.law.weight(g.eigvals, level, t) for t in (0.0, 1e9))
            gains = last + (first - last) * jnp.exp(-self.time)
        return g.mean + g.spectral_map(gains, 0.0, (x - level.alpha * g.mean).reshape(-1)).reshape(x.shape)


def learners(setting, alike):
    law = gd.PreconditionedLayer(0.05, float(np.sqrt(setting.gaussian.variances.mean())))
    steps = [0, *(2**k for k in range(11))]
    scale = 0.1 if alike else 1.0
    return law, {n: Learner(setting.gaussian, law, jnp.asarray(scale * n), alike) for n in steps}


@pytest.mark.slow
def test_the_times_to_learn_are_those_of_the_closed_form(setting):
    law, models = learners(setting, alike=False)
    record = c02_learning_speed.measure(with_history(setting, models))
    lam = record.variances
    largest, smallest = 10 * np.sqrt(lam[0]), np.sqrt(lam[-1]) / 2
    expected = half_way(
        record.steps,
        np.stack([gd.exact.generated_variance(law, lam, largest, 1e-3 * smallest, float(n)) for n in record.steps]),
    )
    found = c02_learning_speed.times(record.steps, record.coefficients)
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.sum() > 20
    np.testing.assert_allclose(np.median(np.abs(np.log(found[both] / expected[both]))), 0, atol=0.15)
    finding = c02_learning_speed.find(record)
    for name, group in c02_learning_speed.split(record).items():
        if name in finding.numbers["exponent"]:
            found_power = Interval(*finding.numbers["exponent"][name])
            kept = group & both
            assert found_power.value == pytest.approx(exponent(lam[kept], expected[kept]), abs=0.12)
    assert finding.numbers["exponent"]


@pytest.mark.slow
def test_modes_that_are_learned_together_have_no_exponent(setting):
    _, models = learners(setting, alike=True)
    finding = run(c02_learning_speed.LEARNING_SPEED, with_history(setting, models)).finding
    assert finding.verdict == "agrees", finding.criteria
    assert finding.criteria[-1].holds is None
    assert finding.criteria[-1].measured == "components are too few or too alike"


def learned_at(times, rises, steps) -> c02_learning_speed.Record:
    """A made record: variances .5^k that come half of the way, from 100 times less or more, at given steps."""
    steps, noise = np.asarray(steps), np.random.default_rng(0).normal(size=(60, len(times)))
    noise = (noise - noise.mean(0)) / noise.std(0)
    way = np.arctan(4 * (np.log1p(steps)[:, None] - np.log1p(times))) / np.pi + 0.5
    logs = np.where(rises, 1, -1) * (way - 1) * np.log(100)
    variances = 0.5 ** np.arange(len(times))
    return c02_learning_speed.Record(steps, np.sqrt(variances * np.exp(logs))[:, None] * noise, variances)


STEPS = np.concatenate([[0], np.geomspace(1, 1e6, 60).round()])


def test_rising_and_falling_components_are_judged_apart():
    """Powers of +.4 and -.4 cancel in sum, and neither is flat; two of the same power 0 are."""
    rises = np.arange(12) % 2 == 0
    variances = 0.5 ** np.arange(12)
    crossed = c02_learning_speed.find(learned_at(1000 * variances ** np.where(rises, 0.4, -0.4), rises, STEPS))
    assert crossed.numbers["exponent"]["rising"][0] == pytest.approx(0.4, abs=0.03)
    assert crossed.numbers["exponent"]["falling"][0] == pytest.approx(-0.4, abs=0.03)
    assert crossed.verdict == "differs"
    assert c02_learning_speed.find(learned_at(np.full(12, 1e3), rises, STEPS)).verdict == "agrees"
    alone = c02_learning_speed.find(learned_at(np.full(12, 1e3), np.full(12, True), STEPS))
    assert alone.verdict == "agrees in part"
    assert [criterion.holds for criterion in alone.criteria] == [True, False]
    assert alone.criteria[1].note == "Those that are falling are too few, or too alike, to measure."


@pytest.mark.slow
def test_the_components_of_patches_are_those_of_all_their_places(setting):
    images = np.random.default_rng(0).normal(size=(30, 6, 5, 2)) * np.linspace(1, 2, 5)[:, None]
    rows = [image[i : i + 3, j : j + 3].ravel() for image in images for i in range(4) for j in range(3)]
    found = c02_patches.components(images, 3)
    covariance = np.cov(np.array(rows).T, bias=True)
    np.testing.assert_allclose(found.directions * found.variances @ found.directions.T, covariance, atol=1e-12)
    assert (np.diff(found.variances) <= 0).all()
    # of a Gaussian's samples, from its covariance and its mean, place by place
    law = setting.gaussian
    axes = np.asarray(law.eigvecs)
    dense = (axes * np.asarray(law.eigvals) @ axes.T).reshape(8, 8, 8, 8)
    mean, v = np.asarray(law.mean)[..., 0], c02_patches.components(setting.data.train, 3).directions
    places = [(slice(i, i + 3), slice(j, j + 3)) for i in range(6) for j in range(6)]
    spread = np.mean([np.einsum("ak,ab,bk->k", v, dense[p + p].reshape(9, 9), v) for p in places], 0)
    expected = spread + np.array([mean[p].ravel() @ v for p in places]).var(0)
    samples = np.asarray(jax.vmap(law.sample)(jax.random.split(jax.random.key(5), 4000)))
    grown = c02_patches.growth([samples, 2 * samples], c02_patches.components(setting.data.train, 3))
    np.testing.assert_allclose(grown.generated(), np.stack([expected, 4 * expected]), rtol=0.15)
    rows = c02_patches.patches(samples[:7], 3) @ v
    np.testing.assert_allclose(grown.generated(slice(7))[0], rows.reshape(-1, 9).var(0), rtol=1e-9)


def patches_learned_at(times, rises, steps) -> c02_patches.Growth:
    """The same made variances, of patches."""
    made = learned_at(times, rises, steps)
    return c02_patches.Growth(3, made.variances, made.coefficients, made.coefficients**2)


def test_patches_that_are_learned_in_order_explain_whole_images_that_are_not():
    rises, variances = np.arange(12) % 2 == 0, 0.5 ** np.arange(12)
    whole = learned_at(np.full(12, 1e3), rises, STEPS)

    def judged(power, record=whole):
        patches = patches_learned_at(1000 * variances**power, np.full(12, False), STEPS)
        return c02_learning_speed.find(dataclasses.replace(record, patches={3: patches}))

    found = judged(-0.5)
    assert found.verdict == "agrees"
    assert set(found.numbers) == documented("C2")
    assert found.numbers["patches"]["3x3"]["exponent"]["falling"][0] == pytest.approx(-0.5, abs=0.03)
    assert "3 x 3: -0." in found.criteria[-1].note
    assert judged(-0.1).verdict == "agrees in part"
    steep = learned_at(1000 * variances**-0.5, rises, STEPS)
    assert judged(-0.5, steep).verdict == "agrees in part"
    assert judged(0.0, steep).verdict == "differs"


def test_what_is_learned_before_the_first_saved_state_is_not_measured():
    times, rises = np.concatenate([np.full(2, 30.0), np.full(10, 1e3)]), np.arange(12) % 2 == 0
    assert c02_learning_speed.find(learned_at(times, rises, STEPS)).numbers["learned_before_first_state"] == 0
    with pytest.raises(NotMeasuredError, match=r"2 of 12 components .* step 54.* --keep-powers"):
        c02_learning_speed.find(learned_at(times, rises, STEPS[(STEPS == 0) | (STEPS > 50)]))


def test_patches_that_are_learned_before_the_first_saved_state_are_not_measured_either():
    """Whole images are learned late; of the components of patches 2 of 12 early, or 1, which is fewer than a tenth."""
    saved, rises = STEPS[(STEPS == 0) | (STEPS > 50)], np.arange(12) % 2 == 0
    whole = learned_at(np.full(12, 1e3), rises, saved)

    def judged(early):
        times = np.where(np.arange(12) < early, 30.0, 1e3)
        patches = patches_learned_at(times, np.full(12, False), saved)
        return c02_learning_speed.find(dataclasses.replace(whole, patches={3: patches}))

    with pytest.raises(NotMeasuredError, match=r"2 of 12 components of patches of 3 x 3 pixels .* --keep-powers"):
        judged(2)
    assert judged(1).numbers["learned_before_first_state"] == 0
