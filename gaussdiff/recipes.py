"""A grid and a sampler as free numbers, and what they are judged by.

The levels of a grid with ends sigma_max and sigma_min are shares of the way between these in log sigma, and the shares
a softmax of free numbers: they fall strictly, whatever the numbers. With a final 0 the last share is what is left
above sigma_min, so that the last level before 0 is free too:

    log sigma_i = log sigma_max - log(sigma_max / sigma_min) (share_1 + ... + share_i)
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff import grids
from gaussdiff.denoiser import Denoiser, Distribution, check_key, check_model
from gaussdiff.gaussian import Gaussian
from gaussdiff.numerics import safe_sqrt
from gaussdiff.samplers import DPMSolverPP3M, GaussianExact, Sampler, SwitchAt
from gaussdiff.samplers.base import follow, quiet
from gaussdiff.schedules import NoiseLevel

FLOOR = 1e-4  # of a share: float32 still tells the levels apart


def event_shape(model: Denoiser, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one sample: the one given, or that of a Distribution; ValueError where neither says it."""
    if shape is not None:
        return tuple(shape)
    if not isinstance(model, Distribution):
        raise ValueError(f"shape: expected that of one sample of a {type(model).__name__}, got none. Pass shape=(...).")
    return model.shape


class EndError(eqx.Module):
    """How far a sampler's ends are from the true ones, from the same noise, in data units.

        d = sqrt(|end - true end|^2 / D) of each path,   error = mean(d^order)^(1/order) over paths

    An objective, called with (sampler, levels, model). order = 2 is the root mean square over paths and entries, which
    the few paths that end at another point of the data decide; with order = 1 every path counts by its distance.
    starts, ends: (N, *event), at levels[0] and at the end. batch: how many of them one step of a descent takes.
    """

    starts: Float[Array, "paths *event"]
    ends: Float[Array, "paths *event"]
    batch: int = eqx.field(static=True, default=128)
    order: int = eqx.field(static=True, default=2)

    @classmethod
    def of(
        cls,
        model: Denoiser,
        key: PRNGKeyArray,
        paths: int = 256,
        *,
        sigma_max=80.0,
        shape: tuple[int, ...] | None = None,
        fine: NoiseLevel | None = None,
        batch: int = 128,
        order: int = 2,
    ) -> "EndError":
        """Starts N(0, sigma_max^2 I), and their ends by DPM-Solver++(3M) on the levels `fine`.

        By default `fine` is 128 steps of karras. shape: of one sample; a Distribution knows it. TypeError for a model
        or key of another kind, ValueError for no shape or paths < 1.
        """
        check_model(model)
        check_key(key)
        if not (isinstance(paths, int) and paths >= 1):
            raise ValueError(f"paths: expected an integer >= 1, got {paths!r}. Some hundreds give two digits.")
        shape = event_shape(model, shape)
        fine = grids.karras(128, sigma_max=sigma_max) if fine is None else fine
        starts = fine.sigma[0] * jax.random.normal(key, (paths, *shape), fine.sigma.dtype)
        parts = [starts[i : i + batch] for i in range(0, paths, batch)]
        ends = [_ends(DPMSolverPP3M(), fine, model, part) for part in parts]
        return cls(starts, jnp.concatenate(ends), min(batch, paths), order)

    def __call__(self, sampler: Sampler, levels: NoiseLevel, model: Denoiser) -> Float[Array, ""]:
        def distance(pair):
            start, end = pair
            return safe_sqrt(jnp.mean((_end(sampler, levels, model, start) - end) ** 2))

        # in batches: a network's activations for all paths at once may not fit
        distances = jax.lax.map(distance, (self.starts, self.ends), batch_size=self.batch)
        return jnp.mean(distances**self.order) ** (1 / self.order)

    def draw(self, key: PRNGKeyArray) -> "EndError":
        """The same of `batch` paths drawn at random."""
        chosen = jax.random.choice(key, len(self.starts), (self.batch,), replace=False)
        return EndError(self.starts[chosen], self.ends[chosen], self.batch, self.order)


@eqx.filter_jit
def _ends(sampler: Sampler, levels: NoiseLevel, model: Denoiser, starts: Array) -> Float[Array, "paths *event"]:
    return jax.vmap(_end, (None, None, None, 0))(sampler, levels, model, starts)


def _end(sampler: Sampler, levels: NoiseLevel, model: Denoiser, start: Array) -> Float[Array, "*event"]:
    return follow(sampler, model, start, levels, quiet(sampler, start, levels)).x[-1]


class Recipe(eqx.Module):
    """Free numbers that stand for a grid of m levels, and the sampler that takes it.

    numbers: (m - 1,). teleport: the law whose exact flow makes the first step, without a call of the model.
    """

    numbers: Float[Array, " m"]
    sampler: Sampler
    sigma_min: Float[Array, ""]
    sigma_max: Float[Array, ""]
    teleport: Gaussian | None
    final_zero: bool = eqx.field(static=True)

    def levels(self) -> NoiseLevel:
        """The grid, its ends exactly as asked."""
        count = len(self.numbers)
        shares = (jax.nn.softmax(self.numbers) + FLOOR) / (1 + count * FLOOR)
        done = jnp.cumsum(shares)[:-1]
        inner = jnp.exp(jnp.log(self.sigma_max) - jnp.log(self.sigma_max / self.sigma_min) * done)
        last = jnp.zeros_like(self.sigma_min) if self.final_zero else self.sigma_min
        return NoiseLevel(1.0, jnp.concatenate([self.sigma_max[None], inner, last[None]]))

    def solver(self) -> Sampler:
        return teleported(self.teleport, self.sampler, self.levels())


def teleported(gaussian: Gaussian | None, sampler: Sampler, levels: NoiseLevel) -> Sampler:
    """The sampler itself, or with the exact flow of a Gaussian for the first step of these levels."""
    return sampler if gaussian is None else SwitchAt(GaussianExact(gaussian), sampler, levels[1].log_snr)


def numbers_of(levels: NoiseLevel, sigma_min: Array, final_zero: bool) -> Float[Array, " m"]:
    """The free numbers of a grid, up to a share of FLOOR: what Recipe.levels inverts."""
    heights = jnp.log(jnp.maximum(levels.sigma[:-1], sigma_min) / levels.alpha[:-1])
    last = jnp.log(sigma_min)
    shares = -jnp.diff(jnp.append(heights, last)) / (heights[0] - last)
    return jnp.log(jnp.maximum(shares * (1 + len(shares) * FLOOR) - FLOOR, FLOOR / 10))
