"""Heun's method: an Euler step, then the mean of the directions at both of its ends.

The last step to sigma = 0 stays an Euler step, since no direction exists there. A step to alpha = 0, at the end of an
inversion, is averaged like any other: along the straight line the flow is regular at pure noise.
"""

import jax

from gaussdiff.samplers.base import OneStep, Step, denoise
from gaussdiff.samplers.euler import displacement


class Heun(OneStep):
    """Heun's second-order method along the straight line between two levels: two model calls a step, one to sigma = 0.

    From sigma = 0, in gd.invert, a step is averaged too, with 0 for the noise at its start: 2 n calls for n steps.
    In the frame alpha = 1 it is EDM's deterministic sampler, Karras et al., arXiv 2206.00364, algorithm 1.
    """

    def nfe(self, n: int) -> int:
        return 2 * n - 1

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        first = displacement(x, x0, level, level, next_level)

        def averaged(euler):
            second = displacement(euler, denoise(model, euler, next_level), next_level, level, next_level)
            return (x + (first + second) / 2).astype(x.dtype)

        euler = (x + first).astype(x.dtype)
        # cond, not where: the second call of the model must not happen on the last step
        return Step(jax.lax.cond(next_level.sigma > 0, averaged, lambda euler: euler, euler), x0)
