"""A9: how many calls of the network a closed-form start saves.

While the noise hides all but the second moments, the flow of a network is nearly that of the Gaussian of the data,

    x' = alpha' mu + sum_k sqrt((alpha'^2 lam_k + sigma'^2) / (alpha^2 lam_k + sigma^2)) u_k <u_k, x - alpha mu>

so that the first m of N steps of Heun's method can be one jump without a call: 2 (N - m) - 1 calls in place of 2 N - 1.
The rival of a jump is no jump and as many calls: plain Heun with N - m steps over the whole range. Its controls are
jumps by Gaussians of wrong covariances, isotropic or of a shuffled spectrum: a jump to sigma' tells two variances apart
by their difference over 2 sigma'^2 alone, so that while the noise is large a wrong one may do.
"""

from dataclasses import dataclass
from functools import cache, partial

import equinox as eqx
import jax
import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.controls import as_well, shuffled_spectrum
from analysis.harness.experiment import Experiment, Finding, judged
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, NAMES, panels
from analysis.measures import endpoints
from analysis.measures.bootstrap import Interval, interval

STEPS = 18
SKIPS = (0, 3, 4, 5, 6)
MARGIN = 0.1  # of the Frechet distance without a jump: less is called equal
SAVED = 0.15  # the least of the published savings
DRAWS = 500  # of starts, for intervals of Frechet distances


@dataclass(frozen=True)
class Record:
    """For each of SKIPS: the noise scale jumped to, calls, and of the jump and of plain Heun at as many calls

    the squared distances to the fine solution (skips, B) and the features (skips, B, F); target: those of held-out data
    (M, F). exact: W2 to the data of the same solver on the Gaussian itself, (skips,). controls {name: (B,)}: squared
    distances of the longest jump by Gaussians of wrong covariances.
    """

    sigma: np.ndarray
    calls: np.ndarray
    jump: np.ndarray
    plain: np.ndarray
    jump_features: np.ndarray
    plain_features: np.ndarray
    target: np.ndarray
    exact: np.ndarray
    controls: dict[str, np.ndarray]


def measure(setting: Setting) -> Record:
    """Heun's paths with and without a jump, from the same starts."""
    sigma_max = float(setting.levels.sigma[0])
    levels, heun = gd.grids.karras(STEPS, sigma_max=sigma_max), gd.Heun()
    # a switch before the first step's end never jumps: one program serves all
    jumps = [gd.SwitchAt(gd.GaussianExact(setting.gaussian), heun, endpoints.between(levels, m)) for m in SKIPS]
    shorter = [gd.grids.karras(STEPS - m, sigma_max=sigma_max) for m in SKIPS[1:]]
    jumped = [endpoints.ends(jump, setting.network, setting.few, levels) for jump in jumps]
    plain = [jumped[0], *(endpoints.ends(jumps[0], setting.network, setting.few, grid) for grid in shorter)]
    extract = setting.features.extract
    return Record(
        sigma=np.asarray(levels.sigma)[list(SKIPS)],
        calls=np.array([heun.nfe(STEPS - m) for m in SKIPS]),
        jump=np.stack([endpoints.apart(x, setting.fine_ends) for x in jumped]),
        plain=np.stack([endpoints.apart(x, setting.fine_ends) for x in plain]),
        jump_features=np.stack([extract(x) for x in jumped]),
        plain_features=np.stack([extract(x) for x in plain]),
        target=extract(setting.data.held_out),
        exact=np.array([float(_exact(jump, levels, setting.gaussian)) for jump in jumps]),
        controls={name: _control(setting, law, jumps[0], levels) for name, law in _wrong(setting).items()},
    )


def _wrong(setting: Setting) -> dict[str, gd.Gaussian]:
    """Gaussians of the data's mean and total variance, and of no covariance of theirs."""
    isotropic = setting.more["isotropic"]
    assert isinstance(isotropic, gd.Gaussian)
    return {"isotropic": isotropic, "shuffled_spectrum": shuffled_spectrum(setting.gaussian, setting.seed)}


