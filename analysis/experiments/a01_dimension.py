"""A1: how many dimensions one path has, by principal components of its states, of its steps and of its noise.

In the variance-preserving frame, x / sqrt(1 + sigma^2), where a path keeps its length: with alpha = 1 its start is
hundreds of times longer than its end, and any path is a line. The Gaussian's shares are those of expected Gram
matrices, E <x_t, x_s> of the states (gd.exact.path_spectrum) and so for the others, which no path was followed for.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.controls import also
from analysis.harness.experiment import Experiment, Finding, judged
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, NAMES, panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.geometry import expected_path, noise, preserved
from analysis.measures.paths import Paths

PARTS = ("states", "steps", "noise")
NAMED = ("two components", "the closed form's share")  # the parts of the criterion
PASSED = ("are flat", "have the share of the Gaussian's closed form")  # what controls do that hold a part
SHOWN = 3  # components
FLAT = 0.99  # the share of variance in two components from which a path is called flat
NEAR = 0.01  # of that share: how far the closed form's may be from it


@dataclass(frozen=True)
class Record:
    """shares: {model: {part: (B, 3)}}, the variance in the first 1, 2, 3 components; expected: {part: (3,)}, Gaussian.

    controls: the models that learned nothing of the data's order.
    """

    shares: dict[str, dict[str, np.ndarray]]
    expected: dict[str, np.ndarray]
    controls: tuple[str, ...]


def measure(setting: Setting) -> Record:
    """The shares of every model's and every control's paths, and the Gaussian's expectation."""
    paths = {**setting.paths, **setting.control_paths}
    expected = {part: one[0] for part, one in _parts(expected_path(setting.gaussian, setting.levels)).items()}
    return Record({name: _parts(path) for name, path in paths.items()}, expected, tuple(setting.controls))


def _parts(path: Paths) -> dict[str, np.ndarray]:
    states = preserved(path)
    return {"states": shares(states), "steps": shares(np.diff(states, axis=1)), "noise": shares(noise(path))}


def shares(points: np.ndarray) -> np.ndarray:
    """The variance in the first 1, 2, 3 principal components of each row of points (B, n, D): (B, 3)."""
    centered = points - points.mean(1, keepdims=True)
    variances = np.linalg.svd(centered, compute_uv=False) ** 2
    kept = np.zeros((len(points), SHOWN))
    found = np.cumsum(variances / variances.sum(1, keepdims=True), axis=1)[:, :SHOWN]
    kept[:, : found.shape[1]] = found
    kept[:, found.shape[1] :] = 1
    return kept


def find(record: Record) -> Finding:
    """Flat where two components hold FLAT of the variance; as the Gaussian's where its share is as near as NEAR."""
    two = {name: _mean(parts["states"][:, 1]) for name, parts in record.shares.items()}
    network, expected = two["network"], float(record.expected["states"][1])
    held = {name: (one.value >= FLAT, abs(one.value - expected) <= NEAR) for name, one in two.items()}
    steps, seen = (_beside(record, part) for part in ("steps", "noise"))
    others = ", ".join(f"{NAMES[name]} {two[name].value:.3f}" for name in two if name != "network")
    found = (
        f"Two components hold {network} of a path's variance (mean over paths, 95 % interval), {expected:.3f} in the "
        f"Gaussian's closed form; {others}. Of the steps between states two hold {steps}, of the noise that is seen on "
        f"the way {seen}."
        f"{also(PASSED, held, record.controls)}"
    )
    numbers = {
        "expected_share": {part: one.tolist() for part, one in record.expected.items()},
        "two_components": {name: list(one) for name, one in two.items()},
        "share": {
            name: {part: values.mean(0).tolist() for part, values in parts.items()}
            for name, parts in record.shares.items()
        },
    }
    return judged(dict(zip(NAMED, held["network"], strict=True)), found, numbers)


def _beside(record: Record, part: str) -> str:
    """The share in two components of a part of the network's paths, and the closed form's."""
    return f"{_mean(record.shares['network'][part][:, 1])} (closed form {record.expected[part][1]:.3f})"


def _mean(values: np.ndarray) -> Interval:
    return interval(np.mean, values)


def draw(record: Record) -> Figure:
    """A panel for each part: the share outside the first 1, 2, 3 components, by model."""
    figure, axes = panels(len(PARTS), width=3.8)
    width = 0.8 / len(record.shares)
    for axis, part in zip(axes, PARTS, strict=True):
        for i, (name, parts) in enumerate(record.shares.items()):
            left = np.arange(SHOWN) + (i - (len(record.shares) - 1) / 2) * width
            label = NAMES[name] if axis is axes[0] else None
            axis.bar(left, 1 - parts[part].mean(0), width, color=COLORS[name], label=label)
        axis.set(xticks=range(SHOWN), xticklabels=range(1, SHOWN + 1), xlabel="components kept", title=part)
        axis.set(yscale="log", ylim=(1e-6, 1))
        label = "closed form" if axis is axes[0] else None
        axis.plot(range(SHOWN), 1 - record.expected[part], "k_", ms=18, label=label)
    axes[0].set_ylabel("variance left out (share)")
    figure.suptitle(f"Two components leave out {1 - record.shares['network']['states'][:, 1].mean():.1%} of a path")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


DIMENSION = Experiment(
    name="A1",
    title="One path is nearly flat",
    claim="The path from noise to a sample lies almost in a plane, which the sample and its noise span.",
    published="No number; Wang & Vastola, arXiv 2303.02490, section 3.",
    criterion="Agrees where two components hold at least 99 % of the variance of a path, and the Gaussian's closed "
    "form is within .01 of it.",
    caption="How much of the variance of one path is left out by its first components: of its states, its steps and "
    "the noise it contains. A short bar is a flat path. Dashes: the Gaussian's expectation.",
    measure=measure,
    find=find,
    draw=draw,
)
