"""x0, noise, score, v and velocity: each from the others, and networks that predict any of them as denoisers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff import conversions

PAIRS = {
    "noise": (conversions.noise_from_x0, conversions.x0_from_noise),
    "score": (conversions.score_from_x0, conversions.x0_from_score),
    "v": (conversions.v_from_x0, conversions.x0_from_v),
}
# where x0 can be read back off a float32 noise prediction at all: rounding of x is below alpha x0
LEGIBLE = {name: zoo.LEVELS[name] for name in ("variance_preserving", "sub_variance_preserving", "exploding", "shrunk")}
MODEL = zoo.MIXTURE.model


def sample_pair(level):
    keys = jax.random.split(jax.random.key(0))
    x0, noise = (jax.random.normal(key, (3,)) for key in keys)
    return x0, noise, level.alpha * x0 + level.sigma * noise


@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float64, 1e-12), (jnp.float32, 1e-5)], ids=["float64", "float32"])
@zoo.over(LEGIBLE, "level")
@pytest.mark.parametrize("kind", PAIRS)
def test_round_trip(kind, level, dtype, rtol):
    to, back = PAIRS[kind]
    level = zoo.cast(level, dtype)
    x0, _, x = (value.astype(dtype) for value in sample_pair(level))
    returned = back(to(x0, x, level), x, level)
    assert returned.dtype == dtype
    np.testing.assert_allclose(returned, x0, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("at", zoo.LEVELS)
def test_v_round_trips_at_every_level(at):
    """At alpha = 0, at sigma = 0, and for huge and tiny noise, in float32."""
    level = zoo.cast(zoo.LEVELS[at])
    x0, _, x = (value.astype(jnp.float32) for value in sample_pair(level))
    v = conversions.v_from_x0(x0, x, level)
    # an error in v of a rounding is divided by hypot(alpha, sigma)
    scale = max(1.0, float(jnp.max(jnp.abs(v))) / float(jnp.hypot(level.alpha, level.sigma)))
    np.testing.assert_allclose(conversions.x0_from_v(v, x, level), x0, atol=1e-5 * min(scale, 10))


@zoo.over(zoo.BOTH, "level")
def test_conversions_are_those_of_the_definitions(level):
    """From x = alpha x0 + sigma noise: the noise, its score -noise / sigma, and v = alpha noise - sigma x0."""
    x0, noise, x = sample_pair(level)
    loss = float(jnp.max(jnp.abs(x))) * 1e-15 / float(level.sigma)  # x holds the noise to this
    np.testing.assert_allclose(conversions.noise_from_x0(x0, x, level), noise, rtol=1e-12, atol=loss)
    score = conversions.score_from_x0(x0, x, level) * level.sigma
    np.testing.assert_allclose(score, -noise, rtol=1e-12, atol=loss)
    expected = level.alpha * noise - level.sigma * x0
    np.testing.assert_allclose(conversions.v_from_x0(x0, x, level), expected, rtol=1e-12, atol=loss)


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_velocity_is_the_time_derivative_of_a_fixed_pair(case):
    x0, noise, _ = sample_pair(gd.NoiseLevel(1.0, 1.0))
    t = jnp.array(0.3337)
    place = lambda t: case(t).alpha * x0 + case(t).sigma * noise  # noqa: E731
    expected, x = jax.jacfwd(place)(t), place(t)
    velocity = conversions.velocity_from_x0(x0, x, case, t)
    np.testing.assert_allclose(velocity, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(conversions.x0_from_velocity(velocity, x, case, t), x0, rtol=1e-11)
    single = conversions.x0_from_velocity(*zoo.cast((velocity, x, case, t)))
    np.testing.assert_allclose(single, x0, rtol=1e-4)


def test_questions_to_a_model_agree_with_each_other():
    level, x = gd.NoiseLevel(0.8, 0.36), jnp.array([0.3, -1.0, 2.0])
    x0 = MODEL.denoise(x, level)
    noise, score, v = (question(MODEL, x, level) for question in (gd.noise, gd.score, gd.v_prediction))
    np.testing.assert_allclose(level.alpha * x0 + level.sigma * noise, x, rtol=1e-13)
    np.testing.assert_allclose(score, -noise / level.sigma, rtol=1e-13)
    np.testing.assert_allclose(v, level.alpha * noise - level.sigma * x0, rtol=1e-13)


@pytest.mark.slow
@zoo.over(zoo.BOTH, "level")
def test_networks_that_predict_something_else_reproduce_the_denoiser(level):
    x = zoo.MIXTURE.x(level)[0]
    expected = MODEL.denoise(x, level)
    wrappers = (
        gd.FromNoisePrediction(lambda x, level: gd.noise(MODEL, x, level)),
        gd.FromScore(lambda x, level: gd.score(MODEL, x, level)),
        gd.FromVPrediction(lambda x, level: gd.v_prediction(MODEL, x, level)),
    )
    for wrapper in wrappers:
        loss = 1e-15 * float(jnp.max(jnp.abs(x)) / level.alpha)
        got = wrapper.denoise(x, level)
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=10 * loss, err_msg=type(wrapper).__name__)


@pytest.mark.parametrize("at", ["pure_noise", "clean"])
def test_a_v_prediction_serves_both_ends(at):
    level = zoo.LEVELS[at]
    x = zoo.MIXTURE.x(level)[0]
    wrapper = gd.FromVPrediction(lambda x, level: gd.v_prediction(MODEL, x, level))
    np.testing.assert_allclose(wrapper.denoise(x, level), MODEL.denoise(x, level), rtol=1e-12)


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_a_flow_matching_network_serves_every_frame(case):
    """Its own schedule's level, and the same noise in the frames alpha = 1 and alpha^2 + sigma^2 = 1."""
    wrapper = gd.FromVelocity(lambda x, t: gd.velocity(MODEL, case, x, t), case)
    for log_snr in (-3.0, 0.5, 4.0):
        own = case(case.time_at(log_snr))
        unit = 1 / jnp.hypot(own.alpha, own.sigma)
        for scale in (1.0, 1 / own.alpha, unit):
            level = gd.NoiseLevel(scale * own.alpha, scale * own.sigma)
            x = zoo.MIXTURE.x(level)[0]
            np.testing.assert_allclose(wrapper.denoise(x, level), MODEL.denoise(x, level), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("wrap", [gd.FromNoisePrediction, gd.FromScore])
def test_without_signal_a_noise_prediction_raises_and_names_the_cure(wrap):
    """Eagerly and inside jit; and nowhere else."""
    model, x = wrap(lambda x, level: x), jnp.ones(3)
    denoise = eqx.filter_jit(lambda level: model.denoise(x, level))
    nothing, something = gd.NoiseLevel(0.0, 1.0), gd.NoiseLevel(1e-3, 1.0)
    with pytest.raises(ValueError, match=r"alpha > 0.*got alpha = 0.*predicts v or x0"):
        model.denoise(x, nothing)
    with pytest.raises(RuntimeError, match=r"alpha > 0.*got alpha = 0.*predicts v or x0"):
        jax.block_until_ready(denoise(nothing))
    np.testing.assert_allclose(denoise(something), model.denoise(x, something))


def test_preconditioning_of_a_gaussian_is_its_own_denoiser():
    """With a network that answers 0 and data of variance sigma_data^2, c_skip x is the posterior mean, in any frame."""
    gaussian = gd.Gaussian.isotropic(jnp.zeros(3), 0.7**2)
    model = gd.Preconditioned(lambda x, c: jnp.zeros_like(x), 0.7)
    for level in zoo.LEVELS.values():
        x = jnp.array([0.3, -1.0, 2.0])
        np.testing.assert_allclose(model.denoise(x, level), gaussian.denoise(x, level), rtol=1e-13)


@pytest.mark.parametrize("at", zoo.NOISY)
def test_preconditioning_feeds_and_asks_for_unit_scale(at):
    """Over x0 ~ N(0, sd^2) and noise, the input of the network and the output that would be right have variance 1."""
    level, sd = zoo.LEVELS[at], 0.7
    seen = []
    model = gd.Preconditioned(lambda x, c: seen.append((x, c)) or jnp.zeros_like(x), sd)
    rng = np.random.default_rng(0)
    x0, noise = jnp.asarray(sd * rng.normal(size=20_000)), jnp.asarray(rng.normal(size=20_000))
    x = level.alpha * x0 + level.sigma * noise
    skip = model.denoise(x, level)
    c_out = gd.Preconditioned(lambda x, c: jnp.ones_like(x), sd).denoise(x, level)[0] - skip[0]
    variance = 5 * np.sqrt(2 / 20_000)  # 5 standard errors: one seed in a million
    assert float(jnp.var(seen[0][0])) == pytest.approx(1, abs=variance)
    if at != "tiny":  # there x0 - c_skip x is 1e-6 of x0: rounding
        assert float(jnp.var((x0 - skip) / c_out)) == pytest.approx(1, abs=variance)
    assert float(seen[0][1]) == pytest.approx(float(jnp.clip(-level.log_snr / 8, -4, 4)))


def test_preconditioning_in_another_frame_is_the_same_network():
    """denoise(x, alpha, sigma) = denoise(x / alpha, 1, sigma / alpha)."""
    model = gd.Preconditioned(lambda x, c: jnp.sin(x + c), 0.5)
    x = jnp.array([0.3, -1.0])
    scaled = model.denoise(x / 0.8, gd.NoiseLevel(1.0, 0.36 / 0.8))
    np.testing.assert_allclose(model.denoise(x, gd.NoiseLevel(0.8, 0.36)), scaled, rtol=1e-13)
