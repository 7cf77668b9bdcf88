"""Grids and samplers made for a model, by gradient descent through the sampler itself.

The question of a recipe, a grid of n steps and a sampler's coefficients, is how near it comes to the true flow. On a
Gaussian the answer is exact (`wasserstein2`, `kl_divergence`, `relative_error`); for other models it is the distance
of ends from those of a fine solution, from the same noise (`EndError`). Either has a gradient in the levels and in the
sampler's coefficients. A recipe for a data set, smoothed by the bandwidth of the highest held-out likelihood
(`choose_bandwidth`), serves a network that learns the same data, before it is trained.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, check_key, check_model
from gaussdiff.design.error import grouped, kl_divergence, relative_error, spectrum, wasserstein2
from gaussdiff.design.objective import EndError
from gaussdiff.design.recipe import Recipe, numbers_of, teleported
from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.gaussian import Gaussian, check_gaussian
from gaussdiff.grids import karras, uniform_log_snr
from gaussdiff.numerics.adam import descend
from gaussdiff.numerics.checks import check_above_0, check_count
from gaussdiff.samplers import DPMSolverPP2M, LinearMultistep, Sampler
from gaussdiff.samplers.base import check_grid, check_sampler
from gaussdiff.samplers.multistep import DataMultistep
from gaussdiff.schedules import NoiseLevel, check_sigma_range

Objective = Callable[[Sampler, NoiseLevel, Any], Array]
EXACT_OBJECTIVES = wasserstein2, kl_divergence, relative_error
STEPS = "It is the number of steps, which sets the shape of the grid."
DESCENT = "300 steps of descent are the default; 0 is the start alone."


def optimal_grid(
    model: Denoiser,
    sampler: Sampler,
    n: int,
    *,
    objective: Objective | None = None,
    sigma_min=0.002,
    sigma_max=80.0,
    final_zero: bool = True,
    key: PRNGKeyArray | None = None,
    paths: int = 256,
    shape: tuple[int, ...] | None = None,
    steps: int = 300,
    rate=0.05,
    tries: int = 3,
    start: NoiseLevel | None = None,
    teleport: Gaussian | None = None,
) -> NoiseLevel:
    """The grid of n steps on which a sampler does best: (n+1,) levels with alpha = 1, for other frames `reframe` it.

    Args:
        model: a Gaussian or Diagonal, on which errors are exact, or any other denoiser.
        sampler: the one that is to take the grid.
        n: how many steps.
        objective: objective(sampler, levels, model) -> () > 0, to be made small. By default `wasserstein2` for a
            Gaussian or Diagonal and `EndError` for others; exact ones get the law's Spectrum in place of the model.
        sigma_min: the last level is above it with final_zero, and is it otherwise.
        sigma_max: the first level.
        final_zero: whether a last step leads to sigma = 0, that is gives out the denoised image.
        key: for the starts of EndError, which the default objective of other models needs.
        paths: how many starts EndError takes.
        shape: of one sample, where the model is a network and EndError is to draw its starts.
        steps: of each descent.
        rate: of each descent, the learning rate.
        tries: how many descents: from the best few of the usual grids and `start`.
        start: one more grid to start from, n steps with alpha = 1 from sigma_max.
        teleport: a Gaussian whose exact flow makes one more step, the first, without a call of the model.

    No grid from which a descent starts is better under the objective than the answer. With teleport that is (n+2,),
    made for gd.SwitchAt(gd.GaussianExact(teleport), sampler, levels[1].log_snr).

    TypeError or ValueError for a model, sampler, n or start of another kind, and for a key or shape that is missing.
    """
    check_model(model)
    check_sampler(sampler)
    n = check_count(n, "n", STEPS)
    sampler.check_steps(n)
    steps, tries = check_count(steps, "steps", DESCENT, least=0), check_count(tries, "tries", "3 is the default.")
    rate = check_above_0(rate, "rate", "0.05 is the default.")
    low, high = check_sigma_range(sigma_min, sigma_max)
    if teleport is not None:
        check_gaussian(teleport, "teleport")
    if objective is None:
        objective = _default_objective(model, key, paths, sigma_max, shape)
    exact = objective in EXACT_OBJECTIVES
    law: Any = grouped(spectrum(model)) if exact else model  # pyright: ignore[reportArgumentType]
    key = jax.random.key(0) if key is None else key  # an exact objective draws nothing

    count = n if teleport is None else n + 1
    grids = _usual_grids(count, low, high, final_zero)
    if start is not None:
        grids.append(_check_start(start, count, high))
    errors = [_value(objective, sampler, levels, law, teleport) for levels in grids]

    for i in map(int, jnp.argsort(jnp.stack(errors))[:tries]):
        recipe = Recipe(numbers_of(grids[i], low), sampler, low, high, teleport, final_zero)
        recipe, error = _descended(recipe, law, objective, objective, key, steps, rate, False)
        grids.append(recipe.levels())
        errors.append(error)
    return grids[int(jnp.argmin(jnp.stack(errors)))]


def optimal_sampler(
    model: Denoiser,
    n: int,
    *,
    key: PRNGKeyArray,
    memory: int = 3,
    sigma_min=0.002,
    sigma_max=80.0,
    final_zero: bool = True,
    paths: int = 1024,
    shape: tuple[int, ...] | None = None,
    steps: int = 300,
    rate=0.03,
    batch: int = 128,
    order: int = 1,
    start: tuple[DataMultistep, NoiseLevel] | None = None,
) -> tuple[LinearMultistep, NoiseLevel]:
    """The multistep sampler of n calls, and its grid (n+1,), that come nearest to the true flow, optimised together.

    Args:
        model: any denoiser.
        n: how many steps, each of one call.
        key: for the starts and the batches.
        memory: how many past denoised images a step may extrapolate from.
        sigma_min: as for `optimal_grid`.
        sigma_max: the first level.
        final_zero: whether a last step leads to sigma = 0.
        paths: how many starts the descent takes; a quarter as many others choose the best of its points.
        shape: of one sample, where the model is a network.
        steps: of the descent; with 0 the answer is the start.
        rate: the learning rate.
        batch: how many of the starts a step of the descent takes.
        order: of the error's mean over paths, as in `EndError`.
        start: the sampler and grid to start from, such as a recipe for the data that is to be refined on a network; by
            default DPM-Solver++(2M) on the best of a few usual grids.

    On the paths that choose, the answer is no worse than the start. Levels are in the frame alpha = 1. Errors as
    `optimal_grid`.
    """
    check_model(model)
    check_key(key)
    n, memory = check_count(n, "n", STEPS), check_count(memory, "memory", "3 is the default.")
    paths = check_count(paths, "paths", "Some hundreds give two digits.")
    steps = check_count(steps, "steps", DESCENT, least=0)
    rate = check_above_0(rate, "rate", "0.03 is the default.")
    low, high = check_sigma_range(sigma_min, sigma_max)
    pool, other, descent = jax.random.split(key, 3)
    train, check = (
        EndError.of(model, key, count, sigma_max=sigma_max, shape=shape, batch=batch, order=order)
        for key, count in ((pool, paths), (other, max(paths // 4, 1)))
    )
    if start is None:
        usual = _usual_grids(n, low, high, final_zero)[1::2]  # those even in log-SNR
        start = DPMSolverPP2M(), _best(model, DPMSolverPP2M(), usual, check)
    levels = _check_start(start[1], n, high)
    sampler = LinearMultistep.like(start[0], levels, max(memory, start[0].memory))
    recipe = Recipe(numbers_of(levels, low), sampler, low, high, None, final_zero)
    before = _value(check, sampler, levels, model, None)
    best, after = _descended(recipe, model, train, check, descent, steps, rate, True)
    assert isinstance(best.sampler, LinearMultistep)
    return (best.sampler, best.levels()) if after < before else (sampler, levels)


@eqx.filter_jit
def _descended(recipe, model, objective, check, key, steps: int, rate, learn: bool) -> tuple[Recipe, Float[Array, ""]]:
    """The recipe after descending on the objective in its numbers and, with learn, in the sampler's arrays."""
    spec = jax.tree.map(lambda _: False, recipe)
    spec = eqx.tree_at(lambda r: r.numbers, spec, True)
    spec = eqx.tree_at(lambda r: r.sampler, spec, jax.tree.map(lambda _: learn, recipe.sampler))
    free, fixed = eqx.partition(recipe, spec)

    def judge(objective, free):
        recipe = eqx.combine(free, fixed)
        return objective(recipe.solver(), recipe.levels(), model)

    def loss(free, key):
        return judge(objective.draw(key) if isinstance(objective, EndError) else objective, free)

    best, value = descend(loss, lambda free: judge(check, free), free, key, steps, rate)
    return eqx.combine(best, fixed), value


