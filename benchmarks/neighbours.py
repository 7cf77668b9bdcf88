"""The data set's denoiser at small noise: a truncated sum beside the full one, for data and for digits held out."""

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from benchmarks.timing import Row, row, take_turns
from training.data import prepared

BATCHES, SIGMAS = (128, 16, 1), (0.1, 0.03, 0.01)


def run() -> list[Row]:
    name, points, held_out = _images()
    full = gd.Empirical(points)
    model = gd.Truncated(full)
    denoise = jax.jit(jax.vmap(lambda m, x, level: m.denoise(x, level), in_axes=(None, 0, None)))
    rows = []

    def compare(kind: str, images: np.ndarray, batch: int, sigma: float) -> Row:
        x0 = jnp.asarray(np.random.default_rng(0).permutation(images)[:batch])
        x = x0 + sigma * jax.random.normal(jax.random.key(batch), x0.shape)
        level = gd.NoiseLevel(1.0, sigma)
        measured = f"Truncated.denoise, bound 1e-6, {name}, {kind}, sigma {sigma}, batch {batch}"
        peer = "Empirical.denoise"
        times = take_turns({measured: lambda: denoise(model, x, level), peer: lambda: denoise(full, x, level)}, turns=7)
        return row(times, measured, peer, "at most 0.1")

    rows += [compare("noisy data", points, BATCHES[0], sigma) for sigma in SIGMAS]
    rows += [compare("noisy data", points, batch, SIGMAS[0]) for batch in BATCHES[1:]]
    rows += [compare("held out", held_out, BATCHES[0], sigma) for sigma in SIGMAS]
    return rows


def _images() -> tuple[str, np.ndarray, np.ndarray]:
    """MNIST in [-1, 1] where it is prepared; otherwise a set of its size around 100 planes of 20 directions."""
    if prepared.folder("mnist"):
        parts, _ = prepared.read("mnist")
        train, test = (parts[part][0].astype(np.float32) / 127.5 - 1 for part in ("train", "test"))
        return "MNIST", train, test
    rng = np.random.default_rng(0)
    centers, planes = rng.normal(size=(100, 784)) / 3, rng.normal(size=(100, 20, 784)) / 15
    which = rng.integers(0, 100, 61_000)
    made = np.empty((61_000, 784), np.float32)
    for k in range(100):
        count = np.sum(which == k)
        made[which == k] = centers[k] + rng.normal(size=(count, 20)) @ planes[k] + 0.1 * rng.normal(size=(count, 784))
    return "60000 made points of 784 in clusters", made[:60_000], made[60_000:]
