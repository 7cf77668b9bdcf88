"""Samples of a trained denoiser, and a picture of them."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd

from .network import LearnedDenoiser


@eqx.filter_jit
def _solve(model: LearnedDenoiser, levels: gd.NoiseLevel, keys: jax.Array) -> jax.Array:
    def one(key: jax.Array) -> jax.Array:
        x = gd.sample_prior(key, model.shape, levels[0]).astype(jnp.float32)
        return gd.sample(gd.Heun(), model, x, levels).x[-1]

    return jax.vmap(one)(keys)


def samples(model: LearnedDenoiser, n: int, steps: int, seed: int, batch: int = 256) -> np.ndarray:
    """Return n samples (n, *shape) by `steps` Heun steps on Karras' grid; sample i is the same for every n."""
    key, levels = jax.random.key(seed), gd.grids.karras(steps)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n))
    parts = [_solve(model, levels, keys[i : i + batch]) for i in range(0, n, batch)]
    return np.concatenate([np.asarray(part) for part in parts])


def save_grid(images: np.ndarray, path: Path) -> None:
    """Write images (N, H, W, 1 or 3) in [-1, 1] as one PNG, in rows, with a gap between them."""
    import matplotlib.image

    n, h, w, c = images.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    cells = np.full((rows * columns, h + 1, w + 1, c), 0.0, np.float32)
    cells[:n, :h, :w] = np.clip(images, -1, 1)
    sheet = cells.reshape(rows, columns, h + 1, w + 1, c).swapaxes(1, 2).reshape(rows * (h + 1), columns * (w + 1), c)
    scale = max(1, 64 // h)
    sheet = sheet.repeat(scale, 0).repeat(scale, 1)
    matplotlib.image.imsave(path, np.broadcast_to(sheet, (*sheet.shape[:2], 3)) / 2 + 0.5)
