"""A1: how many dimensions one path has, by principal components of its states, of its steps and of its noise.

In the variance-preserving frame, x / sqrt(1 + sigma^2), where a path keeps its length: with alpha = 1 its start is
hundreds of times longer than its end, and any path is a line. The Gaussian's fractions are those of expected
Gram matrices, E <x_t, x_s> of the states (gd.exact.path_spectrum) and so for the others: no path was followed.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, NAMES, panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.geometry import expected_path, noise, preserved
from analysis.measures.paths import Paths

PARTS = ("states", "steps", "noise")
COMPONENTS = 3  # whose fractions are measured
FLAT = 0.99  # the fraction of variance in two components from which a path is called flat
CLOSE = 0.01  # how far the closed form's fraction may be from the network's


@dataclass(frozen=True)
class Record:
    """fractions: {model: {part: (B, 3)}} of variance in the first 1, 2, 3 components; expected: {part: (3,)}, Gaussian.

    controls: the models that learned nothing of the data's order.
    """

    fractions: dict[str, dict[str, np.ndarray]]
    expected: dict[str, np.ndarray]
    controls: tuple[str, ...]


def measure(setting: Setting) -> Record:
    """The fractions of every model's and every control's paths, and the Gaussian's expectation."""
    paths = {**setting.paths, **setting.control_paths}
    expected = {part: one[0] for part, one in _parts(expected_path(setting.gaussian, setting.levels)).items()}
    return Record({name: _parts(path) for name, path in paths.items()}, expected, tuple(setting.controls))


def _parts(path: Paths) -> dict[str, np.ndarray]:
    states = preserved(path)
    return {"states": fractions(states), "steps": fractions(np.diff(states, axis=1)), "noise": fractions(noise(path))}


def fractions(points: np.ndarray) -> np.ndarray:
    """The variance in the first 1, 2, 3 principal components of each row of points (B, n, D): (B, 3)."""
    centered = points - points.mean(1, keepdims=True)
    variances = np.linalg.svd(centered, compute_uv=False) ** 2
    first = np.cumsum(variances / variances.sum(1, keepdims=True), axis=1)[:, :COMPONENTS]
    return np.pad(first, ((0, 0), (0, COMPONENTS - first.shape[1])), constant_values=1)  # no more dimensions than these


def find(record: Record) -> Finding:
    """Flat where two components hold FLAT of the variance; as the Gaussian's where its fraction is within CLOSE."""
    two = {name: _mean(parts["states"][:, 1]) for name, parts in record.fractions.items()}
    network, expected = two["network"], float(record.expected["states"][1])
    flat = {name: one.value >= FLAT for name, one in two.items()}
    alike = {name: abs(one.value - expected) <= CLOSE for name, one in two.items()}
    steps, noises = (_beside(record, part) for part in ("steps", "noise"))
    others = ", ".join(f"{two[name].value:.3f} ({NAMES[name]})" for name in two if name != "network")
    return Finding(
        sentence=f"Two principal components hold {'' if flat['network'] else 'only '}{network.value:.1%} of the "
        "variance of a path on average.",
        criteria=(
            Criterion(
                "fraction of a path's variance in two components",
                network,
                f"at least {FLAT:g}",
                flat["network"],
                note=f"Of other models it is {others}.",
                controls=meet(flat, record.controls),
            ),
            Criterion(
                "distance of that fraction from the Gaussian's closed form",
                abs(network.value - expected),
                f"at most {CLOSE:g}",
                alike["network"],
                note=f"The closed form is {expected:.3f}.",
                controls=meet(alike, record.controls),
            ),
        ),
        numbers={
            "expected_share": {part: one.tolist() for part, one in record.expected.items()},
            "two_components": {name: list(one) for name, one in two.items()},
            "share": {
                name: {part: values.mean(0).tolist() for part, values in parts.items()}
                for name, parts in record.fractions.items()
            },
        },
        notes=(
            f"Two components hold {steps} of the variance of the steps between states.",
            f"They hold {noises} of the variance of the noise in the states.",
        ),
    )


def _beside(record: Record, part: str) -> str:
    """The fraction in two components of a part of the network's paths, and the closed form's."""
    return f"{_mean(record.fractions['network'][part][:, 1])}, by the closed form {record.expected[part][1]:.3f},"


def _mean(values: np.ndarray) -> Interval:
    return interval(np.mean, values)


def draw(record: Record) -> Figure:
    """A panel for each part: the fraction outside the first 1, 2, 3 components, by model."""
    figure, axes = panels(len(PARTS), width=3.8)
    width = 0.8 / len(record.fractions)
    for axis, part in zip(axes, PARTS, strict=True):
        for i, (name, parts) in enumerate(record.fractions.items()):
            left = np.arange(COMPONENTS) + (i - (len(record.fractions) - 1) / 2) * width
            label = NAMES[name] if axis is axes[0] else None
            axis.bar(left, 1 - parts[part].mean(0), width, color=COLORS[name], label=label)
        axis.set(
            xticks=range(COMPONENTS), xticklabels=range(1, COMPONENTS + 1), xlabel="number of components", title=part
        )
        axis.set(yscale="log", ylim=(1e-6, 1))
        label = "closed form" if axis is axes[0] else None
        axis.plot(range(COMPONENTS), 1 - record.expected[part], "k_", ms=18, label=label)
    axes[0].set_ylabel("fraction of variance left out")
    figure.suptitle(f"Two components leave out {1 - record.fractions['network']['states'][:, 1].mean():.1%} of a path")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


DIMENSION = Experiment(
    name="A1",
    title="One path is nearly flat",
    claim="The path from noise to a sample lies almost in a plane, which the sample and its noise span.",
    published="No number was published; Wang & Vastola, arXiv 2303.02490, section 3.",
    criterion="Agrees where two components hold at least 99 % of the variance of a path, and the Gaussian's closed "
    "form is within .01 of it.",
    caption="The fraction of a path's variance that its first components leave out: a short bar is a flat path. "
    "Dashes: the Gaussian's closed form.",
    headline=Headline("fraction of a path's variance in two components", ("two_components", "network")),
    measure=measure,
    find=find,
    draw=draw,
)
