"""A11: which training images a path recognises, and whether its sample is one of them.

The data set's denoiser averages its points with weights w_i = softmax(-|x - y_i|^2 / 2 sigma^2). At high noise many
share the answer; once one weight is above one half for good, the path has decided. Of N draws from a Gaussian this is
expected where the noisy image tells as much of the clean one as there are names, sum_k log(1 + lam_k / sigma^2) / 2
= log N (the collapse of arXiv 2402.18491). Samples that depend on neither set are nearest to one of M training images,
rather than to one of K held-out ones, with probability M / (M + K): what is above that is memory.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, LINES, NAMES, noise_axes, panels
from analysis.measures import manifold
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.paths import half_levels

COPY = 1 / 3  # distance to the nearest training image over that to the nearest held-out one, below which it is a copy
FEW, MOST = 0.05, 0.95  # fractions of copies: no more than FEW among the network's samples, MOST of the data set's


@dataclass(frozen=True)
class Record:
    """sigma: (n,), without the end. weight, neighbours: {model: (b, n)}, of the likeliest training image at the states
    of its paths, and how many share the answer. decided: {model: (b,)}, the noise scale after which one image holds
    more than half, NaN where none does. expected: that of a Gaussian of as many samples. ratios: {model: (B,)}, the
    distance of samples to the nearest training image over that to the nearest held-out one. even: M / (M + K).
    """

    sigma: np.ndarray
    weight: dict[str, np.ndarray]
    neighbours: dict[str, np.ndarray]
    decided: dict[str, np.ndarray]
    expected: float
    ratios: dict[str, np.ndarray]
    even: float


def measure(setting: Setting) -> Record:
    """The data set's weights along the network's paths and its own, and the distances of all models' samples."""
    data_set = setting.models["data_set"]
    if not isinstance(data_set, gd.Empirical):
        raise TypeError(f"data_set: expected a gd.Empirical, got {type(data_set).__name__}. It holds the samples.")
    few = setting.count(64, 512)
    levels, sigma = setting.levels[:-1], setting.sigma[:-1].astype(np.float64)
    retrieved = {
        name: manifold.retrieve(data_set, setting.paths[name].x[:few, :-1], levels) for name in ("network", "data_set")
    }
    weight = {name: np.asarray(one.weight, np.float64) for name, one in retrieved.items()}
    train, held_out = setting.data.train, setting.data.held_out
    paths = {**setting.paths, **setting.control_paths}
    return Record(
        sigma=sigma,
        weight=weight,
        neighbours={name: np.asarray(one.neighbours, np.float64) for name, one in retrieved.items()},
        decided={name: half_levels(values.T, sigma) for name, values in weight.items()},
        expected=collapse(np.asarray(setting.gaussian.variances, np.float64), len(train)),
        ratios={name: gd.metrics.copy_ratios(path.samples, train, held_out) for name, path in paths.items()},
        even=len(train) / (len(train) + len(held_out)),
    )


def collapse(variances: np.ndarray, count: int) -> float:
    """The noise scale at which sum_k log(1 + lam_k / sigma^2) / 2 = log(count), by bisection in log sigma."""
    low, high = np.log(1e-6), np.log(1e6)
    for _ in range(60):
        middle = (low + high) / 2
        information = float(np.sum(np.log1p(variances / np.exp(2 * middle)))) / 2
        low, high = (middle, high) if information > np.log(count) else (low, middle)
    return float(np.exp(high))


