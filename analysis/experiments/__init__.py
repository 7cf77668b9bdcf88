"""The experiments, one small file each, in the order of a report."""

from typing import Any

from analysis.experiment import Experiment
from analysis.experiments.dimension import DIMENSION

STANDARD: tuple[Experiment[Any], ...] = (DIMENSION,)


def named(name: str) -> Experiment[Any]:
    """The experiment of this name, in any case; ValueError for a name that is none."""
    for experiment in STANDARD:
        if experiment.name == name.upper():
            return experiment
    known = ", ".join(experiment.name for experiment in STANDARD)
    raise ValueError(f"name: expected one of {known}, got {name!r}.")
