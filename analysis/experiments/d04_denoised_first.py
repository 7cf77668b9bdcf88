"""D4: the denoised image converges before the state does, and what it gains to stop there.

On a Gaussian, at noise sigma and alpha = 1, a mode of variance lam has in the state x and in the denoised image D

    std of x: sqrt(lam + sigma^2) = sqrt(lam) / r,   std of D: lam / sqrt(lam + sigma^2) = sqrt(lam) r,   r < 1

so that D misses sqrt(lam) by r times what x does: nearer at every level, in every mode. So it is to the path's own end,
of coefficient sqrt(lam) z: x is sqrt(lam) (1 / r - 1) |z| away and D sqrt(lam) (1 - r) |z|, wherever the path began.

A jump gives D out for the next state after k steps of a long grid. An Euler step to sigma = 0 gives D too: a
jump is Euler's method on a grid that breaks off. Its rival at k calls is the grid of k steps that goes all the way.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import noise_axes, panels
from analysis.measures import endpoints
from analysis.measures.bootstrap import Interval, interval, percentiles, resamples
from analysis.measures.frechet import resampled_frechet
from analysis.measures.paths import Paths

STEPS = 20  # of the long grid, as in the paper
CALLS, ALL_CALLS = (3, 5, 8, 12, 16), tuple(range(2, STEPS))
SETTLED = 0.1  # of the data's variance: the mean squared distance per entry to the end within which a path has settled
AHEAD = 0.9  # of the steps at which the denoised image must be nearer to the data
DRAWS = 40  # resamplings of the starts: each takes two Frechet distances at every step
PARTS = ("x", "denoised")


@dataclass(frozen=True)
class Record:
    """Along paths: sigma (n,), features of the network's x and D {part: (n, B, F)}, of held-out data target (M, F), and

    final: the Frechet distance of the ends. own: {model: {part: (B, n)}}, squared distances per entry to the path's own
    end, of the network and the controls; unit: the data's variance per entry.
    Of x and D of the Gaussian, W2 to the data in closed form (n,): x_w2, denoised_w2. Of each number of calls (k,):
    squared distances to the fine solution (k, B) of the jump and of the whole grid of as many steps, features' Frechet
    distances (k,), and both exact W2 on the Gaussian (k,).
    """

    sigma: np.ndarray
    features: dict[str, np.ndarray]
    target: np.ndarray
    final: float
    own: dict[str, dict[str, np.ndarray]]
    unit: float
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
    shared, euler = setting.paths["network"], gd.Euler()
    target = setting.features.extract(setting.data.held_out)
    sigma = shared.sigma[:-1].astype(np.float64)
    calls = ALL_CALLS if setting.full else CALLS

    def features(points: np.ndarray) -> np.ndarray:
        return np.stack([setting.features.extract(x) for x in points.swapaxes(0, 1)])

    def frechet(samples: np.ndarray) -> float:
        return gd.metrics.frechet_distance(setting.features.extract(samples), target)

    # the whole grid of k steps, and the first k of a long one, whose last step an Euler step to 0 turns into a jump
    whole_grids = [gd.grids.karras(k, sigma_max=sigma[0]) for k in calls]
    long = gd.grids.karras(STEPS, sigma_max=sigma[0])
    jump_grids = [gd.NoiseLevel(1.0, np.append(np.asarray(long.sigma)[:k], 0.0)) for k in calls]
    path = endpoints.path(euler, setting.network, setting.few, long)
    jumps = [path.denoised[:, k - 1] for k in calls]
    wholes = [endpoints.ends(euler, setting.network, setting.few, grid) for grid in whole_grids]
    x_w2, denoised_w2 = _distances_in_closed_form(setting.gaussian, sigma)
    return Record(
        sigma=sigma,
        features={"x": features(shared.x[:, :-1]), "denoised": features(shared.denoised)},
        target=target,
        final=frechet(shared.samples),
        own={name: _own(path) for name, path in {"network": shared, **setting.control_paths}.items()},
        unit=float(np.asarray(setting.gaussian.variances, np.float64).mean()),
        x_w2=x_w2,
        denoised_w2=denoised_w2,
        calls=np.array(calls),
        jump=np.stack([endpoints.squared_distances(x, setting.fine_ends) for x in jumps]),
        whole=np.stack([endpoints.squared_distances(x, setting.fine_ends) for x in wholes]),
        jump_frechet=np.array([frechet(x) for x in jumps]),
        whole_frechet=np.array([frechet(x) for x in wholes]),
        jump_w2=np.array([endpoints.gaussian_error(euler, levels, setting.gaussian) for levels in jump_grids]),
        whole_w2=np.array([endpoints.gaussian_error(euler, levels, setting.gaussian) for levels in whole_grids]),
    )


def _own(path: Paths) -> dict[str, np.ndarray]:
    """Squared distances per entry of x and of D from where the path ends: (B, n) both."""

    def distances(points: np.ndarray) -> np.ndarray:
        return np.stack([endpoints.squared_distances(x, path.samples) for x in points.swapaxes(0, 1)], 1)

    return {"x": distances(path.x[:, :-1]), "denoised": distances(path.denoised)}


def _distances_in_closed_form(gaussian: gd.Gaussian, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W2 to the data of the true law of x, and of that of D = E[x0 | x], at each noise level."""
    outside = np.full(gaussian.mean.size - gaussian.rank, float(gaussian.residual))
    variances = np.append(np.asarray(gaussian.eigvals, np.float64), outside)
    marginal, clean = np.sqrt(variances + sigma[:, None] ** 2), np.sqrt(variances)
    return np.linalg.norm(marginal - clean, axis=1), np.linalg.norm(variances / marginal - clean, axis=1)


