"""A multistep solver whose coefficients are given, so that they can be optimised."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.numerics.arrays import floating
from gaussdiff.numerics.checks import check_count, check_finite
from gaussdiff.numerics.kinds import check_kind
from gaussdiff.samplers.base import check_grid
from gaussdiff.samplers.multistep import DataMultistep, History
from gaussdiff.schedules import NoiseLevel


class LinearMultistep(DataMultistep):
    """Step i extrapolates the denoised images D linearly, with row i of the coefficients c: one model call a step.

    x' = (s'/s) x + (1 - s'/s) (D_i + sum_j c_ij (D_i - D_(i-j))) in the frame alpha = 1, and the same x / alpha in
    every frame. coefficients: (n, m) for n steps and D of the m steps before each, newest first, or (m,) for all steps
    alike; those that reach back before the first step count as 0. c = 0 is DDIM. Rows count the steps taken: in
    gd.invert row 0 is the first step up from the data, so that rows made for one direction are not those for the other.
    ValueError for another shape, numbers that are not finite, or a grid of other than n steps.
    """

    coefficients: Float[Array, "*n m"]

    def __init__(self, coefficients):
        self.coefficients = floating(coefficients, "coefficients")
        if self.coefficients.ndim not in (1, 2):
            raise ValueError(
                f"coefficients: expected shape (n, m), or (m,) for all steps alike, got {self.coefficients.shape}. "
                "Row i has the coefficients of step i."
            )
        check_finite(self.coefficients, "coefficients", "0 leaves a term out.")

    @classmethod
    def like(cls, rule: DataMultistep, levels: NoiseLevel, memory: int | None = None) -> "LinearMultistep":
        """The coefficients that a rule such as gd.DPMSolverPP2M() has on a grid (n+1,): the same sampler there.

        memory: m, by default the rule's own; more of it gets the coefficient 0. TypeError for another sampler or no
        grid, ValueError for less memory than the rule has.
        """
        check_grid(levels)
        check_kind(rule, DataMultistep, "rule", "one that remembers x0", "Take gd.DPMSolverPP2M().")
        cure = "Leave memory out for the rule's own."
        memory = rule.memory if memory is None else check_count(memory, "memory", cure)
        if memory < rule.memory:
            raise ValueError(f"memory: expected at least the rule's {rule.memory}, got {memory}. {cure}")
        history, rows = rule.init(jnp.zeros((), levels.sigma.dtype), levels), []
        for level, next_level in pairwise(levels):
            rows.append(-rule.weights(history, level, next_level))
            history = history.push(history.values[0], level)
        return cls(jnp.pad(jnp.stack(rows), ((0, 0), (0, memory - rule.memory))))

    @property
    def memory(self) -> int:
        return self.coefficients.shape[-1]

    def check_steps(self, n: int) -> None:
        if self.coefficients.ndim == 2 and len(self.coefficients) != n:
            raise ValueError(
                f"levels: expected {len(self.coefficients)} steps, one for each row of the coefficients, got {n}. "
                "Give one row a step, or coefficients of shape (m,) for all."
            )

    def weights(self, history: History, level: NoiseLevel, next_level: NoiseLevel) -> Float[Array, " memory"]:
        row = self.coefficients if self.coefficients.ndim == 1 else self.coefficients[history.index]
        return -jnp.where(np.arange(1, self.memory + 1) <= history.index, row, 0)
