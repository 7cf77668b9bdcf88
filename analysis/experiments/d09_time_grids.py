"""D9: time grids made from the geometry of paths, and whether those of a closed form serve the network.

GITS takes the grid on which Euler steps leave a model's own paths least (gd.gits_grid). The Gaussian of the data and
the data set, smoothed by the bandwidth of the highest held-out likelihood, have paths too, which need no network; and
for the Gaussian the grid of least exact W2 is known (gd.optimal_grid). The grid of the isotropic Gaussian's paths,
which know the mean and the scale of the data alone, is the control. Each grid is judged on the network with the same
sampler, iPNDM of order 4, at as many calls, and by the exact W2 on the Gaussian.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness import twins
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import SCALE, Criterion, Finding
from analysis.harness.setting import Setting
from analysis.harness.style import NOISE_AXIS, panels
from analysis.measures import endpoints
from analysis.measures.bootstrap import interval
from analysis.measures.noise import normal
from analysis.measures.paths import rank_correlation
from gaussdiff.design import gits
from training.evaluation import explain

SAMPLER = gd.IPNDM(4)
CALLS, ALL_CALLS = (5, 8), (5, 6, 8, 10)
PATHS, FINE = (32, 64), 61  # of a teacher, usually and in full; and levels of each, to choose from
USUAL = "EDM, rho = 7"
MADE_BY = {"GITS, data set": "data set", "GITS, Gaussian": "Gaussian"}
OWN, TWINS = "GITS, network", tuple(MADE_BY)
CONTROL = "GITS, isotropic"  # whose paths know the mean and the scale of the data alone
COLORS = "#111111", "#999999", "#cc79a7", "#009e73", "#0072b2", "#56b4e9", "#e69f00"
POINTS = 2000  # samples that stand for the data set


@dataclass(frozen=True)
class Record:
    """grids: {name: a grid for each of calls}; of each, squared distances to the fine solution on the network (k, B),

    and the exact W2 on the Gaussian (k,).
    """

    calls: np.ndarray
    grids: dict[str, list[np.ndarray]]
    distances: dict[str, np.ndarray]
    w2: dict[str, np.ndarray]


def measure(setting: Setting) -> Record:
    """Make every grid for each number of calls, and take it on the network."""
    calls = ALL_CALLS if setting.full else CALLS
    grids = {name: [make(n) for n in calls] for name, make in _makes(setting).items()}
    ends = {
        name: [endpoints.ends(SAMPLER, setting.network, setting.few, one) for one in each]
        for name, each in grids.items()
    }
    return Record(
        calls=np.array(calls),
        grids={name: [np.asarray(one.sigma) for one in each] for name, each in grids.items()},
        distances={
            name: np.stack([endpoints.squared_distances(x, setting.fine_ends) for x in each])
            for name, each in ends.items()
        },
        w2={
            name: np.array([endpoints.gaussian_error(SAMPLER, one, setting.gaussian) for one in each])
            for name, each in grids.items()
        },
    )


def _makes(setting: Setting) -> dict[str, Callable[[int], gd.NoiseLevel]]:
    top, law = float(setting.levels.sigma[0]), twins.stand_in(setting.data, POINTS, setting.seed)
    return {
        USUAL: lambda n: gd.grids.karras(n, sigma_max=top),
        "log-SNR": lambda n: gd.grids.uniform_log_snr(n, sigma_max=top),
        OWN: of_paths(setting, setting.network),
        "GITS, data set": of_paths(setting, law),
        "GITS, Gaussian": of_paths(setting, setting.gaussian),
        CONTROL: of_paths(setting, explain.isotropic(setting.data.train)),
        "least W2, Gaussian": lambda n: gd.optimal_grid(
            setting.gaussian, SAMPLER, n, sigma_max=top, steps=100, tries=1
        ),
    }


def of_paths(setting: Setting, model: gd.Denoiser) -> Callable[[int], gd.NoiseLevel]:
    """From a number of steps to the GITS grid of a model's paths (gd.gits_grid), the same for all experiments."""
    fine = gd.grids.karras(FINE - 1, sigma_max=float(setting.levels.sigma[0]), final_zero=False)
    noise = normal(setting.key("D9"), (setting.count(*PATHS), *setting.data.shape), fine.sigma.dtype)
    path = endpoints.path(gits.TEACHER, model, fine.sigma[0] * noise, fine)
    return lambda n: gits.grid_of_paths(fine, jnp.asarray(path.x), jnp.asarray(path.denoised), n)


