"""D4: the denoised image converges before the state does, and what it gains to stop there.

On a Gaussian, at noise sigma and alpha = 1, a mode of variance lam has in the state x and in the denoised image D

    spread of x: sqrt(lam + sigma^2) = sqrt(lam) / r,   spread of D: lam / sqrt(lam + sigma^2) = sqrt(lam) r,   r < 1

so that D misses sqrt(lam) by r times what x does: nearer at every level, in every mode. A jump gives D out for the next
state after k steps of a long grid. An Euler step to sigma = 0 gives D too: a jump is Euler's method on a grid that
breaks off. Its rival at k calls is the grid of k steps that goes all the way.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis import ends
from analysis.bootstrap import interval
from analysis.experiment import Experiment, Finding, verdict
from analysis.setting import Setting
from analysis.style import noise_axes, panels

STEPS = 20  # of the long grid, as in the paper
CALLS, ALL_CALLS = (3, 5, 8, 12, 16), tuple(range(2, STEPS))
SETTLED = 0.1  # of the way that a Frechet distance has to go, from where the path starts to the final samples


@dataclass(frozen=True)
class Record:
    """Along the network's paths: sigma (n,), Frechet distances of x and of D to held-out data (n,), final: of the ends.

    Of x and D of the Gaussian, W2 to the data in closed form (n,): x_w2, denoised_w2. Of each number of calls (k,):
    squared distances to the fine solution (k, B) of the jump and of the whole grid of as many steps, features' Frechet
    distances (k,), and both exact W2 on the Gaussian (k,).
    """

    sigma: np.ndarray
    x: np.ndarray
    denoised: np.ndarray
    final: float
    x_w2: np.ndarray
    denoised_w2: np.ndarray
    calls: np.ndarray
    jump: np.ndarray
    whole: np.ndarray
    jump_frechet: np.ndarray
    whole_frechet: np.ndarray
    jump_w2: np.ndarray
    whole_w2: np.ndarray


def measure(setting: Setting) -> Record:
    """The network's paths as they are shared, and Euler's on a long grid and on short ones."""
    shared = setting.paths["network"]
    target = setting.features.extract(setting.data.held_out)
    frechet = lambda samples: gd.metrics.frechet_distance(setting.features.extract(samples), target)  # noqa: E731
    sigma = shared.sigma[:-1].astype(np.float64)
    sigma_max, calls = sigma[0], ALL_CALLS if setting.full else CALLS
    grids = [gd.grids.karras(k, sigma_max=sigma_max) for k in calls]
    long = gd.grids.karras(STEPS, sigma_max=sigma_max)
    broken = [gd.NoiseLevel(1.0, jnp.append(long.sigma[:k], 0.0)) for k in calls]
    path = ends.path(gd.Euler(), setting.network, setting.few, long)
    jumped = [path.denoised[:, k - 1] for k in calls]
    whole = [ends.ends(gd.Euler(), setting.network, setting.few, grid) for grid in grids]
    error = lambda levels: ends.gaussian_error(gd.Euler(), levels, setting.gaussian)  # noqa: E731
    x_w2, denoised_w2 = _spreads(setting.gaussian, sigma)
    return Record(
        sigma=sigma,
        x=np.array([frechet(x) for x in shared.x.swapaxes(0, 1)[:-1]]),
        denoised=np.array([frechet(x) for x in shared.denoised.swapaxes(0, 1)]),
        final=frechet(shared.samples),
        x_w2=x_w2,
        denoised_w2=denoised_w2,
        calls=np.array(calls),
        jump=np.stack([ends.apart(x, setting.fine_ends) for x in jumped]),
        whole=np.stack([ends.apart(x, setting.fine_ends) for x in whole]),
        jump_frechet=np.array([frechet(x) for x in jumped]),
        whole_frechet=np.array([frechet(x) for x in whole]),
        jump_w2=np.array([error(levels) for levels in broken]),
        whole_w2=np.array([error(levels) for levels in grids]),
    )


def _spreads(gaussian: gd.Gaussian, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W2 to the data of the true law of x, and of that of D = E[x0 | x], at each noise scale."""
    rest = gaussian.mean.size - gaussian.rank
    variances = np.append(np.asarray(gaussian.eigvals, np.float64), np.full(rest, float(gaussian.residual)))
    marginal, clean = np.sqrt(variances + sigma[:, None] ** 2), np.sqrt(variances)
    return np.linalg.norm(marginal - clean, axis=1), np.linalg.norm(variances / marginal - clean, axis=1)


