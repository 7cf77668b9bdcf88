"""How far samples are from held-out data: distances in named features, each beside its floor.

The floor is the same number with as many training samples in the place of the samples, of those that no features were
learned on: what perfect samples would have. No number here says more than how far it is above its floor.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

import gaussdiff as gd
from training.data.dataset import Dataset, Rows
from training.evaluation.features import Classifier, Features, unseen

Measure = Callable[[np.ndarray, np.ndarray], float | gd.metrics.Estimate]
COPY_RATIO = 1 / 3  # a sample three times nearer to the training set than to unseen data counts as a copy


@dataclass(frozen=True)
class Score:
    """One number: its value and standard error (None: not known), and the same of real samples over several draws."""

    name: str
    features: str
    value: float
    error: float | None
    floor: float
    floor_spread: float | None


@dataclass(frozen=True)
class Recognised:
    """The fraction of n samples that a classifier gives the label they were drawn with, and of held-out data theirs.

    Of the held-out data the mean over the classes that were asked for, as samples were drawn of each alike.
    """

    share: float
    error: float  # standard error
    n: int
    accuracy: float
    accuracy_error: float
    held_out: int
    by_class: dict[int, float]  # the fraction of the samples of each label


def distances(samples: np.ndarray, data: Dataset, features: Features, seed: int = 0) -> list[Score]:
    """Compare samples (N, *event) with the held-out data in `features`, and beside it N training samples, ten times.

    Frechet distance; kernel distance and MMD, without bias, so that they may be below 0; sliced Wasserstein distance;
    precision and recall. Where N is no less than half the training set, all of that half stands in, and the draws do
    not differ.
    """
    # In any order but that of the classes: the standard errors leave out one stretch after the other.
    order = np.random.default_rng(seed).permutation(len(data.held_out))
    target, made = features.extract(data.held_out[order]), features.extract(samples)
    real = [features.extract(x) for x in draws(unseen(data), len(samples), seed)]
    scores = []
    for name, measure in _measures(target, seed).items():
        value, error = _estimate(measure(made, target))
        floors = [_estimate(measure(x, target))[0] for x in real]
        scores.append(Score(name, features.name, value, error, float(np.mean(floors)), float(np.std(floors))))
    return scores


def copies(samples: np.ndarray, data: Dataset, seed: int = 0) -> list[Score]:
    """Whether samples are nearer to the training set than unseen data are: median copy ratio, and fraction of copies.

    Distances between entries, to the training set over those to one half of the held-out data. The other half stands
    for perfect samples in the floor.
    """
    order = np.random.default_rng(seed).permutation(len(data.held_out))
    reference, unseen = (data.held_out[half] for half in np.array_split(order, 2))
    ratios, real = (_copy_ratios(x, data.train_rows, unseen) for x in (samples, reference))
    fraction, floor = (float(np.mean(each < COPY_RATIO)) for each in (ratios, real))
    return [
        Score("copy ratio", "entries", float(np.median(ratios)), None, float(np.median(real)), None),
        Score("copies", "entries", fraction, None, floor, None),
    ]


def _copy_ratios(x: np.ndarray, train: Rows, unseen: np.ndarray, chunk: int = 10_000) -> np.ndarray:
    """gd.metrics.copy_ratios to training samples that need not fit into memory, in float64, all at once."""
    chunks = (train[i : i + chunk] for i in range(0, len(train), chunk))
    return np.min([gd.metrics.copy_ratios(x, some, unseen) for some in chunks], axis=0)


def recognised(made: np.ndarray, asked: np.ndarray, data: Dataset, classifier: Classifier) -> Recognised:
    """Judge samples (N, *event) that were drawn with the labels `asked` (N,), and beside them the held-out data."""
    labels = data.held_out_labels
    assert labels is not None
    hits, real = classifier.predict(made) == asked, classifier.predict(data.held_out) == labels
    by_class = {int(label): float(hits[asked == label].mean()) for label in np.unique(asked)}
    classes = [_fraction(real[labels == label]) for label in np.intersect1d(labels, asked)]
    accuracy = float(np.mean([fraction for fraction, _, _ in classes]))
    error = float(np.sqrt(sum(error**2 for _, error, _ in classes)) / len(classes))
    return Recognised(*_fraction(hits), accuracy, error, int(np.isin(labels, asked).sum()), by_class)


def _fraction(hits: np.ndarray) -> tuple[float, float, int]:
    """The fraction, its standard error and n; one more hit and miss than there are keep the error off 0."""
    n, likely = len(hits), (hits.sum() + 1) / (len(hits) + 2)
    return float(hits.mean()), float(np.sqrt(likely * (1 - likely) / n)), n


def draws(images: np.ndarray | Rows, count: int, seed: int, times: int = 10) -> list[np.ndarray]:
    """`count` of the images, or all where there are fewer, drawn without replacement, `times` over."""
    rng = np.random.default_rng(seed)
    return [images[rng.permutation(len(images))[:count]] for _ in range(times)]


def _measures(target: np.ndarray, seed: int) -> dict[str, Measure]:
    bandwidth, key = gd.metrics.median_distance(target), jax.random.key(seed)
    return {
        "Frechet distance": gd.metrics.frechet_distance,
        "kernel distance": gd.metrics.kernel_distance,
        "MMD": lambda a, b: gd.metrics.mmd(a, b, bandwidth),
        "sliced Wasserstein": lambda a, b: gd.metrics.sliced_wasserstein(a, b, key),
        "precision": lambda a, b: gd.metrics.precision_recall(a, b).precision,
        "recall": lambda a, b: gd.metrics.precision_recall(a, b).recall,
    }


def _estimate(value: float | gd.metrics.Estimate) -> tuple[float, float | None]:
    return (value.value, value.standard_error) if isinstance(value, gd.metrics.Estimate) else (value, None)
