"""The data set's denoiser beside two limits: the two matrix products that it can't do without, and the best product.

Both products are of batch x N x D: the exponents, and the weighted sum of the points. Memory: the points, and for a
batch of B samples at one time B x chunk exponents and a copy of one chunk of points; nothing of size B x N is kept,
as it is by the bare products.
"""

import jax

import gaussdiff as gd
from benchmarks.timing import Row, row, take_turns

BATCH, POINTS, WIDTH, CHUNK = 128, 50_000, 3072, 2000


def run() -> list[Row]:
    points = jax.random.normal(jax.random.key(0), (POINTS, WIDTH))
    x = jax.random.normal(jax.random.key(1), (BATCH, WIDTH))
    weights = jax.random.uniform(jax.random.key(2), (BATCH, POINTS))
    square = jax.random.normal(jax.random.key(3), (WIDTH, WIDTH))
    model, level = gd.Empirical(points, chunk=CHUNK), gd.NoiseLevel(1.0, 20.0)
    points = model.offsets  # one copy of the points is enough
    denoise = jax.jit(jax.vmap(lambda m, x, level: m.denoise(x, level), in_axes=(None, 0, None)))
    products = jax.jit(lambda x, weights, points: (x @ points.T, weights @ points))
    best = jax.jit(lambda a: a @ a)
    name = f"Empirical.denoise, batch {BATCH}, {POINTS} points of {WIDTH}, chunks of {CHUNK}"
    peer = "its two matrix products alone"
    times = take_turns(
        {
            name: lambda: denoise(model, x, level),
            peer: lambda: products(x, weights, points),
            "square": lambda: best(square),
        },
        turns=9,
    )
    same_work = f"a product of {WIDTH} x {WIDTH} squared, at its rate for as many operations"
    times[same_work] = times["square"] * (2 * BATCH * POINTS / WIDTH**2)
    return [row(times, name, peer, "at most 1.05"), row(times, name, same_work, "at most 1.43")]
