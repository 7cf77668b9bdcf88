"""The network that the settings ask for, and its weights as plain data.

A Flax NNX module is split into a static graph definition and a dictionary of float32 arrays, which is what jit,
checkpoints and optimizers agree on under every version of flax. Every network has one interface, for one sample:

    network(x, c_noise, condition, key) -> array of x's shape        key: of the dropout; None leaves it out
"""

from functools import lru_cache

from flax import nnx
from jax import Array

from training.config import Config
from training.networks.dit import DiT
from training.networks.mlp import MLP
from training.networks.params import Params
from training.networks.unet import UNet


def build(config: Config, shape: tuple[int, ...], classes: int | None, rngs: nnx.Rngs) -> nnx.Module:
    """The module of `config`; "auto" is a U-Net for images (H, W, C) and an MLP for vectors (D,)."""
    if config.labels and classes is None:
        raise ValueError(f"labels: expected a data set with labels, got {config.data!r}, which has none; drop --labels")
    classes = classes if config.labels else None
    suited = MLP if len(shape) == 1 else UNet
    network = {"auto": suited, "unet": UNet, "dit": DiT, "mlp": MLP}[config.network]
    return network(shape, classes, config, rngs=rngs)


@lru_cache(maxsize=16)
def skeleton(config: Config, shape: tuple[int, ...], classes: int | None) -> tuple[nnx.GraphDef, Params]:
    """The static part of the network and the shapes and dtypes of its weights; computes no weights.

    Equal arguments give graph definitions that are equal and of equal hash, so models made from them share traces.
    Tracing takes half a second, so both are remembered: for reading, not to be changed.
    """
    graphdef, state = nnx.split(nnx.eval_shape(lambda: build(config, shape, classes, nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(state)


def initial_params(config: Config, shape: tuple[int, ...], classes: int | None, key: Array) -> Params:
    """Fresh weights as nested dictionaries of float32 arrays."""
    return nnx.to_pure_dict(nnx.split(build(config, shape, classes, nnx.Rngs(key)))[1])
