"""A trained network as a Denoiser: weights are data, the architecture is static."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.core import Tracer
from jaxtyping import Float, PRNGKeyArray

import gaussdiff as gd
from gaussdiff.denoisers.network import coefficients, unit_input
from training.networks.condition import Condition, large
from training.networks.params import Params


class FlaxNetwork(eqx.Module):
    """network(x, c_noise) -> array of x's shape: a graph definition, its weights, and what it is conditioned on.

    key: of the dropout in training; None leaves it out.
    """

    graphdef: nnx.GraphDef = eqx.field(static=True)
    params: Params
    condition: Condition
    key: PRNGKeyArray | None = None

    def __call__(self, x: Float[Array, "*event"], c_noise: Float[Array, ""]) -> Float[Array, "*event"]:
        module = nnx.merge(self.graphdef, self.params)
        return module(x.astype(jnp.float32), c_noise.astype(jnp.float32), self.condition, self.key).astype(x.dtype)


@final
class LearnedDenoiser(gd.Denoiser):
    """A trained network as a denoiser of one sample of `shape`: x0 = skip x + gain network(x / scale, c_noise).

    scale^2 = sigma^2 + alpha^2 sigma_data^2, c_noise = log(sigma / alpha) / 4; skip and gain belong to the `objective`
    (gaussdiff/denoisers/network.py). Nothing here depends on the frame, so a network trained in one runs in
    every other. Weights are leaves, so a jitted function that takes the model as an argument is traced once for all
    checkpoints of one architecture and all labels. `precision` is that of its matrix products: "highest", because the
    rounding of TF32 makes adaptive solvers take many times the steps; None leaves it to JAX's own setting.
    """

    network: FlaxNetwork
    sigma_data: float
    shape: tuple[int, ...] = eqx.field(static=True)
    classes: int | None = eqx.field(static=True)
    objective: str = eqx.field(static=True, default="edm")
    factor: int = eqx.field(static=True, default=1)
    precision: str | None = eqx.field(static=True, default="highest")

    def denoise(self, x: Float[Array, "*event"], level: gd.NoiseLevel) -> Float[Array, "*event"]:
        """E[x0 | x], of x's shape and dtype; one sample, `jax.vmap` for more.

        ValueError for another shape, and at alpha = 0 where the network predicts the noise or the score, which then
        says nothing of x0.
        """
        if jnp.shape(x) != self.shape:
            raise ValueError(
                f"x: expected one sample of shape {self.shape}, got {jnp.shape(x)}; "
                "use jax.vmap(model.denoise, in_axes=(0, None)) for a batch"
            )
        x = jnp.asarray(x)
        skip, gain = coefficients(self.objective, level, self.sigma_data)
        scaled, c_noise = unit_input(x, level, self.sigma_data)
        with jax.default_matmul_precision(self.precision):
            output = self.network(scaled, c_noise)
        return jnp.asarray(skip * x + gain * output, x.dtype)

    def __repr__(self) -> str:
        weights = sum(leaf.size for leaf in jax.tree.leaves(self.network.params))
        return f"LearnedDenoiser({self.objective}, shape={self.shape}, classes={self.classes}, {weights:,} weights)"

    def given(self, label: int | Array | None = None, image: Array | None = None) -> "LearnedDenoiser":
        """The denoiser of one class, 0 <= label < classes, or of one small image; without, it averages over all.

        image: (H / f, W / f, C), the image to sharpen by the factor f that the network was trained for.
        ValueError where the model was trained without labels (images), the label is out of range or the image of
        another shape; TypeError where the label is not an integer.
        """
        condition = self.network.condition
        if label is not None:
            condition = condition._replace(label=self._label(label))
        if image is not None:
            condition = condition._replace(image=self._image(image))
        return eqx.tree_at(lambda model: model.network.condition, self, condition, is_leaf=lambda leaf: leaf is None)

    def _label(self, label: int | Array) -> Array:
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
            raise ValueError(f"label: expected 0 <= label < {self.classes}, got {int(index)}; take one of these")
        return index.astype(jnp.int32)

    def _image(self, image: Array) -> Array:
        if self.factor == 1:
            raise ValueError("image: this model was trained without small images; train with --super-resolution 2")
        h, w, c = self.shape
        pixels = jnp.asarray(image, jnp.float32)
        if pixels.shape != (expected := (h // self.factor, w // self.factor, c)):
            raise ValueError(f"image: expected one small image of shape {expected}, got {pixels.shape}")
        return large(pixels, self.factor)