def find(record: Record) -> Finding:
    """Whether the network's own grid beats EDM's, and whether that of a closed form's paths does."""
    ratios = {
        name: [interval(_ratio, a, b, draws=400) for a, b in zip(rows, record.distances[USUAL], strict=True)]
        for name, rows in record.distances.items()
        if name != USUAL
    }
    wins = {name: all(ratio.high < 1 for ratio in one) for name, one in ratios.items()}
    better = {
        name: [str(n) for n, one in zip(record.calls, ones, strict=True) if one.high < 1]
        for name, ones in ratios.items()
    }
    distances = {name: [endpoints.root_mean(row) for row in rows] for name, rows in record.distances.items()}
    agreement = rank_correlation(
        np.concatenate(list(record.w2.values())), np.concatenate([np.array(d) for d in distances.values()])
    )
    most, calls = len(record.calls) - 1, ", ".join(map(str, record.calls))
    worst = {name: max(ones, key=lambda one: one.high) for name, ones in ratios.items()}
    twin = min(TWINS, key=lambda name: worst[name].high)
    listed = "; ".join(f"“{name}” {one[most]}" for name, one in ratios.items())
    nearer = "; ".join(f"“{name}” at {', '.join(better[name]) or 'none'}" for name in (OWN, *TWINS, CONTROL))
    control = ("isotropic",) if wins[CONTROL] else ()

    def criterion(name: str, grid: str, note: str = "") -> Criterion:
        return Criterion(
            f"distance on {name} ÷ on EDM's grid, at the number of calls where it is largest",
            worst[grid],
            f"below 1 with its interval (calls: {calls})",
            wins[grid],
            note=note,
            controls=control if wins[grid] else (),
            takes=SCALE,
        )

    return Finding(
        sentence=f"At {record.calls[most]} calls the network's own time grid ends "
        f"{ratios[OWN][most].value:.2f} times as far from the fine solution as EDM's grid.",
        criteria=(
            criterion("the GITS grid of the network", OWN),
            criterion("the GITS grid of a closed form", twin, f"The better of two is that of the {MADE_BY[twin]}."),
        ),
        numbers={
            "calls": record.calls.tolist(),
            "grids": {name: [grid.tolist() for grid in each] for name, each in record.grids.items()},
            "distance": distances,
            "distance_share_of_edm": {name: [list(one) for one in ones] for name, ones in ratios.items()},
            "w2_on_the_gaussian": {name: w2.tolist() for name, w2 in record.w2.items()},
            "rank_correlation_w2_distance": agreement,
        },
        notes=(
            f"At {record.calls[most]} calls of iPNDM the distance on each grid ÷ on EDM's "
            f"({distances[USUAL][most]:.3g}) is: {listed}.",
            f"Of {calls} calls these GITS grids end nearer than EDM's, with the whole interval: {nearer}.",
        ),
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> float:
    return endpoints.root_mean(a) / endpoints.root_mean(b)


def draw(record: Record) -> Figure:
    """Left: where the grids put their levels. Right: how far they end from the fine solution."""
    figure, (left, right) = panels(2, width=5.2)
    colors = dict(zip(record.grids, COLORS, strict=True))
    k = len(record.calls) - 1
    for row, (name, grids) in enumerate(record.grids.items()):
        levels = grids[k][grids[k] > 0]
        left.plot(levels, np.full(len(levels), -row), "o-", ms=4, lw=0.8, color=colors[name])
        distances = [endpoints.root_mean(squares) for squares in record.distances[name]]
        at = np.arange(len(record.calls)) + (row - (len(record.grids) - 1) / 2) * 0.12
        right.bar(at, distances, 0.11, color=colors[name])
    left.set(xscale="log", xlabel=NOISE_AXIS, title=f"the levels above 0 for {record.calls[k]} calls")
    left.set(yticks=-np.arange(len(record.grids)), yticklabels=list(record.grids))
    left.invert_xaxis()
    right.set(xticks=range(len(record.calls)), xticklabels=record.calls, xlabel="calls of the network (iPNDM-4)")
    right.set(ylabel="root mean square per entry", title="distance to the fine solution")
    best = min(record.distances, key=lambda name: endpoints.root_mean(record.distances[name][k]))
    ratio = endpoints.root_mean(record.distances[best][k]) / endpoints.root_mean(record.distances[USUAL][k])
    figure.suptitle(f"{record.calls[k]} calls: the best grid, “{best}”, ends {ratio:.2f} times as far as EDM's")
    figure.legend(
        right.patches[:: len(record.calls)], list(record.grids), loc="outside lower center", ncols=3, frameon=False
    )
    return figure


TIME_GRIDS = Experiment(
    name="D9",
    title="Grids from the geometry of paths, also of closed-form ones",
    claim="A time grid chosen by the geometry of a model's paths beats the usual ones at few calls; since paths share "
    "their shape, that of a closed form may do as well.",
    published="iPNDM at 5, 6, 8, 10 calls on CIFAR-10, FID 13.6, 7.1, 3.7, 2.8 on the usual grid and 8.4, 4.9, 3.2, "
    "2.5 on that of GITS; Chen et al., arXiv 2405.11326.",
    criterion="Agrees where at each number of calls the network's own GITS grid ends nearer to the fine solution than "
    "EDM's (interval of the ratio below 1), and so does that of the data set's or of the Gaussian's "
    "paths; in part where one does. The grid of least W2 does not come from paths: it is shown, not judged.",
    caption="Left: the noise levels of each grid (GITS with its published gamma, 1.15, on 64 paths of the model named; "
    "“least W2”: the grid on which the sampler's law is nearest to the Gaussian). Right: how far the same sampler on "
    "each of them ends from the network's fine solution, from the same noise.",
    headline=Headline(
        "distance on the network's own grid ÷ on EDM's, most calls", ("distance_share_of_edm", "GITS, network")
    ),
    measure=measure,
    find=find,
    draw=draw,
)
