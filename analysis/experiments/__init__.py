"""The experiments, one small file each, in the order of a report."""

from typing import Any

from analysis.experiments.a01_dimension import DIMENSION
from analysis.experiments.a02_rotation import ROTATION
from analysis.experiments.a03_emergence import EMERGENCE
from analysis.experiments.a04_perturbation import PERTURBATION
from analysis.experiments.a05_closed_form import CLOSED_FORM
from analysis.experiments.a06_explained import EXPLAINED
from analysis.experiments.a07_order_of_learning import ORDER_OF_LEARNING
from analysis.experiments.a08_rank import RANK
from analysis.experiments.a09_teleportation import TELEPORTATION
from analysis.experiments.a10_manifold import MANIFOLD
from analysis.experiments.a11_retrieval import RETRIEVAL
from analysis.experiments.c01_linear_learning import LINEAR_LEARNING
from analysis.experiments.c02_learning_speed import LEARNING_SPEED
from analysis.experiments.d01_norms import NORMS
from analysis.experiments.d02_boomerang import BOOMERANG
from analysis.experiments.d03_distances import DISTANCES
from analysis.experiments.d04_denoised_first import DENOISED_FIRST
from analysis.experiments.d05_mean_shift import MEAN_SHIFT
from analysis.experiments.d06_score_deviation import SCORE_DEVIATION
from analysis.experiments.d07_interpolation import INTERPOLATION
from analysis.experiments.d08_shape import SHAPE
from analysis.experiments.d09_time_grids import TIME_GRIDS
from analysis.experiments.d11_few_calls import FEW_CALLS
from analysis.harness.experiment import Experiment

__all__ = [
    "BOOMERANG",
    "CLOSED_FORM",
    "DENOISED_FIRST",
    "DIMENSION",
    "DISTANCES",
    "EMERGENCE",
    "EXPLAINED",
    "FEW_CALLS",
    "INTERPOLATION",
    "LEARNING_SPEED",
    "LINEAR_LEARNING",
    "MANIFOLD",
    "MEAN_SHIFT",
    "NORMS",
    "ORDER_OF_LEARNING",
    "PERTURBATION",
    "RANK",
    "RETRIEVAL",
    "ROTATION",
    "SCORE_DEVIATION",
    "SHAPE",
    "STANDARD",
    "TELEPORTATION",
    "TIME_GRIDS",
    "named",
]

STANDARD: tuple[Experiment[Any], ...] = (
    DIMENSION,
    ROTATION,
    EMERGENCE,
    PERTURBATION,
    CLOSED_FORM,
    EXPLAINED,
    ORDER_OF_LEARNING,
    RANK,
    TELEPORTATION,
    MANIFOLD,
    RETRIEVAL,
    NORMS,
    BOOMERANG,
    DISTANCES,
    DENOISED_FIRST,
    MEAN_SHIFT,
    SCORE_DEVIATION,
    INTERPOLATION,
    SHAPE,
    TIME_GRIDS,
    FEW_CALLS,
    LINEAR_LEARNING,
    LEARNING_SPEED,
)


def named(name: str) -> Experiment[Any]:
    """The experiment of this name, in any case; ValueError for a name that is none."""
    for experiment in STANDARD:
        if experiment.name == name.upper():
            return experiment
    known = ", ".join(experiment.name for experiment in STANDARD)
    raise ValueError(f"name: expected one of {known}, got {name!r}.")
