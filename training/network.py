"""A Flax NNX network as plain data: a static graph definition and a dictionary of float32 arrays, merged when called.

Arrays in dictionaries and lists are what jit, checkpoints and optimizers agree on under every version of flax.
"""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.core import Tracer
from jaxtyping import Float, Int, PyTree

import gaussdiff as gd

from .config import Config
from .mlp import MLP
from .unet import UNet

Params = PyTree[Float[Array, "..."]]


def build(config: Config, shape: tuple[int, ...], classes: int | None, rngs: nnx.Rngs) -> nnx.Module:
    """Return the module of `config`: a U-Net for images (H, W, C), an MLP for vectors (D,)."""
    if config.labels and classes is None:
        raise ValueError(f"labels: expected a data set with labels, got {config.data!r}, which has none; drop --labels")
    classes = classes if config.labels else None
    return MLP(shape, classes, config, rngs=rngs) if len(shape) == 1 else UNet(shape, classes, config, rngs=rngs)


def skeleton(config: Config, shape: tuple[int, ...], classes: int | None) -> tuple[nnx.GraphDef, Params]:
    """Return the static part of the network and the shapes and dtypes of its weights; computes no weights.

    Equal arguments give graph definitions that are equal and of equal hash, so models made from them share traces.
    """
    graphdef, state = nnx.split(nnx.eval_shape(lambda: build(config, shape, classes, nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(state)


def initial_params(config: Config, shape: tuple[int, ...], classes: int | None, key: Array) -> Params:
    """Return fresh weights as nested dictionaries of float32 arrays."""
    return nnx.to_pure_dict(nnx.split(build(config, shape, classes, nnx.Rngs(key)))[1])


class FlaxNetwork(eqx.Module):
    """network(x, c_noise) -> array of x's shape: a graph definition, its weights, and the label it is asked about.

    label: () int32 in [0, classes], where `classes` stands for "no label"; None in a network without labels.
    """

    graphdef: nnx.GraphDef = eqx.field(static=True)
    params: Params
    label: Int[Array, ""] | None

    def __call__(self, x: Float[Array, "*event"], c_noise: Float[Array, ""]) -> Float[Array, "*event"]:
        module = nnx.merge(self.graphdef, self.params)
        return module(x.astype(jnp.float32), c_noise.astype(jnp.float32), self.label).astype(x.dtype)


@final
class LearnedDenoiser(gd.Denoiser):
    """A trained network as a denoiser of one sample of `shape`: x0 = c_skip x + c_out network(c_in x, c_noise).

    Its weights are leaves, so a jitted function that takes the model as an argument is traced once for all checkpoints
    of one architecture and all labels. `precision` is that of its matrix products: "highest", because the
    rounding of TF32 makes adaptive solvers take many times the steps; None leaves it to JAX's own setting.
    """

    network: FlaxNetwork
    sigma_data: float
    shape: tuple[int, ...] = eqx.field(static=True)
    classes: int | None = eqx.field(static=True)
    precision: str | None = eqx.field(static=True, default="highest")

    def denoise(self, x: Float[Array, "*event"], level: gd.NoiseLevel) -> Float[Array, "*event"]:
        """Return E[x0 | x], of x's shape and dtype; one sample, `jax.vmap` for more."""
        if jnp.shape(x) != self.shape:
            raise ValueError(
                f"x: expected one sample of shape {self.shape}, got {jnp.shape(x)}; "
                "use jax.vmap(model.denoise, in_axes=(0, None)) for a batch"
            )
        with jax.default_matmul_precision(self.precision):
            return gd.Preconditioned(self.network, self.sigma_data).denoise(x, level)

    def given(self, label: int | Array) -> "LearnedDenoiser":
        """Return the denoiser of one class, 0 <= label < classes; a model as loaded averages over all classes.

        ValueError where the model was trained without labels or the label is out of range; TypeError where it is not
        an integer.
        """
        if self.classes is None:
            raise ValueError(
                "label: this model was trained without labels; train with --labels on a data set that has them"
            )
        index = jnp.asarray(label)
        if index.shape != () or not jnp.issubdtype(index.dtype, jnp.integer):
            raise TypeError(
                f"label: expected one integer, got {index.dtype} of shape {index.shape}; vmap over several labels"
            )
        if not isinstance(index, Tracer) and not 0 <= int(index) < self.classes:
            raise ValueError(f"label: expected 0 <= label < {self.classes}, got {int(index)}")
        return eqx.tree_at(lambda model: model.network.label, self, index.astype(jnp.int32))
