"""Gradient descent on linear denoisers, one matrix at each noise scale by itself: what C1 sets beside the closed form.

Descended are whole matrices W on the expected loss, in a basis in which nothing is diagonal,

    E |D(x) - x0|^2 = tr (W - I) Sigma (W - I)^T + sigma^2 tr W W^T

with D = W x, D = P P^T x, and the preconditioned D = c_skip x + c_out F c_in x, whose loss is divided by c_out^2.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

START = 0.05  # of the two layers, P P^T = START I


@jax.jit
def descend(basis, variances, sigma, deviation, rates, counts: Array) -> dict[str, Array]:
    """Weights of the modes {kind: (c+1, s, K)} at first and after sums of the counts (c,) of steps."""
    size, covariance = len(variances), (basis * variances[None]) @ basis.T

    def error(W: Array, scale: Array) -> Array:
        away = W - jnp.eye(size)
        return jnp.sum((away @ covariance) * away) + scale**2 * jnp.sum(W**2)

    def matrix(name: str, layer: Array, scale: Array) -> tuple[Array, Array]:
        """The matrix that denoises, and what its error is divided by."""
        if name == "one_layer":
            return layer, jnp.ones(())
        if name == "two_layers":
            return layer @ layer.T, jnp.ones(())
        power = scale**2 + deviation**2
        out = scale * deviation / jnp.sqrt(power)
        return deviation**2 / power * jnp.eye(size) + out / jnp.sqrt(power) * layer, out**2

    def loss(name: str, layer: Array, scale: Array) -> Array:
        W, unit = matrix(name, layer, scale)
        return rates[name] * error(W, scale) / unit

    def step(_, layers: dict[str, Array]) -> dict[str, Array]:
        slopes = {name: jax.vmap(jax.grad(partial(loss, name)))(layer, sigma) for name, layer in layers.items()}
        return {name: layer - slopes[name] for name, layer in layers.items()}

    def weights(layers: dict[str, Array]) -> dict[str, Array]:
        matrices = {name: jax.vmap(lambda y, s, n=name: matrix(n, y, s)[0])(y, sigma) for name, y in layers.items()}
        return {name: jnp.einsum("ik,sij,jk->sk", basis, W, basis) for name, W in matrices.items()}

    def advance(layers: dict[str, Array], count: Array):
        layers = jax.lax.fori_loop(0, count, step, layers)
        return layers, weights(layers)

    def repeated(scale) -> Array:
        return jnp.broadcast_to(scale * jnp.eye(size, dtype=covariance.dtype), (len(sigma), size, size))

    first = {"one_layer": repeated(0), "two_layers": repeated(START**0.5), "preconditioned": repeated(0)}
    after = jax.lax.scan(advance, first, counts)[1]
    return {name: jnp.concatenate([one[None], after[name]]) for name, one in weights(first).items()}


def generated(weights: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """sigma_max^2 exp(-2 integral of (1 - w) d log sigma), by trapezia: weights (c, s, K), sigma falling: (c, K)."""
    return sigma[0] ** 2 * np.exp(2 * np.trapezoid(1 - weights, np.log(sigma), axis=1))
