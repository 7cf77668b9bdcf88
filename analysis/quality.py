"""How good samples are: distances between feature distributions, and to the nearest training image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

import gaussdiff as gd
from training.data import Dataset

MOST_FOR_FEATURES = 10_000  # enough for a small classifier; more only costs time


Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Features:
    """A map from samples (N, *event) to features (N, F), and its name for tables."""

    name: str
    extract: Callable[[np.ndarray], np.ndarray]


def learn_features(data: Dataset, seed: int = 0) -> Features:
    """The last hidden layer of a small classifier trained on the labels; the entries themselves where there are none.

    Pixels would flatter the Gaussian twin, whose first two moments in pixels are right by construction.
    """
    if data.train_labels is None:
        return Features("raw entries", _flat)
    # Imported here: sets without labels need no classifier.
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier((128, 32), random_state=seed, early_stopping=True)
    classifier.fit(_flat(data.train[:MOST_FOR_FEATURES]), data.train_labels[:MOST_FOR_FEATURES])
    accuracy = classifier.score(_flat(data.held_out), data.held_out_labels)
    hidden = list(zip(classifier.coefs_, classifier.intercepts_, strict=True))[:-1]
    name = f"last hidden layer (32) of a classifier that recognises {accuracy:.1%} of the held-out samples"
    return Features(name, lambda x: reduce(lambda h, layer: np.maximum(h @ layer[0] + layer[1], 0), hidden, _flat(x)))


def judge(samples: Mapping[str, np.ndarray], data: Dataset, features: Features, seed: int = 0) -> Scores:
    """For each set of samples: Frechet distance to the held-out data in `features`, and the nearest-training ratio.

    The ratio divides the median distance of a sample to its nearest training image by that of a held-out image: 0 is a
    copy, 1 as far from the training set as unseen real data. The row "real" is for comparison: as many training samples
    as there are samples, against the same held-out data, the mean and the standard deviation over ten draws.
    """
    target = features.extract(data.held_out)
    unseen = np.median(gd.metrics.nearest_distances(data.held_out, data.train))
    scores = {
        name: {
            "frechet": gd.metrics.frechet_distance(features.extract(x), target),
            "nearest_training_ratio": float(np.median(gd.metrics.nearest_distances(x, data.train)) / unseen),
        }
        for name, x in samples.items()
    }
    count = min(len(x) for x in samples.values())
    between = [gd.metrics.frechet_distance(features.extract(x), target) for x in _draws(data.train, count, seed)]
    # a held-out image stands for real data in the ratio, which is then 1 by definition
    real = {"frechet": float(np.mean(between)), "frechet_std": float(np.std(between)), "nearest_training_ratio": 1.0}
    return {**scores, "real": real}


def _draws(images: np.ndarray, count: int, seed: int, draws: int = 10) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [images[rng.permutation(len(images))[:count]] for _ in range(draws)]


def _flat(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64).reshape(len(x), -1)
