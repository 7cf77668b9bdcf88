"""One step: the average of the weights, the batches, the learning rate, float32 throughout."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gaussdiff import NoiseLevel
from training import Config
from training.data.batches import Examples, indices
from training.optimizer import average, learning_rate
from training.step import Trainer, gradient, update_by

TINY = Config(data="toy-gaussian", channels=8, blocks=1, batch=16, warmup=2)


def place(config, step):
    """Which of the 50 examples a step takes."""
    return jnp.asarray(indices(config.seed, step, 50, config.batch))


@cache
def advance(config, steps):
    """The states after each of `steps` steps, on the host because a step takes its state's memory, and the losses."""
    examples = Examples(jax.random.normal(jax.random.key(0), (50, 2), jnp.float32), None)
    trainer = Trainer.create(config, (2,), None)
    state = trainer.initial()
    step = trainer.compiled_step(state, examples, place(config, 0))
    states, losses = [], []
    for _ in range(steps):
        state, loss = step(state, examples, place(config, len(losses)))
        states.append(jax.tree.map(np.array, state))
        losses.append(float(loss))
    return states, losses


@pytest.mark.slow
def test_averages_equal_the_weights_at_step_0_and_follow_their_recursion():
    config = dataclasses.replace(TINY, ema_half_lives=(10_000.0, 5.0))
    state = Trainer.create(config, (2,), None).initial()
    states, _ = advance(config, 4)
    for i, half_life in enumerate(config.ema_half_lives):
        jax.tree.map(np.testing.assert_array_equal, state.params["network"], state.ema[i])
        expected = np.array(jax.tree.leaves(state.ema[i])[0], np.float64)
        for n, each in enumerate(states):
            decay = min(0.5 ** (config.batch / half_life), (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * jax.tree.leaves(each.params["network"])[0]
            np.testing.assert_allclose(jax.tree.leaves(each.ema[i])[0], expected, rtol=1e-5, atol=1e-7)
    assert 0.5 ** (16 / 5) > 1 / 10  # the shorter half-life is what limits it, from the third step on
    assert np.abs(jax.tree.leaves(states[-1].ema[0])[0] - jax.tree.leaves(states[-1].ema[1])[0]).max() > 1e-6


def test_average_of_constant_weights_is_those_weights_and_decay_has_its_ceiling():
    params = {"w": jnp.full(3, 2.0, jnp.float32)}
    ema = {"w": jnp.zeros(3, jnp.float32)}
    late = average(ema, params, jnp.int32(10**6), 0.9)
    np.testing.assert_allclose(late["w"], 0.2, rtol=1e-5)
    np.testing.assert_array_equal(average(params, params, jnp.int32(5), 0.9)["w"], params["w"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_everything_stays_float32_and_the_step_counts(dtype):
    states, _ = advance(dataclasses.replace(TINY, dtype=dtype), 4)
    assert int(states[-1].step) == 4
    assert {leaf.dtype.name for leaf in jax.tree.leaves((states[-1].params, states[-1].ema))} == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(states[-1].opt_state)} == {"float32", "int32"}


@pytest.mark.slow
def test_a_step_depends_on_seed_and_step_alone():
    one, other = advance(TINY, 4), advance.__wrapped__(TINY, 4)
    assert one[1] == other[1]
    jax.tree.map(np.testing.assert_array_equal, one[0][-1], other[0][-1])
    assert advance(dataclasses.replace(TINY, seed=1), 1)[1] != one[1][:1]
    assert len(set(one[1])) == 4


@pytest.mark.slow
def test_a_step_in_parts_is_the_step():
    (whole, losses), (parted, others) = advance(TINY, 2), advance(dataclasses.replace(TINY, accumulate=4), 2)
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    for one, other in zip(*map(jax.tree.leaves, (whole[-1].opt_state, parted[-1].opt_state)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_untrained_loss_is_one_on_data_of_the_stated_scale():
    # D = c_skip x is the Wiener filter, whose EDM-weighted error is 1 / sigma_data^2 * sigma_data^2 = 1 at every level.
    config = dataclasses.replace(TINY, batch=4096, sigma_data=2.0)
    trainer = Trainer.create(config, (2,), None)
    data = Examples(2 * jax.random.normal(jax.random.key(1), (4096, 2), jnp.float32), None)
    losses = jax.jit(lambda params, key: gradient(trainer, params, data, None, key, 0)[0])
    loss = float(losses(trainer.initial().params, jax.random.key(2)))
    # Each of 4096 terms is a mean of 2 squared normals about 1: standard error sqrt(2 / 2 / 4096) = 0.016, and the
    # data set's own variance varies by as much; 5 of both.
    assert abs(loss - 1) < 5 * 0.016 * np.sqrt(2)


def test_learning_rate_rises_holds_and_falls_as_the_root():
    config = Config(learning_rate=1.0, warmup=10, hold=90)
    rate = [float(learning_rate(config, n)) for n in (0, 4, 9, 50, 99, 399)]
    np.testing.assert_allclose(rate, [0.1, 0.5, 1, 1, 1, 0.5], rtol=1e-5)


def test_learning_rate_falls_as_a_cosine_to_zero_or_stays():
    cosine = Config(learning_rate=2.0, warmup=10, hold=90, steps=200, decay="cosine")
    np.testing.assert_allclose([float(learning_rate(cosine, n)) for n in (99, 149, 199)], [2, 1, 0], atol=1e-6)
    constant = dataclasses.replace(cosine, decay="constant")
    np.testing.assert_allclose([float(learning_rate(constant, n)) for n in (4, 10**6)], [1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-3, 10.0])
def test_updates_are_adam_of_clipped_gradients_with_decoupled_decay(size):
    """Two steps, in NumPy: Loshchilov & Hutter, arXiv 1711.05101, algorithm 2."""
    config = dataclasses.replace(TINY, clip=0.5, weight_decay=0.3, learning_rate=0.01, accumulate=1)
    trainer = Trainer.create(config, (2,), None)
    state, rng, update = trainer.initial(), np.random.default_rng(0), jax.jit(partial(update_by, trainer))
    leaves, tree = jax.tree.flatten(state.params)
    weights = [np.array(leaf, np.float64) for leaf in leaves]
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for n in (1, 2):
        grads = [size * n * rng.normal(size=w.shape) for w in weights]
        told = jax.tree.unflatten(tree, [jnp.asarray(g, jnp.float32) for g in grads])
        state, _ = update(state, (jnp.float32(1), told))
        shrink = min(1, 0.5 / np.sqrt(sum((g**2).sum() for g in grads)))
        assert (shrink == 1) == (size == 1e-3)
        rate = 0.01 * min(1, n / config.warmup)
        for i, g in enumerate(grads):
            first[i] = 0.9 * first[i] + 0.1 * shrink * g
            second[i] = 0.99 * second[i] + 0.01 * (shrink * g) ** 2
            move = first[i] / (1 - 0.9**n) / (np.sqrt(second[i] / (1 - 0.99**n)) + 1e-8)
            weights[i] = weights[i] - rate * (move + 0.3 * weights[i])
    for leaf, expected in zip(jax.tree.leaves(state.params), weights, strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_labels_are_learned():
    # Class 0 sits at -1 and class 1 at +1: after some steps the two conditional denoisers must disagree by about that.
    config = Config(data="toy-gaussian", labels=True, channels=16, blocks=1, batch=64, warmup=5, learning_rate=1e-2)
    labels = jnp.arange(64, dtype=jnp.int32) % 2
    data = Examples((2.0 * labels[:, None] - 1).astype(jnp.float32) * jnp.ones((1, 2), jnp.float32), labels)
    trainer = Trainer.create(config, (2,), 2)
    state = trainer.initial()
    step = trainer.compiled_step(state, data, jnp.arange(64))
    for _ in range(200):
        state, _ = step(state, data, jnp.arange(64))
    model, level, x = trainer.model(state.ema[0]), NoiseLevel(1.0, 2.0), jnp.zeros(2, jnp.float32)
    low, high, both = (m.denoise(x, level) for m in (model.given(0), model.given(1), model))
    assert np.all(np.asarray(high - low) > 1)
    assert np.all(np.abs(np.asarray(both)) < 0.5)
