"""The exact path of a Gaussian beside its two matrix products, an ODE solve, and steps with a dense inverse each."""

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from benchmarks.timing import Row, row, take_turns

BATCH, WIDTH, RANK, TIMES = 32, 1024, 128, 20


def run() -> list[Row]:
    spectrum = np.geomspace(50, 0.05, RANK)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, RANK)))[0]
    law = gd.Gaussian(jnp.zeros(WIDTH), jnp.asarray(spectrum), jnp.asarray(basis), 0.01)
    cov = jnp.asarray((basis * (spectrum - 0.01)) @ basis.T + 0.01 * np.eye(WIDTH), jnp.float32)
    schedule, times = gd.VarianceExploding(), jnp.geomspace(80.0, 0.01, TIMES)
    levels = schedule(times)
    x = 80 * jax.random.normal(jax.random.key(0), (BATCH, WIDTH))

    @jax.jit
    def exact(law, x, levels):
        return jax.vmap(gd.gaussian_path, in_axes=(None, 0, None))(law, x, levels).x

    @jax.jit
    def solved(law, x, times):
        return jax.vmap(lambda x: gd.probability_flow(law, schedule, x, times, rtol=1e-5, atol=1e-5).x)(x)

    @jax.jit
    def dense(cov, x, sigmas):
        def step(x, pair):
            sigma, following = pair
            score = -x @ jnp.linalg.inv(cov + sigma**2 * jnp.eye(WIDTH))
            return x - (following - sigma) * sigma * score, None

        return jax.lax.scan(step, x, (sigmas[:-1], sigmas[1:]))[0]

    @jax.jit
    def products(eigvecs, x, coefficients):
        return x @ eigvecs, coefficients @ eigvecs.T

    name = f"gaussian_path at {TIMES} levels, batch {BATCH}, width {WIDTH}, rank {RANK}"
    limit, flow = "its two matrix products alone", "probability_flow, rtol 1e-5"
    steps = f"{TIMES - 1} Euler steps with a dense inverse each"
    coefficients = jax.random.normal(jax.random.key(1), (BATCH * TIMES, RANK))
    candidates = {
        name: lambda: exact(law, x, levels),
        limit: lambda: products(law.eigvecs, x, coefficients),
        flow: lambda: solved(law, x, times),
    }
    often = take_turns(candidates, turns=7)
    seldom = take_turns({name: candidates[name], steps: lambda: dense(cov, x, times)}, turns=3)
    apart = np.abs(np.asarray(solved(law, x, times) - exact(law, x, levels))).max((0, 2)) / np.asarray(levels.sigma + 1)
    print(f"largest difference of the solved path from the exact one: {apart.max():.1e} of sigma + 1")
    return [
        row(often, name, limit, "at most 2"),
        row(often, name, flow, "at most 0.02"),
        row(seldom, name, steps, "at most 0.01"),
    ]
