"""Points that stay in a file: every answer beside `Empirical`'s, what is read of the file, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

RNG = np.random.default_rng(5)
POINTS = RNG.normal(size=(40, 2, 3))
WEIGHTS = np.log(RNG.dirichlet(np.ones(40)))
X = jnp.asarray(RNG.normal(size=(5, 2, 3)))
LEVELS = {name: zoo.LEVELS[name] for name in ("pure_noise", "clean", "variance_preserving", "exploding")}
READ = []


class Counted(np.memmap):
    """A mapped file that writes down what is read of it."""

    def __getitem__(self, key):
        READ.append(key)
        return super().__getitem__(key)


@pytest.fixture
def mapped(tmp_path) -> np.memmap:
    np.save(tmp_path / "points.npy", POINTS)
    return np.load(tmp_path / "points.npy", mmap_mode="r").view(Counted)


@jax.jit
def batch(model, x, level):
    return jax.vmap(lambda one: model.denoise(one, level))(x)


def reads(ask, *args) -> tuple[int, int]:
    """How often a compiled question reads a chunk, and rows by number."""
    jax.block_until_ready(ask(*args))
    READ.clear()
    jax.block_until_ready(ask(*args))
    return sum(isinstance(key, slice) for key in READ), sum(isinstance(key, np.ndarray) for key in READ)


def answers(model, x, level) -> dict:
    """Everything that a data set says."""
    return {
        "denoise": model.denoise(x, level),
        "log_prob": model.log_prob(x, level),
        "mean_shift": model.mean_shift(x, level),
        "posterior": model.posterior(x, level, 3),
        "covariance_product": model.covariance_product(x, level, jnp.ones_like(x)),
        "score": model.score(x, level),
    }


def derivatives(model, x, level) -> dict:
    """Forward mode, and reverse mode in everything that has a derivative."""
    _, forward = jax.jvp(lambda x: model.denoise(x, level), (x,), (jnp.ones_like(x),))
    by_model, *others = jax.grad(lambda *args: jnp.sum(args[0].denoise(*args[1:]) ** 2), (0, 1, 2))(model, x, level)
    return {
        "forward": forward,
        "reverse": others,
        "bandwidth": by_model.bandwidth,
        "log_weights": by_model.log_weights[:40],
        "log_prob": jax.grad(model.log_prob)(x, level),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("questions", "dtype", "tolerance"),
    [(answers, np.float64, 1e-11), (derivatives, np.float64, 1e-11), (zoo.answers, np.float32, 1e-5)],
    ids=["answers", "derivatives", "float32"],
)
def test_every_answer_is_that_of_points_in_memory(mapped, questions, dtype, tolerance):
    """In chunks of which the last overlaps the one before, and where the file is in float64 and the rest is not."""
    kept, streamed = (zoo.cast(kind(mapped, 0.3, WEIGHTS, chunk=7), dtype) for kind in (gd.Empirical, gd.Streamed))
    x = jnp.broadcast_to(X.astype(dtype), (len(LEVELS), *X.shape))
    levels = zoo.cast(zoo.stack(LEVELS), dtype)
    expected, found = (zoo.everywhere(questions, model, x, levels) for model in (kept, streamed))
    for name in expected:
        for a, b in zip(jax.tree.leaves(expected[name]), jax.tree.leaves(found[name]), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(b, a, tolerance, tolerance * max(1, float(jnp.abs(a).max())), err_msg=name)


def test_samples_are_points_of_the_file(mapped):
    keys = jax.random.split(jax.random.key(0), 50)
    drawn = jax.vmap(gd.Streamed(mapped, chunk=8).sample)(keys)
    np.testing.assert_allclose(drawn, jax.vmap(gd.Empirical(POINTS, chunk=8).sample)(keys), 1e-12, 1e-14)


@pytest.mark.slow
def test_one_pass_over_the_file_serves_a_batch(mapped):
    """40 rows in chunks of 7 are 6 reads, whatever the batch; the leading rows of all samples are one more."""
    model, level = gd.Streamed(mapped, chunk=7), zoo.LEVELS["variance_preserving"]
    assert reads(batch, model, X[:1], level) == reads(batch, model, X, level) == (6, 1)
    slope = jax.jit(jax.vmap(jax.grad(lambda x, m, level: m.log_prob(x, level)), (0, None, None)))
    assert reads(slope, X, model, level) == (12, 1)  # the way back reads every chunk again
    grid = jax.jit(lambda model, x, levels: jax.vmap(batch, (None, None, 0))(model, x, levels))
    assert reads(grid, model, X, zoo.stack(LEVELS)) == (6, 1)


def test_the_file_is_never_read_whole(mapped, monkeypatch):
    monkeypatch.setattr("gaussdiff.distributions.streamed.BLOCK_NUMBERS", 60)
    READ.clear()
    batch(gd.Streamed(mapped, chunk=7), X, LEVELS["exploding"]).block_until_ready()
    spans = [len(range(*key.indices(40))) for key in READ if isinstance(key, slice)]
    assert max(spans) == 10
    assert sum(spans) == 2 * 40 + 1 + 6 * 7  # one row more for its dtype


@pytest.mark.slow
def test_memory_is_that_of_a_chunk_in_both_directions():
    """A batch of 100 against 20,000 points of size 64: the pairs would be 16 MB, the differences 1 GB."""
    model, x, level = gd.Streamed(np.zeros((20_000, 64))), jnp.zeros((100, 64)), gd.NoiseLevel(1.0, 1.0)
    slope = jax.jit(jax.vmap(jax.grad(lambda x, m, level: jnp.sum(m.denoise(x, level))), (0, None, None)))
    for program in (batch.lower(model, x, level), slope.lower(x, model, level)):
        assert program.compile().memory_analysis().temp_size_in_bytes < 8e6


@pytest.mark.slow
def test_a_compiled_function_never_takes_one_file_for_another(mapped):
    """Arrays are told apart by identity; other x, levels, weights and bandwidths of the same one compile nothing."""
    level, compiled = LEVELS["exploding"], batch._cache_size()
    other = POINTS[::-1] + 1
    models = [gd.Streamed(points, chunk=7) for points in (mapped, other)]
    assert jax.tree.structure(models[0]) != jax.tree.structure(models[1])
    for _ in range(2):
        for model, points in zip(models, (POINTS, other), strict=True):
            np.testing.assert_allclose(batch(model, X, level), batch(gd.Empirical(points), X, level), 1e-11)
    compiled = batch._cache_size()
    batch(gd.Streamed(mapped, 0.2, WEIGHTS, chunk=7), X + 1, gd.NoiseLevel(0.3, 2.0))
    assert batch._cache_size() == compiled
    halved = gd.Streamed(mapped, chunk=7, transform=lambda rows: rows / 2)
    np.testing.assert_allclose(batch(halved, X, level), batch(gd.Empirical(POINTS / 2), X, level), 1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", ">f4", "<i2"])
def test_rows_as_they_are_stored_become_points_on_the_device(dtype, order):
    stored = np.asarray(RNG.integers(0, 256, (30, 4, 4, 1)).clip(0, 255), dtype, order=order)
    model = gd.Streamed(stored, chunk=8, transform=lambda rows: rows.reshape(len(rows), 16) / 127.5 - 1)
    assert model.shape == (16,)
    kept, x = gd.Empirical(stored.reshape(30, 16).astype(float) / 127.5 - 1), jnp.zeros((3, 16))
    tolerance = 1e-12 if model.mean.dtype == float else 1e-6
    found, expected = (batch(one, x, LEVELS["exploding"]) for one in (model, kept))
    np.testing.assert_allclose(found, expected, tolerance, tolerance)
    np.testing.assert_allclose(gd.Streamed(stored).mean, stored.astype(float).mean(0), 1e-6)


def test_progress_counts_two_passes(monkeypatch):
    monkeypatch.setattr("gaussdiff.distributions.streamed.BLOCK_NUMBERS", 60)
    calls = []
    gd.Streamed(POINTS, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 8) for done in range(1, 9)]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: gd.Streamed(POINTS.tolist()), TypeError, "points: .*a NumPy array.* got a list of 40.*gd.Empirical"),
        (lambda: gd.Streamed(jnp.ones((3, 2))), TypeError, "points: expected a NumPy array.* got an array of float64"),
        (lambda: gd.Streamed(POINTS[:0]), ValueError, r"points: expected shape .* N >= 1, got \(0, 2, 3\)"),
        (lambda: gd.Streamed(np.array(1.0)), ValueError, r"N >= 1, got \(\)"),
        (lambda: gd.Streamed(POINTS * np.nan), ValueError, "points: expected finite numbers, got 240 NaN"),
        (lambda: gd.Streamed(POINTS, -1.0), ValueError, "bandwidth: expected >= 0"),
        (lambda: gd.Streamed(POINTS, chunk=0), ValueError, "chunk: expected an integer >= 1, got 0"),
        (lambda: gd.Streamed(POINTS, log_weights=np.zeros(3)), ValueError, r"log_weights: expected shape \(40,\)"),
        (lambda: gd.Streamed(POINTS, log_weights=np.full(40, -np.inf)), ValueError, "log_weights: .* above -inf"),
        (lambda: gd.Streamed(POINTS, transform=lambda y: y[0]), ValueError, r"transform: .* \(40, 2, 3\) to \(2, 3\)"),
        (lambda: gd.Streamed(POINTS).denoise(X, gd.NoiseLevel(1.0, 1.0)), ValueError, "x: expected one sample"),
    ],
)
def test_bad_input_is_refused(make, error, message, unchecked):
    with pytest.raises(error, match=message):
        make()
