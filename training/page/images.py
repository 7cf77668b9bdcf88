"""Samples as a picture: a grid of images, a scatter of points."""

from pathlib import Path
from typing import BinaryIO

import numpy as np


def save_grid(images: np.ndarray, file: Path | BinaryIO, columns: int | None = None) -> None:
    """Write images (N, H, W, C) in [-1, 1] as one PNG, row by row with a gap between them; a square by default.

    Of images with other than 1 or 3 channels the first one is shown.
    """
    import matplotlib.image

    images = images if images.shape[-1] == 3 else images[..., :1]
    n, h, w, c = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    cells = np.full((rows * columns, h + 1, w + 1, c), 0.0, np.float32)
    cells[:n, :h, :w] = np.clip(images, -1, 1)
    sheet = cells.reshape(rows, columns, h + 1, w + 1, c).swapaxes(1, 2).reshape(rows * (h + 1), columns * (w + 1), c)
    scale = max(1, 64 // h)
    sheet = sheet.repeat(scale, 0).repeat(scale, 1)
    matplotlib.image.imsave(file, np.broadcast_to(sheet, (*sheet.shape[:2], 3)) / 2 + 0.5, format="png")


def save_scatter(x: np.ndarray, behind: np.ndarray, file: BinaryIO) -> None:
    """Write the first two entries of vectors (N, D) as points of one PNG, over those of `behind` (M, D) in grey."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((5, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for points, color, size in ((behind, "#c4c7ca", 7), (x, "#0b5c94", 5)):
        # A third of numbers has nowhere to go; a single one has its line.
        plane = np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1]))))
        axis.scatter(*plane.T, s=size, color=color, linewidths=0)
    low, high = behind[:, :2].min(), behind[:, :2].max()
    margin = 0.15 * (high - low)
    axis.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    axis.tick_params(labelsize=8, color="#999999")
    axis.spines[:].set_color("#bbbbbb")
    figure.savefig(file, format="png")
