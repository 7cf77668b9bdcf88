"""How figures look: names, colours and lines of the models, panels, rows of images, an axis of noise."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

NAMES = {
    "network": "trained network",
    "gaussian": "Gaussian",
    "mixture": "mixture",
    "data_set": "data set",
    "isotropic": "isotropic",
    "low_rank": "low-rank Gaussian",
    "fine_mixture": "fine mixture",
    "local": "patches",
    "real": "real data",
    "closed_form": "closed form",
    "untrained": "untrained",
    "shuffled_weights": "shuffled weights",
    "shuffled_spectrum": "shuffled spectrum",
}
COLORS = {
    "network": "#111111",
    "gaussian": "#0072b2",
    "mixture": "#e69f00",
    "data_set": "#009e73",
    "isotropic": "#999999",
    "low_rank": "#56b4e9",
    "fine_mixture": "#d55e00",
    "local": "#7b3fa0",
    "real": "#cc79a7",
    "closed_form": "#0072b2",
    "untrained": "#bbbbbb",
    "shuffled_weights": "#8c6d5a",
    "shuffled_spectrum": "#56b4e9",
}
# Curves that lie on each other stay visible: the later ones are dashed and have smaller points.
LINES = {
    "network": {"ls": "-", "marker": "o", "ms": 5},
    "gaussian": {"ls": "-", "marker": "o", "ms": 5},
    "mixture": {"ls": "--", "marker": "s", "ms": 3},
    "data_set": {"ls": ":", "marker": "o", "ms": 2},
    "isotropic": {"ls": "-", "marker": ".", "ms": 5},
    "closed_form": {"ls": "--", "marker": "", "lw": 2},
    "low_rank": {"ls": "--", "marker": ".", "ms": 4},
    "fine_mixture": {"ls": "-.", "marker": "s", "ms": 3},
    "local": {"ls": "-", "marker": "^", "ms": 4},
    "untrained": {"ls": "-", "marker": "x", "ms": 4},
    "shuffled_weights": {"ls": "--", "marker": "x", "ms": 4},
    "shuffled_spectrum": {"ls": ":", "marker": "x", "ms": 4},
}
NOISE_AXIS = "noise scale σ (data units): noise ← → data"


def is_image(sample: np.ndarray) -> bool:
    """Whether a sample (*event) is a picture as it is: (H, W, 1 or 3)."""
    return sample.ndim == 3 and sample.shape[-1] in (1, 3)


def visible(values: np.ndarray, rank: int) -> np.ndarray:
    """Of samples (..., *event), whose event has `rank` axes, what can be drawn.

    Images (H, W, C) as they are, or where C is not 1 or 3 their first channel; else flat vectors (..., D).
    """
    if rank != 3:
        return values.reshape(*values.shape[: values.ndim - rank], -1)
    return values if values.shape[-1] in (1, 3) else values[..., :1]


def channel_note(event: tuple[int, ...]) -> str:
    """What `visible` shows of samples of that shape, in words; "" where that is all of them."""
    return f"the first of {event[-1]} channels" if len(event) == 3 and event[-1] not in (1, 3) else ""


def image_rows(rows: list[tuple[str, np.ndarray]]) -> Figure:
    """A row of pictures, of values from -1 to 1, for each name."""
    columns = max(len(images) for _, images in rows)
    figure = Figure(figsize=(0.85 * columns + 1.4, 0.92 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images) in zip(axes, rows, strict=True):
        picture_row(line, images, name)
    return figure


def picture_row(axes: np.ndarray, images: np.ndarray, name: str) -> None:
    """Pictures of values from -1 to 1 on a line of axes, one for each or fewer, with a name in front."""
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, image in zip(axes, images, strict=False):
        axis.imshow(np.clip(image.squeeze() / 2 + 0.5, 0, 1), cmap="gray_r", vmin=0, vmax=1)
    axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)


def panels(count: int, width: float = 4.2) -> tuple[Figure, list[Axes]]:
    """A figure of `count` plots side by side."""
    figure = Figure(figsize=(width * count, 3.9), layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def noise_axes(figure: Figure, *axes: Axes) -> Figure:
    """The figure with an axis of noise that falls from left to right in each plot, and one legend below."""
    for axis in axes:
        axis.set(xscale="log", xlabel=NOISE_AXIS)
        axis.title.set_fontsize(10)
        axis.invert_xaxis()
        axis.xaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


def model_curves(axis: Axes, sigma: np.ndarray, curves: Mapping[str, np.ndarray], label: bool) -> None:
    """Each model's curve against sigma > 0, the first on top; the Gaussian by a solver only without its closed form."""
    exact = "closed_form" in curves
    for depth, (name, curve) in enumerate(curves.items()):
        if name != "gaussian" or not exact:
            shown = sigma[: len(curve)] > 0
            look = {"color": COLORS[name], "zorder": 3 - depth / 10, **LINES[name]}
            axis.plot(sigma[: len(curve)][shown], curve[shown], label=NAMES[name] if label else None, **look)


def plain_numbers(*scales: Axis) -> None:
    """Ticks at 1, 2 and 5 of each decade of a logarithmic scale, as plain numbers, also where it is short."""
    for scale in scales:
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter("{x:g}")
        scale.set_minor_formatter(NullFormatter())


def pair(x: np.ndarray) -> np.ndarray:
    """The first two coordinates of the last axis; one coordinate is drawn against 0."""
    return x[..., :2] if x.shape[-1] > 1 else np.concatenate([x, np.zeros_like(x)], -1)
