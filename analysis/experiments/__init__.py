"""The experiments, one small file each, in the order of a report."""

from typing import Any

from analysis.experiment import Experiment
from analysis.experiments.boomerang import BOOMERANG
from analysis.experiments.closed_form import CLOSED_FORM
from analysis.experiments.denoised_first import DENOISED_FIRST
from analysis.experiments.dimension import DIMENSION
from analysis.experiments.distances import DISTANCES
from analysis.experiments.emergence import EMERGENCE
from analysis.experiments.explained import EXPLAINED
from analysis.experiments.few_calls import FEW_CALLS
from analysis.experiments.interpolation import INTERPOLATION
from analysis.experiments.learning_speed import LEARNING_SPEED
from analysis.experiments.linear_learning import LINEAR_LEARNING
from analysis.experiments.manifold import MANIFOLD
from analysis.experiments.mean_shift import MEAN_SHIFT
from analysis.experiments.norms import NORMS
from analysis.experiments.order_of_learning import ORDER_OF_LEARNING
from analysis.experiments.perturbation import PERTURBATION
from analysis.experiments.rank import RANK
from analysis.experiments.retrieval import RETRIEVAL
from analysis.experiments.rotation import ROTATION
from analysis.experiments.score_deviation import SCORE_DEVIATION
from analysis.experiments.shape import SHAPE
from analysis.experiments.teleportation import TELEPORTATION
from analysis.experiments.time_grids import TIME_GRIDS

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
