"""Noise levels, and the schedules that order them in time.

A noisy sample is  x = alpha x0 + sigma noise,  noise ~ N(0, I).  Closed forms and solvers depend on the pair
(alpha, sigma) alone; a schedule only says which pair belongs to which time t, from 0 (clean) to 1 (noise).

    variance preserving   alpha = exp(-(beta_max - beta_min) t^2 / 4 - beta_min t / 2),  sigma^2 = 1 - alpha^2
    cosine                alpha = cos(phi(t)) / cos(phi(0)),  phi(t) = (t + s)/(1 + s) pi/2,  sigma^2 = 1 - alpha^2
    sub-VP                alpha as variance preserving,  sigma = 1 - alpha^2
    variance exploding    alpha = 1,  sigma = t
    rectified flow        alpha = 1 - t,  sigma = t

`time_at` is the inverse in the invariant that all frames share, log_snr = log(alpha^2 / sigma^2).
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussdiff.numerics.arrays import concrete, floating, host
from gaussdiff.numerics.checks import check_above_0, check_at_least_0, check_number, or_nan
from gaussdiff.numerics.kinds import check_kind


class NoiseLevel(eqx.Module):
    """How much of the data and how much noise a sample holds: x = alpha x0 + sigma noise.

    alpha, sigma: arrays of one shape, () for a single level, (n+1,) for a grid of n steps; numbers broadcast.
    NoiseLevel(1., 0.) is the clean law. ValueError where either is negative or not finite, or both are 0.

    >>> level = gd.NoiseLevel(alpha=0.8, sigma=0.6)
    >>> round(float(level.log_snr), 3)
    0.575
    """

    alpha: Float[Array, "*levels"]
    sigma: Float[Array, "*levels"]

    def __init__(self, alpha, sigma):
        # one dtype for both, so that NoiseLevel(1., sigma) is to jit what a computed level of that dtype is
        pair = floating(alpha, "alpha"), floating(sigma, "sigma")
        _check_broadcast(*pair)
        dtype = jnp.result_type(*pair)
        if concrete(*pair):  # on the host, since eager jax.numpy would compile the broadcast for every shape
            alphas, sigmas = np.broadcast_arrays(*(np.asarray(value, dtype) for value in pair))
            _check_pair(alphas, sigmas)
            self.alpha, self.sigma = jnp.asarray(alphas), jnp.asarray(sigmas)
        else:
            self.alpha, self.sigma = jnp.broadcast_arrays(*(jnp.asarray(value, dtype) for value in pair))

    @property
    def log_snr(self) -> Float[Array, "*levels"]:
        """log(alpha^2 / sigma^2): the coordinate that does not depend on the frame; +inf clean, -inf pure noise."""
        return 2 * (jnp.log(self.alpha) - jnp.log(self.sigma))

    def __getitem__(self, index) -> "NoiseLevel":
        # on the host, since eager jax.numpy would compile the slice for every shape
        taken = concrete(self, index)
        return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[index]) if taken else leaf[index], self)

    def __len__(self) -> int:
        return len(self.sigma)

    def __iter__(self):
        return (self[i] for i in range(len(self)))


def _check_broadcast(alpha: Array, sigma: Array) -> None:
    if alpha.ndim and sigma.ndim and alpha.shape != sigma.shape:
        raise ValueError(
            f"alpha, sigma: expected one shape, or a single number for one, got {alpha.shape} and {sigma.shape}. Give "
            "both at the same levels."
        )


def _check_pair(alpha: np.ndarray, sigma: np.ndarray) -> None:
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        if not (np.isfinite(value) & (value >= 0)).all():
            raise ValueError(f"{name}: expected finite and >= 0, got {value}. x = alpha x0 + sigma noise needs both.")
    if ((alpha == 0) & (sigma == 0)).any():
        raise ValueError("alpha, sigma: expected at least one above 0, got a level with both 0. It holds nothing.")


SIGNAL_CURE = "Use a network that predicts v or x0 there, or start at the next level: levels[1:]."


def check_nonzero(quantity: str, value, name: str, cure: str) -> None:
    """ValueError where the alpha or sigma that a quantity divides by is known to be 0."""
    if concrete(value) and float(value) == 0:
        raise ValueError(f"level: expected {name} > 0 for {quantity}, got {name} = 0. {cure}")


def check_level(level, argument: str = "level") -> None:
    """TypeError unless `level` is a NoiseLevel, ValueError unless it is a single one."""
    check_kind(
        level,
        NoiseLevel,
        argument,
        "a NoiseLevel",
        "Write gd.NoiseLevel(alpha, sigma), or gd.NoiseLevel(1., sigma) for a plain noise scale, schedule(t) for a "
        "time; and look whether arguments are swapped.",
    )
    if jnp.shape(level.sigma) != ():
        raise ValueError(
            f"{argument}: expected a single level, got an array of shape {jnp.shape(level.sigma)}. Use jax.vmap "
            "over the levels."
        )


def check_sigma_range(sigma_min, sigma_max) -> tuple[Array, Array]:
    """Return both as arrays; ValueError unless 0 < sigma_min < sigma_max."""
    cure = "A grid that ends at 0 has a sigma_min above 0 too, its last level before that, and final_zero=True."
    low, high = check_number(sigma_min, "sigma_min", cure), check_number(sigma_max, "sigma_max", cure)
    if not concrete(low, high):
        return or_nan(low, (low > 0) & (low < high) & (high < jnp.inf)), high
    if not 0 < float(low) < float(high) < np.inf:
        raise ValueError(
            f"sigma_min, sigma_max: expected 0 < sigma_min < sigma_max, got {float(low):g} and {float(high):g}. {cure}"
        )
    return low, high


def check_levels(levels, argument: str = "levels") -> None:
    """TypeError unless `levels` is a NoiseLevel, ValueError unless it has two levels or more, in any order."""
    check_kind(levels, NoiseLevel, argument, "a NoiseLevel of (n+1,) arrays", _cure_of_levels(levels))
    if jnp.ndim(levels.sigma) != 1 or len(levels) < 2:
        raise ValueError(
            f"{argument}: expected shape (n+1,) with n >= 1 steps, got {jnp.shape(levels.sigma)}. See "
            "gd.grids.karras(n)."
        )


def _cure_of_levels(levels) -> str:
    if isinstance(levels, Schedule):
        return "Take levels of the schedule: gd.grids.uniform_time(schedule, n)."
    if isinstance(levels, int):
        return f"For n steps write gd.grids.karras({levels})."
    if isinstance(levels, list | tuple | Array | np.ndarray):
        return "Of numbers sigma make gd.NoiseLevel(1., sigma), or see gd.grids.karras(n)."
    return "See gd.grids.karras(n), and look whether arguments are swapped."


def clean() -> NoiseLevel:
    """The level without noise, where x = x0."""
    return NoiseLevel(1.0, 0.0)


class Schedule(eqx.Module):
    """A curve of noise levels, t -> (alpha, sigma), along which the signal-to-noise ratio falls."""

    @property
    @abc.abstractmethod
    def end(self) -> Array | float:
        """The time of most noise, where sampling starts."""

    @abc.abstractmethod
    def __call__(self, t) -> NoiseLevel:
        """The noise level at time t (any shape), 0 clean; ValueError outside [0, 1] (negative t where t is sigma)."""

    @abc.abstractmethod
    def time_at(self, log_snr) -> Float[Array, "..."]:
        """The time at which log(alpha^2 / sigma^2) = log_snr (any shape): the inverse of __call__.

        The end where log_snr lies beyond it by no more than rounding. ValueError for more noise than the schedule has.
        Inside jit, where no value can be looked at, the time is then one whose level has that log_snr all the same: the
        formula continued, infinite for alpha = 0; or NaN, for a table.
        """


def check_schedule(schedule) -> None:
    """TypeError unless `schedule` is a Schedule."""
    check_kind(
        schedule,
        Schedule,
        "schedule",
        "a gd.Schedule such as gd.VarianceExploding()",
        "Of levels alone there is no time: name the schedule, and look whether arguments are swapped."
        if isinstance(schedule, NoiseLevel)
        else "Make one, such as gd.Cosine(), and look whether arguments are swapped.",
    )


class UnitTimeSchedule(Schedule):
    """A schedule whose time runs from 0 to 1."""

    @property
    def end(self) -> float:
        return 1.0


def check_times(schedule: Schedule, times, argument: str) -> Array:
    """times as an array; ValueError, which names the argument, for times that the schedule does not have."""
    return _time(times, 1.0 if isinstance(schedule, UnitTimeSchedule) else np.inf, argument)


def _time(t, end: float = 1.0, argument: str = "t") -> Array:
    t = floating(t, argument)
    if not concrete(t):
        return or_nan(t, t >= 0)  # beyond the end the formula goes on, as time_at does
    if not ((np.asarray(t) >= 0) & (np.asarray(t) <= end) & (np.asarray(t) < np.inf)).all():
        bounds = f"[0, {end:g}" + (")" if end == np.inf else "]")
        raise ValueError(f"{argument}: expected times in {bounds}, 0 clean, got {np.asarray(t)}. Rescale your times.")
    return t


def _until_end(schedule: Schedule, log_snr: Array, t: Array) -> Array:
    """t, or the end where t is beyond it by rounding; ValueError where log_snr is that of more noise."""
    last = schedule(schedule.end).log_snr
    # half of the digits: a level has gone through several roundings, perhaps in another dtype
    rounding = float(max(jnp.finfo(value.dtype).eps for value in (log_snr, last))) ** 0.5
    reached = log_snr >= last - rounding
    _check_reached(schedule, reached, log_snr, last)
    return jnp.where(reached & ~(t <= schedule.end), schedule.end, t)


def _check_reached(schedule: Schedule, reached: Array, log_snr: Array, last) -> None:
    if concrete(reached, log_snr, last) and not np.asarray(reached).all():
        largest, asked = (np.exp(-np.min(np.asarray(value, float)) / 2) for value in (last, log_snr))
        raise ValueError(
            f"log_snr: expected levels that {type(schedule).__name__} has, sigma / alpha <= {largest:.9g}, got "
            f"{asked:.9g}. Start the grid at no more noise than that (its sigma_max or start), or use gd.Cosine() or "
            "gd.RectifiedFlow(), which end at alpha = 0."
        )


def _from_log_alpha(log_alpha) -> NoiseLevel:
    """The variance-preserving pair; expm1 keeps the digits of sigma where alpha is close to 1."""
    return NoiseLevel(jnp.exp(log_alpha), jnp.sqrt(0 - jnp.expm1(2 * log_alpha)))


def _betas(beta_min, beta_max) -> tuple[Array, Array]:
    usual = "The usual pair is 0.1 and 20."
    beta_min, beta_max = check_number(beta_min, "beta_min", usual), check_number(beta_max, "beta_max", usual)
    if not concrete(beta_min, beta_max):
        return or_nan(beta_min, (beta_min > 0) & (beta_min <= beta_max) & (beta_max < jnp.inf)), beta_max
    if not 0 < float(beta_min) <= float(beta_max) < np.inf:
        raise ValueError(
            f"beta_min, beta_max: expected 0 < beta_min <= beta_max, got {float(beta_min):g} and {float(beta_max):g}. "
            f"{usual}"
        )
    return beta_min, beta_max


def _linear_beta_log_alpha(t: Array, beta_min: Array, beta_max: Array) -> Array:
    return -t * (t * (beta_max - beta_min) + 2 * beta_min) / 4


def _linear_beta_time(log_alpha: Array, beta_min: Array, beta_max: Array) -> Array:
    """Root of (beta_max - beta_min) t^2 / 4 + beta_min t / 2 = -log_alpha, in the form without cancellation."""
    c = -4 * log_alpha
    t = c / (beta_min + jnp.sqrt(beta_min**2 + (beta_max - beta_min) * c))
    return jnp.where(c == jnp.inf, jnp.inf, t)


class VariancePreserving(UnitTimeSchedule):
    """Linear-beta diffusion: alpha = exp(-t (t (beta_max - beta_min) + 2 beta_min) / 4), sigma = sqrt(1 - alpha^2).

    Song et al., arXiv 2011.13456, eq. 33. Libraries differ in what "VP" means: this is the continuous one, t in [0, 1].
    ValueError unless 0 < beta_min <= beta_max.
    """

    beta_min: Float[Array, ""]
    beta_max: Float[Array, ""]

    def __init__(self, beta_min=0.1, beta_max=20.0):
        self.beta_min, self.beta_max = _betas(beta_min, beta_max)

    def __call__(self, t) -> NoiseLevel:
        return _from_log_alpha(_linear_beta_log_alpha(_time(t), self.beta_min, self.beta_max))

    def time_at(self, log_snr) -> Float[Array, "..."]:
        log_snr = floating(log_snr, "log_snr")
        t = _linear_beta_time(-jax.nn.softplus(-log_snr) / 2, self.beta_min, self.beta_max)
        return _until_end(self, log_snr, t)


class SubVariancePreserving(UnitTimeSchedule):
    """The sub-VP diffusion: alpha as in VariancePreserving, sigma = 1 - alpha^2.

    Song et al., arXiv 2011.13456, eq. 29 and appendix B. Its inverse uses -log alpha = asinh(sigma / (2 alpha)).
    ValueError unless 0 < beta_min <= beta_max.
    """

    beta_min: Float[Array, ""]
    beta_max: Float[Array, ""]

    def __init__(self, beta_min=0.1, beta_max=20.0):
        self.beta_min, self.beta_max = _betas(beta_min, beta_max)

    def __call__(self, t) -> NoiseLevel:
        log_alpha = _linear_beta_log_alpha(_time(t), self.beta_min, self.beta_max)
        return NoiseLevel(jnp.exp(log_alpha), -jnp.expm1(2 * log_alpha))

    def time_at(self, log_snr) -> Float[Array, "..."]:
        log_snr = floating(log_snr, "log_snr")
        noisy = log_snr < 0
        # asinh(e^h / 2) = h + log((1 + sqrt(1 + 4 e^-2h)) / 2), which does not overflow
        h = jnp.where(noisy, -log_snr / 2, 0)
        far = h + jnp.log((1 + jnp.sqrt(1 + 4 * jnp.exp(-2 * h))) / 2)
        near = jnp.arcsinh(jnp.exp(-jnp.where(noisy, 0, log_snr) / 2) / 2)
        t = _linear_beta_time(-jnp.where(noisy, far, near), self.beta_min, self.beta_max)
        return _until_end(self, log_snr, t)


class Cosine(UnitTimeSchedule):
    """The cosine diffusion: alpha = cos(phi(t)) / cos(phi(0)), sigma = sqrt(1 - alpha^2).

    phi(t) = (t + offset) / (1 + offset) pi/2. Nichol & Dhariwal, arXiv 2102.09672, eq. 17. alpha is exactly 0 at t = 1.
    Written with sines of 1 - t and of phi differences, so that both ends keep their digits. ValueError for a negative
    offset.
    """

    offset: Float[Array, ""]

    def __init__(self, offset=0.008):
        self.offset = check_at_least_0(offset, "offset", "The published value is 0.008.")

    def __call__(self, t) -> NoiseLevel:
        t = _time(t)
        quarter = jnp.pi / 2 / (1 + self.offset)
        start = quarter * self.offset
        alpha = jnp.sin(quarter * (1 - t)) / jnp.cos(start)
        # cos^2 A - cos^2 B = sin(B - A) sin(B + A)
        sigma = jnp.sqrt(jnp.sin(quarter * t) * jnp.sin(quarter * t + 2 * start)) / jnp.cos(start)
        return NoiseLevel(alpha, sigma)

    def time_at(self, log_snr) -> Float[Array, "..."]:
        log_snr = floating(log_snr, "log_snr")
        quarter = jnp.pi / 2 / (1 + self.offset)
        start = quarter * self.offset
        risen = jax.nn.sigmoid(-log_snr) * jnp.cos(start) ** 2  # sin^2 phi - sin^2 start
        cosine, sine = jnp.sqrt(jax.nn.sigmoid(log_snr)) * jnp.cos(start), jnp.sqrt(jnp.sin(start) ** 2 + risen)
        # sin(phi - start) = (sin^2 phi - sin^2 start) / sin(phi + start): never negative, and no digits cancel
        both = sine * jnp.cos(start) + cosine * jnp.sin(start)
        angle = jnp.arctan2(risen, both * (cosine * jnp.cos(start) + sine * jnp.sin(start)))
        return jnp.minimum(angle / quarter, 1)


class VarianceExploding(Schedule):
    """The frame of EDM: alpha = 1, sigma = t, so that time is the noise scale in data units.

    sigma_max is where sampling starts by default; ValueError unless it is above 0. Karras et al., arXiv 2206.00364,
    table 1.
    """

    sigma_max: Float[Array, ""]

    def __init__(self, sigma_max=80.0):
        self.sigma_max = check_above_0(sigma_max, "sigma_max", "EDM uses 80.")

    @property
    def end(self) -> Float[Array, ""]:
        return self.sigma_max

    def __call__(self, t) -> NoiseLevel:
        return NoiseLevel(1.0, _time(t, np.inf))

    def time_at(self, log_snr) -> Float[Array, "..."]:
        log_snr = floating(log_snr, "log_snr")
        t = jnp.exp(-log_snr / 2)
        _check_reached(self, t < jnp.inf, log_snr, -2 * np.log(float(jnp.finfo(t.dtype).max)))
        return t


class RectifiedFlow(UnitTimeSchedule):
    """The straight line from data to noise: alpha = 1 - t, sigma = t.

    Liu et al., arXiv 2209.03003, eq. 1 (with time reversed: 0 is data here). alpha is exactly 0 at t = 1.
    """

    def __call__(self, t) -> NoiseLevel:
        t = _time(t)
        return NoiseLevel(1 - t, t)

    def time_at(self, log_snr) -> Float[Array, "..."]:
        return jax.nn.sigmoid(-floating(log_snr, "log_snr") / 2)


class DiscreteBetas(UnitTimeSchedule):
    """A trained network's own table: log alpha(i/N) = sum_{j<=i} log(1 - betas_j) / 2, sigma^2 = 1 - alpha^2.

    betas: (N,) in (0, 1), the last of which may be 1. t = i/N is the table's step i (counted from 1), t = 0 is clean;
    log alpha is linear in between. The sum is taken in float64. A last beta of 1 leaves no signal (zero terminal SNR):
    alpha = 0 at t = 1, and alpha itself is linear in the last step, as log alpha cannot be. ValueError for other shapes
    or values. Ho et al., arXiv 2006.11239, eq. 4; Lin et al., arXiv 2305.08891, section 3.1.
    """

    log_alphas: Float[Array, " points"]

    def __init__(self, betas):
        table = host(betas, "betas")
        inside = (table > 0) & (table < 1)
        if table.ndim != 1 or not table.size or not inside[:-1].all() or not (inside[-1] or table[-1] == 1):
            raise ValueError(
                f"betas: expected shape (N,), every value in (0, 1), the last at most 1, got shape {table.shape}, "
                f"{table.min(initial=1):g} to {table.max(initial=0):g}. A beta is the fraction of the variance that a "
                "step replaces by noise: end the table at the first 1, and of a table of alphas take 1 - alpha."
            )
        with np.errstate(divide="ignore"):  # log 0 = -inf is meant, at the end
            self.log_alphas = jnp.asarray(np.concatenate([[0.0], np.cumsum(np.log1p(-table)) / 2]), float)

    @property
    def times(self) -> Float[Array, " points"]:
        """The times 0, 1/N, ..., 1 at which the table stands, (N+1,)."""
        return jnp.linspace(0.0, 1.0, len(self.log_alphas), dtype=self.log_alphas.dtype)

    def __call__(self, t) -> NoiseLevel:
        t = _time(t)
        silent, before, log_alphas = self._with_signal()
        # alpha = a (1 - s): a the table's, and s from 0 to 1 in the last step of a table that ends without signal
        log_a = jnp.interp(t, self.times, log_alphas)
        s = jnp.where(silent, jnp.maximum(t - before, 0) / (1 - before), 0)
        usual, level = s == 0, _from_log_alpha(log_a)
        # sigma^2 = 1 - alpha^2 as a sum of positive numbers, neither of them 0 where it is not asked for
        rise = jnp.where(usual, 1, s * (2 - s))
        sigma = jnp.sqrt(-jnp.expm1(2 * log_a) + jnp.exp(2 * log_a) * rise)
        return NoiseLevel(level.alpha * (1 - s), jnp.where(usual, level.sigma, sigma))

    def time_at(self, log_snr) -> Float[Array, "..."]:
        log_snr = floating(log_snr, "log_snr")
        silent, before, log_alphas = self._with_signal()
        lost = jax.nn.softplus(-log_snr) / 2  # -log alpha
        last = silent & (lost > -log_alphas[-1])
        # the row without signal stands beyond all that is looked up there
        rows = jnp.where(silent, -log_alphas.at[-1].add(-1), -log_alphas)
        t = jnp.interp(jnp.where(last, 0, lost), rows, self.times, right=jnp.nan)
        remaining = jnp.exp(-log_alphas[-1] - jnp.where(last, lost, -log_alphas[-1]))  # 1 - s
        return _until_end(self, log_snr, jnp.where(last, 1 - (1 - before) * remaining, t))

    def _with_signal(self) -> tuple[Array, Array, Float[Array, " points"]]:
        """Whether the table ends at alpha = 0, the time of the row before, and log alpha with its value there."""
        silent = self.log_alphas[-1] == -jnp.inf
        last = jnp.where(silent, self.log_alphas[-2], self.log_alphas[-1])
        return silent, self.times[-2], self.log_alphas.at[-1].set(last)


def rates(schedule: Schedule, t) -> tuple[NoiseLevel, NoiseLevel]:
    """The level at time t and its time derivatives (alpha', sigma') by forward differentiation, as two NoiseLevels."""
    t = floating(t, "t")
    if concrete(t):
        schedule(t)  # jvp traces t, which is then not checked
    return jax.jvp(schedule, (t,), (jnp.ones_like(t),))
