"""The exact path of a Gaussian beside its two matrix products, ODE solves, and steps with a dense inverse each.

A path of T times is T + 1 products of batch x D x rank: one onto the modes, one back for each time. An ODE solve makes
two for each evaluation, some 480 in 40 steps of Tsit5; so the path can be 480 / (T + 1) times faster where products are
all the work: 160 times for the two ends alone, 23 times for 20 levels.
"""

from collections.abc import Callable

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from benchmarks.timing import Row, row, take_turns

BATCH, WIDTH, RANK = 32, 3072, 128
LEVELS = (2, 20)
LIMIT, FLOW = "its two matrix products alone", "probability_flow, rtol 1e-5"
PLAIN = "diffrax in sigma as the ODE is written, rtol 1e-5"


def run() -> list[Row]:
    law = _law()
    x = 80 * jax.random.normal(jax.random.key(0), (BATCH, WIDTH))
    rows = [line for count in LEVELS for line in _beside_solves(count, law, x)]
    return [*rows, _beside_dense(law, x)]


def _name(count: int) -> str:
    return f"gaussian_path at {count} levels, batch {BATCH}, width {WIDTH}, rank {RANK}"


def _beside_solves(count: int, law: gd.Gaussian, x: jax.Array) -> list[Row]:
    times, name = jnp.geomspace(80.0, 0.01, count), _name(count)
    candidates = _candidates(law, x, times)
    seconds = take_turns(candidates, turns=9)
    _report(candidates[name](), candidates, times)
    peers = [row(seconds, name, peer, "at most 0.02") for peer in (FLOW, PLAIN)]
    return [row(seconds, name, LIMIT, "at most 2"), *peers]


def _law() -> gd.Gaussian:
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, RANK)))[0]
    spectrum = jnp.geomspace(50, 0.05, RANK)
    return gd.Gaussian(jnp.zeros(WIDTH), spectrum, jnp.asarray(basis, spectrum.dtype), 0.01)


@jax.jit
def _exact(law: gd.Gaussian, x, levels):
    return jax.vmap(gd.exact.gaussian_path, in_axes=(None, 0, None))(law, x, levels).x


def _candidates(law: gd.Gaussian, x, times) -> dict[str, Callable]:
    schedule, count = gd.VarianceExploding(), len(times)
    levels = schedule(times)
    coefficients = jax.random.normal(jax.random.key(1), (BATCH * count, RANK))

    @jax.jit
    def solved(law, x, times):
        return jax.vmap(lambda x: gd.probability_flow(law, schedule, x, times, rtol=1e-5, atol=1e-5).x)(x)

    @jax.jit
    def products(eigvecs, x, coefficients):
        return x @ eigvecs, coefficients @ eigvecs.T

    return {
        _name(count): lambda: _exact(law, x, levels),
        LIMIT: lambda: products(law.eigvecs, x, coefficients),
        FLOW: lambda: solved(law, x, times),
        PLAIN: lambda: _plain(law, x, times),
    }


@jax.jit
def _plain(law: gd.Gaussian, x, times):
    """dx/dsigma = (x - denoise(x, sigma)) / sigma."""

    def drift(sigma, x, law):
        return (x - law.denoise(x, gd.NoiseLevel(jnp.ones_like(sigma), sigma))) / sigma

    def solve(x):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(drift),
            diffrax.Tsit5(),
            times[0],
            times[-1],
            None,
            x,
            args=law,
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-5),
        ).ys

    return jax.vmap(solve)(x)


def _beside_dense(law: gd.Gaussian, x: jax.Array) -> Row:
    """One Euler step with the inverse of the noisy covariance, times the number of steps."""
    name, steps = _name(LEVELS[-1]), LEVELS[-1] - 1
    levels = gd.VarianceExploding()(jnp.geomspace(80.0, 0.01, steps + 1))
    basis = law.eigvecs
    cov = (basis * (law.eigvals - law.residual)) @ basis.T + law.residual * jnp.eye(WIDTH)

    @jax.jit
    def step(cov, x, sigma, following):
        score = -x @ jnp.linalg.inv(cov + sigma**2 * jnp.eye(WIDTH))
        return x - (following - sigma) * sigma * score

    peer = f"{steps} Euler steps with a dense inverse each (one, times {steps})"
    seconds = take_turns({name: lambda: _exact(law, x, levels), peer: lambda: step(cov, x, 10.0, 8.0)}, turns=3)
    seconds[peer] *= steps
    return row(seconds, name, peer, "at most 0.01")


def _report(exact: jax.Array, candidates: dict[str, Callable], times: jax.Array) -> None:
    for peer in (FLOW, PLAIN):
        apart = jnp.max(jnp.abs(candidates[peer]() - exact), axis=(0, 2)) / (times + 1)
        print(f"{peer}, {len(times)} levels: at most {jnp.max(apart):.1e} of sigma + 1 from the exact path")