def _control(setting: Setting, law: gd.Gaussian, plain: gd.Sampler, levels: gd.NoiseLevel) -> np.ndarray:
    """Squared distances (B,) of the longest jump by a law: its flow, then the sampler that is compiled already."""
    rest = levels[SKIPS[-1] :]
    jumped = jax.vmap(gd.gaussian_flow, (None, 0, None, None))(law, setting.few, levels[0], rest[0])
    return endpoints.apart(endpoints.ends(plain, setting.network, jumped, rest), setting.fine_ends)


@eqx.filter_jit
def _exact(sampler, levels, gaussian):
    return gd.wasserstein2(sampler, levels, gaussian)


def find(record: Record) -> Finding:
    """What may be skipped at an equal Frechet distance, and whether a jump beats fewer steps."""
    saved = 1 - record.calls / record.calls[0]
    frechet = lambda features: gd.metrics.frechet_distance(features, record.target)  # noqa: E731
    whole = frechet(record.jump_features[0])
    changes, plain_changes = (_changes(record, rows[1:]) for rows in (record.jump_features, record.plain_features))
    most, most_plain = (_most(each, whole) for each in (changes, plain_changes))
    last = len(SKIPS) - 1
    nearer = interval(_ratio, record.jump[last], record.plain[last])
    beside = {name: interval(_ratio, one, record.plain[last]) for name, one in record.controls.items()}
    among = {name: interval(_ratio, record.jump[last], one) for name, one in record.controls.items()}
    distances = [endpoints.root_mean(row) for row in record.jump]
    more, better = saved[most] > saved[most_plain], nearer.high < 1
    enough = saved[most] >= SAVED and (more or better)
    first = "" if more else "By the Fréchet distance alone plain Heun with fewer steps saves as many calls or more. "
    to = f" by a jump to noise scale {record.sigma[most]:.3g}" if most else ""
    found = (
        f"{first}At an equal Fréchet distance (within {MARGIN:.0%}) plain Heun saves {saved[most_plain]:.0%} "
        f"of {record.calls[0]} calls, a closed-form start {saved[most]:.0%}{to}. "
        f"The Fréchet distance is {whole:.3g} without a jump; the longest jump changes it by {changes[-1]}. "
        f"The longest jump ends {distances[last]:.3g} from the fine solution (root mean square per entry, data "
        f"units), "
        f"plain Heun at as many calls {endpoints.root_mean(record.plain[last]):.3g}: the jump's distance is {nearer} "
        f"of plain Heun's.{_of_controls(beside, among, better)}"
    )
    numbers = {
        "sigma": record.sigma.tolist(),
        "calls": record.calls.tolist(),
        "calls_saved": saved.tolist(),
        "distance_with_jump": distances,
        "distance_plain": [endpoints.root_mean(row) for row in record.plain],
        "frechet_with_jump": [frechet(features) for features in record.jump_features],
        "frechet_plain": [frechet(features) for features in record.plain_features],
        "frechet_change": [list(change) for change in changes],
        "ratio_to_plain_at_longest_jump": list(nearer),
        "controls_ratio_to_plain": {name: list(ratio) for name, ratio in beside.items()},
        "ratio_to_controls": {name: list(ratio) for name, ratio in among.items()},
        "w2_on_the_gaussian": record.exact.tolist(),
        "saved_at_equal_frechet": float(saved[most]),
        "saved_at_equal_frechet_plain": float(saved[most_plain]),
    }
    return judged({"calls saved beyond fewer steps": enough, "the longest jump is nearer": better}, found, numbers)


def _of_controls(beside: dict[str, Interval], among: dict[str, Interval], better: bool) -> str:
    """What jumps by wrong covariances do, and which are nearer than plain Heun as well; better: the Gaussian's is."""
    listed = "; ".join(
        f"{NAMES[name]} {ratio} of plain Heun's, the Gaussian's jump being {among[name]} of that"
        for name, ratio in beside.items()
    )
    alike = [name for name, ratio in beside.items() if better and ratio.high < 1]
    return f" The same jump by wrong covariances: {listed}.{as_well('end nearer', alike, 'right covariance')}"


def _most(changes: list[Interval], whole: float) -> int:
    """The longest of SKIPS, by its place, whose Frechet distance is equal within MARGIN."""
    return max((i for i, change in enumerate(changes, 1) if change.high <= MARGIN * whole), default=0)


