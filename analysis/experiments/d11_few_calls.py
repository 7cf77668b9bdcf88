"""D11: published solvers at few calls, and whether the exact error on a Gaussian knows their order.

The W2 of a solver's law to the Gaussian of the data (gd.wasserstein2) needs no network, no noise and no samples. Two
solvers on one grid, at as many calls, are in the right order where the one of less W2 also ends nearer to the network's
fine solution. The W2 to the isotropic Gaussian, which knows the mean and the scale of the data alone, is the control.
The last row of the published table, iPNDM on the grid of GITS, is reported beside iPNDM on EDM's grid (D9 judges
grids). docs/ranking.md has many more solvers and grids, on a network that was trained longer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.experiments import d09_time_grids
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import SCALE, Criterion, Finding
from analysis.harness.setting import Setting
from analysis.harness.style import panels, plain_numbers
from analysis.measures import endpoints
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.paths import rank_correlation
from training.evaluation import explain

SAMPLERS = {"Euler": gd.Euler(), "iPNDM-4": gd.IPNDM(4), "UniPC-3": gd.UniPC(3), "DPM++3M": gd.DPMSolverPP3M()}
COLORS = dict(zip(SAMPLERS, ("#999999", "#0072b2", "#e69f00", "#009e73"), strict=True))
CALLS, ALL_CALLS = (3, 5, 8, 10), tuple(range(3, 11))
# FID on CIFAR-10 at 3 .. 10 calls, Chen et al., arXiv 2405.11326
PUBLISHED = {
    name: dict(zip(ALL_CALLS, fids, strict=True))
    for name, fids in {
        "Euler": (93.4, 66.8, 49.7, 35.6, 27.9, 22.3, 18.4, 15.7),
        "iPNDM-4": (48.0, 24.8, 13.6, 7.1, 5.1, 3.7, 3.2, 2.8),
        "UniPC-3": (109.6, 45.2, 24.0, 11.1, 5.8, 4.0, 3.2, 2.9),
        "DPM++3M": (110.0, 46.5, 25.0, 12.0, 6.7, 4.5, 3.4, 3.0),
    }.items()
}
ON_GITS = "iPNDM-4"  # the solver that was published on the grid of GITS too, with FID by calls
PUBLISHED_GITS = {5: 8.4, 6: 4.9, 8: 3.2, 10: 2.5}
PARTS = ("distances", "frechet", "w2", "w2_isotropic", "published")  # of Row, but for the calls
ORDERED = 0.75  # of the pairs in the right order: half would be so by chance


@dataclass(frozen=True)
class Row:
    """Of one sampler at each number of calls (k,): squared distances to the fine solution (k, B), and, each (k,),
    Frechet distances, the exact W2 on the Gaussian and on the isotropic one, and the published FID.
    """

    calls: np.ndarray
    distances: np.ndarray
    frechet: np.ndarray
    w2: np.ndarray
    w2_isotropic: np.ndarray
    published: np.ndarray


@dataclass(frozen=True)
class Record:
    """Of the samplers (s) at each number of calls (k), on EDM's grid, what Row has: distances (s, k, B), others (s, k).

    gits: of ON_GITS on the network's own grid of GITS, at those of these calls that were published.
    """

    calls: np.ndarray
    distances: np.ndarray
    frechet: np.ndarray
    w2: np.ndarray
    w2_isotropic: np.ndarray
    published: np.ndarray
    gits: Row


def measure(setting: Setting) -> Record:
    """Every sampler at every number of calls on EDM's grid, and one on that of GITS."""
    calls, top = ALL_CALLS if setting.full else CALLS, float(setting.levels.sigma[0])
    edm = [gd.grids.karras(n, sigma_max=top) for n in calls]
    rows = [_row(setting, name, dict(zip(calls, edm, strict=True)), PUBLISHED[name]) for name in SAMPLERS]
    some, make = [n for n in calls if n in PUBLISHED_GITS], d09_time_grids.of_paths(setting, setting.network)
    stacked = {part: np.stack([getattr(row, part) for row in rows]) for part in PARTS}
    return Record(np.array(calls), **stacked, gits=_row(setting, ON_GITS, {n: make(n) for n in some}, PUBLISHED_GITS))


