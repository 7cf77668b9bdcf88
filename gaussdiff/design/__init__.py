"""Which sampler on which grid: exact errors, tables of them, and solvers optimised for a law."""

from gaussdiff.design.error import (
    SolverError,
    generated,
    injected_variance,
    kl_divergence,
    relative_error,
    solver_error,
    transfer,
    wasserstein2,
)
from gaussdiff.design.gits import gits_grid
from gaussdiff.design.objective import EndError
from gaussdiff.design.recipe import Recipe
from gaussdiff.design.search import optimal_grid, optimal_sampler
from gaussdiff.design.table import SolverTable, solver_table, standard_grids, standard_samplers

__all__ = [
    "EndError",
    "Recipe",
    "SolverError",
    "SolverTable",
    "generated",
    "gits_grid",
    "injected_variance",
    "kl_divergence",
    "optimal_grid",
    "optimal_sampler",
    "relative_error",
    "solver_error",
    "solver_table",
    "standard_grids",
    "standard_samplers",
    "transfer",
    "wasserstein2",
]
