"""Pieces of the networks: norms, products, attention, dropout, the level's frequencies, precision, recomputation."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr

from training import Config
from training.networks.blocks import Attention, GroupNorm, drop, frequencies, linear
from training.networks.build import skeleton
from training.networks.condition import Condition
from training.networks.dit import normed, pixels, places, tokens

PLAIN = Config(channels=8, groups=4)
IMAGES = Config(channels=8, channel_mult=(1, 2), attention=(2,), groups=4)
SETTINGS = {
    "unet": (IMAGES, (4, 4, 1)),
    "dit": (dataclasses.replace(IMAGES, network="dit"), (4, 4, 1)),
    "mlp": (dataclasses.replace(IMAGES, network="mlp"), (3,)),
}


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@cache
def asked(name, **changes):
    """A function (params, x, condition, key) of the network `name`, and weights all away from zero."""
    config, shape = SETTINGS[name]
    graphdef, params = skeleton(dataclasses.replace(config, **changes), shape, None)
    params = jax.tree.map(lambda leaf: 0.3 * draw(leaf.size, *leaf.shape), params)
    network = jax.jit(lambda params, x, *told: nnx.merge(graphdef, params)(x, jnp.float32(0.3), *told))
    return network, params, draw(1, *shape)


def equations(jaxpr):
    """Every equation of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: isinstance(p, ClosedJaxpr)):
            if isinstance(inner, ClosedJaxpr | Jaxpr):
                yield from equations(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)


def test_group_norm_is_that_of_float64_however_far_the_mean():
    norm, x = GroupNorm(8, 4, rngs=nnx.Rngs(0)), 1000 + draw(0, 5, 3, 8)
    groups = np.asarray(x, np.float64).reshape(15, 4, 2)
    expected = (groups - groups.mean((0, 2), keepdims=True)) / groups.std((0, 2), keepdims=True)
    np.testing.assert_allclose(norm(x), expected.reshape(5, 3, 8), atol=2e-4)
    assert norm(x.astype(jnp.bfloat16)).dtype == jnp.float32


def test_scale_and_shift_of_group_norm_are_per_channel():
    norm, x = GroupNorm(8, 4, rngs=nnx.Rngs(0)), draw(0, 5, 3, 8)
    plain = norm(x)
    norm.scale[...], norm.bias[...] = draw(1, 8), draw(2, 8)
    np.testing.assert_allclose(norm(x), plain * draw(1, 8)[None, None] + draw(2, 8)[None, None], rtol=1e-5, atol=1e-6)


def test_linear_map_and_its_gradients_are_those_of_a_matrix_product():
    module, x, g = linear(5, 7, PLAIN, rngs=nnx.Rngs(0)), draw(0, 6, 2, 3, 5), draw(1, 6, 2, 3, 7)
    kernel = module.kernel[...]

    graphdef, state = nnx.split(module)

    @jax.jit
    def there_and_back(kernel, x, g):
        y, back = jax.vjp(
            lambda kernel, x: jax.vmap(nnx.merge(graphdef, nnx.to_pure_dict(state) | {"kernel": kernel}))(x), kernel, x
        )
        return y, *back(g)

    y, to_kernel, to_x = there_and_back(kernel, x, g)
    x64, g64, k64 = (np.asarray(a, np.float64) for a in (x, g, kernel))
    np.testing.assert_allclose(y, x64 @ k64, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_kernel, np.einsum("bijc,bijd->cd", x64, g64), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(to_x, g64 @ k64.T, rtol=1e-4, atol=1e-5)


def test_gradient_of_a_batch_of_linear_maps_sums_over_one_axis():
    # What makes it fast: over several axes XLA would lay out both factors again.
    module, x = linear(8, 16, PLAIN, rngs=nnx.Rngs(0)), draw(0, 6, 2, 3, 8)
    graphdef, state = nnx.split(module)

    def loss(state):
        return jnp.square(jax.vmap(lambda x: nnx.merge(graphdef, state)(x))(x)).sum()

    program = jax.jit(jax.grad(loss)).lower(nnx.to_pure_dict(state)).as_text()
    products = [line for line in program.splitlines() if "stablehlo.convolution" in line]
    assert len(products) == 2
    assert all("tensor<36x8xf32>" in line for line in products)


def test_attention_is_a_softmax_over_the_tokens_for_each_head():
    module, x = Attention(64, PLAIN, zero=False, rngs=nnx.Rngs(0)), draw(0, 5, 64)
    q, k, v = np.asarray(module.qkv(x), np.float64).reshape(5, 3, 2, 32).transpose(1, 2, 0, 3)
    weights = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(32))
    mixed = (weights / weights.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(5, 64)
    expected = mixed @ np.asarray(module.out.kernel[...], np.float64)
    np.testing.assert_allclose(module(x), expected, rtol=1e-4, atol=1e-5)


def test_dropout_keeps_the_mean_and_needs_a_key():
    x = jnp.ones(10_000, jnp.float32)
    dropped = np.asarray(drop(x, 0.2, jax.random.key(0)))
    assert set(np.unique(dropped)) == {0, np.float32(1.25)}
    assert abs((dropped == 0).mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 10_000)  # 5 standard errors
    np.testing.assert_array_equal(drop(x, 0.2, None), x)
    np.testing.assert_array_equal(drop(x, 0.0, jax.random.key(0)), x)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_only_a_network_given_a_key_drops(name):
    network, params, x = asked(name, dropout=0.5)
    given = [network(params, x, Condition(), key) for key in (None, jax.random.key(0), jax.random.key(1))]

    def text(network):
        return network.lower(params, x, Condition(), None).as_text()

    # The same program as without dropout, and other numbers with each key.
    assert text(network) == text(asked(name)[0])
    for i in range(3):
        assert np.abs(given[i] - given[i - 1]).max() > 1e-3


def test_random_frequencies_are_the_same_for_ever_and_never_trained():
    # The first numbers of NumPy's generator of seed 0, which are in every text that uses it.
    np.testing.assert_allclose(frequencies("fourier", 2), [16 * 1.764052, 16 * 0.400157], rtol=1e-5)
    one, other = (skeleton(dataclasses.replace(IMAGES, time_embedding=kind), (4, 4, 1), None) for kind in KINDS)
    assert jax.tree.map(jnp.shape, one[1]) == jax.tree.map(jnp.shape, other[1])
    assert one[0] != other[0]


KINDS = ("sinusoidal", "fourier")


def test_the_kinds_of_frequencies_give_different_networks():
    (one, params, x), (other, *_) = (asked("mlp", time_embedding=kind) for kind in KINDS)
    assert np.abs(one(params, x, Condition()) - other(params, x, Condition())).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "dit"])