def find(record: Record) -> Finding:
    """Whether D is ahead of x, and whether to stop at D is better than a shorter grid."""
    frechet, ahead = _frechet(record), _ahead(record)
    settled = {part: interval(lambda rows: _settled(record, rows), record.own["network"][part]) for part in PARTS}
    sooner = {name: _sooner(record, name) for name in record.own}
    first = {name: one.low > 0 for name, one in sooner.items()}
    ratios = [interval(_ratio, a, b, draws=400) for a, b in zip(record.jump, record.whole, strict=True)]
    gains = [int(k) for k, ratio in zip(record.calls, ratios, strict=True) if ratio.high < 1]
    losses = [int(k) for k, ratio in zip(record.calls, ratios, strict=True) if ratio.low > 1]
    middle = len(record.calls) // 2
    return Finding(
        sentence=f"The denoised sample is nearer to the data than the state at {ahead.value:.0%} of the steps.",
        criteria=(
            Criterion(
                "fraction of the steps at which the denoised sample is nearer to the data than the state",
                ahead,
                f"at least {AHEAD:g}",
                ahead.value >= AHEAD,
                note="By the Fréchet distance to held-out data.",
            ),
            Criterion(
                "noise level at which the denoised sample has settled − the state's",
                sooner["network"],
                "above 0 with its interval",
                first["network"],
                note=f"It settles at σ = {settled['denoised']}, the state at {settled['x']}: from there on its mean "
                f"squared distance to its end is below {SETTLED:g} of the data's variance.",
                controls=meet(first, [name for name in record.own if name != "network"]),
            ),
            Criterion(
                "numbers of calls at which stopping early ends nearer to the fine solution than a shorter grid",
                f"{len(gains)} of {len(record.calls)}",
                "more than half",
                len(gains) > len(record.calls) / 2,
                note=f"Of {_listed(record.calls)} calls, stopping early ends nearer to the fine solution at "
                f"{_listed(gains)} and farther from it at {_listed(losses)}, each with the whole interval.",
            ),
        ),
        numbers={
            "sigma": record.sigma.tolist(),
            "frechet_state": frechet["x"].tolist(),
            "frechet_denoised": frechet["denoised"].tolist(),
            "frechet_final": record.final,
            "share_of_steps_ahead": list(ahead),
            "settled_sigma": {part: list(one) for part, one in settled.items()},
            "settles_sooner_by": {name: list(one) for name, one in sooner.items()},
            "gaussian_w2_state": record.x_w2.tolist(),
            "gaussian_w2_denoised": record.denoised_w2.tolist(),
            "calls": record.calls.tolist(),
            "distance_jump": [endpoints.root_mean(row) for row in record.jump],
            "distance_whole_grid": [endpoints.root_mean(row) for row in record.whole],
            "distance_ratio": [list(ratio) for ratio in ratios],
            "frechet_jump": record.jump_frechet.tolist(),
            "frechet_whole_grid": record.whole_frechet.tolist(),
            "gaussian_w2_jump": record.jump_w2.tolist(),
            "gaussian_w2_whole_grid": record.whole_w2.tolist(),
        },
        notes=(
            f"Stopped after {record.calls[middle]} of {STEPS} steps, the path ends {ratios[middle]} times as far from "
            f"the fine solution as a whole grid of as many calls; by the exact W2 on the Gaussian "
            f"{record.jump_w2[middle] / record.whole_w2[middle]:.3g} times.",
        ),
    )


