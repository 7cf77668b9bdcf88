"""How good samples are: distances between feature distributions, and to the nearest training image."""

from collections.abc import Mapping

import numpy as np

import gaussdiff as gd
from training.data.dataset import Dataset
from training.evaluation.features import Features, unseen
from training.evaluation.samples import draws

Scores = dict[str, dict[str, float]]


def judge(samples: Mapping[str, np.ndarray], data: Dataset, features: Features, seed: int = 0) -> Scores:
    """For each set of samples: Frechet distance to the held-out data in `features`, and the nearest-training ratio.

    The ratio divides the median distance of a sample to its nearest training image by that of a held-out image: 0 is a
    copy, 1 as far from the training set as unseen real data. The row "real" is for comparison: as many training samples
    as there are samples (of those that the features were not learned on), against the same held-out data, the mean and
    the standard deviation over ten draws.
    """
    target = features.extract(data.held_out)
    unseen_distance = np.median(gd.metrics.nearest_distances(data.held_out, data.train))
    scores = {
        name: {
            "frechet": gd.metrics.frechet_distance(features.extract(x), target),
            "nearest_training_ratio": float(np.median(gd.metrics.nearest_distances(x, data.train)) / unseen_distance),
        }
        for name, x in samples.items()
    }
    count = min(len(x) for x in samples.values())
    between = [gd.metrics.frechet_distance(features.extract(x), target) for x in draws(unseen(data), count, seed)]
    # a held-out image stands for real data in the ratio, which is then 1 by definition
    real = {"frechet": float(np.mean(between)), "frechet_std": float(np.std(between)), "nearest_training_ratio": 1.0}
    return {**scores, "real": real}
