"""The experiments on models whose answers are known in closed form: so the measuring code itself is proven."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from settings import documented, exact_setting

import gaussdiff as gd
from analysis.experiments import STANDARD, a11_retrieval, c02_learning_speed, d06_score_deviation, named
from analysis.experiments.a01_dimension import DIMENSION, fractions
from analysis.harness import experiment
from analysis.harness.finding import Criterion, Finding
from analysis.measures.bootstrap import Interval
from analysis.measures.geometry import preserving

HOLDS = Criterion("number", 1, "1", True)


@pytest.fixture(scope="module")
def setting():
    return exact_setting()


def test_names_are_found_in_any_case_and_unknown_ones_are_named():
    assert named("a1") is DIMENSION
    assert len({e.name for e in STANDARD}) == len(STANDARD)
    with pytest.raises(ValueError, match=r"name: expected one of A1, .*got 'A99'"):
        named("A99")


def test_every_experiment_has_its_keys_in_the_documents_once():
    """Whether they are the right ones is asked where each experiment is tested."""
    assert all(len(documented(one.name)) >= 3 for one in STANDARD)


@pytest.mark.slow
def test_a_gaussian_s_paths_have_the_spectrum_of_its_expected_gram_matrix(setting):
    """A path in 64 dimensions is near its expectation; the mean over paths nearer."""
    record = DIMENSION.measure(setting)
    for part, one in record.fractions["network"].items():
        np.testing.assert_allclose(one.mean(0), record.expected[part], atol=0.01 if part == "states" else 0.02)
    # without a path, from Gram matrices: of states, of their differences, and of dx/dsigma, which is the noise
    states = gd.exact.gram_matrix(setting.gaussian, preserving(setting.levels))
    steps = jnp.diff(jnp.diff(states, axis=0), axis=1)

    def product(s, t):
        return jnp.sum(
            gd.exact.marginal_std(setting.gaussian.variances, gd.NoiseLevel(1.0, s))
            * gd.exact.marginal_std(setting.gaussian.variances, gd.NoiseLevel(1.0, t))
        )

    mixed = jax.jit(jax.vmap(jax.vmap(jax.grad(jax.grad(product), 1), (None, 0)), (0, None)))
    noise = mixed(setting.levels.sigma[:-1], setting.levels.sigma[:-1])
    for part, gram in (("states", states), ("steps", steps), ("noise", noise)):
        middle = np.eye(len(gram)) - 1 / len(gram)
        falling = np.sort(np.linalg.eigvalsh(middle @ np.asarray(gram, np.float64) @ middle))[::-1]
        np.testing.assert_allclose(record.expected[part], np.cumsum(falling / falling.sum())[:3], rtol=1e-9)
    finding = experiment.run(DIMENSION, setting).finding
    assert finding.verdict == "agrees"
    assert set(finding.numbers) == documented("A1")


@pytest.mark.slow
def test_an_experiment_that_fails_or_gives_no_number_costs_no_other(setting):
    def fails(_):
        raise RuntimeError("no answer")

    broken = dataclasses.replace(DIMENSION, measure=fails)
    endless = dataclasses.replace(DIMENSION, find=lambda _: Finding("", (HOLDS,), {"x": [float("nan")]}))
    for one, reason in ((broken, "RuntimeError: no answer"), (endless, "ValueError: Out of range float values")):
        result = experiment.run(one, setting)
        assert result.verdict == "failed"
        assert reason in result.reason
        assert reason in result.error
        assert "Traceback" in result.error
        assert (result.finding, result.record, result.figure) == (None, None, None)
        assert result.to_json()["numbers"] == {}


@pytest.mark.slow
def test_an_interval_that_is_not_known_costs_no_experiment(setting):
    unknown = [0.5, float("nan"), float("nan")]
    finding = Finding("It is so.", (HOLDS,), {"x": {"y": [unknown, [0.5, 0.4, 0.6]]}, "n": 3})
    result = experiment.run(dataclasses.replace(DIMENSION, find=lambda _: finding), setting)
    assert (result.verdict, result.error) == ("agrees", "")
    assert result.to_json()["sentence"] == "It is so."
    assert result.to_json()["numbers"] == {"x": {"y": [[0.5, None, None], [0.5, 0.4, 0.6]]}, "n": 3}


def test_fractions_of_points_in_one_and_in_many_dimensions():
    line = np.linspace(0, 1, 30)[:, None] * np.ones(8)
    cloud = np.asarray(jax.random.normal(jax.random.key(0), (4000, 8)))
    np.testing.assert_allclose(fractions(line[None])[0], 1)
    np.testing.assert_allclose(fractions(cloud[None])[0], np.arange(1, 4) / 8, atol=0.03)


def test_high_noise_is_where_the_own_deviation_is_to_be_a_quarter_of_its_largest():
    sigma, rows = np.array([80.0, 20, 5, 1]), np.ones((3, 1))
    assert d06_score_deviation._agrees(sigma, rows * np.array([1.0, 1, 2, 4]))
    assert not d06_score_deviation._agrees(sigma, rows * np.array([1.0, 1.1, 2, 4]))
    assert d06_score_deviation._agrees(sigma[2:], rows * np.array([1.0, 4]))  # none is high: the first stands for it
    assert not d06_score_deviation._agrees(sigma[2:], rows * np.array([2.0, 4]))


def test_a_network_copies_little_only_where_the_whole_interval_says_so():
    def find(copies):
        ratios = {"network": np.where(np.arange(200) < copies, 0.0, 1.0), "data_set": np.zeros(200)}
        return a11_retrieval.find(a11_retrieval.Record(np.ones(1), {}, {}, {}, 1.0, ratios, 0.8))

    findings = [find(copies) for copies in (0, 2, 8)]
    assert [one.verdict for one in findings] == ["agrees", "agrees", "agrees in part"]  # 8 are 4 %, of 2 to 7
    assert [[one.holds for one in finding.criteria] for finding in findings] == [[True, True]] * 2 + [[True, False]]
    assert [finding.criteria[1].measured.value for finding in findings] == [0, 0.01, 0.04]
    assert findings[1].sentence == "1.0% of the network's samples are copies of training images."


def test_patches_that_cannot_be_measured_are_not_judged_and_slow_ones_fail():
    slow, steep = Interval(-0.1, -0.2, 0.0), Interval(-0.5, -0.6, -0.4)
    (criterion,) = c02_learning_speed.of_patches({3: {}, 5: {"falling": slow}})
    assert (criterion.holds, criterion.measured) == (False, slow)
    assert criterion.note == "By the size of patches: 3 x 3: too few or too alike; 5 x 5: -0.1 (-0.2 to 0) (falling)."
    (criterion,) = c02_learning_speed.of_patches({3: {"rising": steep}, 5: {"falling": slow}})
    assert (criterion.holds, criterion.measured) == (False, slow)
    assert c02_learning_speed.of_patches({5: {"falling": steep}})[0].holds is True
    assert c02_learning_speed.of_patches({3: {}, 5: {}})[0].holds is None
    assert c02_learning_speed.of_patches({}) == ()
