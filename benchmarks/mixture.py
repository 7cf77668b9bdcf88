"""A mixture's denoiser beside the matrix products that it is made of.

There are three, each over all K components: the coordinates U_i^T x, of batch x D x K r; U_i c_i, which is taken from x
to leave what lies outside the modes, the same in number but kept apart for each component; and the sum of U_i g_i back.
Two would do if |rest|^2 were |x|^2 - |U^T x|^2, which in float32 has no digits left where the modes hold nearly all of
x. Products with the means, of batch x D x K, are counted too; they are small.
"""

import jax
import jax.numpy as jnp

import gaussdiff as gd
from benchmarks.timing import Row, row, take_turns

BATCH, WIDTH, COMPONENTS, RANK = 128, 3072, 100, 64


def run() -> list[Row]:
    modes = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (COMPONENTS, WIDTH, RANK)))[0]
    mixture = _mixture(modes)
    x = 2 * jax.random.normal(jax.random.key(1), (BATCH, WIDTH)) + mixture.components.mean[0]
    coefficients = jax.random.normal(jax.random.key(2), (BATCH, COMPONENTS, RANK))
    weights = jax.random.uniform(jax.random.key(3), (BATCH, COMPONENTS))
    denoise, level = (
        jax.jit(jax.vmap(lambda m, x, level: m.denoise(x, level), (None, 0, None))),
        gd.NoiseLevel(1.0, 2.0),
    )
    means = mixture.components.mean
    side_by_side = jnp.moveaxis(modes, 0, 1).reshape(WIDTH, -1)  # (D, K r), as these products are fastest
    name = f"GaussianMixture.denoise, batch {BATCH}, {COMPONENTS} components, rank {RANK}, width {WIDTH}"
    three, two = "its three matrix products, and those with the means", "the first and the last of them, and the means'"
    times = take_turns(
        {
            name: lambda: denoise(mixture, x, level),
            three: lambda: (
                _projections(x, coefficients, weights, side_by_side, means),
                _expanded(coefficients, modes),
            ),
            two: lambda: _projections(x, coefficients, weights, side_by_side, means),
        },
        turns=9,
    )
    return [row(times, name, three, "at most 1.67"), row(times, name, two, "none: three are needed")]


def _mixture(modes: jax.Array) -> gd.GaussianMixture:
    means = jax.random.normal(jax.random.key(4), (COMPONENTS, WIDTH))
    law = lambda mean, modes: gd.Gaussian(mean, jnp.geomspace(50, 0.1, RANK), modes, 0.01)  # noqa: E731
    return gd.GaussianMixture(jnp.zeros(COMPONENTS), jax.vmap(law)(means, modes))


@jax.jit
def _projections(x, coefficients, weights, modes, means):
    return x @ modes, coefficients.reshape(len(x), -1) @ modes.T, x @ means.T, weights @ means


@jax.jit
def _expanded(coefficients, modes):
    return jnp.einsum("bkr,kdr->kbd", coefficients, modes)
