"""Every setting of a network reaches it: where it attends and how far that sees, groups, dropout, patches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import keystr

from training import Config
from training.networks.blocks import Block, GroupNorm
from training.networks.build import build, skeleton
from training.networks.condition import Condition
from training.networks.dit import Layer
from training.networks.params import Params

UNET = Config(channels=8, channel_mult=(1, 2, 3), blocks=2, groups=4, attention=())
SMALL = dataclasses.replace(UNET, channel_mult=(1,), blocks=1)
TOKENS = Config(network="dit", channels=16, blocks=2)


def shapes(config: Config, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(skeleton(config, shape, None)[1])
    return {keystr(path, simple=True, separator="."): leaf.shape for path, leaf in leaves}


def random_params(config: Config, shape: tuple[int, ...]) -> tuple[nnx.GraphDef, Params]:
    graphdef, like = skeleton(config, shape, None)
    draws = np.random.default_rng(0)
    return graphdef, jax.tree.map(lambda leaf: jnp.asarray(0.3 * draws.normal(size=leaf.shape), leaf.dtype), like)


def attending(width: int) -> int:
    """Weights of one attention: a norm's scale and bias, and linear maps to queries, keys and values and back."""
    return 2 * width + (width + 1) * 3 * width + (width + 1) * width


@pytest.mark.slow
@pytest.mark.parametrize("heights", [(8,), (4, 2)])
def test_attention_stands_at_the_heights_asked_for_and_nowhere_else(heights):
    """Beside the U-Net without: two blocks down and two up of each such height, and one more in the middle of all."""
    plain, other = shapes(UNET, (8, 4, 1)), shapes(dataclasses.replace(UNET, attention=heights), (8, 4, 1))
    assert plain.items() <= other.items()
    more = {name: np.prod(other[name]) for name in other.keys() - plain.keys()}
    assert all(".attention." in name for name in more)
    levels = {8: ("down.0.", "up.0.", 8), 4: ("down.1.", "up.1.", 16), 2: ("down.2.", "up.2.", 24)}
    expected = 0
    for height, (down, up, width) in levels.items():
        found = [sum(size for name, size in more.items() if name.startswith(way)) for way in (down, up)]
        assert found == [2 * attending(width) * (height in heights)] * 2
        expected += sum(found)
    assert sum(more.values()) == expected + attending(24) * (2 in heights)


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "everywhere"), [((), False), ((4,), True), ((2,), True)])
def test_a_far_pixel_is_seen_with_attention_and_not_without(attention, everywhere, monkeypatch):
    """The norms average over the whole image; with those of one pixel alone, convolutions see as far as they reach.

    In pixels of each height: stem 1, down 2, up 2, out 1 at the full one; 2 down and 2 in the middle and 2 up at the
    half one, and 1 after going up: 6 + 2 * 7, and less than 2 for the pixel's place in its square.
    """
    monkeypatch.setattr(GroupNorm, "__call__", lambda self, x: x * self.scale[None, None] + self.bias[None, None])
    config, shape = Config(channels=4, channel_mult=(1, 2), groups=4, attention=attention), (4, 64, 1)
    graphdef, params = random_params(config, shape)

    @jax.jit
    @jax.grad
    def slope(x):
        return nnx.merge(graphdef, params)(x, jnp.asarray(0.3), Condition())[0, 0, 0]

    seen = np.abs(np.asarray(slope(jnp.ones(shape)))).max((0, 2)) > 0
    assert seen[:8].all()
    assert seen[22:].any() == everywhere
    assert seen.all() == everywhere


@pytest.mark.slow
@pytest.mark.parametrize(("network", "shape"), [("unet", (8, 8, 1)), ("dit", (8, 8, 1))])
def test_groups_and_dropout_reach_every_block(network, shape):
    for groups, rate in ((2, 0.0), (4, 0.25)):
        config = dataclasses.replace(UNET, network=network, groups=groups, dropout=rate, attention=(4,))
        parts = [
            part for _, part in nnx.iter_graph(nnx.eval_shape(lambda c=config: build(c, shape, None, nnx.Rngs(0))))
        ]
        rates = [part.dropout for part in parts if isinstance(part, Block | Layer)]
        norms = [part.groups for part in parts if isinstance(part, GroupNorm)]
        assert len(rates) == (13 if network == "unet" else config.blocks)
        assert set(rates) == {rate}
        # two in each block, one where it attends, and the last
        assert len(norms) == (2 * 13 + 4 + 1 if network == "unet" else 0)
        assert set(norms) <= {groups}


@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL, TOKENS, dataclasses.replace(TOKENS, network="mlp")])
def test_units_are_dropped_with_a_key_and_only_then(config):
    shape = (2,) if config.network == "mlp" else (8, 4, 1)
    _, params = random_params(config, shape)
    x = jnp.linspace(-1, 1, int(np.prod(shape))).reshape(shape)

    def answers(rate):
        graphdef = skeleton(dataclasses.replace(config, dropout=rate), shape, None)[0]
        ask = jax.jit(lambda key: nnx.merge(graphdef, params)(x, jnp.asarray(0.3), Condition(), key))
        return [np.asarray(ask(key)) for key in (None, jax.random.key(0), jax.random.key(1))]

    whole, *same = answers(0.0)
    for other in same:
        np.testing.assert_array_equal(other, whole)
    silent, *dropped = answers(0.5)
    np.testing.assert_allclose(silent, whole, rtol=1e-5, atol=1e-5)
    assert min(np.abs(a - b).max() for a, b in ((whole, dropped[0]), (whole, dropped[1]), dropped)) > 1e-3


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_a_token_holds_the_pixels_of_one_patch(patch):
    found = shapes(dataclasses.replace(TOKENS, patch=patch), (8, 4, 3))
    assert found["stem.kernel"] == (3 * patch**2, 16)
    assert found["out.kernel"] == (16, 3 * patch**2)