@eqx.filter_jit
def _value(objective, sampler, levels, model, teleport) -> Float[Array, ""]:
    return objective(teleported(teleport, sampler, levels), levels, model)


def _usual_grids(n: int, sigma_min, sigma_max, final_zero: bool) -> list[NoiseLevel]:
    """Grids to start from; with a final 0 also such that stop early."""
    span = jnp.log(sigma_max / sigma_min)
    lows = [sigma_min * jnp.exp(fraction * span) for fraction in ((0.0, 0.2, 0.3) if final_zero else (0.0,))]
    spacings = karras, uniform_log_snr
    return [spacing(n, low, sigma_max, final_zero=final_zero) for low in lows for spacing in spacings]


def _default_objective(model: Denoiser, key: PRNGKeyArray | None, paths: int, sigma_max, shape) -> Objective:
    if isinstance(model, Gaussian | Diagonal):
        return wasserstein2
    if key is None:
        raise ValueError(
            f"key: expected one, since the paths of a {type(model).__name__} are compared, got no key. Pass "
            "key=jax.random.key(seed)."
        )
    return EndError.of(model, key, paths, sigma_max=sigma_max, shape=shape)


def _best(model: Denoiser, sampler: Sampler, grids: list[NoiseLevel], objective: Objective) -> NoiseLevel:
    values = [_value(objective, sampler, levels, model, None) for levels in grids]
    return grids[int(jnp.argmin(jnp.stack(values)))]


def _check_start(levels: NoiseLevel, n: int, sigma_max: Array) -> NoiseLevel:
    """The levels; ValueError unless they are n steps in the frame alpha = 1 that start at sigma_max."""
    check_grid(levels)
    if len(levels) != n + 1 or bool((levels.alpha != 1).any()) or float(levels.sigma[0]) != float(sigma_max):
        raise ValueError(
            f"start: expected {n + 1} levels with alpha = 1 from sigma = {float(sigma_max):g}, got {len(levels)} from "
            f"{float(levels.alpha[0]):g}, {float(levels.sigma[0]):g}. Set n and sigma_max to those of the start."
        )
    return levels
