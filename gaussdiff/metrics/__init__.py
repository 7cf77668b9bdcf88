"""Numbers that compare sets of samples and fields of predictions, in float64 on the host.

Each depends on how many samples it is given: state the number of them, the features, and the floor, which is the same
number between two sets of real data of those sizes.
"""

from gaussdiff.metrics.explained import explained_by_entry, explained_variance
from gaussdiff.metrics.frechet import frechet_distance
from gaussdiff.metrics.kernels import Estimate, kernel_distance, median_distance, mmd
from gaussdiff.metrics.neighbours import PrecisionRecall, copy_ratios, nearest_distances, precision_recall
from gaussdiff.metrics.slices import sliced_wasserstein

__all__ = [
    "Estimate",
    "PrecisionRecall",
    "copy_ratios",
    "explained_by_entry",
    "explained_variance",
    "frechet_distance",
    "kernel_distance",
    "median_distance",
    "mmd",
    "nearest_distances",
    "precision_recall",
    "sliced_wasserstein",
]
