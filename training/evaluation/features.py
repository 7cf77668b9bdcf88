"""Maps from samples to features in which sets of samples are compared. A distance means nothing without their name.

What is learned here is learned on one half of the training samples, drawn at random: the others stand for perfect
samples in the floors of training/evaluation/samples.py, which would be too low for samples that the features have seen.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

import gaussdiff as gd
from training.data.dataset import Dataset, Rows, spread

MOST_TO_LEARN_FROM = 10_000  # enough for a small classifier; more only costs time
MOST_COMPONENTS = 64  # a covariance needs several samples for each


@dataclass(frozen=True)
class Features:
    """A map from samples (N, *event) to features (N, F), and its name for tables."""

    name: str
    extract: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Classifier:
    """What was learned of the labels: samples (N, *event) to labels (N,), and the features that it decides by."""

    predict: Callable[[np.ndarray], np.ndarray]
    features: Features


def learn_features(data: Dataset, seed: int = 0) -> Features:
    """The last hidden layer of a small classifier trained on the labels; principal_components without labels.

    Pixels would flatter a Gaussian, whose first two moments in pixels are right by construction.
    """
    return learn_classifier(data, seed).features if can_learn(data) else learn_components(data)


def learn_classifier(data: Dataset, seed: int = 0) -> Classifier:
    """A small classifier of the labels, which `can_learn` must find learnable."""
    labels: Any = data.train_labels
    # Imported here: sets without labels need no classifier.
    from sklearn.neural_network import MLPClassifier

    classifier = MLPClassifier((128, 32), random_state=seed, early_stopping=True)
    places = _learned(data)
    classifier.fit(_flat(data.train_rows[places]), labels[places])
    accuracy = classifier.score(_flat(data.held_out), data.held_out_labels)
    hidden = list(zip(classifier.coefs_, classifier.intercepts_, strict=True))[:-1]
    name = f"last hidden layer (32) of a classifier that recognises {accuracy:.1%} of the held-out samples"
    last = Features(name, lambda x: reduce(lambda h, layer: np.maximum(h @ layer[0] + layer[1], 0), hidden, _flat(x)))
    return Classifier(lambda x: np.asarray(classifier.predict(_flat(x))), last)


def can_learn(data: Dataset) -> bool:
    """Whether there are labels that a classifier can learn: two classes or more, ten samples of each."""
    if data.train_labels is None:
        return False
    counts = np.unique(data.train_labels[_learned(data)], return_counts=True)[1]
    return len(counts) >= 2 and counts.min() >= 10


def unseen(data: Dataset) -> Rows:
    """The half of the training samples that no features were learned on."""
    rows = data.train_rows
    every = np.arange(len(rows)) if rows.places is None else rows.places
    return Rows(rows.stored, every[_halves(data)[1]])


def _learned(data: Dataset) -> np.ndarray:
    """The places of the training samples to learn from."""
    half = _halves(data)[0]
    return half[spread(len(half), MOST_TO_LEARN_FROM)]


def _halves(data: Dataset) -> list[np.ndarray]:
    """The places of both halves, at random, since sets may be stored class after class, or in turns."""
    order = np.random.default_rng(0).permutation(len(data.train_rows))
    return [np.sort(half) for half in np.array_split(order, 2)]


def learn_components(data: Dataset) -> Features:
    """The principal components of the training data as features."""
    return principal_components(data.train_rows[_learned(data)])


def principal_components(x: np.ndarray) -> Features:
    """The coefficients of the principal components of x, 64 at the most: all of them where there are no more."""
    count = min(MOST_COMPONENTS, x[0].size)
    gaussian = gd.Gaussian.from_samples(x, rank=count)
    mean, variances, vectors = (np.asarray(a, np.float64) for a in (gaussian.mean, gaussian.eigvals, gaussian.eigvecs))
    fraction = variances.sum() / (variances.sum() + (x[0].size - count) * float(gaussian.residual))
    name = f"the first {count} principal components of the training data, {fraction:.1%} of its variance"
    return Features(name, lambda x: (_flat(x) - mean.ravel()) @ vectors)


def from_file(place: str) -> Features:
    """The function at "FILE.py:NAME", (N, *event) float32 in the data's own scale to (N, F), as features.

    The way to bring a network of one's own, such as Inception. FileNotFoundError for no such file, ValueError where
    `place` has another form or names no function of it.
    """
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name:
        raise ValueError(f"features: expected FILE.py:FUNCTION, got {place!r}; name the function after a colon")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise FileNotFoundError(f"features: expected a Python file, got {file}, which is not there; check the path")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"features: expected a Python file that runs, got {file}: {error!r}; correct it") from error
    function = vars(module).get(name)
    if not callable(function):
        raise ValueError(f"features: expected a function in {file}, got {name!r}, which is none; check its name")
    title = f"{name} of {Path(file).name}"
    return Features(title, lambda x: _asked(title, function, x))


def tried(place: str, data: Dataset) -> Features:
    """The features `from_file`, after two samples went through: what cannot work is said before all else."""
    features = from_file(place)
    features.extract(data.held_out_rows[np.arange(min(2, len(data.held_out_rows)))])
    return features


def _asked(title: str, function: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    try:
        features = np.asarray(function(x), np.float64)
    except Exception as error:
        raise ValueError(f"features: {title} fails on samples {x.shape}: {error!r}; correct it") from error
    if features.ndim != 2 or len(features) != len(x) or not np.isfinite(features).all():
        raise ValueError(
            f"features: expected finite features (N, F) of samples {x.shape}, got shape {features.shape}, "
            f"{np.isfinite(features).mean():.0%} of them finite; correct {title}"
        )
    return features


def _flat(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64).reshape(len(x), -1)
