"""The probability-flow ODE by diffrax, in log sigma.

In the unit frame, x scaled to alpha^2 + sigma^2 = 1, and with u = log(sigma / alpha) as time, the flow of every
schedule is

    dx/du = alpha (alpha x - x0),   x0 = denoise(x, level),   alpha = 1 / sqrt(1 + e^2u),   sigma = alpha e^u

which divides by nothing. u is infinite where alpha = 0 or sigma = 0; such an end is taken at sigma/alpha = 1/eps or eps
of the dtype, beyond which the path moves by less than its rounding.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.denoiser import Denoiser, check_model, check_sample
from gaussdiff.numerics import concrete, floating
from gaussdiff.schedules import NoiseLevel, Schedule, check_schedule
from gaussdiff.trajectory import Trajectory


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

    times: strictly falling (noise to data) or rising. solver: any adaptive diffrax solver, Tsit5 by default. rtol,
    atol: tolerances on x scaled to alpha^2 + sigma^2 = 1. Returns the Trajectory at the times asked; its n denoised
    values cost n further calls of the model. The model runs at matmul precision "highest". Song et al., arXiv
    2011.13456, eq. 13.

    ValueError for NaN, times that turn back, or tolerances that are not positive; RuntimeError where the solve stops
    short, with the level reached and what to change (inside jit without the level).
    """
    check_model(model)
    check_schedule(schedule)
    x, times = check_sample(x), floating(times)
    _check_solve(x, times, rtol, atol, solver, max_steps)
    levels = schedule(times)
    rtol, atol = floating(rtol), floating(atol)
    path, done, steps, last = _solve(model, levels, x, solver or diffrax.Tsit5(), rtol, atol, max_steps)
    if concrete(path):
        _explain(bool(done), int(steps), float(last))
    else:
        path = eqx.error_if(
            path, ~done, "probability_flow: the solve stopped short. Loosen rtol and atol, or raise max_steps."
        )
    return Trajectory(levels, path, jax.vmap(model.denoise)(path[:-1], levels[:-1]))


@eqx.filter_jit
def _solve(model: Denoiser, levels: NoiseLevel, x: Array, solver, rtol: Array, atol: Array, max_steps: int):
    """The states at the levels, whether the solve got there, its steps, and the last u that it reached."""
    times = _log_sigma(levels, x.dtype)
    norms = jnp.hypot(levels.alpha, levels.sigma).astype(x.dtype)

    def drift(u, y, model):
        level = _unit_level(u)
        with jax.default_matmul_precision("highest"):
            return (level.alpha * (level.alpha * y - model.denoise(y, level))).astype(y.dtype)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(drift),
        solver,
        times[0],
        times[-1],
        dt0=None,
        y0=x / norms[0],
        args=model,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        # a mode turns from noise to data within about 2 units of u: a longer step could miss it altogether
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, dtmax=2.0),
        max_steps=max_steps,
        throw=False,
    )
    (path, _), (_, last) = solution.ys, solution.ts  # pyright: ignore[reportGeneralTypeIssues]
    path = path * norms.reshape((-1,) + (1,) * x.ndim)
    return path, solution.result == diffrax.RESULTS.successful, solution.stats["num_steps"], last[-1]


def _log_sigma(levels: NoiseLevel, dtype) -> Float[Array, " points"]:
    limit = -jnp.log(jnp.finfo(dtype).eps)
    return jnp.clip(-levels.log_snr / 2, -limit, limit).astype(dtype)


def _unit_level(u: Array) -> NoiseLevel:
    return NoiseLevel(jnp.sqrt(jax.nn.sigmoid(-2 * u)), jnp.sqrt(jax.nn.sigmoid(2 * u)))


def _check_solve(x: Array, times: Array, rtol, atol, solver, max_steps: int) -> None:
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(
            f"times: expected shape (n+1,) with n >= 1, got {times.shape}. Give at least a start and an end."
        )
    if solver is not None and not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise TypeError(
            f"solver: expected an adaptive diffrax solver, got {solver!r}. diffrax.Tsit5() is the default; for fixed "
            "steps use gd.sample."
        )
    if concrete(x) and not np.isfinite(np.asarray(x)).all():
        raise ValueError("x: expected finite numbers, got NaN or infinity. Draw a start with gd.sample_prior.")
    if concrete(times):
        steps = np.diff(np.asarray(times))
        if not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError(
                f"times: expected strictly rising or strictly falling times, got {np.asarray(times)}. Sort them."
            )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if concrete(value) and not 0 < float(value) < np.inf:
            raise ValueError(f"{name}: expected > 0, got {float(value):g}. 1e-5 suits float32.")
    if max_steps < 1:
        raise ValueError(f"max_steps: expected >= 1, got {max_steps}. The default, 4096, is ample for smooth models.")


def _explain(done: bool, steps: int, last: float) -> None:
    if not done:
        raise RuntimeError(
            f"probability_flow: the solve stopped at sigma/alpha = {np.exp(last):.3g} after {steps} steps. Loosen rtol "
            "and atol, raise max_steps, or check that the model is finite and smooth there."
        )
