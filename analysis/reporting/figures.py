"""The figures of a report: each a function from measured arrays to a matplotlib Figure."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.style import COLORS, NAMES, channel_note, image_rows, pair, panels, visible
from analysis.measures.paths import Paths

PLANE_PATHS = 40  # paths of vectors that are drawn
SAMPLES = 12  # images of each model


def trajectories(paths: Mapping[str, Paths], start: int = 0, columns: int = 9) -> Figure:
    """One start, every model: the network's noisy state on top, then each model's denoised image."""
    levels, event = paths["network"].sigma, paths["network"].x.shape[2:]
    between = _spread(levels[:-1], columns - 2)
    chosen = np.unique([0, *between, len(levels) - 1])  # with the start and the end of the path
    paths = visible_paths(paths)
    if len(event) != 3:
        return _plane(paths)
    scale = np.sqrt(levels[chosen] ** 2 + 1).reshape(-1, 1, 1, 1)
    rows = [("noisy state\n(network)", paths["network"].x[start, chosen] / scale)]
    rows += [
        (f"denoised:\n{NAMES[name]}", np.append(path.denoised[start], path.x[start, -1:], 0)[chosen])
        for name, path in paths.items()
    ]
    figure = image_rows(rows)
    places = ["start\n", *[""] * (len(chosen) - 2), "end\n"]
    for axis, place, sigma in zip(figure.axes, places, levels[chosen], strict=False):
        axis.set_title(f"{place}σ = {sigma:.2g}", fontsize=9)
    figure.suptitle(_titled("Same noise, same solver: the prediction of each model on the way", event), fontsize=12)
    return figure


def samples(images: Mapping[str, np.ndarray], columns: int = SAMPLES) -> Figure:
    """A row of samples for each name, columns from the same noise."""
    event = next(iter(images.values())).shape[1:]
    drawn = {name: visible(row, len(event)) for name, row in images.items()}
    if len(event) != 3:
        return _clouds(drawn)
    figure = image_rows([(name, row[:columns]) for name, row in drawn.items()])
    words = "Finished samples: the models in one column started from the same noise"
    figure.suptitle(_titled(words, event), fontsize=12)
    return figure


def visible_paths(paths: Mapping[str, Paths]) -> dict[str, Paths]:
    """The paths with what can be drawn of each state and denoised value: see style.visible."""
    rank = paths["network"].x.ndim - 2
    return {name: Paths(p.sigma, visible(p.x, rank), visible(p.denoised, rank)) for name, p in paths.items()}


def _titled(words: str, event: tuple[int, ...]) -> str:
    note = channel_note(event)
    return f"{words} ({note})" if note else words


def _spread(sigma: np.ndarray, columns: int) -> np.ndarray:
    """Indices of levels about evenly spaced in log sigma, within the range where the picture changes."""
    wanted = np.geomspace(min(20.0, sigma[0]), sigma[-1] if sigma[-1] > 0.05 else 0.05, columns)
    return np.array([np.abs(np.log(sigma) - np.log(w)).argmin() for w in wanted])


def _plane(paths: Mapping[str, Paths], shown: int = PLANE_PATHS) -> Figure:
    """Paths of the denoised value in the first two coordinates, for data that are vectors."""
    figure, axes = panels(len(paths), width=3.4)
    for axis, (name, path) in zip(axes, paths.items(), strict=True):
        plane = pair(path.denoised[:shown])
        axis.plot(plane[..., 0].T, plane[..., 1].T, color=COLORS[name], lw=0.6, alpha=0.7)
        axis.plot(*pair(path.samples[:shown]).T, ".", color=COLORS[name], ms=4)
        axis.set(title=f"{NAMES[name]}: denoised value along paths", aspect="equal")
        axis.title.set_fontsize(9)
    return figure


def _clouds(samples: Mapping[str, np.ndarray]) -> Figure:
    figure, axes = panels(len(samples), width=2.8)
    for axis, (name, x) in zip(axes, samples.items(), strict=True):
        axis.plot(*pair(x).T, ".", color="#333333", ms=2)
        axis.set(title=name, aspect="equal")
        axis.title.set_fontsize(9)
    figure.suptitle("Finished samples of each model, from the same noise", fontsize=12)
    return figure
