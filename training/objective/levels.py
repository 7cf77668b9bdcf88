"""Where training spends its noise levels: maps from u in (0, 1), uniform, to a level; u = 1 is the most noise.

    log-normal        log(sigma / alpha) ~ N(level_mean, level_std^2)     Karras et al., arXiv 2206.00364, table 1
    uniform-time      t uniform in the schedule between sigma_min and sigma_max
    uniform-log-snr   log(sigma / alpha) uniform between log sigma_min and log sigma_max

On the straight path of flow matching a log-normal sigma / alpha is a logit-normal time (Esser et al., arXiv
2403.03206).
"""

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri
from jaxtyping import Float, PRNGKeyArray

import gaussdiff as gd
from training.config import Config


def _linear_betas(first: float = 1e-4, last: float = 0.02, count: float = 1000) -> gd.Schedule:
    if count != int(count) or count < 1:
        raise ValueError(f"count: expected a whole number of at least 1, got {count:g}; change --schedule-parameters")
    return gd.DiscreteBetas(np.linspace(first, last, int(count)))


# Each with the names of what `schedule_parameters` may give, in order.
_SCHEDULES: dict[str, tuple[Callable[..., gd.Schedule], tuple[str, ...]]] = {
    "exploding": (gd.VarianceExploding, ()),
    "preserving": (gd.VariancePreserving, ("beta_min", "beta_max")),
    "cosine": (gd.Cosine, ("offset",)),
    "sub-vp": (gd.SubVariancePreserving, ("beta_min", "beta_max")),
    "flow": (gd.RectifiedFlow, ()),
    "betas": (_linear_betas, ("first", "last", "count")),
}


def schedule(config: Config) -> gd.Schedule:
    """The schedule that the settings name; "betas" is the linear table of 1000 of Ho et al., 2006.11239.

    ValueError for more parameters than it has, or for ones out of its range.
    """
    kind, names = _SCHEDULES[config.schedule]
    given = config.schedule_parameters
    if len(given) > len(names):
        takes = f"at most {len(names)} ({', '.join(names)})" if names else "none"
        raise ValueError(
            f"schedule_parameters: expected {takes} for {config.schedule!r}, got {given}; correct --schedule-parameters"
        )
    try:
        return kind(*given)
    except ValueError as error:
        raise ValueError(f"schedule_parameters: {error}") from error


def check_reach(config: Config) -> None:
    """ValueError where a table of betas ends below the noise that is to be trained: all of it would be its last."""
    frame = schedule(config)
    if not isinstance(frame, gd.DiscreteBetas):
        return
    end = float(jnp.exp(-frame(frame.end).log_snr / 2))
    most = np.exp(config.level_mean + 3 * config.level_std) if config.levels == "log-normal" else config.sigma_max
    if end < most:
        cure = "--level-mean or --level-std" if config.levels == "log-normal" else "--sigma-max"
        raise ValueError(
            f"schedule_parameters: expected betas that reach sigma / alpha = {most:.3g}, got ones that end at "
            f"{end:.3g}; lower {cure}, or give a larger last beta or count"
        )


def warn_of_schedule(config: Config) -> None:
    """Warn of a schedule that was chosen where it decides nothing."""
    if config.levels != "uniform-time" and config.schedule != Config.schedule:
        warnings.warn(
            f"schedule: {config.schedule!r} changes nothing with levels {config.levels!r}, which do not depend on it; "
            "add --levels uniform-time",
            stacklevel=2,
        )


def at(config: Config, u: Float[Array, "*n"]) -> gd.NoiseLevel:
    """The level (*n) at the quantile u (*n) of the training levels, in the frame of the schedule.

    A table of betas has no level beyond its last row, which the few log-normal levels of more noise become.
    """
    frame = schedule(config)
    if config.levels == "uniform-time":
        first, last = (frame.time_at(-2 * jnp.log(jnp.float32(s))) for s in (config.sigma_min, config.sigma_max))
        return frame(first + u * (last - first))
    log_snr = -2 * _log_sigma(config, u)
    if isinstance(frame, gd.DiscreteBetas):
        log_snr = jnp.maximum(log_snr, frame(frame.end).log_snr)
    return frame(frame.time_at(log_snr))


def quantiles(config: Config, key: PRNGKeyArray, count: int) -> Float[Array, " count"]:
    """u (count,) of a batch: independent, or where stratified one in each of `count` equal intervals of (0, 1)."""
    u = jax.random.uniform(key, () if config.stratified else (count,), jnp.float32)
    # Away from both ends, where a log-normal level is 0 or infinite.
    return jnp.clip((jnp.arange(count, dtype=jnp.float32) + u) / count if config.stratified else u, 1e-7, 1 - 1e-7)


def _log_sigma(config: Config, u: Array) -> Array:
    if config.levels == "log-normal":
        return config.level_mean + config.level_std * ndtri(u)
    low, high = np.log(config.sigma_min), np.log(config.sigma_max)
    return low + (high - low) * u
