"""What a sampler is: a state, a step, a count of model calls."""

import abc
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.denoiser import Denoiser, Event
from gaussdiff.numerics.arrays import concrete
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.schedules import NoiseLevel, check_levels


class Step(eqx.Module):
    """What one step gives: the next sample, the denoised value computed at its start, and the next state.

    x, denoised: (*event).
    """

    x: Float[Array, "*event"]
    denoised: Float[Array, "*event"]
    state: Any = None


class Sampler(eqx.Module):
    """A rule that carries one sample from a level to the next, from any frame to any frame."""

    @abc.abstractmethod
    def draws(self) -> int:
        """How many standard normals of x's shape a step takes: 0 for a deterministic sampler.

        Fixed when the sampler is made, so that it does not depend on what is traced: an amount of noise that is traced
        then counts as some.
        """

    @abc.abstractmethod
    def nfe(self, n: int) -> int:
        """Model calls of n steps of gd.sample that end at sigma = 0."""

    @property
    def asks_at_start(self) -> bool:
        """Whether each step needs no more of the model than denoise(x, level), once, where it starts."""
        return False

    def check_steps(self, n: int) -> None:
        """ValueError where the sampler cannot take n steps; most take any number."""

    def check_inversion(self) -> None:
        """ValueError where the sampler cannot run from data to noise; deterministic ones can."""
        if self.draws():
            raise ValueError(
                f"sampler: expected a deterministic one, got {type(self).__name__}, which draws noise. Use one that "
                "does not, such as gd.Heun(), or gd.Euler(), which is DDIM at eta = 0."
            )

    @abc.abstractmethod
    def init(self, x: Event, levels: NoiseLevel) -> Any:
        """The state before the first step of x (*event) along the grid levels (n+1,)."""

    @abc.abstractmethod
    def step(  # the types of every sampler's step are these, and are not written again
        self,
        model: Denoiser,
        x: Event,
        state: Any,
        level: NoiseLevel,
        next_level: NoiseLevel,
        noise: Float[Array, "draws *event"],
    ) -> Step:
        """One step of one sample x (*event) from level to next_level.

        next_level has less noise, or, where the sampler passes check_inversion, more.
        """


class Memoryless(Sampler):
    """A sampler whose steps know nothing of each other."""

    def init(self, x: Event, levels: NoiseLevel) -> None:
        return None


class OneStep(Memoryless):
    """A sampler without memory and without noise of its own."""

    def draws(self) -> int:
        return 0


def denoise(model: Denoiser, x: Event, level: NoiseLevel) -> Event:
    """model.denoise with a check, while tracing, that the output is a sample like x."""
    x0 = model.denoise(x, level)
    if x0.shape != x.shape:
        raise ValueError(
            f"model: expected denoise to give shape {x.shape}, got {x0.shape}. It maps one sample to one sample."
        )
    return x0.astype(x.dtype)


def check_sampler(sampler, argument: str = "sampler") -> None:
    """TypeError unless `sampler` is a Sampler."""
    cure = (
        "It comes before the model."
        if isinstance(sampler, Denoiser)
        else "Make one, as in gd.Heun(), and look whether arguments are swapped."
    )
    check_kind(sampler, Sampler, argument, "a gd.Sampler such as gd.Heun()", cure)


def is_noisy(amount: Array) -> bool:
    """Whether a sampler made with this amount of noise draws any: all but one that is known to be 0.

    It is asked once, in `__init__`, and kept as a static field: a sampler that is an argument of a jitted function has
    a traced amount, and draws what it drew outside.
    """
    return not (concrete(amount) and float(amount) == 0)


def check_amount(noisy: bool, amount: Array, argument: str) -> None:
    """ValueError where a sampler that was made without noise has been given an amount of it since."""
    if not noisy and concrete(amount) and np.any(np.asarray(amount)):
        raise ValueError(
            f"{argument}: expected 0, with which the sampler was made, got {described(amount)}. Make another sampler "
            f"with this {argument}, since one that was made without noise draws none."
        )


def check_grid(levels, argument: str = "levels") -> None:
    """TypeError unless `levels` is a NoiseLevel; ValueError unless it has at least two levels, noise decreasing."""
    check_levels(levels, argument)
    if concrete(levels):
        alpha, sigma = (np.asarray(value, np.float64) for value in (levels.alpha, levels.sigma))
        # sigma / alpha falls, written without dividing by an alpha of 0
        rising = np.flatnonzero(sigma[1:] * alpha[:-1] >= sigma[:-1] * alpha[1:])
        if rising.size:
            i = rising[0]
            raise ValueError(
                f"{argument}: expected strictly falling noise, got sigma/alpha {sigma[i]:g}/{alpha[i]:g} at index {i}, "
                f"then {sigma[i + 1]:g}/{alpha[i + 1]:g}. Order them from noise to data, each level once."
            )
