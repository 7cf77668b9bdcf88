"""The probability-flow ODE by diffrax, in log sigma, and what every adaptive solve shares.

In the unit frame, x scaled to alpha^2 + sigma^2 = 1, and with u = log(sigma / alpha) as time, the flow of every
schedule is

    dx/du = alpha (alpha x - x0),   x0 = denoise(x, level),   alpha = 1 / sqrt(1 + e^2u),   sigma = alpha e^u

which divides by nothing. u is infinite where alpha = 0 or sigma = 0; such an end is taken at sigma/alpha = 1/eps or eps
of the dtype, beyond which the path moves by less than its rounding.
"""

from typing import TypeVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gaussdiff.denoiser import Denoiser, check_event, check_model
from gaussdiff.numerics.arrays import concrete, floating
from gaussdiff.numerics.checks import check_above_0, check_count, check_finite
from gaussdiff.numerics.kinds import described
from gaussdiff.schedules import NoiseLevel, Schedule, check_schedule, check_times
from gaussdiff.trajectory import Trajectory

Answer = TypeVar("Answer")


def probability_flow(
    model: Denoiser,
    schedule: Schedule,
    x,
    times,
    *,
    solver: diffrax.AbstractAdaptiveSolver | None = None,
    rtol=1e-5,
    atol=1e-5,
    max_steps: int = 4096,
) -> Trajectory:
    """Solve dx/dt = alpha' x0 + sigma' noise from one sample x (*event) at times[0] through all of `times` (n+1,).

    times: in strictly decreasing order (noise to data), or increasing. solver: any adaptive diffrax solver, Tsit5 by
    default. rtol, atol: tolerances on x scaled to alpha^2 + sigma^2 = 1. Returns the Trajectory at `times`; its n
    denoised values cost n further calls of the model. The model runs at matmul precision "highest". Song et al., arXiv
    2011.13456, eq. 13.

    ValueError for NaN, times that turn back, or tolerances that are not positive; RuntimeError where the solve stops
    short, with the level reached and what to change (inside jit without the level).
    """
    check_model(model)
    check_schedule(schedule)
    x, times = check_event(model, x), floating(times, "times")
    check_solve(x, schedule, times, rtol, atol, max_steps)
    check_adaptive(solver)
    levels = schedule(times)
    path, ending = _solve(model, levels, x, solver or diffrax.Tsit5(), floating(rtol), floating(atol), max_steps)
    path = finished("probability_flow", path, ending)
    return Trajectory(levels, path, jax.vmap(model.denoise)(path[:-1], levels[:-1]))


class Ending(eqx.Module):
    """How a solve ended: whether it got there, its accepted and rejected steps, and the last u = log(sigma / alpha)."""

    done: Bool[Array, ""]
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    last: Float[Array, ""]

    @classmethod
    def of(cls, solution: diffrax.Solution, last: Array) -> "Ending":
        steps = solution.stats["num_accepted_steps"], solution.stats["num_rejected_steps"]
        done = jnp.asarray(solution.result == diffrax.RESULTS.successful)
        return cls(done, jnp.asarray(steps[0]), jnp.asarray(steps[1]), last)


@eqx.filter_jit
def _solve(
    model: Denoiser, levels: NoiseLevel, x: Array, solver, rtol: Array, atol: Array, max_steps: int
) -> tuple[Array, Ending]:
    times = log_sigma(levels, x.dtype)
    norms = jnp.hypot(levels.alpha, levels.sigma).astype(x.dtype)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda u, y, model: flow(model, y, u)),
        solver,
        times[0],
        times[-1],
        dt0=None,
        y0=x / norms[0],
        args=model,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=controller(rtol, atol),
        max_steps=max_steps,
        throw=False,
    )
    (path, _), (_, last) = solution.ys, solution.ts  # pyright: ignore[reportGeneralTypeIssues]
    path = path * norms.reshape((-1,) + (1,) * x.ndim)
    return path, Ending.of(solution, last[-1])


def flow(model: Denoiser, y: Array, u) -> Array:
    """dy/du = alpha (alpha y - x0) in the unit frame."""
    level = unit_level(u)
    with jax.default_matmul_precision("highest"):
        return (level.alpha * (level.alpha * y - model.denoise(y, level))).astype(y.dtype)


def controller(rtol: Array, atol: Array) -> diffrax.PIDController:
    # a mode turns from noise to data within about 2 units of u: a longer step could miss it altogether
    return diffrax.PIDController(rtol=rtol, atol=atol, dtmax=2.0)


def log_sigma(levels: NoiseLevel, dtype) -> Float[Array, "*levels"]:
    """u of levels, its infinite ends at the largest that the dtype resolves."""
    limit = farthest(dtype)
    return jnp.clip(-levels.log_snr / 2, -limit, limit).astype(dtype)


def farthest(dtype) -> float:
    """-log eps."""
    return -float(np.log(jnp.finfo(dtype).eps))


def unit_level(u: Array) -> NoiseLevel:
    """The level of u in the frame alpha^2 + sigma^2 = 1."""
    return NoiseLevel(jnp.sqrt(jax.nn.sigmoid(-2 * u)), jnp.sqrt(jax.nn.sigmoid(2 * u)))


def check_adaptive(solver) -> None:
    """TypeError unless `solver` is an adaptive solver of diffrax, or None."""
    if solver is not None and not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise TypeError(
            f"solver: expected an adaptive diffrax solver, got {described(solver)}. diffrax.Tsit5() is the default; "
            "for fixed steps use gd.sample."
        )


def check_solve(x: Array, schedule: Schedule, times: Array, rtol, atol, max_steps: int) -> None:
    """ValueError for times, tolerances or an x that no solve can start with."""
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(
            f"times: expected shape (n+1,) with n >= 1, got {times.shape}. Give at least a start and an end."
        )
    check_finite(x, "x", "Draw a start with gd.sample_prior.")
    if concrete(times):
        steps = np.diff(np.asarray(times))
        if not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError(
                f"times: expected strictly increasing or strictly decreasing times, got {np.asarray(times)}. Sort "
                "them, each once."
            )
    check_times(schedule, times, "times")
    check_tolerances(rtol, atol, max_steps)


def check_tolerances(rtol, atol, max_steps: int) -> None:
    """ValueError for tolerances or a limit of steps that no solve can start with."""
    check_above_0(rtol, "rtol", "1e-5 suits float32.")
    check_above_0(atol, "atol", "1e-5 suits float32.")
    check_count(max_steps, "max_steps", "The default, 4096, is ample for smooth models.")


def finished(name: str, answer: Answer, ending: Ending) -> Answer:
    """The answer; RuntimeError where the solve stopped short, inside jit when the answer is used."""
    if not concrete(ending):
        message = f"{name}: the solve stopped short. Loosen rtol and atol, or raise max_steps."
        return eqx.error_if(answer, ~ending.done, message)
    if not ending.done:
        raise RuntimeError(
            f"{name}: the solve stopped at sigma/alpha = {np.exp(float(ending.last)):.3g} after "
            f"{int(ending.accepted + ending.rejected)} steps, {int(ending.rejected)} of them rejected. Loosen rtol and "
            "atol, raise max_steps, or check that the model is finite and smooth there."
        )
    return answer