def _changes(record: Record, rows: np.ndarray) -> list[Interval]:
    """Of the Frechet distance in each of the rows (k, B, F) from that without a jump, over the same starts."""
    frechet = lambda x: gd.metrics.frechet_distance(x, record.target)  # noqa: E731
    whole = cache(lambda starts: frechet(record.jump_features[0][list(starts)]))  # all rows share the draws
    change = lambda starts, row: frechet(row[starts]) - whole(tuple(starts))  # noqa: E731
    return [interval(partial(change, row=row), np.arange(len(row)), draws=DRAWS) for row in rows]


def _ratio(a: np.ndarray, b: np.ndarray) -> float:
    return endpoints.root_mean(a) / endpoints.root_mean(b)


def draw(record: Record) -> Figure:
    """Distance to the fine solution and Frechet distance against calls, with a jump and without."""
    figure, (left, right) = panels(2, width=4.6)
    frechet = lambda rows: [gd.metrics.frechet_distance(row, record.target) for row in rows]  # noqa: E731
    jump, plain = ("#0072b2", "o-", "closed-form start, then Heun"), ("#111111", "s--", "plain Heun, fewer steps")
    for axis, of_jump, of_plain in (
        (left, [endpoints.root_mean(row) for row in record.jump], [endpoints.root_mean(row) for row in record.plain]),
        (right, frechet(record.jump_features), frechet(record.plain_features)),
    ):
        for (color, line, label), values in ((plain, of_plain), (jump, of_jump)):
            axis.plot(record.calls, values, line, color=color, label=label if axis is left else None)
        axis.set(xlabel="calls of the network", ylim=(0, 1.2 * max(*of_plain, *of_jump)))
        for i in range(1, len(SKIPS)):
            axis.annotate(f"σ {record.sigma[i]:.3g}", (record.calls[i], of_jump[i]), (0, -14), **_SMALL)
    for name, squares in record.controls.items():
        label = f"the longest jump by {NAMES[name]}"
        left.plot(record.calls[-1], endpoints.root_mean(squares), "x", color=COLORS[name], label=label)
    left.set(ylabel="root mean square per entry", title="distance to the fine solution")
    right.set(ylabel="Fréchet distance to held-out data", title="quality of the samples")
    last = len(SKIPS) - 1
    share = endpoints.root_mean(record.jump[last]) / endpoints.root_mean(record.plain[last])
    figure.suptitle(f"{record.calls[last]} calls: with a closed-form start {share:.2f} times as far from the flow")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


_SMALL = {"textcoords": "offset points", "ha": "center", "fontsize": 8}

TELEPORTATION = Experiment(
    name="A9",
    title="A closed-form start saves calls of the network",
    claim="The first steps of a path can be replaced by the Gaussian's closed form, at no loss of quality.",
    published="15 to 30 % of the steps saved at equal FID (CIFAR-10, FID 1.93; 18 steps of Heun, 35 calls, of which a "
    "jump of 3, 4, 5, 6 steps leaves 29, 27, 25, 23); Wang & Vastola, arXiv 2412.09726.",
    criterion=f"Agrees where at least {SAVED:.0%} of the calls can be saved while the upper end of the interval of the "
    f"change of the Fréchet distance stays within {MARGIN:.0%} of it, and the longest jump ends nearer to the fine "
    "solution than plain Heun at as many calls; the second is asked because coarser grids save calls by the first as "
    "well. In part where the longest jump is only nearer, or where jumps only save more at an equal Fréchet distance, "
    f"and {SAVED:.0%}, than plain Heun with fewer steps. Where the same jump by a wrong covariance (isotropic, or of a "
    "shuffled spectrum) is nearer than plain Heun too, that is said: then being nearer is no sign of the right one.",
    caption="Each point is a sampler of so many calls, from the same noise. Blue: the Gaussian's exact flow leads to "
    "the noise scale σ that is written at the point, and Heun goes on from there on the grid of 18 steps. Black: no "
    "jump, but a coarser grid. Crosses: the longest jump by Gaussians of wrong covariances. Lower is better; saved is "
    "what blue needs less than the rightmost point at its height.",
    measure=measure,
    find=find,
    draw=draw,
)
