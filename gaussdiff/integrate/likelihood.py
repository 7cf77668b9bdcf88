"""The likelihood of a sample under the probability flow: an integral of its divergence, along with the path.

In the unit frame, x scaled to alpha^2 + sigma^2 = 1, with u = log(sigma / alpha) and D numbers in x,

    log p(x) = log prior(x') + D log(r' / r) + int_u^u' (alpha^2 D - alpha tr J) du

with J = d denoise / dx, r = sqrt(alpha^2 + sigma^2), and x' where the flow carries x. tr J is the sum over all
directions, or the mean of v . J v over random signs v: unbiased, since E v v^T = I, and each v, the same for the
whole solve, gives one unbiased likelihood of its own.
"""

import math

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, Distribution, check_distribution, check_event, check_key, check_model
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.integrate.ode import (
    Ending,
    check_adaptive,
    check_tolerances,
    controller,
    finished,
    log_sigma,
    unit_level,
)
from gaussdiff.numerics.arrays import concrete, floating
from gaussdiff.numerics.checks import check_above_0, check_count, check_finite, check_finite_number
from gaussdiff.schedules import NoiseLevel, Schedule, check_schedule, check_times

DIRECTIONS_AT_A_TIME = 256


class LogLikelihood(eqx.Module):
    """log p(x) in nats, and the standard error of it over the probes, 0 for an exact trace."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


def log_likelihood(
    model: Denoiser,
    schedule: Schedule,
    x,
    *,
    start=None,
    end=None,
    solver: diffrax.AbstractAdaptiveSolver | None = None,
    rtol=1e-5,
    atol=1e-5,
    probes: int | None = None,
    key: PRNGKeyArray | None = None,
    prior: Distribution | None = None,
    max_steps: int = 4096,
) -> LogLikelihood:
    """log density in nats of x (*event) at time `start`, by carrying it along the probability flow to time `end`.

    Args:
        model: any denoiser.
        schedule: the one whose times are given.
        x: one sample (*event).
        start: the time of x, by default 0, clean.
        end: the time at which the prior is known, by default the schedule's own end.
        solver: any adaptive diffrax solver, Tsit5 by default.
        rtol: relative tolerance, on x scaled to alpha^2 + sigma^2 = 1 and on nats per number of x.
        atol: absolute tolerance, likewise.
        probes: None for the exact trace, D products with the Jacobian a step; otherwise how many random signs.
        key: for the probes, which are drawn once.
        prior: the law at `end`, N(0, sigma^2 I) by default.
        max_steps: of the solve, at most.

    Returns log prior(x') + the integral of the flow's divergence, the mean over probes with its standard error;
    gd.bits_per_dim converts it. Song et al., arXiv 2011.13456, eq. 39; Grathwohl et al., arXiv 1810.01367.

    ValueError for NaN, a start that is not before the end, tolerances out of range, fewer than 2 probes, or
    probes without a key; RuntimeError where the solve stops short, as probability_flow.
    """
    check_model(model)
    check_schedule(schedule)
    x, times = check_event(model, x), _times(schedule, start, end)
    check_finite(x, "x", "Leave such samples out.")
    if concrete(times) and not float(times[0]) < float(times[1]):
        raise ValueError(
            f"start, end: expected start < end, got {times[0]:g} and {times[1]:g}. Time 0 is clean, and the default of "
            "start; leave end out for the schedule's own."
        )
    check_tolerances(rtol, atol, max_steps)
    check_adaptive(solver)
    if prior is not None:
        check_distribution(prior, "prior")
    signs = _signs(x, probes, key)
    levels = schedule(times)
    solver = diffrax.Tsit5() if solver is None else solver
    (moved, gains), ending = _solve(model, levels, x, signs, solver, floating(rtol), floating(atol), max_steps)
    moved = finished("log_likelihood", moved, ending)
    prior = Gaussian.isotropic(jnp.zeros_like(x), (levels.sigma[1] ** 2).astype(x.dtype)) if prior is None else prior
    error = jnp.zeros(()) if probes is None else jnp.std(gains, ddof=1) / math.sqrt(probes)
    value = prior.log_prob(moved) + jnp.mean(gains)
    return LogLikelihood(value.astype(x.dtype), error.astype(x.dtype))


def bits_per_dim(nats, size: int, levels: int = 256, width: float = 2.0):
    """Bits per number of a sample with log density `nats`: log2(levels / width) - nats / (size log 2).

    size: how many numbers a sample has. The density times the volume of a bin is the probability of a sample whose
    numbers come in that many levels over that width: 256 over [-1, 1] by default. ValueError
    unless all are positive. Theis et al., arXiv 1511.01844.
    """
    floating(nats, "nats")  # for its check alone: a float stays a float
    size = check_count(size, "size", "It counts the numbers of one sample, x.size.")
    levels = check_count(levels, "levels", "Bytes have 256.")
    check_above_0(width, "width", "Data scaled to [-1, 1] have a width of 2.")
    return math.log2(levels / width) - nats / (size * math.log(2))


@eqx.filter_jit
def _solve(
    model: Denoiser,
    levels: NoiseLevel,
    x: Array,
    signs: Array | None,
    solver,
    rtol: Array,
    atol: Array,
    max_steps: int,
) -> tuple[tuple[Array, Array], Ending]:
    """The end of the path, and the gain in log density of each probe."""
    times, size = log_sigma(levels, x.dtype), x.size
    norms = jnp.hypot(levels.alpha, levels.sigma).astype(x.dtype)

    def rate(u, state, model):
        level, y = unit_level(u), state[0]
        with jax.default_matmul_precision("highest"):
            x0, jacobian = jax.linearize(lambda y: model.denoise(y, level).astype(y.dtype), y)
            trace = _traces(jacobian, y, signs) / size
        drift = level.alpha * (level.alpha * y - x0)
        return drift.astype(y.dtype), (level.alpha**2 - level.alpha * trace).astype(y.dtype)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rate),
        solver,
        times[0],
        times[1],
        dt0=None,
        y0=(x / norms[0], jnp.zeros(1 if signs is None else len(signs), x.dtype)),
        args=model,
        stepsize_controller=controller(rtol, atol),
        max_steps=max_steps,
        throw=False,
    )
    end, integral = (part[-1] for part in solution.ys)  # pyright: ignore[reportOptionalIterable]
    gains = size * (integral + jnp.log(norms[1] / norms[0]))
    return (end * norms[1], gains), Ending.of(solution, solution.ts[-1])  # pyright: ignore[reportOptionalSubscript]


def _traces(jacobian, y: Array, signs: Array | None) -> Float[Array, " probes"]:
    """tr J, or v . J v for each probe v."""
    if signs is not None:
        return jax.lax.map(lambda v: jnp.sum(v * jacobian(v)), signs, batch_size=DIRECTIONS_AT_A_TIME)

    def entry(i):
        direction = jnp.zeros(y.size, y.dtype).at[i].set(1)
        return jacobian(direction.reshape(y.shape)).reshape(-1)[i]

    return jnp.sum(jax.lax.map(entry, jnp.arange(y.size), batch_size=DIRECTIONS_AT_A_TIME))[None]


def _times(schedule: Schedule, start, end) -> Float[Array, "2"]:
    given = {"start": 0.0 if start is None else start, "end": schedule.end if end is None else end}
    cure = "Time 0 is clean."
    return jnp.stack([check_times(schedule, check_finite_number(t, name, cure), name) for name, t in given.items()])


def _signs(x: Array, probes: int | None, key: PRNGKeyArray | None) -> Float[Array, "probes *event"] | None:
    if probes is None:
        return None
    check_count(probes, "probes", "None is the exact trace; one probe has no standard error.", least=2)
    if key is None:
        raise ValueError("key: expected one, since probes are drawn, got no key. Pass key=jax.random.key(seed).")
    check_key(key)
    return jax.random.rademacher(key, (probes, *x.shape), x.dtype)
