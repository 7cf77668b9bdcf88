"""The closed-form flow of a Gaussian as a sampler: no model calls, no error, any step size."""

from jaxtyping import Array

from gaussdiff.denoiser import Denoiser, Event
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.exact.flow import gaussian_flow
from gaussdiff.samplers.base import OneStep, Step
from gaussdiff.schedules import NoiseLevel


class GaussianExact(OneStep):
    """gaussian_flow as a step, whatever the model: the first part of a teleported path (see SwitchAt).

    Wang & Vastola, arXiv 2412.09726.
    """

    gaussian: Gaussian

    def nfe(self, n: int) -> int:
        return 0

    def step(
        self,
        model: Denoiser,
        x: Event,
        state: None,
        level: NoiseLevel,
        next_level: NoiseLevel,
        noise: Array,
    ) -> Step:
        moved, x0 = gaussian_flow(self.gaussian, x, level, next_level), self.gaussian.denoise(x, level)
        return Step(moved.astype(x.dtype), x0.astype(x.dtype))
