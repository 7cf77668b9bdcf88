"""The error that an optimised solver minimises: the distance of its ends from the true ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff import grids
from gaussdiff.denoiser import Denoiser, Distribution, check_key, check_model
from gaussdiff.numerics.arrays import safe_sqrt
from gaussdiff.numerics.checks import check_count, check_shape
from gaussdiff.samplers import DPMSolverPP3M, Sampler
from gaussdiff.samplers.sample import follow, quiet
from gaussdiff.schedules import NoiseLevel


def event_shape(model: Denoiser, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one sample: the one given, or that of a Distribution; ValueError where neither says it."""
    if shape is not None:
        return check_shape(shape)
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

        By default `fine` is 128 steps of karras. shape: of one sample, by default that of a Distribution. TypeError for
        a model or key of another kind, ValueError for no shape or paths < 1.
        """
        check_model(model)
        check_key(key)
        check_count(paths, "paths", "Some hundreds give two digits.")
        shape = event_shape(model, shape)
        batch = check_count(batch, "batch", "It counts the paths that are taken at a time.")
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
