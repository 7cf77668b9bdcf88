"""DPM-Solver++(2S): the denoised image between the two levels of a step, extrapolated linearly in log-SNR.

x' = DDIM + alpha' (1 - e^-h) / (2 r) (x0_r - x0),   x0_r the model's at lambda + r h, reached by DDIM
"""

from jaxtyping import Array, Float

from gaussdiff.conversions import noise_from_x0
from gaussdiff.denoiser import Denoiser, Event
from gaussdiff.samplers.base import OneStep, Step, denoise
from gaussdiff.samplers.singlestep import between, check_fraction, data_step, ddim, where_finite
from gaussdiff.schedules import NoiseLevel


class DPMSolverPP2S(OneStep):
    """DPM-Solver++(2S) at the fraction r of a step: order 2, two calls a step, one from alpha = 0 or to sigma = 0.

    x' = (sigma'/sigma) x + alpha' (1 - e^-h) ((1 - 1/(2 r)) x0 + x0_r / (2 r)). ValueError for r outside (0, 1]. Lu et
    al., arXiv 2211.01095, algorithm 1.
    """

    r: Float[Array, ""]

    def __init__(self, r=0.5):
        self.r = check_fraction(r)

    def nfe(self, n: int) -> int:
        return 2 * n - 1

    def step(
        self,
        model: Denoiser,
        x: Event,
        state: None,
        level: NoiseLevel,
        next_level: NoiseLevel,
        noise: Array,
    ) -> Step:
        x0 = denoise(model, x, level)
        eps = noise_from_x0(x0, x, level)
        moved = ddim(x0, eps, next_level)

        def corrected(level, next_level):
            middle = between(level, next_level, self.r)
            change = denoise(model, ddim(x0, eps, middle), middle) - x0
            return moved + data_step(level, next_level) / (2 * self.r) * change

        return Step(where_finite(corrected, moved, level, next_level), x0)