def find(record: Record) -> Finding:
    """Whether D is ahead of x, and whether to stop at D is better than a shorter grid."""
    ahead = record.denoised < record.x
    settled = {name: _settled(record, values) for name, values in (("x", record.x), ("denoised", record.denoised))}
    ratios = [interval(_ratio, a, b, draws=400) for a, b in zip(record.jump, record.whole, strict=True)]
    gains = [int(k) for k, ratio in zip(record.calls, ratios, strict=True) if ratio.high < 1]
    losses = [int(k) for k, ratio in zip(record.calls, ratios, strict=True) if ratio.low > 1]
    first, sooner = bool(ahead.mean() >= 0.9), settled["denoised"] > settled["x"]
    jumps = len(gains) > len(record.calls) / 2
    at = len(record.calls) // 2
    found = (
        f"The denoised image is nearer to the data than the state at {ahead.mean():.0%} of the steps. It has come "
        f"{1 - SETTLED:.0%} of its own way at noise scale {settled['denoised']:.2g}, the state of its own way at "
        f"{settled['x']:.2g}. Stopping early and showing the denoised image {_helps(record.calls, gains)}: after "
        f"{record.calls[at]} of {STEPS} steps it ends {ratios[at]} times as far from the fine solution as a whole grid "
        f"of as many calls; by the exact W2 on the Gaussian {record.jump_w2[at] / record.whole_w2[at]:.3g} times. "
        f"Of {_listed(record.calls)} calls it is nearer at {_listed(gains)}, farther at {_listed(losses)}."
    )
    numbers = {
        "sigma": record.sigma.tolist(),
        "frechet_state": record.x.tolist(),
        "frechet_denoised": record.denoised.tolist(),
        "frechet_final": record.final,
        "settled_sigma": settled,
        "gaussian_w2_state": record.x_w2.tolist(),
        "gaussian_w2_denoised": record.denoised_w2.tolist(),
        "calls": record.calls.tolist(),
        "distance_jump": [ends.root_mean(row) for row in record.jump],
        "distance_whole_grid": [ends.root_mean(row) for row in record.whole],
        "distance_ratio": [list(ratio) for ratio in ratios],
        "frechet_jump": record.jump_frechet.tolist(),
        "frechet_whole_grid": record.whole_frechet.tolist(),
        "gaussian_w2_jump": record.jump_w2.tolist(),
        "gaussian_w2_whole_grid": record.whole_w2.tolist(),
    }
    return Finding(verdict(first, sooner, jumps), found, numbers)


def _helps(calls: np.ndarray, gains: list[int]) -> str:
    """After how many of the steps stopping is a gain, in words."""
    if not gains:
        return "never helps"
    if gains == calls[-len(gains) :].tolist() and len(gains) < len(calls):
        return f"helps only when at most {STEPS - gains[0]} steps are left"
    return "always helps" if len(gains) == len(calls) else f"helps after {_listed(gains)} steps alone"


def _listed(calls) -> str:
    return ", ".join(str(k) for k in calls) or "none"


def _ratio(jump: np.ndarray, whole: np.ndarray) -> float:
    return ends.root_mean(jump) / ends.root_mean(whole)


def _settled(record: Record, values: np.ndarray) -> float:
    """The noise scale below which the distance stays within SETTLED of its own way from the start to the end."""
    near = record.final + SETTLED * abs(values[0] - record.final)
    above = np.flatnonzero(values > near)
    after = above[-1] + 1 if above.size else 0
    return float(record.sigma[after]) if after < len(record.sigma) else 0.0


def draw(record: Record) -> Figure:
    """Left: quality of x and of D along the path. Right: what a jump costs beside the grid of as many calls."""
    figure, (left, right) = panels(2, width=4.8)
    left.plot(record.sigma, record.x, "s-", ms=3, color="#111111", label="state x")
    left.plot(record.sigma, record.denoised, "o-", ms=4, color="#0072b2", label="denoised image D")
    left.axhline(record.final, color="#999999", lw=1, label="final samples")
    left.set(yscale="log", ylabel="Fréchet distance to held-out data", title="D is ahead of x")
    noise_axes(figure, left)
    ratios = [interval(_ratio, a, b, draws=400) for a, b in zip(record.jump, record.whole, strict=True)]
    value, low, high = np.array(ratios).T
    right.errorbar(record.calls, value, (value - low, high - value), fmt="o-", color="#0072b2", label="network")
    right.plot(record.calls, record.jump_w2 / record.whole_w2, "s:", color="#e69f00", label="Gaussian, exact")
    right.axhline(1, color="#999999", lw=1)
    right.set(ylim=(0, None), xlabel="calls of the network", ylabel="distance: jump to D / whole grid")
    right.set_title("above 1 it is better not to jump", fontsize=10)
    right.legend(frameon=False, loc="upper right")
    at = len(record.calls) // 2
    figure.suptitle(
        f"A jump to D after {record.calls[at]} of {STEPS} steps ends {value[at]:.1f} times as far as a shorter grid"
    )
    return figure


DENOISED_FIRST = Experiment(
    name="D4",
    title="The denoised image converges before the state",
    claim="The denoised images along a path converge faster than the states, so that one may stop early and give the "
    "denoised image out (ODE-jump).",
    published="No number could be read; Chen et al., arXiv 2305.19947.",
    criterion="Agrees where (1) the denoised image has the smaller Fréchet distance at nine tenths of the steps, (2) "
    "it settles at a higher noise scale than the state, each within a tenth of its own way, and (3) a jump ends nearer "
    "to the fine solution than a whole grid of as many calls (interval of the ratio below 1) at most of the numbers of "
    "calls; in part where some of these hold.",
    caption="Left: how far the states and the denoised images of the network are from held-out data, along the same "
    "paths. Right: after so many of 20 Euler steps the denoised image is given out; its distance to the fine solution "
    "as a share of that of Euler's method on a whole grid of as many calls, with 95 % intervals; on the Gaussian of "
    "the data the same of the exact W2.",
    measure=measure,
    find=find,
    draw=draw,
)
