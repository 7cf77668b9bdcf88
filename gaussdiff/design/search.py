"""Grids and samplers made for a model, by gradient descent through the sampler itself.

The question of a recipe, a grid of n steps and a sampler's coefficients, is how near it comes to the true flow. On a
Gaussian the answer is exact (`wasserstein2`, `kl_divergence`, `relative_error`); for other models it is the distance
of ends from those of a fine solution, from the same noise (`EndError`). Either has a gradient in the levels and in the
sampler's coefficients. What is found on a data set, smoothed by the bandwidth of the highest held-out likelihood
(`choose_bandwidth`), serves a network that learns the same data, before it is trained.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff import grids
from gaussdiff.denoiser import Denoiser, check_key, check_model
from gaussdiff.design.error import grouped, kl_divergence, relative_error, spectrum, wasserstein2
from gaussdiff.design.objective import EndError
from gaussdiff.design.recipe import Recipe, numbers_of, teleported
from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.numerics.adam import descend
from gaussdiff.numerics.arrays import floating
from gaussdiff.samplers import DPMSolverPP2M, LinearMultistep, Sampler
from gaussdiff.samplers.base import check_grid, check_sampler
from gaussdiff.samplers.multistep import DataMultistep
from gaussdiff.schedules import NoiseLevel

Objective = Callable[[Sampler, NoiseLevel, Any], Array]
EXACT = wasserstein2, kl_divergence, relative_error


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

    objective(sampler, levels, model) -> () > 0 is what counts: for a Gaussian or Diagonal by default `wasserstein2`,
    exact, for any other model `EndError` over `paths` starts, which takes a key, and for a network the `shape` of one
    sample. The exact objectives are given the law's Spectrum, all that they depend on, and no D x D modes. The grid
    runs from sigma_max, with final_zero to a last level of any size above sigma_min and then 0 (the last step gives
    out the denoised image), without it to sigma_min. `steps` of descent start from the best `tries` of a few usual
    grids and of `start`; none of these is better under the objective than what comes back. teleport: a Gaussian whose
    exact flow makes one more step, the first, without a call: the answer is then (n+2,), made for
    gd.SwitchAt(gd.GaussianExact(teleport), sampler, levels[1].log_snr). TypeError or ValueError for a model, sampler,
    n or bounds that cannot be, and without a key where one is needed.
    """
    check_model(model)
    check_sampler(sampler)
    sampler.check_steps(n)
    count = n if teleport is None else n + 1
    low, high = floating(sigma_min), floating(sigma_max)
    starts = _usual(count, low, high, final_zero) + ([] if start is None else [_fitting(start, count, high)])
    if objective is None:
        objective = _default(model, key, paths, sigma_max, shape)
    law: Any = grouped(spectrum(model)) if objective in EXACT else model  # pyright: ignore[reportArgumentType]
    values = jnp.stack([_value(objective, sampler, levels, law, teleport) for levels in starts])
    key = jax.random.key(0) if key is None else key  # an exact objective draws nothing
    found = []
    for i in map(int, jnp.argsort(values)[:tries]):
        recipe = Recipe(numbers_of(starts[i], low, final_zero), sampler, low, high, teleport, final_zero)
        found.append(_improved(recipe, law, objective, objective, key, steps, floating(rate), False))
    ends = [*starts, *(recipe.levels() for recipe, _ in found)]
    return ends[int(jnp.argmin(jnp.append(values, jnp.stack([value for _, value in found]))))]


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
    """The multistep sampler of n calls, and its grid, that come nearest to the true flow: both are sought at once.

    Every step may extrapolate from the denoised images of the `memory` steps before. `paths` starts are descended on,
    `batch` at a time, and a quarter as many others decide which point of the descent is the best, so that what comes
    back is no worse on these than the start: DPM-Solver++(2M) on the best of a few usual grids, or `start`, such as a
    recipe found on the data that is to be refined on a network. With steps = 0 it comes back as it is. Levels are in
    the frame alpha = 1; sigma_min, sigma_max, final_zero, shape and errors as `optimal_grid`.
    """
    check_model(model)
    check_key(key)
    pool, other, descent = jax.random.split(key, 3)
    train, check = (
        EndError.of(model, key, count, sigma_max=sigma_max, shape=shape, batch=batch, order=order)
        for key, count in ((pool, paths), (other, max(paths // 4, 1)))
    )
    low, high = floating(sigma_min), floating(sigma_max)
    if start is None:
        start = DPMSolverPP2M(), _best(model, DPMSolverPP2M(), _usual(n, low, high, final_zero)[1::2], check)
    levels = _fitting(start[1], n, high)
    sampler = LinearMultistep.like(start[0], levels, max(memory, start[0].memory))
    recipe = Recipe(numbers_of(levels, low, final_zero), sampler, low, high, None, final_zero)
    before = _value(check, sampler, levels, model, None)
    found, value = _improved(recipe, model, train, check, descent, steps, floating(rate), True)
    assert isinstance(found.sampler, LinearMultistep)
    return (found.sampler, found.levels()) if value < before else (sampler, levels)


@eqx.filter_jit
def _improved(recipe, model, objective, check, key, steps: int, rate, learn: bool) -> tuple[Recipe, Float[Array, ""]]:
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


def _usual(n: int, sigma_min, sigma_max, final_zero: bool) -> list[NoiseLevel]:
    """Grids to start from; with a final 0 also such that stop early."""
    span = jnp.log(sigma_max / sigma_min)
    lows = [sigma_min * jnp.exp(share * span) for share in ((0.0, 0.2, 0.3) if final_zero else (0.0,))]
    makes = grids.karras, grids.uniform_log_snr
    return [make(n, low, sigma_max, final_zero=final_zero) for low in lows for make in makes]


def _default(model: Denoiser, key: PRNGKeyArray | None, paths: int, sigma_max, shape) -> Objective:
    if isinstance(model, Gaussian | Diagonal):
        return wasserstein2
    if key is None:
        raise ValueError(
            f"key: expected one, since the paths of a {type(model).__name__} are compared, got no key. Pass "
            "key=jax.random.key(seed)."
        )
    return EndError.of(model, key, paths, sigma_max=sigma_max, shape=shape)


def _best(model: Denoiser, sampler: Sampler, made: list[NoiseLevel], objective: Objective) -> NoiseLevel:
    values = [_value(objective, sampler, levels, model, None) for levels in made]
    return made[int(jnp.argmin(jnp.stack(values)))]


def _fitting(levels: NoiseLevel, n: int, sigma_max: Array) -> NoiseLevel:
    """The levels; ValueError unless they are n steps in the frame alpha = 1 that start at sigma_max."""
    check_grid(levels)
    if len(levels) != n + 1 or bool((levels.alpha != 1).any()) or float(levels.sigma[0]) != float(sigma_max):
        raise ValueError(
            f"start: expected {n + 1} levels with alpha = 1 from sigma = {float(sigma_max):g}, got {len(levels)} from "
            f"{float(levels.alpha[0]):g}, {float(levels.sigma[0]):g}. Set n and sigma_max to those of the start."
        )
    return levels
