"""The loop that every sampler shares: one sample down a grid of levels, or up again."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, check_event, check_key, check_model
from gaussdiff.numerics.checks import check_finite
from gaussdiff.samplers._brownian import step_noise
from gaussdiff.samplers.base import Sampler, check_grid, check_sampler
from gaussdiff.schedules import NoiseLevel
from gaussdiff.trajectory import Trajectory


def sample(sampler: Sampler, model: Denoiser, x, levels: NoiseLevel, key: PRNGKeyArray | None = None) -> Trajectory:
    """Carry one sample x (*event) at levels[0] down the grid `levels` (n+1,), and keep the whole path.

    Returns the Trajectory: levels, x (n+1, *event), and denoised (n, *event), the values the sampler itself computed;
    the model is called no more often than the sampler needs. key: only for samplers that draw noise; it stands for one
    Brownian path, whose increments are the noise of every grid: more steps refine the same sample. For a batch:
    jax.vmap(gd.sample, in_axes=(None, None, 0, None, 0))(sampler, model, x, levels, keys), without the last 0 and keys
    for a deterministic sampler.

    TypeError for a sampler, model, levels or key of the wrong kind; ValueError for a NaN in x, levels that do not lose
    noise at every step, or a missing key. Values cannot be looked at inside jit, and are not checked there.

    >>> gaussian = gd.Gaussian.isotropic(np.zeros(2), variance=1.0)
    >>> path = gd.sample(gd.Heun(), gaussian, np.array([10.0, 0.0]), gd.grids.karras(18, sigma_max=10.0))
    >>> path.x.shape, path.denoised.shape
    ((19, 2), (18, 2))
    """
    x = check_start(sampler, model, x, levels)
    if sampler.draws() and key is None:
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


def check_start(sampler: Sampler, model: Denoiser, x, levels: NoiseLevel) -> Array:
    """x as an array; TypeError or ValueError unless the sampler can carry it through the levels."""
    check_sampler(sampler)
    check_model(model)
    x = check_event(model, x)
    check_finite(x, "x", "Take a sample without them, such as one drawn by gd.sample_prior.")
    check_grid(levels)
    sampler.check_steps(len(levels) - 1)
    return x