def _frechet(record: Record) -> dict[str, np.ndarray]:
    """The Frechet distances of x and of D to held-out data at each step (n,)."""
    return {
        part: np.array([gd.metrics.frechet_distance(one, record.target) for one in steps])
        for part, steps in record.features.items()
    }


def _ahead(record: Record) -> Interval:
    """The fraction of steps at which D has the smaller Frechet distance."""
    whole, picks = _frechet(record), resamples(record.features["x"].shape[1], DRAWS)
    drawn = {
        part: np.stack([resampled_frechet(one, picks, record.target) for one in steps], 1)
        for part, steps in record.features.items()
    }
    return percentiles(*((one["denoised"] < one["x"]).mean(-1) for one in (whole, drawn)))


def _sooner(record: Record, name: str) -> Interval:
    """By how much the noise scale at which D settles is above that at which x does."""

    def difference(x: np.ndarray, denoised: np.ndarray) -> float:
        return _settled(record, denoised) - _settled(record, x)

    return interval(difference, *(record.own[name][part] for part in PARTS))


def _listed(calls) -> str:
    return ", ".join(str(k) for k in calls) or "none"


def _ratio(jump: np.ndarray, whole: np.ndarray) -> float:
    return endpoints.root_mean(jump) / endpoints.root_mean(whole)


def _settled(record: Record, squares: np.ndarray) -> float:
    """Where the mean of squared distances to the end (B, n) has come within SETTLED of the data's variance to stay."""
    return settled(record.sigma, squares.mean(0), SETTLED * record.unit)


def settled(sigma: np.ndarray, curve: np.ndarray, bound: float) -> float:
    """The noise scale below which a curve (n,) stays at or below a bound, interpolated in the logs of both.

    The first noise scale for a curve that is never above it, the last for one that ends above it.
    """
    above = np.flatnonzero(curve > bound)
    if not above.size or above[-1] + 1 == len(curve):
        return float(sigma[-1] if above.size else sigma[0])
    i = above[-1]
    steps, place = np.log(np.maximum(curve[i : i + 2], 1e-300)), np.log(sigma[i : i + 2])
    return float(np.exp(place[0] + (np.log(bound) - steps[0]) / np.diff(steps)[0] * np.diff(place)[0]))


def draw(record: Record) -> Figure:
    """Quality of x and of D along the path, their way to its end, and what a jump costs beside a whole grid."""
    figure, (left, middle, right) = panels(3, width=4.2)
    frechet = _frechet(record)
    for part, style, color, name in (
        ("x", "s-", "#111111", "state x"),
        ("denoised", "o-", "#0072b2", "denoised image D"),
    ):
        left.plot(record.sigma, frechet[part], style, ms=3, color=color, label=name)
        way = record.own["network"][part].mean(0) / record.unit
        middle.plot(record.sigma[way > 0], way[way > 0], style, ms=3, color=color)
    middle.axhline(SETTLED, color="#999999", lw=1)
    middle.set(yscale="log", ylabel="squared distance / data variance", title="to the path's own end")
    left.axhline(record.final, color="#999999", lw=1, label="final samples")
    left.set(yscale="log", ylabel="Fréchet distance to held-out data", title="along the path")
    noise_axes(figure, left, middle)
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
    published="No number was published; Chen et al., arXiv 2305.19947.",
    criterion="Agrees where (1) the denoised image has the smaller Fréchet distance at nine tenths of the steps, (2) "
    "it settles at a higher noise scale than the state (interval of the difference above 0): both have settled where "
    "the mean squared distance to the path's own end, per entry, is a tenth of the data's variance; and (3) a jump "
    "ends nearer to the fine solution than a whole grid of as many calls (interval of the ratio below 1) at most of "
    "the numbers of calls; in part where some of these hold. (2) was revised: it asked each to come within a tenth of "
    "its own way, but the state's own way is the first noise, so that the state was first wherever that was large.",
    caption="Left and middle: how far states and denoised samples are from held-out data and from where their own path "
    "ends (grey: a tenth of the data's variance). Right: the distance to the fine solution after stopping early at the "
    "denoised sample over that of a whole Euler grid of as many calls; on the Gaussian the same of the exact W2.",
    headline=Headline("σ at which the denoised sample has settled", ("settled_sigma", "denoised")),
    measure=measure,
    find=find,
    draw=draw,
)
