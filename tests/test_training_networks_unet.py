"""The networks: shapes, one sample = one of a batch, gradients everywhere, what they are told, errors of size."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gaussdiff as gd
from training import Config
from training.networks.build import build, initial_params, skeleton
from training.networks.condition import Condition
from training.step import Trainer

IMAGES = Config(channels=8, channel_mult=(1, 2), attention=(4,), groups=4, labels=True)
VECTORS = Config(data="toy-ring", channels=16, blocks=2, labels=True)
TOKENS = Config(network="dit", channels=16, blocks=2, labels=True)
CASES = [
    pytest.param(IMAGES, (8, 4, 1), id="unet"),
    pytest.param(VECTORS, (2,), id="mlp"),
    pytest.param(TOKENS, (8, 4, 3), id="dit"),
]


@cache
def random_model(config, shape, classes=3):
    """A model whose weights are all away from zero, as after some training."""
    params, draws = skeleton(config, shape, classes)[1], np.random.default_rng(0)
    drawn = jax.tree.map(lambda leaf: jnp.asarray(0.2 * draws.normal(size=leaf.shape), leaf.dtype), params)
    return Trainer.create(config, shape, classes).model(drawn)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_untrained_network_is_the_best_multiple_of_x(config, shape):
    trainer = Trainer.create(config, shape, 3)
    model = trainer.model(trainer.initial().ema[0])
    x, sigma = jax.random.normal(jax.random.key(1), shape, jnp.float32), 0.7
    shrink = config.sigma_data**2 / (config.sigma_data**2 + sigma**2)
    denoised = jax.jit(type(model).denoise)(model, x, gd.NoiseLevel(1.0, sigma))
    np.testing.assert_allclose(denoised, shrink * x, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_batch_equals_loop_and_dtype_is_kept(config, shape):
    model, level = random_model(config, shape), gd.NoiseLevel(1.0, 0.5)
    x = jax.random.normal(jax.random.key(1), (3, *shape), jnp.float32)
    batched = jax.jit(jax.vmap(type(model).denoise, in_axes=(None, 0, None)))(model, x, level)
    ask = jax.jit(type(model).denoise)
    looped = jnp.stack([ask(model, each, level) for each in x])
    assert batched.dtype == jnp.float32
    np.testing.assert_allclose(batched, looped, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_gradient_reaches_every_parameter(config, shape):
    model, level = random_model(config, shape), gd.NoiseLevel(1.0, 0.5)
    x = jax.random.normal(jax.random.key(1), (4, *shape), jnp.float32)

    @jax.jit
    def gradient(params):
        def loss(params):
            tuned = dataclasses.replace(model, network=dataclasses.replace(model.network, params=params))
            labels = jnp.arange(4)
            return jax.vmap(lambda x, label: (given(tuned, label).denoise(x, level) ** 2).sum())(x, labels).sum()

        return jax.grad(loss)(params)

    # Labels 0 .. 2 and 3, which stands for "no label": every row of the embedding is asked for.
    def given(tuned, label):
        return dataclasses.replace(tuned, network=dataclasses.replace(tuned.network, condition=Condition(label)))

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(model.network.params)):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_label_changes_the_answer_and_nothing_is_traced_again(config, shape):
    model, x, level, traces = random_model(config, shape), jnp.ones(shape, jnp.float32), gd.NoiseLevel(1.0, 0.5), []

    @jax.jit
    def ask(model, x):
        traces.append(1)
        return model.denoise(x, level)

    answers = [ask(each, x) for each in (model, model.given(0), model.given(2))]
    assert len(traces) == 1
    for i in range(3):
        assert np.abs(answers[i] - answers[i - 1]).max() > 1e-4
    stacked = jax.jit(jax.vmap(lambda label: model.given(label).denoise(x, level)))(jnp.array([0, 2]))
    np.testing.assert_allclose(stacked, jnp.stack(answers[1:]), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_bad_labels_are_named():
    model = random_model(VECTORS, (2,))
    with pytest.raises(ValueError, match="0 <= label < 3, got 3"):
        model.given(3)
    with pytest.raises(TypeError, match="one integer"):
        model.given(jnp.array([0, 1]))
    with pytest.raises(TypeError, match="one integer"):
        model.given(0.5)
    plain = random_model(dataclasses.replace(VECTORS, labels=False), (2,), None)
    with pytest.raises(ValueError, match="trained without labels"):
        plain.given(0)
    with pytest.raises(ValueError, match="labels: expected a data set with labels"):
        skeleton(VECTORS, (2,), None)


def test_a_batch_is_refused_with_the_cure():
    with pytest.raises(ValueError, match="vmap"):
        random_model(VECTORS, (2,)).denoise(jnp.ones((5, 2)), gd.NoiseLevel(1.0, 1.0))


def test_equal_settings_give_equal_graphs_and_the_same_structure():
    one, other = skeleton(VECTORS, (2,), 3), skeleton(VECTORS, (2,), 3)
    assert one[0] == other[0]
    assert hash(one[0]) == hash(other[0])
    params = initial_params(VECTORS, (2,), 3, jax.random.key(0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), one[1]
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        ({"channel_mult": (1, 2, 2, 2, 2)}, (8, 8, 1), "channel_mult: 5 resolutions"),
        ({}, (9, 8, 1), "sides divisible by 2, got images 9 x 8"),
        ({"groups": 3}, (8, 8, 1), "groups: expected a divisor"),
        ({"attention": (5,)}, (8, 8, 1), r"attention: expected heights among \[8, 4\]"),
        ({"network": "unet"}, (8,), r"network: a U-Net expects images \(H, W, C\), got samples of shape \(8,\)"),
        ({"network": "mlp"}, (8, 8, 1), r"network: an MLP expects vectors \(D,\), got samples of shape \(8, 8, 1\)"),
        ({"network": "dit"}, (8,), r"network: a transformer expects images \(H, W, C\), got samples of shape \(8,\)"),
        ({"network": "dit", "patch": 3}, (9, 8, 1), "patch: expected a divisor of both sides, got 3 for images 9 x 8"),
        ({"network": "dit", "channels": 6}, (8, 8, 1), "channels: a transformer expects a multiple of 4, got 6"),
    ],
)
def test_impossible_sizes_are_named(change, shape, message):
    with pytest.raises(ValueError, match=message):
        build(dataclasses.replace(IMAGES, **change), shape, 3, nnx.Rngs(0))
