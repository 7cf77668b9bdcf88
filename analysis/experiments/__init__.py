"""The experiments, one small file each, in the order of a report."""

from typing import Any

from analysis.experiment import Experiment
from analysis.experiments.boomerang import BOOMERANG
from analysis.experiments.dimension import DIMENSION
from analysis.experiments.distances import DISTANCES
from analysis.experiments.emergence import EMERGENCE
from analysis.experiments.norms import NORMS
from analysis.experiments.perturbation import PERTURBATION
from analysis.experiments.rotation import ROTATION

STANDARD: tuple[Experiment[Any], ...] = (
    DIMENSION,
    ROTATION,
    EMERGENCE,
    PERTURBATION,
    NORMS,
    BOOMERANG,
    DISTANCES,
)


def named(name: str) -> Experiment[Any]:
    """The experiment of this name, in any case; ValueError for a name that is none."""
    for experiment in STANDARD:
        if experiment.name == name.upper():
            return experiment
    known = ", ".join(experiment.name for experiment in STANDARD)
    raise ValueError(f"name: expected one of {known}, got {name!r}.")
