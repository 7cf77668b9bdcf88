"""Long batches: the same samples whatever the chunk, bounded memory, one compilation."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from test_samplers import Calls

import gaussdiff as gd
from gaussdiff.samplers import batch as module

KEY, LEVELS, MODEL = jax.random.key(3), gd.grids.karras(5, 0.02, 20.0), zoo.MIXTURE.model


def by_hand(sampler, i):
    """Sample i as the docstring says."""
    start_key, noise_key = jax.random.split(jax.random.fold_in(KEY, i))
    return gd.sample(sampler, MODEL, gd.sample_prior(start_key, (3,), LEVELS[0]), LEVELS, noise_key)


@pytest.mark.slow
def test_sample_i_does_not_depend_on_the_chunk():
    """Chunks of 1, 8 and 64 for 9 samples, the last of them part full, and samples 4 to 8 in another call."""
    sampler = gd.DDIM(1.0)
    whole = gd.sample_batch(sampler, MODEL, LEVELS, count=9, key=KEY)
    assert isinstance(whole, np.ndarray)
    for i in (0, 8):
        np.testing.assert_allclose(whole[i], by_hand(sampler, i).x[-1], rtol=1e-12)
    for chunk in (1, 8):
        part = gd.sample_batch(sampler, MODEL, LEVELS, count=9, key=KEY, chunk=chunk)
        np.testing.assert_allclose(part, whole, rtol=1e-12)
    rest = gd.sample_batch(sampler, MODEL, LEVELS, count=5, key=KEY, first=4, chunk=8)
    np.testing.assert_allclose(rest, whole[4:], rtol=1e-12)


@pytest.mark.slow
def test_starts_can_be_given():
    """Each goes where gd.sample takes it; their dtype stays, whole numbers become floats, nothing needs a key."""
    starts = np.random.default_rng(0).normal(size=(5, 3)) * 20
    expected = jax.vmap(gd.sample, (None, None, 0, None))(gd.UniPC(), MODEL, starts, LEVELS).x[:, -1]
    found = gd.sample_batch(gd.UniPC(), MODEL, LEVELS, starts=starts, chunk=2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    small, levels = zoo.cast((MODEL, LEVELS))
    ends = gd.sample_batch(gd.Euler(), small, levels, starts=jnp.asarray(starts, jnp.float32), chunk=2)
    assert ends.dtype == np.float32
    whole = gd.sample_batch(gd.Euler(), MODEL, LEVELS, starts=np.array([[1, 2, 3]]))
    np.testing.assert_allclose(whole[0], gd.sample(gd.Euler(), MODEL, jnp.array([1.0, 2, 3]), LEVELS).x[-1], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [gd.DDIM(1.0), gd.UniPC(), gd.AFS(gd.Heun())], ids=repr)
def test_the_callback_sees_every_step_in_order(sampler):
    """Chunk by chunk and step by step, with what gd.sample records; the ends are those without a callback."""
    seen = []
    see = lambda *told: seen.append(told)  # noqa: E731
    ends = gd.sample_batch(sampler, MODEL, LEVELS, count=5, key=KEY, first=7, chunk=2, callback=see)
    assert [(first, step) for first, step, *_ in seen] == [(first, step) for first in (7, 9, 11) for step in range(5)]
    paths = [by_hand(sampler, 7 + i) for i in range(5)]
    for first, step, level, x, denoised in seen:
        mine = paths[first - 7 : first - 5]
        assert (level.alpha, level.sigma) == (LEVELS.alpha[step + 1], LEVELS.sigma[step + 1])
        assert isinstance(x, np.ndarray)
        np.testing.assert_allclose(x, [path.x[step + 1] for path in mine], rtol=1e-11)
        np.testing.assert_allclose(denoised, [path.denoised[step] for path in mine], rtol=1e-11)
    plain = gd.sample_batch(sampler, MODEL, LEVELS, count=5, key=KEY, first=7, chunk=2)
    np.testing.assert_allclose(ends, plain, rtol=1e-12)


def test_nothing_compiles_again():
    """One trace of the model for all chunks, the part full one included; none for other starts, keys and grids."""
    traces = Calls()
    model = gd.FromVPrediction(lambda x, level: traces.append(1) or level.alpha * x)
    gd.sample_batch(gd.Euler(), model, LEVELS, count=7, shape=(3,), key=KEY, chunk=3)
    count = len(traces)
    gd.sample_batch(gd.Euler(), model, gd.grids.karras(5), count=8, shape=(3,), key=jax.random.key(0), chunk=3)
    assert len(traces) == count
    for _ in range(2):
        gd.sample_batch(gd.Euler(), model, LEVELS, count=7, shape=(3,), key=KEY, chunk=3, callback=lambda *_: None)
    assert len(traces) == 2 * count


@pytest.mark.slow
def test_memory_is_that_of_one_chunk():
    """While 4,000 samples of 8 KB go by, 16 at a time, less than 1 MB lives; 50 steps need no more than 5."""
    model, largest = gd.FromVPrediction(lambda x, level: level.alpha * x), []
    before = sum(x.nbytes for x in jax.live_arrays())
    look = lambda done, total: largest.append(sum(x.nbytes for x in jax.live_arrays()) - before)  # noqa: E731
    gd.sample_batch(gd.Euler(), model, LEVELS, count=4000, shape=(1000,), key=KEY, chunk=16, progress=look)
    assert len(largest) == 250
    assert max(largest) < 1e6
    keys = jax.random.split(KEY, 16)
    held = []
    for n in (5, 50):
        lowered = module._ends.lower(gd.DDIM(1.0), model, gd.grids.karras(n), jnp.zeros((16, 1000)), keys)
        held.append(lowered.compile().compiled.memory_analysis().temp_size_in_bytes)
    assert held[1] < 1.05 * held[0]


@pytest.mark.slow
def test_an_interrupted_call_keeps_its_finished_chunks():
    out, done = np.full((9, 3), np.nan), []

    def stop(finished, total):
        done.append(finished)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gd.sample_batch(gd.Heun(), MODEL, LEVELS, count=9, key=KEY, chunk=4, out=out, progress=stop)
    assert done == [4, 8]
    assert np.isfinite(out[:8]).all()
    assert np.isnan(out[8]).all()
    rest = gd.sample_batch(gd.Heun(), MODEL, LEVELS, count=1, first=8, key=KEY, chunk=4, out=out[8:])
    assert np.shares_memory(rest, out)
    np.testing.assert_allclose(out, gd.sample_batch(gd.Heun(), MODEL, LEVELS, count=9, key=KEY), rtol=1e-12)


def test_bad_calls_say_what_to_do(unchecked):
    starts = np.ones((2, 3))
    for given, message in (
        ({"key": KEY}, "count, shape: expected"),
        ({"count": 0, "key": KEY}, "count: expected an integer >= 1, got 0"),
        ({"count": 2}, "key: expected one"),
        ({"starts": starts}, "key: expected one"),
        ({"starts": starts, "count": 2}, "starts: expected .* and no count"),
        ({"starts": np.nan * starts}, "starts: expected finite"),
        ({"starts": starts, "chunk": 0}, "chunk: expected"),
        ({"count": 2, "key": KEY, "first": -1}, "first: expected"),
        ({"count": 2, "key": KEY, "out": np.ones((3, 3))}, r"out: expected shape \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            gd.sample_batch(gd.DDIM(1.0), MODEL, LEVELS, **given)
    with pytest.raises(ValueError, match="count, shape: expected"):
        gd.sample_batch(gd.Euler(), gd.FromVPrediction(lambda x, level: x), LEVELS, count=2, key=KEY)


def test_the_bar_is_one_line_with_what_is_done_how_fast_and_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    bar = gd.ProgressBar(stream, width=4)
    for now[0], done in ((0.0, 0), (10.0, 50), (20.0, 100), (1800.0, 101)):
        bar(done, 200)
    bar(200, 200)
    first, *lines = stream.getvalue().split("\r")
    assert not first
    assert lines[0].startswith("[....] 0/200")
    assert lines[1] == "[#...] 50/200, 5/s, 0:00:30 left "
    assert lines[2] == "[##..] 100/200, 5/s, 0:00:20 left "
    assert "0:29:24 left" in lines[3]
    assert lines[4].endswith("left \n")
    assert stream.getvalue().count("\n") == 1