def _row(setting: Setting, name: str, grids: dict[int, gd.NoiseLevel], published: dict[int, float]) -> Row:
    sampler, extract = SAMPLERS[name], setting.features.extract
    target, isotropic = extract(setting.data.held_out), explain.isotropic(setting.data.train)
    ends = [endpoints.ends(sampler, setting.network, setting.few, grid) for grid in grids.values()]
    return Row(
        calls=np.array(list(grids)),
        distances=np.array([endpoints.squared_distances(x, setting.fine_ends) for x in ends]),
        frechet=np.array([gd.metrics.frechet_distance(extract(x), target) for x in ends]),
        w2=np.array([endpoints.gaussian_error(sampler, grid, setting.gaussian) for grid in grids.values()]),
        w2_isotropic=np.array([endpoints.gaussian_error(sampler, grid, isotropic) for grid in grids.values()]),
        published=np.array([published[n] for n in grids]),
    )


def in_order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether a and b (s, k) put each pair of rows in the same order, in each column: (pairs k,) of 0 and 1."""
    pairs = combinations(range(len(a)), 2)
    return np.concatenate([(a[i] < a[j]) == (b[i] < b[j]) for i, j in pairs]).astype(float)


def find(record: Record) -> Finding:
    """The fractions of pairs in the order of W2 and in the published order, with intervals over the starts."""
    distance, starts = np.sqrt(record.distances.mean(-1)), np.moveaxis(record.distances, -1, 0)
    by_w2, by_scale, by_fid = (
        interval(_shared_order(other), starts) for other in (record.w2, record.w2_isotropic, record.published)
    )
    rank = interval(lambda rows: rank_correlation(record.w2.ravel(), np.sqrt(rows.mean(0)).ravel()), starts)
    names = list(SAMPLERS)
    best = ", ".join(f"{names[int(distance[:, k].argmin())]} at {n}" for k, n in enumerate(record.calls))
    guess = ", ".join(f"{names[int(record.w2[:, k].argmin())]} at {n}" for k, n in enumerate(record.calls))
    beside = _beside(record)
    known = by_w2.value >= ORDERED
    return Finding(
        sentence=f"The exact error on the Gaussian of the data puts {by_w2.value:.0%} of the pairs of solvers in the "
        "order that they have on the network.",
        criteria=(
            Criterion(
                "fraction of pairs of solvers that the exact W2 on the Gaussian orders as the network does",
                by_w2,
                f"at least {ORDERED:g}; half is chance",
                known,
                note=f"The exact W2 on the isotropic Gaussian so orders {by_scale}.",
                controls=("isotropic",) if known and by_scale.value >= ORDERED else (),
                takes=SCALE,
            ),
            Criterion(
                "fraction of pairs of solvers that the published FID orders as the network does",
                by_fid,
                f"at least {ORDERED:g}",
                by_fid.value >= ORDERED,
            ),
        ),
        numbers={
            "calls": record.calls.tolist(),
            "distance": dict(zip(names, distance.tolist(), strict=True)),
            "frechet": dict(zip(names, record.frechet.tolist(), strict=True)),
            "w2_on_the_gaussian": dict(zip(names, record.w2.tolist(), strict=True)),
            "w2_on_the_isotropic": dict(zip(names, record.w2_isotropic.tolist(), strict=True)),
            "published_fid_cifar10": dict(zip(names, record.published.tolist(), strict=True)),
            "pairs_in_order_of_w2": list(by_w2),
            "pairs_in_order_of_w2_isotropic": list(by_scale),
            "pairs_in_published_order": list(by_fid),
            "pairs_of_frechet_in_order_of_w2": float(in_order(record.w2, record.frechet).mean()),
            "rank_correlation_w2_distance": list(rank),
            "gits": {
                "calls": record.gits.calls.tolist(),
                "distance": [endpoints.root_mean(row) for row in record.gits.distances],
                "distance_over_edm": [list(one) for one in beside],
                "frechet": record.gits.frechet.tolist(),
                "w2_on_the_gaussian": record.gits.w2.tolist(),
                "published_fid_cifar10": record.gits.published.tolist(),
            },
        },
        notes=(
            f"The rank correlation of W2 and distance, over all {distance.size} pairs of a solver and a number of "
            f"calls, is {rank}. Intervals are over the starts; that {len(names)} solvers are few is not in them.",
            f"Nearest to the network's fine solution: {best} calls. Nearest by W2: {guess} calls.",
            _of_gits(record, beside),
        ),
    )


def _shared_order(other: np.ndarray) -> Callable[[np.ndarray], float]:
    """From squared distances (B, s, k) to the fraction of pairs that are in the order of `other` (s, k)."""
    return lambda rows: float(in_order(other, np.sqrt(rows.mean(0))).mean())


def _on_edm(record: Record) -> Row:
    """The row of ON_GITS on EDM's grid, at the calls that there are on the grid of GITS."""
    i, shared = list(SAMPLERS).index(ON_GITS), np.isin(record.calls, record.gits.calls)
    return Row(record.calls[shared], *(getattr(record, part)[i][shared] for part in PARTS))


