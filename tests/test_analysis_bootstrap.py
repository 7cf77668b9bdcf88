"""Intervals by resampling: they hold their own value, say what they do not know, and cover what they should."""

import numpy as np
import pytest

import gaussdiff as gd
from analysis.measures.bootstrap import Interval, extreme, interval, percentiles, resamples
from analysis.measures.frechet import resampled_frechet


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    """Twice 1.96 s / sqrt(N), by the normal law; 10,000 draws put each end within a few per cent of it."""
    x = np.random.default_rng(0).normal(size=400)
    found = interval(np.mean, x, draws=10_000)
    half = 1.96 * x.std() / 20
    assert found.value == x.mean()
    np.testing.assert_allclose([found.value - found.low, found.high - found.value], half, rtol=0.06)


def test_an_interval_holds_its_value_also_of_a_statistic_that_draws_only_move_one_way():
    """No draw of a sample has a larger maximum, and few have as many different values."""
    x = np.arange(30.0)
    assert interval(np.max, x).high == 29
    different = interval(lambda rows: float(len(np.unique(rows))), x)
    assert different.low < different.value == different.high == 30


def test_the_largest_of_many_means_is_chosen_once():
    """All columns have mean 0. Draws that choose anew have a maximum above the sample's nearly always."""
    rows = np.random.default_rng(1).normal(size=(60, 40))
    found, means = extreme(rows), rows.mean(0)
    anew = [rows[pick].mean(0).max() for pick in np.random.default_rng(2).integers(60, size=(400, 60))]
    assert found.value == pytest.approx(means.max())
    assert found.low < found.value < found.high
    assert np.quantile(anew, 0.025) > 1.05 * found.value
    own = interval(np.mean, rows[:, means.argmax()])
    assert found == own
    assert extreme(-rows, least=True).value == -found.value
    assert extreme(rows, least=True).value == pytest.approx(means.min())


def some_missing(share):
    """A statistic that has no value where the first row that is drawn is among the first `share` of 1,000."""
    return lambda rows: np.nan if rows[0] < 1000 * share else float(rows.mean())


def test_draws_without_a_value_count_beyond_both_ends():
    x = np.arange(1000.0)[::-1]  # the sample itself has a value
    known, some, most = (interval(some_missing(share), x) for share in (0.0, 0.015, 0.2))
    assert some.is_known
    assert some.low < known.low < known.high < some.high
    assert not most.is_known
    assert most.value == x.mean()
    assert np.isnan(most[1:]).all()
    assert "no interval" in str(most)
    assert not most.holds(most.value)


def test_a_sample_without_a_value_has_no_interval_and_rows_must_match():
    assert not interval(lambda _: float("inf"), np.ones(5)).is_known
    assert str(Interval(1.0, 0.5, 2.0)) == "1 (0.5 to 2)"
    with pytest.raises(ValueError, match=r"one length above 0, got \[3, 2\]"):
        interval(np.mean, np.ones(3), np.ones(2))


def test_frechet_distances_of_resamples_are_those_of_the_rows_they_take():
    rng = np.random.default_rng(3)
    features, target = rng.normal(4, 1, (30, 5)).astype(np.float32), rng.normal(3, 2, (50, 5)).astype(np.float32)
    picks = resamples(len(features), 20)
    expected = [gd.metrics.frechet_distance(features[pick], target) for pick in picks]
    np.testing.assert_allclose(resampled_frechet(features, picks, target), expected, rtol=1e-9)


def test_an_interval_is_that_of_its_resamples():
    values = np.random.default_rng(4).normal(size=101)
    drawn = values[resamples(len(values), 300, seed=7)].mean(1)
    assert interval(np.mean, values, draws=300, seed=7) == percentiles(values.mean(), drawn)
