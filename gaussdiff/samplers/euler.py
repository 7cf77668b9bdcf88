"""Euler's method along the straight line between two levels.

With alpha and sigma moving linearly over a step, the probability flow is  dx = dalpha x0 + dsigma noise. One Euler step
is then DDIM in every frame, as a test checks; in the frame alpha = 1 it is EDM's  x + (sigma' - sigma) (x -
x0) / sigma.
"""

from gaussdiff.conversions import noise_from_x0
from gaussdiff.denoiser import Event
from gaussdiff.samplers.base import OneStep, Step, denoise
from gaussdiff.schedules import NoiseLevel


class Euler(OneStep):
    """Euler: x' = x + (alpha' - alpha) x0 + (sigma' - sigma) noise; order 1, one model call a step."""

    def nfe(self, n: int) -> int:
        return n

    @property
    def asks_at_start(self) -> bool:
        return True

    def step(self, model, x, state, level, next_level, noise):
        x0 = denoise(model, x, level)
        return Step((x + displacement(x, x0, level, level, next_level)).astype(x.dtype), x0)


def displacement(x: Event, x0: Event, at: NoiseLevel, level: NoiseLevel, next_level: NoiseLevel) -> Event:
    """The move from level to next_level, (alpha' - alpha) x0 + (sigma' - sigma) noise, noise as seen `at` x."""
    noise = noise_from_x0(x0, x, at)
    return (next_level.alpha - level.alpha) * x0 + (next_level.sigma - level.sigma) * noise