def _beside(record: Record) -> list[Interval]:
    """The distance on the grid of GITS over that on EDM's, at each number of calls."""

    def ratio(a: np.ndarray, b: np.ndarray) -> float:
        return endpoints.root_mean(a) / endpoints.root_mean(b)

    return [interval(ratio, *pair) for pair in zip(record.gits.distances, _on_edm(record).distances, strict=True)]


def _of_gits(record: Record, beside: list[Interval]) -> str:
    """What the grid of GITS does to the distance, to the exact W2 and to the published FID."""
    usual = _on_edm(record)
    listed = "; ".join(
        f"{ratio} at {n} calls (exact W2 {w2:.2f}, published FID {fid:.2f})"
        for ratio, n, w2, fid in zip(
            beside, usual.calls, record.gits.w2 / usual.w2, record.gits.published / usual.published, strict=True
        )
    )
    return f"On the network's own grid of GITS {ON_GITS} ends this many times as far as on EDM's: {listed}."


def draw(record: Record) -> Figure:
    """Distance and exact W2 against calls, and one against the other."""
    figure, axes = panels(3, width=4)
    distance = np.sqrt(record.distances.mean(-1))
    for i, (name, color) in enumerate(COLORS.items()):
        axes[0].plot(record.calls, distance[i], "o-", color=color, label=name)
        axes[1].plot(record.calls, record.w2[i], "o-", color=color)
        axes[2].plot(record.w2[i], distance[i], "o", color=color)
        for calls, x, y in zip(record.calls, record.w2[i], distance[i], strict=True):
            axes[2].annotate(str(calls), (x, y), (4, 2), textcoords="offset points", fontsize=7)
    on_gits = np.sqrt(record.gits.distances.mean(-1))
    for axis, (x, y) in zip(
        axes,
        ((record.gits.calls, on_gits), (record.gits.calls, record.gits.w2), (record.gits.w2, on_gits)),
        strict=True,
    ):
        label = f"{ON_GITS} on the grid of GITS" if axis is axes[0] else None
        axis.plot(x, y, "^:", mfc="none", color=COLORS[ON_GITS], label=label)
    axes[0].set(yscale="log", xlabel="calls of the network", ylabel="root mean square per entry")
    axes[0].set_title("distance to the network's fine solution", fontsize=10)
    axes[1].set(yscale="log", xlabel="calls")
    axes[1].set_title("exact W2 on the Gaussian", fontsize=10)
    axes[2].set(xscale="log", yscale="log", xlabel="exact W2 on the Gaussian", ylabel="distance on the network")
    axes[2].set_title("one against the other, by calls", fontsize=10)
    plain_numbers(*(axis.yaxis for axis in axes), axes[2].xaxis)
    figure.suptitle(
        f"The Gaussian puts {in_order(record.w2, distance).mean():.0%} of the pairs of solvers in the right order"
    )
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


FEW_CALLS = Experiment(
    name="D11",
    title="Solvers at few calls, and whether a Gaussian knows their order",
    claim="At 3 to 10 calls published solvers differ widely, iPNDM being the best of these four; the exact error on "
    "the Gaussian of the data may predict their order.",
    published="FID on CIFAR-10 at 3 to 10 calls: "
    + "; ".join(f"{name} {' '.join(map(str, row.values()))}" for name, row in PUBLISHED.items())
    + f"; {ON_GITS} on the grid of GITS at 5, 6, 8, 10 calls: {' '.join(map(str, PUBLISHED_GITS.values()))}; Chen et "
    "al., arXiv 2405.11326.",
    criterion=f"Agrees where at least {ORDERED:.0%} of all pairs of solvers at one number of calls are ordered by the "
    "exact W2 on the Gaussian as by their distance to the network's fine solution, and as many by the published FID; "
    "in part where one of the two holds. The grid of GITS is reported, not judged: D9 judges grids.",
    caption="Four solvers on EDM's grid, from the same noise: how far they end from the network's fine solution (left) "
    "and how far their law is from the Gaussian's, exactly and without the network (middle; triangles: on the "
    "network's own grid of GITS). Right: one against the other; on a rising line the Gaussian would know the order.",
    headline=Headline("rank correlation of exact W2 and distance", ("rank_correlation_w2_distance",)),
    measure=measure,
    find=find,
    draw=draw,
)
