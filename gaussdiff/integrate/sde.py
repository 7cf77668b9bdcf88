"""The reverse SDE by diffrax, with lambda = log(alpha / sigma) as time.

In the unit frame, x scaled to alpha^2 + sigma^2 = 1, the flow -alpha (alpha x - x0), with noise of strength eta and
the drift that undoes what it does to the marginals, is

    dx = [-alpha (alpha x - x0) + eta^2 (alpha x0 - x)] dlambda + eta sqrt(2) sigma dw

It divides by nothing, and its noise is additive, so that Ito and Stratonovich are one. In y = x / alpha and s = sigma /
alpha it is dy = -(1 + eta^2) s score ds + eta sqrt(2 s) dw.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, check_event, check_key, check_model
from gaussdiff.exact.flow import check_eta
from gaussdiff.integrate.ode import Ending, check_solve, farthest, finished, log_sigma, unit_level
from gaussdiff.numerics.arrays import concrete, floating
from gaussdiff.numerics.checks import check_above_0
from gaussdiff.numerics.kinds import check_kind, described
from gaussdiff.schedules import NoiseLevel, Schedule, check_schedule
from gaussdiff.trajectory import Trajectory

RESOLUTION = 1e-4  # of the Brownian path, in lambda: it is a straight line within


def reverse_sde(
    model: Denoiser,
    schedule: Schedule,
    x,
    times,
    *,
    key: PRNGKeyArray,
    eta=1.0,
    solver: diffrax.AbstractSolver | None = None,
    rtol=1e-3,
    atol=1e-3,
    step=None,
    max_steps: int = 4096,
) -> Trajectory:
    """One path of the reverse SDE from x (*event) at times[0] through all of `times` (n+1,), from noise to data.

    Args:
        model: any denoiser.
        schedule: the one whose times are given; the path depends on its levels alone.
        x: one sample (*event) at times[0].
        times: (n+1,), in decreasing order; the steps end at each of them.
        key: one Brownian path on log(alpha / sigma), the same for all tolerances, steps and times.
        eta: >= 0; 0 is the probability flow, 1 the reverse of the noising itself. On a Gaussian the law at every time
            is gaussian_transition.
        solver: any diffrax solver for additive noise, ShARK by default.
        rtol: relative tolerance to which steps adapt, on x scaled to alpha^2 + sigma^2 = 1.
        atol: absolute tolerance, likewise.
        step: a fixed length of steps in log(alpha / sigma), in place of the tolerances.
        max_steps: between two of the times, at most.

    Returns the Trajectory at `times`; its n denoised values cost n further calls of the model. Song et al., arXiv
    2011.13456, eq. 6.

    ValueError for NaN, times that do not fall, or an eta, step or tolerance out of range; TypeError for a solver that
    cannot adapt, without a step; RuntimeError where the solve stops short, as probability_flow.
    """
    check_model(model)
    check_schedule(schedule)
    check_key(key)
    x, times = check_event(model, x), floating(times, "times")
    check_solve(x, schedule, times, rtol, atol, max_steps)
    solver = diffrax.ShARK() if solver is None else solver
    _check_noise(times, eta, solver, step)
    levels = schedule(times)
    eta, rtol, atol = floating(eta), floating(rtol), floating(atol)
    step = None if step is None else floating(step)
    path, ending = _solve(model, levels, x, key, solver, eta, rtol, atol, step, max_steps)
    path = finished("reverse_sde", path, ending)
    return Trajectory(levels, path, jax.vmap(model.denoise)(path[:-1], levels[:-1]))


@eqx.filter_jit
def _solve(
    model: Denoiser,
    levels: NoiseLevel,
    x: Array,
    key: PRNGKeyArray,
    solver: diffrax.AbstractSolver,
    eta: Array,
    rtol: Array,
    atol: Array,
    step: Array | None,
    max_steps: int,
) -> tuple[Array, Ending]:
    """Leg by leg from time to time: a value between two steps of an SDE cannot be interpolated."""
    times = -log_sigma(levels, x.dtype)
    norms = jnp.hypot(levels.alpha, levels.sigma).astype(x.dtype)
    terms = _terms(model, x, key, eta)
    if step is None:
        # the gains that diffrax recommends for noise
        controller = diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.1, icoeff=0.3, dcoeff=0, dtmax=2.0)
    else:
        controller = diffrax.ConstantStepSize()

    def leg(carry, ends):
        y, before = carry
        first = jnp.minimum(0.05 if step is None else step, ends[1] - ends[0]).astype(x.dtype)
        solution = diffrax.diffeqsolve(
            terms, solver, ends[0], ends[1], first, y, stepsize_controller=controller, max_steps=max_steps, throw=False
        )
        y, last = solution.ys[-1], -solution.ts[-1]  # pyright: ignore[reportOptionalSubscript]
        ending = Ending.of(solution, jnp.where(before.done, last, before.last))
        accepted, rejected = before.accepted + ending.accepted, before.rejected + ending.rejected
        return (y, Ending(before.done & ending.done, accepted, rejected, ending.last)), y

    start = Ending(jnp.array(True), jnp.array(0), jnp.array(0), -times[0])
    flat = (x / norms[0]).reshape(-1)
    (_, ending), path = jax.lax.scan(leg, (flat, start), (times[:-1], times[1:]))
    path = jnp.concatenate([flat[None], path]) * norms[:, None]
    return path.reshape(-1, *x.shape), ending


def _terms(model: Denoiser, x: Array, key: PRNGKeyArray, eta: Array) -> diffrax.MultiTerm:
    """Drift and noise, on flat vectors."""

    def drift(lam, y, args):
        level, y = unit_level(-lam), y.reshape(x.shape)
        with jax.default_matmul_precision("highest"):
            x0 = model.denoise(y, level)
        move = -level.alpha * (level.alpha * y - x0) + eta**2 * (level.alpha * x0 - y)
        return move.reshape(-1).astype(x.dtype)

    def noise(lam, y, args):
        return lineax.DiagonalLinearOperator(jnp.full_like(y, eta * np.sqrt(2) * unit_level(-lam).sigma))

    # of one kind for all solvers, so that the path depends on the key alone
    reach = farthest(x.dtype) + 1
    shape = jax.ShapeDtypeStruct((x.size,), x.dtype)
    brownian = diffrax.VirtualBrownianTree(-reach, reach, RESOLUTION, shape, key, levy_area=diffrax.SpaceTimeLevyArea)
    return diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(noise, brownian))


def _check_noise(times: Float[Array, " points"], eta, solver, step) -> None:
    if concrete(times) and np.asarray(times)[0] < np.asarray(times)[-1]:
        raise ValueError(f"times: expected from noise to data, got {np.asarray(times)}. The reverse SDE has one way.")
    check_eta(eta)
    check_kind(solver, diffrax.AbstractSolver, "solver", "a diffrax solver", "diffrax.ShARK() is the default.")
    if step is None and not isinstance(solver, (diffrax.AbstractAdaptiveSolver, diffrax.AbstractSRK)):
        raise TypeError(
            f"solver: expected an adaptive diffrax solver, got {described(solver)}. diffrax.ShARK() is the default; "
            "for fixed steps pass step=, their length in log(alpha / sigma)."
        )
    if step is not None:
        check_above_0(step, "step", "It is a length in log(alpha / sigma).")
