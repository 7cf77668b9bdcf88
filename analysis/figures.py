"""The figures of a report: each a function from measured arrays to a matplotlib Figure."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from analysis.compare import Curves, Paths, rank_correlation
from analysis.style import COLORS, LINES, NAMES, image_rows, is_image, noise_axes, pair, panels

LOWEST = -0.4  # explained variances below it are drawn at it, as triangles


def trajectories(paths: Mapping[str, Paths], start: int = 0, columns: int = 9) -> Figure:
    """One start, every model: the network's noisy state on top, then what each model believes the image is."""
    levels = paths["network"].sigma
    between = _spread(levels[:-1], columns - 2)
    chosen = np.unique([0, *between, len(levels) - 1])  # with the start and the end of the path
    if not is_image(paths["network"].x[start, 0]):
        return _plane(paths)
    scale = np.sqrt(levels[chosen] ** 2 + 1).reshape(-1, 1, 1, 1)
    rows = [("noisy state\n(U-Net)", paths["network"].x[start, chosen] / scale)]
    rows += [
        (f"{NAMES[name]}\nbelieves", np.append(path.denoised[start], path.x[start, -1:], 0)[chosen])
        for name, path in paths.items()
    ]
    figure = image_rows(rows)
    places = ["start\n", *[""] * (len(chosen) - 2), "end\n"]
    for axis, place, sigma in zip(figure.axes, places, levels[chosen], strict=False):
        axis.set_title(f"{place}σ = {sigma:.2g}", fontsize=9)
    figure.suptitle("Same noise, same solver: what each model believes on the way", fontsize=12)
    return figure


def samples(images: Mapping[str, np.ndarray], columns: int = 12) -> Figure:
    """A row of samples for each name, columns from the same noise."""
    first = next(iter(images.values()))
    if not is_image(first[0]):
        return _clouds(images)
    figure = image_rows([(name, row[:columns]) for name, row in images.items()])
    figure.suptitle("Finished samples: the models in one column started from the same noise", fontsize=12)
    return figure


def explained(sigmas: np.ndarray, measured: Mapping[str, Curves]) -> Figure:
    """How much of the network each twin explains, and which of them denoises unseen images best, by noise scale."""
    figure, (denoiser, score, error) = panels(3)
    for axis, part, title in ((denoiser, "denoiser", "denoised image"), (score, "score", "score")):
        for name, curve in measured[part].items():
            below = curve < LOWEST
            axis.plot(sigmas, np.maximum(curve, LOWEST), color=COLORS[name], **LINES[name])
            axis.plot(sigmas[below], np.full(below.sum(), LOWEST), "v", color=COLORS[name], ms=LINES[name]["ms"] + 5)
        axis.set(ylim=(LOWEST - 0.05, 1.05), title=f"explained variance of the U-Net's {title}")
        axis.axhline(1, color="#cccccc", lw=0.8, zorder=0)
        axis.axhline(0, color="#cccccc", lw=0.8, zorder=0)
        if any((curve < LOWEST).any() for curve in measured[part].values()):
            axis.text(0.02, 0.12, f"▼ below {LOWEST:g}", transform=axis.transAxes, fontsize=9)
    for name, curve in measured["error"].items():
        error.plot(sigmas, curve, color=COLORS[name], label=NAMES[name], **LINES[name])
    error.set(title="error of the denoised image, unseen data", ylim=(0, None))
    one = np.abs(np.log(sigmas)).argmin()
    gaussian, isotropic = (measured["denoiser"][name][one] for name in ("gaussian", "isotropic"))
    figure.suptitle(
        f"At σ = {sigmas[one]:.2g} the Gaussian explains {gaussian:.0%} of the U-Net's denoised image, "
        f"the isotropic baseline {isotropic:.0%}"
    )
    return noise_axes(figure, denoiser, score, error)


def distances(levels: np.ndarray, measured: Mapping[str, Curves]) -> Figure:
    """How far each twin's path runs from the network's, from the same noise, by noise scale."""
    figure, (state, denoised) = panels(2)
    for axis, part, title in ((state, "state", "noisy state"), (denoised, "denoised", "denoised image")):
        for name, curve in measured[part].items():
            shown = levels[: len(curve)] > 0
            label = NAMES[name] if axis is denoised else None
            axis.plot(levels[: len(curve)][shown], curve[shown], color=COLORS[name], label=label, **LINES[name])
        axis.set(title=f"distance to the U-Net's {title}\n(RMS per pixel)", ylim=(0, None))
    ends = {name: curve[-1] for name, curve in measured["state"].items()}
    figure.suptitle(f"From the same noise, the {NAMES[min(ends, key=ends.__getitem__)]} ends closest to the U-Net")
    return noise_axes(figure, state, denoised)


def commitment(variances: np.ndarray, measured: Curves) -> Figure:
    """When each principal component is decided, against its variance and the closed form sqrt(3 variance)."""
    figure, (axis,) = panels(1, width=6)
    order = np.linspace(variances.min(), variances.max(), 200)
    axis.plot(order, np.sqrt(3 * order), "--", color=COLORS["gaussian"], label="closed form √(3 variance)")
    for name in ("network", "mixture", "data_set"):
        marker = "o" if name == "network" else "."
        axis.plot(variances, measured[name], marker, color=COLORS[name], label=NAMES[name], ms=6, alpha=0.85)
    axis.set(
        xscale="log", yscale="log", xlabel="variance of the principal component (data units²)\ndetails ← → outline"
    )
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter("{x:g}")
        scale.set_minor_locator(NullLocator())
    ordered = rank_correlation(variances, measured["network"]) > 0.5
    title = "Large components are decided first, fine ones last" if ordered else "Components out of the predicted order"
    axis.set(ylabel="σ where it is half decided", title=title)
    axis.legend(frameon=False)
    return figure


def _spread(sigma: np.ndarray, columns: int) -> np.ndarray:
    """Indices of levels about evenly spaced in log sigma, within the range where the picture changes."""
    wanted = np.geomspace(min(20.0, sigma[0]), sigma[-1] if sigma[-1] > 0.05 else 0.05, columns)
    return np.array([np.abs(np.log(sigma) - np.log(w)).argmin() for w in wanted])


def _plane(paths: Mapping[str, Paths], shown: int = 40) -> Figure:
    """Paths of the denoised value in the first two coordinates, for data that are vectors."""
    figure, axes = panels(len(paths), width=3.4)
    for axis, (name, path) in zip(axes, paths.items(), strict=True):
        plane = pair(path.denoised[:shown])
        axis.plot(plane[..., 0].T, plane[..., 1].T, color=COLORS[name], lw=0.6, alpha=0.7)
        axis.plot(*pair(path.samples[:shown]).T, ".", color=COLORS[name], ms=4)
        axis.set(title=f"{NAMES[name]}: denoised value on its way", aspect="equal")
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
