"""The data set's denoiser beside its limit: the two matrix products that it can't do without."""

import jax

import gaussdiff as gd
from benchmarks.timing import Row, row, take_turns

BATCH, POINTS, WIDTH = 128, 20_000, 3072


def run() -> list[Row]:
    points = jax.random.normal(jax.random.key(0), (POINTS, WIDTH))
    x = jax.random.normal(jax.random.key(1), (BATCH, WIDTH))
    weights = jax.random.uniform(jax.random.key(2), (BATCH, POINTS))
    model, level = gd.Empirical(points, chunk=1000), gd.NoiseLevel(1.0, 20.0)
    denoise = jax.jit(jax.vmap(lambda m, x, level: m.denoise(x, level), in_axes=(None, 0, None)))
    products = jax.jit(lambda x, weights, points: (x @ points.T, weights @ points))
    name = f"Empirical.denoise, batch {BATCH}, {POINTS} points of {WIDTH}, chunks of 1000"
    peer = "its two matrix products alone"
    times = take_turns({name: lambda: denoise(model, x, level), peer: lambda: products(x, weights, points)}, turns=9)
    return [row(times, name, peer, "at most 1.1")]
