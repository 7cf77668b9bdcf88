"""Objectives: what is predicted, what it weighs, which levels; each against the engine or an integral."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gaussdiff as gd
from gaussdiff.denoisers.network import PREDICTIONS
from training import Config
from training.data import batches
from training.data.batches import Examples
from training.networks.condition import Condition, large, small
from training.networks.denoiser import LearnedDenoiser
from training.objective import levels
from training.objective import loss as objectives
from training.step import Trainer, gradient, mean_loss, mirrored, sometimes_hidden

SD = 0.7
VP, FLOW = gd.VariancePreserving(), gd.RectifiedFlow()
X0 = jnp.array([0.3, -1.1, 0.6])


def wave(x, c_noise):
    """A network without meaning."""
    return jnp.sin(2 * x + c_noise)


def scaled(x, level):
    """The network on unit-scale input, as a function of the level."""
    return wave(x / jnp.hypot(level.sigma, level.alpha * SD), jnp.log(level.sigma / level.alpha) / 4)


def learned(objective):
    return LearnedDenoiser(wave, SD, (3,), None, objective)  # type: ignore[arg-type]  # any callable will do


ENGINE = {
    "edm": (VP(0.4), gd.Preconditioned(wave, SD)),
    "noise": (VP(0.4), gd.FromNoisePrediction(scaled)),
    "v": (VP(0.4), gd.FromVPrediction(scaled)),
    "flow": (FLOW(0.4), gd.FromVelocity(lambda x, t: scaled(x, FLOW(t)), FLOW)),
    "score": (VP(0.4), gd.FromScore(lambda x, level: scaled(x, level) / level.sigma)),
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", ENGINE)
def test_the_engine_reads_the_same_output_as_the_same_denoiser(objective):
    level, model = ENGINE[objective]
    np.testing.assert_allclose(learned(objective).denoise(X0, level), model.denoise(X0, level), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("objective", PREDICTIONS)
def test_a_network_means_the_same_in_every_frame(objective):
    level, other = VP(0.4), FLOW(FLOW.time_at(VP(0.4).log_snr))
    scale = other.alpha / level.alpha
    ours, theirs = learned(objective).denoise(X0, level), learned(objective).denoise(scale * X0, other)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("objective", ["noise", "score"])
def test_no_clean_image_from_noise_alone(objective):
    with pytest.raises(ValueError, match=rf"{objective}.* alpha = 0.*predicts v or x0"):
        learned(objective).denoise(X0, gd.NoiseLevel(0.0, 1.0))


def errors_of(model, x, noise, level):
    """The errors that the objectives are named after, by the engine's own conversions."""
    own = gd.reframe(level, FLOW)
    y = x * jnp.hypot(own.alpha, own.sigma) / jnp.hypot(level.alpha, level.sigma)
    t = FLOW.time_at(level.log_snr)
    return {
        "x0": model.denoise(x, level) - X0,
        "noise": gd.noise(model, x, level) - noise,
        "v": gd.v_prediction(model, x, level) - (level.alpha * noise - level.sigma * X0),
        "flow": gd.velocity(model, FLOW, y, t) - (noise - X0),
        "score": level.sigma * gd.score(model, x, level) + noise,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x0", "noise", "v", "flow", "score"])
def test_each_weight_turns_the_error_of_the_clean_image_into_the_named_one(name):
    config = Config(schedule="preserving", levels="uniform-time", sigma_data=SD, objective=name)
    config = dataclasses.replace(config, weighting="output" if name in ("flow", "score") else name)
    u, key, model = jnp.float32(0.45), jax.random.key(3), learned("edm")
    level, noise = levels.at(config, u), jax.random.normal(key, (3,))
    named = errors_of(model, level.alpha * X0 + level.sigma * noise, noise, level)[name]
    found = objectives.weighted_error(config, model, X0, u, key)
    np.testing.assert_allclose(found, jnp.mean(named**2), rtol=1e-4)
    if name in PREDICTIONS:
        same = objectives.weighted_error(dataclasses.replace(config, weighting="output"), model, X0, u, key)
        np.testing.assert_allclose(found, same, rtol=1e-5)


def test_min_snr_is_the_noise_weight_until_it_stops_growing():
    config = Config(weighting="min-snr", min_snr=4.0, level_mean=float(np.log(0.5)))
    noise = dataclasses.replace(config, weighting="noise")
    u = jnp.array([0.9, 0.6, 0.5, 0.4, 0.1])  # sigma > 0.5, so snr < 4, for u > 1/2
    ours, theirs = (np.asarray(jax.vmap(lambda u, c=c: objectives.weight(c, u))(u)) for c in (config, noise))
    np.testing.assert_allclose(ours[:2], theirs[:2], rtol=1e-6)
    np.testing.assert_allclose(ours[2:], 4.0, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["preserving", "cosine", "sub-vp", "flow", "exploding", "betas"])
@pytest.mark.parametrize("spacing", ["log-normal", "uniform-time", "uniform-log-snr"])
def test_likelihood_weighting_is_one_integral_whatever_levels_are_drawn(schedule, spacing):
    """Of N(0, lam) the error is lam / (1 + lam snr), and its integral over snr is log(1 + lam snr) at the two ends."""
    config = Config(schedule=schedule, levels=spacing, weighting="likelihood", sigma_min=0.05, sigma_max=20.0)
    lam, first, last, count = 0.3, 0.001, 0.999, 20_000
    u = first + (jnp.arange(count) + 0.5) / count * (last - first)
    snr, ends = (jnp.exp(levels.at(config, at).log_snr) for at in (u, jnp.array([first, last])))
    mean = jnp.mean(jax.vmap(lambda u: objectives.weight(config, u))(u) * lam / (1 + lam * snr)) * (last - first)
    np.testing.assert_allclose(mean, np.log1p(lam * ends[0]) - np.log1p(lam * ends[1]), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["preserving", "cosine", "sub-vp", "flow", "exploding", "betas"])
def test_levels_are_where_they_are_said_to_be(schedule):
    u = jnp.linspace(0.05, 0.95, 7)
    names = ("log-normal", "uniform-time", "uniform-log-snr")
    sets = {n: Config(schedule=schedule, levels=n, sigma_min=0.05, sigma_max=20.0) for n in names}
    logs = {n: -levels.at(c, u).log_snr / 2 for n, c in sets.items()}
    drawn = np.quantile(-1.2 + 1.2 * np.random.default_rng(0).normal(size=400_000), np.asarray(u))
    np.testing.assert_allclose(logs["log-normal"], drawn, atol=0.02)  # 5 standard errors of a sample quantile
    assert np.ptp(np.diff(logs["uniform-log-snr"])) < 1e-2
    times = levels.schedule(sets["uniform-time"]).time_at(-2 * logs["uniform-time"])
    assert np.ptp(np.diff(times)) < 1e-3 * np.ptp(times) + 1e-5


def test_log_normal_levels_beyond_a_table_are_its_last_row():
    """Under jit as in training; a level of four standard deviations is beyond it, the median is not."""
    config, u = Config(schedule="betas", level_std=1.9), jnp.array([0.5, 1 - 3e-5])
    frame, level = levels.schedule(config), jax.jit(lambda u: levels.at(config, u))(u)
    assert level.log_snr[0] == pytest.approx(2.4, rel=1e-5)
    np.testing.assert_allclose(level[1].sigma, frame(1.0).sigma, rtol=1e-6)
    assert np.exp(-1.2 + 1.9 * 4) > np.exp(-frame(1.0).log_snr / 2)


def test_a_schedule_takes_parameters_of_its_own():
    def log_alpha(name, *given, t=1.0):
        config = Config(schedule=name, schedule_parameters=given, levels="uniform-time")
        return float(jnp.log(levels.schedule(config)(t).alpha))

    assert log_alpha("preserving", 0.2, 10.0) == pytest.approx(-(0.2 + 10) / 4)
    assert log_alpha("sub-vp", 0.3) == pytest.approx(-(0.3 + 20) / 4)
    assert log_alpha("cosine", 0.1, t=0.5) == pytest.approx(np.log(np.cos(0.6 / 1.1 * np.pi / 2) / np.cos(np.pi / 22)))
    assert log_alpha("betas", 1e-3, 0.1, 50) == pytest.approx(np.log(np.prod(1 - np.linspace(1e-3, 0.1, 50))) / 2)


def test_stratified_levels_hold_one_of_each_equal_part_and_stay_uniform():
    config = Config(stratified=True)
    draws = jax.vmap(lambda key: levels.quantiles(config, key, 8))(jax.random.split(jax.random.key(0), 4000))
    assert np.array_equal(np.floor(np.asarray(draws) * 8), np.tile(np.arange(8), (4000, 1)))
    # The mean of 4000 uniform offsets over 8: standard error 1 / 8 / sqrt(12 * 4000).
    assert abs(float(draws.mean()) - 0.5) < 5 / 8 / np.sqrt(12 * 4000)
    plain = levels.quantiles(Config(), jax.random.key(0), 4000)
    assert abs(float(plain.mean()) - 0.5) < 5 / np.sqrt(12 * 4000)
    assert 0 < float(plain.min()) < float(plain.max()) < 1


class Affine(nnx.Module):
    """network(x) = weight x + bias, the same at every level."""

    def __init__(self, size: int):
        self.weight, self.bias = nnx.Param(jnp.zeros((size, size))), nnx.Param(jnp.zeros(size))

    def __call__(self, x, c_noise, condition, key):
        return self.weight[...] @ x + self.bias[...]


def trained(config, x):
    """The denoiser of an affine network after training on x (N, D) by the trainer's own gradient."""
    graphdef, state = nnx.split(Affine(x.shape[1]))
    trainer = Trainer(config, graphdef, x.shape[1:], None)
    params = {"network": nnx.to_pure_dict(state)}
    count = 400

    def advance(params, i):
        key = jax.random.fold_in(jax.random.key(0), i)
        places = jax.random.randint(key, (config.batch,), 0, len(x))
        grads = gradient(trainer, params, Examples(x, None), places, key, 0)[1]
        # Robbins and Monro: steps that fall as 1 / i average the noise of the batches away.
        return jax.tree.map(lambda p, g: p - g * jnp.minimum(0.3, 20 / (i + 1)), params, grads), None

    params, _ = jax.jit(lambda params: jax.lax.scan(advance, params, jnp.arange(count)))(params)
    return trainer.model(params["network"])


@pytest.mark.slow
@pytest.mark.parametrize("objective", PREDICTIONS)
def test_a_linear_network_trained_on_a_gaussian_becomes_its_closed_form(objective):
    law = gd.Gaussian.from_moments(jnp.array([0.4, -0.2]), jnp.array([[0.9, 0.5], [0.5, 0.6]]))
    x = jax.vmap(law.sample)(jax.random.split(jax.random.key(1), 4000))
    exact = gd.Gaussian.from_samples(x)
    narrow = Config(
        data="toy-gaussian", objective=objective, schedule="preserving", levels="uniform-log-snr", batch=2000
    )
    model = trained(dataclasses.replace(narrow, sigma_min=0.9, sigma_max=0.9001, sigma_data=0.85), x)
    level = VP(VP.time_at(-2 * jnp.log(0.9)))
    at = jax.random.normal(jax.random.key(2), (50, 2))
    ours, theirs = (jax.vmap(m.denoise, in_axes=(0, None))(at, level) for m in (model, exact))
    # The estimate's own noise: about 1 / sqrt(2000 * 100) of unit-scale numbers, times a few.
    np.testing.assert_allclose(ours, theirs, atol=0.03)
    assert np.abs(at - theirs).max() > 0.5


def tiny(**changes):
    return Config(data="toy-gaussian", channels=8, blocks=1, batch=12, **changes)


@pytest.mark.slow
@pytest.mark.parametrize(("uncertainty", "labels"), [(False, None), (True, jnp.arange(12) % 3)])
def test_parts_of_a_batch_add_up_to_the_whole(uncertainty, labels):
    """The batch itself, and the same one looked up; every image of it counts once."""
    x, key = jax.random.normal(jax.random.key(0), (12, 2), jnp.float32), jax.random.key(1)
    settings = {"stratified": True, "uncertainty": uncertainty, "labels": labels is not None}
    order = jax.random.permutation(key, 12)
    examples = Examples(x, labels)
    shuffled = jax.tree.map(lambda rows: rows[jnp.argsort(order)], examples)
    initial = Trainer.create(tiny(**settings), (2,), 3).initial().params
    params, results = jax.tree.map(lambda leaf: leaf + 0.1, initial), []
    for parts, given in ((1, (examples, None)), (2, (examples, None)), (3, (shuffled, order)), (12, (examples, None))):
        trainer = Trainer.create(tiny(accumulate=parts, **settings), (2,), 3)
        one = jax.jit(lambda p, part, t=trainer, g=given: gradient(t, p, *g, key, part))
        totals = [one(params, part) for part in range(parts)]
        results.append(jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *totals))
    for other in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), results[0], other)


