"""The denoiser of a data set in a mapped file beside the same points in memory."""

import tempfile
from pathlib import Path

import jax
import numpy as np

import gaussdiff as gd
from benchmarks.timing import Row, row, take_turns

BATCH, POINTS, WIDTH = 128, 50_000, 3072


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path, rng = Path(folder) / "points.npy", np.random.default_rng(0)
        np.save(path, rng.standard_normal((POINTS, WIDTH), np.float32))
        mapped = np.load(path, mmap_mode="r")
        models = gd.Streamed(mapped), gd.Empirical(mapped)
        x, level = jax.random.normal(jax.random.key(1), (BATCH, WIDTH)), gd.NoiseLevel(1.0, 20.0)
        denoise = jax.jit(jax.vmap(lambda m, x, level: m.denoise(x, level), in_axes=(None, 0, None)))
        name = f"Streamed.denoise from a mapped file, batch {BATCH}, {POINTS} points of {WIDTH}, chunks of 1000"
        peer = "Empirical.denoise of the same points in memory"
        calls = {name: lambda: denoise(models[0], x, level), peer: lambda: denoise(models[1], x, level)}
        return [row(take_turns(calls, turns=9), name, peer, "at most 1.5")]
