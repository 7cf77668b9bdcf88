"""Half precision, integers and booleans: what comes in as these is computed in float32, as if it had come in so."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff import conversions

LEVEL, CLEAN, KEY = gd.NoiseLevel(0.8, 0.6), gd.NoiseLevel(1.0, 0.0), jax.random.key(0)
GRID, VE = gd.grids.karras(3, sigma_max=500.0), gd.VarianceExploding(500.0)
GAUSSIAN = zoo.cast(zoo.GAUSSIAN.model)
# a standard deviation of 300: its square is beyond float16
POINTS = np.round(np.random.default_rng(0).normal(size=(12, 3)) * 300)
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "int32": np.int32, "bool": np.bool_}


def mixture(x, rank=None):
    return gd.GaussianMixture.from_samples(x, 2, rank, key=KEY)


MIXTURE = mixture(POINTS.astype(np.float32))

# name -> a function of samples (12, 3)
HOST = {
    "from_samples": gd.Gaussian.from_samples,
    "low_rank": lambda x: gd.Gaussian.from_samples(x, rank=1),
    "from_moments": lambda x: gd.Gaussian.from_moments(x[0], np.diag(np.abs(x[1].astype(np.float32))).astype(x.dtype)),
    "isotropic": lambda x: gd.Gaussian.isotropic(x[0], abs(x[0, 0])),
    "diagonal": gd.Diagonal.from_samples,
    "mixture": mixture,
    "mixture_of_labels": lambda x: gd.GaussianMixture.from_labels(x, np.arange(12) % 2),
    "data_set": lambda x: gd.Empirical(x, 1.0),
    "truncated": lambda x: gd.Truncated(gd.Empirical(x)).full,
    "moments": lambda x: gd.fitting.Moments.of(x).gaussian(),
    "ledoit_wolf": gd.fitting.ledoit_wolf,
    "level": lambda x: gd.NoiseLevel(abs(x[0].astype(np.float32)).astype(x.dtype), x.dtype.type(1)),
    "frechet": lambda x: gd.metrics.frechet_distance(x[:6], x[6:]),
    "kernel": lambda x: gd.metrics.kernel_distance(x[:6], x[6:]),
    "mmd": lambda x: gd.metrics.mmd(x[:6], x[6:], 300.0),
    "median": gd.metrics.median_distance,
    "sliced": lambda x: gd.metrics.sliced_wasserstein(x[:6], x[6:], KEY),
    "explained": lambda x: gd.metrics.explained_variance(x, x[::-1]),
    "nearest": lambda x: gd.metrics.nearest_distances(x[:6], x[6:]),
    "precision": lambda x: gd.metrics.precision_recall(x[:6], x[6:]),
    "path_distance": lambda x: gd.exact.path_distance(x[:6], x[6:]),
    "chord": gd.exact.chord_deviation,
    "plane": lambda x: gd.exact.best_plane(x).shares,
    "participation": lambda x: gd.exact.participation_ratio(abs(x[0])),
    "emergence": lambda x: gd.emergence(abs(x[0])),
    "commitment": lambda x: gd.commitment(abs(x[0]), LEVEL),
    "information": lambda x: gd.exact.information(abs(x[0]), LEVEL),
    "clean": lambda x: gd.add_noise(KEY, x[0], CLEAN),
    "gaussian": lambda x: (GAUSSIAN.denoise(x[0], LEVEL), GAUSSIAN.log_prob(x[0], LEVEL), GAUSSIAN.score(x[0], LEVEL)),
    "score": lambda x: gd.score(GAUSSIAN, x[0], LEVEL),
    "noise": lambda x: gd.noise(GAUSSIAN, x[0], LEVEL),
    "v": lambda x: gd.v_prediction(GAUSSIAN, x[0], LEVEL),
    "velocity": lambda x: gd.velocity(GAUSSIAN, VE, x[0], 2.0),
    "flow": lambda x: gd.gaussian_flow(GAUSSIAN, x[0], LEVEL, CLEAN),
    "clipped": lambda x: gd.Clipped(GAUSSIAN, -500.5, 500.5).denoise(x[0], LEVEL),
    "thresholded": lambda x: gd.Thresholded(GAUSSIAN, 0.9, -100.5, 100.5).denoise(x[0], LEVEL),
    "guided": lambda x: gd.Guided(GAUSSIAN, GAUSSIAN, 2.0).denoise(x[0], LEVEL),
    "network": lambda x: gd.FromVPrediction(lambda x, level: x / 2).denoise(x[0], LEVEL),
    "noise_from_x0": lambda x: conversions.noise_from_x0(x[0], x[1], LEVEL),
    "x0_from_noise": lambda x: conversions.x0_from_noise(x[0], x[1], LEVEL),
    "score_from_x0": lambda x: conversions.score_from_x0(x[0], x[1], LEVEL),
    "x0_from_score": lambda x: conversions.x0_from_score(x[0], x[1], LEVEL),
    "v_from_x0": lambda x: conversions.v_from_x0(x[0], x[1], LEVEL),
    "x0_from_v": lambda x: conversions.x0_from_v(x[0], x[1], LEVEL),
    "velocity_from_x0": lambda x: conversions.velocity_from_x0(x[0], x[1], VE, 2.0),
    "x0_from_velocity": lambda x: conversions.x0_from_velocity(x[0], x[1], VE, 2.0),
}  # fmt: skip

# what is compiled: traced alone, since the dtype of what is computed says all
TRACED = {
    "sample": lambda x: gd.sample(gd.Heun(), GAUSSIAN, x[0], GRID).x,
    "invert": lambda x: gd.samplers.invert(gd.Heun(), GAUSSIAN, x[0], GRID).x,
    "probability_flow": lambda x: gd.probability_flow(GAUSSIAN, VE, x[0], [9.0, 1.0]).x,
    "reverse_sde": lambda x: gd.reverse_sde(GAUSSIAN, VE, x[0], [9.0, 1.0], key=KEY, step=0.5).x,
    "log_likelihood": lambda x: gd.log_likelihood(GAUSSIAN, VE, x[0]).value,
    "elbo": lambda x: gd.integrate.elbo(GAUSSIAN, x[0], GRID[:-1], KEY).value,
    "loss": lambda x: gd.losses.denoising_loss(GAUSSIAN, x[0], LEVEL, KEY),
    "mixture": lambda x: MIXTURE.denoise(x[0], LEVEL),
    "data_set": lambda x: gd.Empirical(x).denoise(x[0], LEVEL),
    "local": lambda x: gd.LocalScore(x.reshape(3, 2, 2, 3), 1).denoise(x[:4].reshape(2, 2, 3), LEVEL),
}


def numbers(answer):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(answer)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@zoo.over(HOST, "call")
def test_answers_are_those_of_the_same_numbers_in_float32(call, dtype, unchecked):
    x = POINTS.astype(DTYPES[dtype])
    try:
        expected = call(x.astype(np.float32))
    except ValueError as error:  # booleans may have no variance: then they have none either way
        with pytest.raises(ValueError, match=str(error).split(":")[0]):
            call(x)
        return
    answer = call(x)
    for ours, theirs in zip(numbers(answer), numbers(expected), strict=True):
        assert np.isfinite(ours).all() == np.isfinite(theirs).all()
        np.testing.assert_allclose(
            ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max(initial=0, where=np.isfinite(theirs))
        )
    assert not {str(leaf.dtype) for leaf in jax.tree.leaves(answer) if hasattr(leaf, "dtype")} & {"float16", "bfloat16"}


@pytest.mark.parametrize("dtype", DTYPES)
@zoo.over(TRACED, "call")
def test_what_is_compiled_is_computed_in_float32_or_more(call, dtype, unchecked):
    answer = jax.eval_shape(lambda: call(POINTS.astype(DTYPES[dtype])))
    assert answer.dtype in (jnp.float32, jnp.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_starts_from_them(dtype):
    x = POINTS[:2].astype(DTYPES[dtype])
    ends = gd.sample_batch(gd.Euler(), GAUSSIAN, GRID, starts=x)
    np.testing.assert_allclose(
        ends, gd.sample_batch(gd.Euler(), GAUSSIAN, GRID, starts=x.astype(np.float32)), rtol=1e-4
    )
    assert ends.dtype in (np.float32, np.float64)


def test_a_law_of_half_precision_in_a_file_is_computed_in_float32(tmp_path):
    law = jax.tree.map(lambda leaf: leaf.astype(np.float16), GAUSSIAN)
    gd.save(tmp_path / "law.npz", law)
    assert {leaf.dtype for leaf in jax.tree.leaves(gd.load(tmp_path / "law.npz"))} == {np.dtype(np.float32)}


def test_a_traced_variance_of_half_precision_spaces_angles_in_float32(unchecked):
    variance = np.float16(0.3)
    angles = jax.jit(lambda variance: gd.grids.uniform_angles(4, variance).sigma)
    np.testing.assert_allclose(angles(variance), angles(np.float32(variance)), rtol=1e-6)