@pytest.mark.slow
def test_uncertainty_is_least_where_it_states_the_log_of_the_error():
    x, key = jax.random.normal(jax.random.key(0), (12, 2), jnp.float32), jax.random.key(1)
    trainer = Trainer.create(tiny(uncertainty=True), (2,), None)
    params = trainer.initial().params
    draws = (jnp.full(12, 0.3, jnp.float32), jax.random.split(key, 12))
    loss = jax.jit(lambda p: mean_loss(trainer, p, Examples(x, None), *draws))
    error = float(loss(params)[1])
    assert float(loss(params)[0]) == pytest.approx(error)  # it starts at s = 0

    def stated(s):
        return float(loss({**params, "uncertainty": {**params["uncertainty"], "bias": jnp.float32(s)}})[0])

    best = np.log(error)
    assert stated(best) == pytest.approx(1 + best, rel=1e-5)
    assert stated(best) < min(stated(best - 0.1), stated(best + 0.1))


def test_every_epoch_is_a_new_shuffle_and_batches_run_on_into_the_next():
    drawn = np.concatenate([batches.indices(7, step, 50, 20) for step in range(5)])
    first, second = drawn[:50], drawn[50:]
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(first, second)
    assert np.array_equal(batches.indices(7, 3, 50, 20), drawn[60:80])
    assert not np.array_equal(batches.indices(8, 0, 50, 20), drawn[:20])
    assert len(batches.indices(7, 0, 3, 10)) == 10  # a batch may be larger than the set


