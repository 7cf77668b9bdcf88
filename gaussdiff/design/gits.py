"""GITS: the grid of n steps along which Euler steps leave a fine path least, by dynamic programming.

On a teacher path x_0, ..., x_m, from noise to data, c_ij is how far one Euler step from x_i to level j misses x_j. The
cheapest way from level j in k steps costs

    V_k(j) = min_{i > j} c_ji + gamma V_(k-1)(i),     V_0(m) = 0, V_0(others) = infinity

so that the k-th step of a way is weighted by gamma^k. The flow contracts toward the data: an error is carried on with
the factor sqrt(lam) / S < 1 in a mode of variance lam, and late errors shrink least, hence gamma > 1.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff import grids
from gaussdiff.denoiser import Denoiser, check_key, check_model
from gaussdiff.design.objective import event_shape
from gaussdiff.numerics.checks import check_above_0, check_count
from gaussdiff.samplers import IPNDM
from gaussdiff.samplers.sample import follow, quiet
from gaussdiff.schedules import NoiseLevel

TEACHER = IPNDM(4)  # whose paths are fine ones


def gits_grid(
    model: Denoiser,
    n: int,
    key: PRNGKeyArray,
    *,
    gamma: float = 1.15,
    paths: int = 256,
    points: int = 61,
    sigma_min=0.002,
    sigma_max=80.0,
    shape: tuple[int, ...] | None = None,
    final_zero: bool = False,
) -> NoiseLevel:
    """The n steps between some of `points` levels along which Euler steps stay nearest to the model's own paths.

    Args:
        model: any denoiser; its paths are those of iPNDM of order 4 on karras with `points` levels.
        n: how many steps.
        key: for the starts.
        gamma: the weight of a step is gamma^k for the k-th.
        paths: how many starts N(0, sigma_max^2 I).
        points: how many levels there are to choose from.
        sigma_min: the last level above 0.
        sigma_max: the first level.
        shape: of one sample, where the model is a network.
        final_zero: whether the last of the n steps leads from sigma_min to 0, which the paper's grids do not.

    Returns (n+1,) levels with alpha = 1. ValueError unless 1 <= n < points, TypeError for a model or key of another
    kind. Chen et al., arXiv 2405.11326, section 3.2.
    """
    check_model(model)
    check_key(key)
    paths = check_count(paths, "paths", "Some hundreds give a steady mean.")
    points = check_count(points, "points", "It counts the levels to choose from; 61 is the default.", least=2)
    check_above_0(gamma, "gamma", "The published value is 1.15.")
    last = 1 if final_zero else 0  # the step to 0, which is not chosen
    cure = "Raise points for more steps." if last else "Raise points for more steps, or final_zero=True for one more."
    steps = check_count(n, "n", cure, least=1 + last, most=points - 1 + last) - last
    fine = grids.karras(points - 1, sigma_min, sigma_max, final_zero=False)
    starts = fine.sigma[0] * jax.random.normal(key, (paths, *event_shape(model, shape)), fine.sigma.dtype)
    levels = _chosen(fine, _costs(model, starts, fine), steps, gamma)
    return NoiseLevel(1.0, jnp.append(levels.sigma, 0.0)) if final_zero else levels


def grid_of_paths(levels: NoiseLevel, x: Array, denoised: Array, n: int, gamma: float = 1.15) -> NoiseLevel:
    """`gits_grid` of paths that were taken already, as its teacher's are: (n+1,) of their levels.

    levels: (points,); x: (paths, points, *event) and denoised: (paths, points - 1, *event) of gd.sample. ValueError
    unless 1 <= n < points.
    """
    check_count(n, "n", "Take paths of more points.", most=len(levels) - 1, symbol="points - 1")
    return _chosen(levels, _costs_of_paths(levels, x, denoised), n, gamma)


def _chosen(fine: NoiseLevel, costs: Array, steps: int, gamma: float) -> NoiseLevel:
    return fine[np.array(cheapest(np.asarray(costs, np.float64), steps, gamma))]


def cheapest(costs: np.ndarray, steps: int, gamma: float) -> list[int]:
    """The indices 0 = i_0 < ... < i_steps = m of least cost sum_k gamma^k costs[i_k, i_(k+1)]; costs: (m+1, m+1)."""
    forward = np.triu(np.ones_like(costs, bool), 1)
    rest, choices = np.append(np.full(len(costs) - 1, np.inf), 0.0), []
    for _ in range(steps):
        ways = np.where(forward, costs + gamma * rest[None], np.inf)
        choices.append(ways.argmin(1))
        rest = ways.min(1)
    way = [0]
    for choice in reversed(choices):
        way.append(int(choice[way[-1]]))
    return way


@eqx.filter_jit
def _costs(model: Denoiser, starts: Array, fine: NoiseLevel) -> Float[Array, "points points"]:
    """`_costs_of_paths` of a model's own paths, which are not kept."""

    def one(start):
        path = follow(TEACHER, model, start, fine, quiet(TEACHER, start, fine))
        return _misses(fine.sigma, path.x, path.denoised)

    return _mean(jax.lax.map(one, starts, batch_size=64))


@jax.jit
def _costs_of_paths(levels: NoiseLevel, x: Array, denoised: Array) -> Float[Array, "points points"]:
    """The mean over paths of |x_i + (sigma_j - sigma_i) noise_i - x_j|, for all i and j."""
    return _mean(jax.lax.map(lambda path: _misses(levels.sigma, *path), (x, denoised)))


def _mean(costs: Float[Array, "paths steps points"]) -> Float[Array, "points points"]:
    return jnp.pad(jnp.mean(costs, axis=0), ((0, 1), (0, 0)))  # no step starts at the last level


def _misses(sigma: Array, x: Array, denoised: Array) -> Float[Array, "steps points"]:
    """|x_i + (sigma_j - sigma_i) noise_i - x_j| of one path."""
    ends = x.reshape(len(sigma), -1)
    starts = ends[:-1]
    slopes = (starts - denoised.reshape(starts.shape)) / sigma[:-1, None]

    def distances(start, slope, s):
        reached = start[None] + (sigma - s)[:, None] * slope[None]
        return jnp.linalg.norm(reached - ends, axis=1)

    return jax.vmap(distances)(starts, slopes, sigma[:-1])
