"""Samples of a trained denoiser, and a picture of them."""

from pathlib import Path

import jax
import numpy as np

import gaussdiff as gd

from . import devices
from .network import LearnedDenoiser


def samples(model: LearnedDenoiser, n: int, sampler: gd.Sampler, levels: gd.NoiseLevel, seed: int) -> np.ndarray:
    """Return n samples (n, *shape), 256 at a time; sample i is the same for every n."""
    key = jax.random.key(seed)
    return gd.sample_batch(
        sampler, model, levels, count=n, shape=model.shape, key=key, chunk=256, sharding=devices.spread()
    )


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
