"""A latent model: an autoencoder of samples, and the law of its codes as a distribution whose denoiser is exact.

    z = A (e((x - mean) / scale) - m),    x = mean + scale d(A^-1 z + m)

e and d are networks with one hidden layer each, trained together for the least mean squared error; A and m give the
codes of the training samples mean 0 and covariance 1, since an autoencoder leaves their scale to chance. The law of the
codes is a gd.Distribution, so that all of analysis/measures/manifold.py works in the latent space as it does in pixels.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

import gaussdiff as gd

Networks = tuple[eqx.nn.MLP, eqx.nn.MLP]  # encoder, decoder
WIDTH, BATCH, STEPS = 64, 128, 2000  # some seconds of two cores for 8 x 8 pixels
RATE, DECAY = 3e-3, 1e-4  # of AdamW; the rate falls to 0 along a cosine


class Autoencoder(eqx.Module):
    """Maps one sample (*event) to its code (k,) and back. Make it with `fit`."""

    networks: Networks
    mean: Float[Array, "*event"]
    scale: Float[Array, ""]
    center: Float[Array, " k"]
    whitening: Float[Array, "k k"]
    coloring: Float[Array, "k k"]

    def encode(self, x: Float[Array, "*event"]) -> Float[Array, " k"]:
        """z = A (e((x - mean) / scale) - m)."""
        flat = ((x - self.mean) / self.scale).reshape(-1)
        return self.whitening @ (self.networks[0](flat) - self.center)

    def decode(self, z: Float[Array, " k"]) -> Float[Array, "*event"]:
        """x = mean + scale d(A^-1 z + m)."""
        flat = self.networks[1](self.coloring @ z + self.center)
        return self.mean + self.scale * flat.reshape(self.mean.shape)


def fit(samples: Float[np.ndarray, "N *event"], latents: int, key: PRNGKeyArray) -> Autoencoder:
    """The autoencoder of samples with codes of `latents` numbers, in float32; the same key gives the same one.

    ValueError unless 1 <= latents <= D, and for fewer than 2 samples, NaN, or samples without variance.
    """
    x = np.asarray(samples, np.float32)
    size = x[0].size if len(x) else 0
    if not 1 <= latents <= size:
        raise ValueError(f"latents: expected 1 to D = {size}, got {latents}. A code is shorter than its sample.")
    mean, scale = x.mean(0), x.std(0).max()
    if not 0 < scale < np.inf:
        raise ValueError(f"samples: expected finite ones that differ, got a deviation of {scale:g}. Check the data.")
    flat = jnp.asarray((x - mean).reshape(len(x), -1) / scale)
    networks, codes = _trained(flat, latents, key)
    codes = np.asarray(codes, np.float64)
    values, axes = np.linalg.eigh(np.cov(codes, rowvar=False, bias=True).reshape(latents, latents))
    deviations = np.sqrt(np.maximum(values, 1e-12 * values.max()))  # a number that no code uses stays one
    parts = (mean, scale, codes.mean(0), (axes / deviations).T, axes * deviations)
    return Autoencoder(networks, *(jnp.asarray(part, jnp.float32) for part in parts))


@eqx.filter_jit
def _trained(x: Float[Array, "N D"], latents: int, key: PRNGKeyArray) -> tuple[Networks, Float[Array, "N k"]]:
    """Both networks, and the codes of x before they are whitened."""
    encoder, decoder, order = jax.random.split(key, 3)
    size = x.shape[1]
    networks = (
        eqx.nn.MLP(size, latents, WIDTH, 1, jax.nn.gelu, dtype=jnp.float32, key=encoder),
        eqx.nn.MLP(latents, size, WIDTH, 1, jax.nn.gelu, dtype=jnp.float32, key=decoder),
    )
    weights, rest = eqx.partition(networks, eqx.is_array)
    rule = optax.adamw(optax.cosine_decay_schedule(RATE, STEPS), weight_decay=DECAY)

    def error(weights, x: Array) -> Array:
        encoder, decoder = eqx.combine(weights, rest)
        return jnp.mean((jax.vmap(lambda one: decoder(encoder(one)))(x) - x) ** 2)

    def step(state, key: PRNGKeyArray):
        weights, memory = state
        batch = x[jax.random.randint(key, (BATCH,), 0, len(x))]
        moves, memory = rule.update(jax.grad(error)(weights, batch), memory, weights)
        return (optax.apply_updates(weights, moves), memory), None

    (weights, _), _ = jax.lax.scan(step, (weights, rule.init(weights)), jax.random.split(order, STEPS))
    trained: Any = eqx.combine(weights, rest)
    return trained, jax.vmap(trained[0])(x)


@eqx.filter_jit
def encoded(model: Autoencoder, x: Float[Array, "n *event"]) -> Float[Array, "n k"]:
    """The codes of samples."""
    return jax.vmap(model.encode)(x)


@eqx.filter_jit
def decoded(model: Autoencoder, codes: Float[Array, "n k"]) -> Float[Array, "n *event"]:
    """What codes stand for."""
    return jax.vmap(model.decode)(codes)


def law(codes: Float[Array, "N k"], key: PRNGKeyArray, most: int = 16) -> gd.GaussianMixture:
    """The law of the codes: a mixture of as many Gaussians as leave ten codes for each axis of each, `most` at most.

    With one component it is the Gaussian of the codes, whose variances at a noise scale are lam sigma^2 / (lam +
    sigma^2). Errors as those of gd.GaussianMixture.from_samples.
    """
    return gd.GaussianMixture.from_samples(codes, int(np.clip(len(codes) // (10 * codes.shape[1]), 1, most)), key=key)


def left_over(samples: np.ndarray, again: np.ndarray, mean: np.ndarray) -> float:
    """Variance that reconstructions leave, of that around mean (*event): sum |x - again|^2 / sum |x - mean|^2.

    samples, again: (N, *event). 0 for none, 1 for what the mean alone achieves.
    """
    x, y = np.asarray(samples, np.float64), np.asarray(again, np.float64)
    return float(((x - y) ** 2).sum() / ((x - mean) ** 2).sum())
