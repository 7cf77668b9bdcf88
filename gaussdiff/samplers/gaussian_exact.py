"""The closed-form flow of a Gaussian as a sampler: no model calls, no error, any step size."""

from gaussdiff.distributions.gaussian import Gaussian, check_gaussian
from gaussdiff.exact.flow import gaussian_flow
from gaussdiff.samplers.base import OneStep, Step


class GaussianExact(OneStep):
    """gaussian_flow as a step, whatever the model: the first part of a teleported path (see SwitchAt).

    Wang & Vastola, arXiv 2412.09726.
    """

    gaussian: Gaussian

    def __check_init__(self):
        check_gaussian(self.gaussian)

    def nfe(self, n: int) -> int:
        return 0

    @property
    def asks_at_start(self) -> bool:
        return True  # it asks nothing at all

    def step(self, model, x, state, level, next_level, noise):
        moved, x0 = gaussian_flow(self.gaussian, x, level, next_level), self.gaussian.denoise(x, level)
        return Step(moved.astype(x.dtype), x0.astype(x.dtype))