@pytest.mark.slow
def test_a_small_image_is_what_the_network_was_trained_with():
    config = Config(channels=8, groups=4, super_resolution=2)
    trainer = Trainer.create(config, (8, 8, 1), None)
    x0 = jax.random.normal(jax.random.key(0), (8, 8, 1), jnp.float32)
    model = trainer.model(trainer.abstract().ema[0])
    np.testing.assert_array_equal(
        model.given(image=small(x0, 2)).network.condition.image, trainer.condition(x0, None).image
    )
    np.testing.assert_array_equal(model.network.condition.image, np.zeros((8, 8, 1)))
    np.testing.assert_allclose(small(large(x0, 2), 2), x0, rtol=1e-6)
    assert trainer.condition(x0, None).label is None
    with pytest.raises(ValueError, match=r"image: expected one small image of shape \(4, 4, 1\), got \(8, 8, 1\)"):
        model.given(image=x0)
    plain = Trainer.create(Config(channels=8, groups=4), (8, 8, 1), None)
    with pytest.raises(ValueError, match="trained without small images; train with --super-resolution"):
        plain.model({}).given(image=small(x0, 2))
    assert plain.unconditional() == Condition(None, None)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (Config(data="toy-ring", flip=True), (2,), r"flip: expected images .* got samples of shape \(2,\)"),
        (Config(super_resolution=3), (8, 8, 1), "super_resolution: expected images whose sides are divisible by 3"),
        (Config(data="toy-ring", super_resolution=2), (2,), "super_resolution: expected images"),
        (
            Config(schedule="flow", schedule_parameters=(1.0,), levels="uniform-time"),
            (2,),
            "schedule_parameters: expected none for 'flow'",
        ),
        (
            Config(schedule="betas", schedule_parameters=(0.1, 2.0), levels="uniform-time"),
            (2,),
            "schedule_parameters: betas: expected",
        ),
        (
            Config(schedule="betas", schedule_parameters=(0.1, 0.2, 9.5), levels="uniform-time"),
            (2,),
            "schedule_parameters: count: expected a",
        ),
        (
            Config(schedule="betas", schedule_parameters=(1e-4, 0.01, 500), levels="uniform-time"),
            (2,),
            r"schedule_parameters: expected betas that reach sigma / alpha = 80, got ones that end at 3.4.*--sigma-max",
        ),
        (
            Config(schedule="cosine", schedule_parameters=(0.1, 2.0), levels="uniform-time"),
            (2,),
            r"schedule_parameters: expected at most 1 \(offset\) for 'cosine', got \(0.1, 2.0\)",
        ),
    ],
)
def test_settings_that_do_not_fit_the_data_are_named(config, shape, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Trainer.create(config, shape, None)


def test_half_of_the_images_are_mirrored_left_to_right():
    image = jnp.arange(6.0).reshape(2, 3, 1)
    drawn = jax.vmap(mirrored, in_axes=(0, None))(jax.random.split(jax.random.key(0), 2000), image)
    turned = np.array([np.array_equal(each, np.flip(image, 1)) for each in drawn])
    same = np.array([np.array_equal(each, image) for each in drawn])
    assert np.all(turned ^ same)
    assert abs(turned.mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)


def test_the_stated_share_of_labels_and_small_images_is_hidden_together():
    config = Config(channels=8, groups=4, labels=True, super_resolution=2, condition_dropout=0.2)
    trainer = Trainer.create(config, (8, 8, 1), 3)
    told = trainer.condition(jnp.ones((8, 8, 1), jnp.float32), jnp.int32(1))
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.vmap(lambda key: sometimes_hidden(trainer, key, told))(keys)
    hidden = np.asarray(drawn.label) == 3
    assert np.array_equal(np.asarray(drawn.label)[~hidden], np.ones((~hidden).sum()))
    assert np.array_equal(np.asarray(drawn.image).mean((1, 2, 3)), np.where(hidden, 0.0, 1.0))
    assert abs(hidden.mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 2000)