def find(record: Record) -> Finding:
    """Agrees where the data set's own samples are copies and the network's are not."""
    copies = {name: _fraction(ratios < COPY) for name, ratios in record.ratios.items()}
    nearer = {name: _fraction(ratios < 1) for name, ratios in record.ratios.items()}
    settled = {name: levels[np.isfinite(levels)] for name, levels in record.decided.items()}
    decided = {name: interval(np.median, levels) for name, levels in settled.items() if levels.size}
    others = ", ".join(
        f"{one.value:.3f} ({NAMES[name]})" for name, one in copies.items() if name not in ("network", "data_set")
    )
    return Finding(
        sentence=f"{copies['network'].value:.1%} of the network's samples are copies of training images.",
        criteria=(
            Criterion(
                "fraction of the data set's own samples that are copies",
                copies["data_set"],
                f"at least {MOST:g} with its interval",
                copies["data_set"].low >= MOST,
            ),
            Criterion(
                "fraction of the network's samples that are copies",
                copies["network"],
                f"at most {FEW:g} with its interval",
                copies["network"].high <= FEW,
                note=f"Of other models it is {others}." if others else "",
            ),
        ),
        numbers={
            "decided_at": {name: list(one) for name, one in decided.items()},
            "paths_that_decide": {name: float(np.isfinite(levels).mean()) for name, levels in record.decided.items()},
            "decided_at_expected": record.expected,
            "copies": {name: list(one) for name, one in copies.items()},
            "nearest_is_training": {name: list(one) for name, one in nearer.items()},
            "nearest_is_training_expected": record.even,
            "median_distance_ratio": {name: float(np.median(ratios)) for name, ratios in record.ratios.items()},
        },
        notes=(
            *(_on_path(name, decided.get(name)) for name in record.decided),
            f"For as many samples of a Gaussian this is expected at σ = {record.expected:.3g}.",
            f"For {nearer['network']} of the network's samples the nearest image is a training image, not a held-out "
            f"one; without memory {record.even:.3g} is expected.",
        ),
    )


def _on_path(name: str, decided: Interval | None) -> str:
    """Where one training image takes over, None where it never does."""
    if decided is None:
        return f"On the path of the {NAMES[name]} no training image has more than half of the weight at the end."
    return f"On the path of the {NAMES[name]} one training image has more than half of the weight below σ = {decided}."


def _fraction(flags: np.ndarray) -> Interval:
    return interval(np.mean, flags.astype(float))


def draw(record: Record) -> Figure:
    """The largest weight along paths, how many images share the answer, and the ratios of distances."""
    figure, (weight, neighbours, ratio) = panels(3)
    for name, values in record.weight.items():
        label = f"path of the {NAMES[name]}"
        low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), axis=0)
        weight.plot(record.sigma, middle, color=COLORS[name], label=label, **LINES[name])
        weight.fill_between(record.sigma, low, high, color=COLORS[name], alpha=0.15, lw=0)
        neighbours.plot(record.sigma, np.median(record.neighbours[name], 0), color=COLORS[name], **LINES[name])
    weight.axhline(0.5, color="#999999", lw=0.8)
    for axis in (weight, neighbours):
        axis.axvline(
            record.expected, color=COLORS["gaussian"], ls=":", label=None if axis is neighbours else "expected"
        )
    weight.set(title="Weight of the likeliest training image", ylabel="weight (median, 80 % of paths)")
    neighbours.set(title="Training images that share the answer", yscale="log", ylabel="exp(entropy)")
    noise_axes(figure, weight, neighbours)
    for name, ratios in record.ratios.items():
        ordered = np.sort(np.minimum(ratios, 10))
        ratio.plot(
            ordered, np.linspace(0, 1, len(ordered)), color=COLORS[name], label=NAMES[name], ls=LINES[name]["ls"]
        )
    ratio.axvline(COPY, color="#999999", lw=0.8)
    ratio.plot([1], [record.even], "k_", ms=18, label="expected at 1 without memory")
    ratio.set(xlim=(0, 1.6), xlabel="distance to training / to held-out", ylabel="fraction of samples below")
    ratio.set_title("Is the sample a copy? (left of the line)", fontsize=10)
    ratio.legend(frameon=False, fontsize=7)
    copied = np.mean(record.ratios["network"] < COPY)
    figure.suptitle(f"{copied:.0%} of the {NAMES['network']}'s samples are copies of training images")
    return figure


RETRIEVAL = Experiment(
    name="A11",
    title="The data set's own path retrieves a training image; the network's makes a new one",
    claim="With the exact score of the data set one training image takes over while there is still noise, and is what "
    "comes out; a trained network's samples are not copies.",
    published="No number was published; Wang & Vastola, arXiv 2303.02490.",
    criterion=f"A copy is {COPY:.2f} times as far from the training set as from the held-out set, or nearer. Agrees "
    "where at least 95 % of the data set's samples and at most 5 % of the network's are copies; in part where one of "
    "the two holds.",
    caption="Left and middle: the largest softmax weight of a training image along the paths, decided beyond one half, "
    "and how many images share the answer (dotted: where a Gaussian of as many samples decides). Right: samples by the "
    "ratio of their distance to the nearest training image over that to the nearest held-out image.",
    headline=Headline("σ below which one training image has half of the weight", ("decided_at", "network")),
    measure=measure,
    find=find,
    draw=draw,
)
