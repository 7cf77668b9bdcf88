"""The loop that every sampler shares, and what a sampler is: a state, a step, a count of model calls."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, Event, check_key, check_model, check_sample
from gaussdiff.numerics import concrete, floating
from gaussdiff.samplers.brownian import step_noise
from gaussdiff.schedules import NoiseLevel
from gaussdiff.trajectory import Trajectory


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
        """How many standard normals of x's shape a step takes: 0 for a deterministic sampler."""

    @abc.abstractmethod
    def nfe(self, n: int) -> int:
        """Model calls of n steps of gd.sample that end at sigma = 0."""

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
    def step(
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


def sample(sampler: Sampler, model: Denoiser, x, levels: NoiseLevel, key: PRNGKeyArray | None = None) -> Trajectory:
    """Carry one sample x (*event) at levels[0] down the grid `levels` (n+1,), and keep the whole path.

    Returns the Trajectory: levels, x (n+1, *event), and denoised (n, *event), the values the sampler itself computed;
    the model is called no more often than the sampler needs. key: only for samplers that draw noise; it stands for one
    Brownian path, whose increments are the noise of every grid: more steps refine the same sample. For a batch:
    jax.vmap(gd.sample, in_axes=(None, None, 0, None, 0))(sampler, model, x, levels, keys), without the last 0 and keys
    for a deterministic sampler.

    TypeError for a sampler, model, levels or key of the wrong kind; ValueError for a NaN in x, levels that do not lose
    noise at every step, or a missing key. Values cannot be looked at inside jit, and are not checked there.
    """
    x = check_start(sampler, model, x, levels)
    if key is None and sampler.draws():
        raise ValueError(
            f"key: expected one, since {type(sampler).__name__} draws noise, got no key. Pass key=jax.random.key(seed),"
            " under vmap one for each sample: jax.random.split(key, count)."
        )
    if key is not None:
        check_key(key)
    return run(sampler, model, x, levels, key)


def invert(sampler: Sampler, model: Denoiser, x, levels: NoiseLevel) -> Trajectory:
    """Carry one sample x (*event) at levels[-1] up the grid `levels` (n+1,) to the noise that it came from.

    levels: the grid of gd.sample, from noise to data. Returns the Trajectory in the order visited, from data to noise:
    levels[::-1], x (n+1, *event) and denoised (n, *event). From sigma = 0 the first step is alpha' x / alpha, since the
    noise of a smooth law is 0 there (Heun's, which also looks at its end, is not); to alpha = 0 the last one keeps the
    noise. The orders are those of gd.sample, and gd.sample from the end of the path leads back to x but for the errors
    of both.

    Errors as gd.sample; ValueError too for a sampler that draws noise or starts at noise alone (AFS). Song et al.,
    arXiv 2010.02502, section 4.3.
    """
    x = check_start(sampler, model, x, levels)
    sampler.check_inversion()
    return run(sampler, model, x, levels[::-1], None)


@eqx.filter_jit
def run(sampler: Sampler, model: Denoiser, x: Array, levels: NoiseLevel, key: PRNGKeyArray | None) -> Trajectory:
    """The path of one sample along levels that fall or rise; nothing is checked."""
    if key is None or not sampler.draws():
        noise = quiet(sampler, x, levels)
    else:
        noise = step_noise(key, levels, (sampler.draws(), *x.shape), x.dtype)
    return follow(sampler, model, x, levels, noise)


def quiet(sampler: Sampler, x: Array, levels: NoiseLevel) -> Float[Array, "n draws *event"]:
    """Noise of 0 for every step."""
    return jnp.zeros((len(levels) - 1, sampler.draws(), *x.shape), x.dtype)


def follow(sampler: Sampler, model: Denoiser, x: Array, levels: NoiseLevel, noise: Array) -> Trajectory:
    """The path of one sample with the noise of its steps given, (n, draws, *event); nothing is checked."""

    def body(carry, inputs):
        x, state = carry
        level, next_level, noise = inputs
        step = sampler.step(model, x, state, level, next_level, noise)
        return (step.x, step.state), (step.x, step.denoised)

    _, (xs, denoised) = jax.lax.scan(body, (x, sampler.init(x, levels)), (levels[:-1], levels[1:], noise))
    return Trajectory(levels, jnp.concatenate([x[None], xs]), denoised)


def denoise(model: Denoiser, x: Event, level: NoiseLevel) -> Event:
    """model.denoise with a check, while tracing, that the output is a sample like x."""
    x0 = model.denoise(x, level)
    if x0.shape != x.shape:
        raise ValueError(
            f"model: expected denoise to give shape {x.shape}, got {x0.shape}. It maps one sample to one sample."
        )
    return x0.astype(x.dtype)


def check_start(sampler: Sampler, model: Denoiser, x, levels: NoiseLevel) -> Array:
    """x as an array; TypeError or ValueError unless the sampler can carry it through the levels."""
    check_sampler(sampler)
    check_model(model)
    x = check_sample(x)
    if concrete(x) and not np.isfinite(np.asarray(x)).all():
        raise ValueError("x: expected finite numbers, got NaN or infinity. Draw a start with gd.sample_prior.")
    check_grid(levels)
    sampler.check_steps(len(levels) - 1)
    return x


def check_sampler(sampler, argument: str = "sampler") -> None:
    """TypeError unless `sampler` is a Sampler."""
    if not isinstance(sampler, Sampler):
        raise TypeError(
            f"{argument}: expected a gd.Sampler such as gd.Heun(), got {sampler!r}. "
            + ("It comes before the model." if isinstance(sampler, Denoiser) else "Call the class to make one.")
        )


def check_at_least_0(value, argument: str, cure: str) -> Array:
    """value as an array; ValueError unless it is finite and >= 0."""
    value = floating(value)
    if concrete(value) and not 0 <= float(value) < np.inf:
        raise ValueError(f"{argument}: expected >= 0 and finite, got {float(value):g}. {cure}")
    return value


def check_count(value: int, argument: str, cure: str) -> int:
    """ValueError unless value is an integer >= 1."""
    if not (isinstance(value, int) and value >= 1):
        raise ValueError(f"{argument}: expected an integer >= 1, got {value!r}. {cure}")
    return value


def is_zero(value: Array) -> bool:
    """Whether value can be looked at and is 0: a sampler then draws no noise."""
    return concrete(value) and float(value) == 0


def check_grid(levels) -> None:
    """TypeError unless `levels` is a NoiseLevel; ValueError unless it holds two levels or more, of falling noise."""
    if not isinstance(levels, NoiseLevel):
        raise TypeError(
            f"levels: expected a NoiseLevel of (n+1,) arrays, got {type(levels).__name__}. See gd.grids.karras(n)."
        )
    if jnp.ndim(levels.sigma) != 1 or len(levels) < 2:
        raise ValueError(
            f"levels: expected shape (n+1,) with n >= 1 steps, got {jnp.shape(levels.sigma)}. See gd.grids.karras(n)."
        )
    if concrete(levels):
        alpha, sigma = (np.asarray(value, np.float64) for value in (levels.alpha, levels.sigma))
        # sigma / alpha falls, written without dividing by an alpha of 0
        rising = np.flatnonzero(sigma[1:] * alpha[:-1] >= sigma[:-1] * alpha[1:])
        if rising.size:
            i = rising[0]
            raise ValueError(
                f"levels: expected strictly falling noise, got sigma/alpha {sigma[i]:g}/{alpha[i]:g} at index {i}, "
                f"then {sigma[i + 1]:g}/{alpha[i + 1]:g}. Order them from noise to data."
            )