def test_the_small_image_is_seen(name):
    network, params, x = asked(name, super_resolution=2)
    answers = [network(params, x, Condition(image=draw(seed, *x.shape))) for seed in (2, 3)]
    assert answers[0].shape == x.shape
    assert np.abs(answers[0] - answers[1]).max() > 1e-3


@pytest.mark.parametrize("name", SETTINGS)
def test_bfloat16_is_of_the_products_alone(name):
    network, params, x = asked(name, dtype="bfloat16")
    exact, *_ = asked(name)
    y = jax.eval_shape(network, params, x, Condition())
    assert y.dtype == jnp.float32
    if name == "mlp":  # one network is enough for the numbers, and this one compiles fast
        y, expected = network(params, x, Condition()), exact(params, x, Condition())
        error = float(jnp.linalg.norm(y - expected) / jnp.linalg.norm(expected))
        assert 1e-5 < error < 0.05
    made = list(equations(jax.make_jaxpr(network)(params, x, Condition()).jaxpr))
    maps = [e for e in made if e.primitive.name == "conv_general_dilated"]
    assert maps
    assert {v.aval.dtype.name for e in maps for v in e.invars} == {"bfloat16"}
    norms = [e for e in made if e.primitive.name in ("sqrt", "rsqrt", "exp")]
    assert {v.aval.dtype.name for e in norms for v in e.invars} == {"float32"}
    config, shape = SETTINGS[name]
    weights = skeleton(dataclasses.replace(config, dtype="bfloat16"), shape, None)[1]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(weights)} == {"float32"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_recomputation_changes_the_work_and_not_the_gradient(name):
    def gradient(remat):
        network, params, x = asked(name, remat=remat, dropout=0.3)
        slope = jax.grad(lambda params: jnp.square(network(params, x, Condition(), jax.random.key(0))).sum())
        return slope, params

    counts = []
    for remat in (False, True):
        slope, params = gradient(remat)
        made = equations(jax.make_jaxpr(slope)(params).jaxpr)
        counts.append(sum(e.primitive.name == "conv_general_dilated" for e in made))
    assert counts[1] > counts[0]
    if name == "mlp":  # one network is enough to see that the numbers stay, and this one compiles fast
        one, other = jax.jit(gradient(False)[0])(params), jax.jit(gradient(True)[0])(params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), one, other)


def test_tokens_are_squares_of_pixels_and_go_back():
    image = jnp.arange(4 * 6 * 2.0).reshape(4, 6, 2)
    cut = tokens(image, 2)
    np.testing.assert_array_equal(cut[4].reshape(2, 2, 2), image[2:4, 2:4])
    np.testing.assert_array_equal(pixels(cut, (4, 6, 2), 2), image)


def test_how_alike_two_places_are_depends_on_their_distance_alone():
    marks = places(5, 7, 32).reshape(5, 7, 32).astype(np.float64)
    here, there = marks[:-1, :-2].reshape(-1, 32), marks[1:, 2:].reshape(-1, 32)
    alike = (here * there).sum(-1)
    np.testing.assert_allclose(alike, alike[0], rtol=1e-5)
    flat = marks.reshape(35, 32)
    assert np.linalg.norm(flat[:, None] - flat[None], axis=-1)[~np.eye(35, dtype=bool)].min() > 0.5


def test_norm_of_tokens_is_the_layer_norm_of_flax():
    x = 3 + 2 * draw(0, 5, 16)
    theirs = nnx.LayerNorm(16, use_bias=False, use_scale=False, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(normed(x), theirs(x), rtol=1e-4, atol=1e-5)
