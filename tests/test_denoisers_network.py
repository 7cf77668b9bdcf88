"""What a network may predict, and the x0 that follows: the table against the linear equations that define its rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff import conversions
from gaussdiff.denoisers.network import PREDICTIONS, coefficients, error_weight, unit_input

SD = 0.7
# prediction -> (a, b) of the output a x0 + b noise at (alpha, sigma)
OUTPUTS = {
    "x0": lambda alpha, sigma: (1, 0),
    "noise": lambda alpha, sigma: (0, 1),
    "score": lambda alpha, sigma: (0, -1),
    "v": lambda alpha, sigma: (-sigma / np.hypot(alpha, sigma), alpha / np.hypot(alpha, sigma)),
    "flow": lambda alpha, sigma: (-1, 1),
}
# an error in the 16th digit of x is one of 1 / alpha times that in x0
TAME = {name: level for name, level in zoo.BOTH.items() if 1e-4 < float(level.sigma / level.alpha) < 1e4}


@zoo.over(TAME, "level")
@pytest.mark.parametrize("prediction", OUTPUTS)
def test_x0_solves_the_equations_of_x_and_the_output(prediction, level):
    """[alpha sigma; a b] (x0, noise) = (x, output), by Gaussian elimination."""
    alpha, sigma = float(level.alpha), float(level.sigma)
    x, output = 0.3, -1.7
    x0, _ = np.linalg.solve([[alpha, sigma], OUTPUTS[prediction](alpha, sigma)], [x, output])
    skip, gain = coefficients(prediction, level)
    np.testing.assert_allclose(skip * x + gain * output, x0, rtol=1e-9)


@zoo.over(zoo.BOTH, "level")
def test_the_output_of_edm_is_white_beside_its_input(level):
    """Over x0 ~ N(0, sigma_data^2) and noise, (c_in x, output) has the covariance I, which leaves only its sign."""
    skip, gain = (np.longdouble(value) for value in coefficients("edm", level, SD))
    alpha, sigma = np.longdouble(level.alpha), np.longdouble(level.sigma)
    c_in = np.longdouble(unit_input(jnp.ones(1), level, SD)[0][0])
    # output = (x0 - skip x) / gain; 1 - skip alpha loses its digits at small noise, times a gain as small
    rows = np.array([[c_in * alpha, c_in * sigma], [(1 - skip * alpha) / gain, -skip * sigma / gain]])
    rows = rows * np.array([SD, 1])
    lost = 1e-15 * float(alpha / sigma) ** 2 if alpha > sigma else 0
    np.testing.assert_allclose((rows @ rows.T).astype(float), np.eye(2), atol=1e-12 + lost)
    assert gain > 0


def test_every_row_is_tested():
    assert set(PREDICTIONS) == {*OUTPUTS, "edm"}


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@zoo.over(TAME, "level")
def test_the_wrappers_are_the_conversions(level, dtype):
    """Two ways to write x0: skip x + gain output, and the quotient of the conversions module."""
    level = zoo.cast(level, dtype)
    x = jnp.array([0.3, -1.1, 0.6], dtype)
    output = jnp.sin(3 * x)
    wrappers = {
        gd.FromNoisePrediction: conversions.x0_from_noise,
        gd.FromScore: conversions.x0_from_score,
        gd.FromVPrediction: conversions.x0_from_v,
    }
    largest = float(jnp.finfo(dtype).eps * (1 + level.sigma) ** 2 / level.alpha)
    for wrap, x0_from in wrappers.items():
        x0 = wrap(lambda x, level: output).denoise(x, level)
        assert x0.dtype == dtype
        np.testing.assert_allclose(x0, x0_from(output, x, level), rtol=4 * largest, atol=4 * largest)


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_the_wrapper_of_a_velocity_is_the_conversion(case):
    x, t = jnp.array([0.3, -1.1, 0.6]), 0.37
    level = case(t)
    x0 = gd.FromVelocity(lambda x, t: jnp.sin(3 * x), case).denoise(x, level)
    np.testing.assert_allclose(x0, conversions.x0_from_velocity(jnp.sin(3 * x), x, case, t), rtol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_weight_makes_an_error_of_x0_one_of_the_output(prediction):
    level = gd.NoiseLevel(0.8, 0.36)
    skip, gain = coefficients(prediction, level, SD)
    x0 = jnp.array([0.3, -1.0])
    error = error_weight(prediction, level, SD) * jnp.sum((skip * 0.2 + gain * x0 - skip * 0.2) ** 2)
    np.testing.assert_allclose(error, jnp.sum(x0**2), rtol=1e-12)


@pytest.mark.parametrize("prediction", ["x0", "v", "flow", "edm"])
@pytest.mark.parametrize("at", ["pure_noise", "clean"])
def test_the_other_predictions_serve_both_ends(prediction, at):
    """Also inside jit and under a gradient: nothing is divided by 0."""

    def x0(level):
        skip, gain = coefficients(prediction, level, SD)
        return skip * 0.3 + gain * 0.7

    level = zoo.LEVELS[at]
    assert np.isfinite(jax.jit(x0)(level))
    assert all(np.isfinite(slope) for slope in jax.tree.leaves(jax.grad(x0)(level)))
    if at == "clean":
        skip, gain = coefficients(prediction, level, SD)
        assert (float(skip), float(gain)) == ((0, 1) if prediction == "x0" else (1, 0))
