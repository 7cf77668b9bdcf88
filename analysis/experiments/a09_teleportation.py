"""A9: how many calls of the network a closed-form start saves.

While the noise hides all but the second moments, the flow of a network is nearly that of the Gaussian of the data,

    x' = alpha' mu + sum_k sqrt((alpha'^2 lam_k + sigma'^2) / (alpha^2 lam_k + sigma^2)) u_k <u_k, x - alpha mu>

so that the first m of N steps of Heun's method can be one jump without a call: 2 (N - m) - 1 calls in place of 2 N - 1.
The rival of a jump is no jump and as many calls: plain Heun with N - m steps over the whole range. Its controls are
jumps by Gaussians of wrong covariances, isotropic or of a shuffled spectrum: the jumps to sigma' by two variances
differ only by the difference of the variances over 2 sigma'^2, so that while the noise is large a wrong one may do.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.controls import shuffled_spectrum
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, NAMES, panels
from analysis.measures import endpoints
from analysis.measures.bootstrap import Interval, interval, percentiles, resamples
from analysis.measures.frechet import resampled_frechet

STEPS = 18  # of the grid
SKIPS = (0, 3, 4, 5, 6)  # steps that a jump replaces
MARGIN = 0.1  # fraction of the Frechet distance without a jump: one that is larger by less is called equal
SAVED = 0.15  # fraction of calls, the least of the published savings
DRAWS = 500  # resamplings of the starts, for intervals of Frechet distances
COVARIANCE = "no knowledge of the data's covariance"  # what jumps by wrong covariances lack


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
        jump=np.stack([endpoints.squared_distances(x, setting.fine_ends) for x in jumped]),
        plain=np.stack([endpoints.squared_distances(x, setting.fine_ends) for x in plain]),
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
    jumped = _jumped(law, setting.few, levels[0], rest[0])
    return endpoints.squared_distances(endpoints.ends(plain, setting.network, jumped, rest), setting.fine_ends)


@eqx.filter_jit
def _jumped(law, starts, level, end):
    return jax.vmap(gd.gaussian_flow, (None, 0, None, None))(law, starts, level, end)


@eqx.filter_jit
def _exact(sampler, levels, gaussian):
    return gd.wasserstein2(sampler, levels, gaussian)


def find(record: Record) -> Finding:
    """What may be skipped at an equal Frechet distance, and whether a jump beats fewer steps."""
    # calls saved: by the longest jump, and by the coarsest grid, whose Frechet distance is equal to that without a jump
    saved = 1 - record.calls / record.calls[0]
    whole = _frechet(record, record.jump_features[0])
    changes, plain_changes = (_changes(record, rows[1:]) for rows in (record.jump_features, record.plain_features))
    most, most_plain = (_most(each, whole) for each in (changes, plain_changes))
    # distances to the fine solution after the longest jump, over those of plain Heun and of the wrong jumps
    to_plain = interval(_ratio, record.jump[-1], record.plain[-1])
    controls_to_plain = {name: interval(_ratio, one, record.plain[-1]) for name, one in record.controls.items()}
    to_controls = {name: interval(_ratio, record.jump[-1], one) for name, one in record.controls.items()}
    nearer = {"network": to_plain.high < 1, **{name: one.high < 1 for name, one in controls_to_plain.items()}}
    saves_more = bool(saved[most] > saved[most_plain])
    worth_it = saves_more or nearer["network"]
    rival = "" if nearer["network"] else f", and more than the {saved[most_plain]:.3g} of plain Heun with fewer steps"
    distances, plain_distances = ([endpoints.root_mean(row) for row in rows] for rows in (record.jump, record.plain))
    return Finding(
        sentence=_sentence(record, saved[most], worth_it),
        criteria=(
            Criterion(
                "fraction of calls that a closed-form start saves at an equal Fréchet distance",
                float(saved[most]),
                f"at least {SAVED:g}{rival}",
                bool(saved[most] >= SAVED and worth_it),
                note=f"That is a jump to σ = {record.sigma[most]:.3g}." if most else "No jump has an equal distance.",
            ),
            Criterion(
                "distance to the fine solution after the longest jump ÷ plain Heun's at as many calls",
                to_plain,
                "below 1 with its interval",
                nearer["network"],
                note=f"After the same jump by a wrong covariance it is {_listed(controls_to_plain)}.",
                controls=meet(nearer, record.controls),
                takes=COVARIANCE,
            ),
        ),
        numbers={
            "sigma": record.sigma.tolist(),
            "calls": record.calls.tolist(),
            "calls_saved": saved.tolist(),
            "distance_with_jump": distances,
            "distance_plain": plain_distances,
            "frechet_with_jump": [_frechet(record, features) for features in record.jump_features],
            "frechet_plain": [_frechet(record, features) for features in record.plain_features],
            "frechet_change": [list(change) for change in changes],
            "ratio_to_plain_at_longest_jump": list(to_plain),
            "controls_ratio_to_plain": {name: list(ratio) for name, ratio in controls_to_plain.items()},
            "ratio_to_controls": {name: list(ratio) for name, ratio in to_controls.items()},
            "w2_on_the_gaussian": record.exact.tolist(),
            "saved_at_equal_frechet": float(saved[most]),
            "saved_at_equal_frechet_plain": float(saved[most_plain]),
        },
        notes=(
            f"A Fréchet distance is called equal where it is larger by at most {MARGIN:.0%}, with its interval.",
            f"It is {whole:.3g} without a jump, and the longest jump changes it by {changes[-1]}.",
            f"At an equal Fréchet distance plain Heun with fewer steps saves {saved[most_plain]:.0%} of the calls"
            f"{', less than the jump.' if saves_more else ': by this measure alone a jump saves no more.'}",
            f"The longest jump ends {distances[-1]:.3g} from the fine solution, and plain Heun with as many calls "
            f"{plain_distances[-1]:.3g} (root mean square per entry, in data units).",
            "The distance after the Gaussian's jump ÷ that after a jump by a wrong covariance is "
            f"{_listed(to_controls)}.",
        ),
    )


def _sentence(record: Record, saved: float, worth_it: bool) -> str:
    """What is saved of the calls without a jump, or that nothing is."""
    if not saved:
        return f"A closed-form start saves none of the {record.calls[0]} calls at an equal Fréchet distance."
    saves = f"{saved:.0%} of the {record.calls[0]} calls at an equal Fréchet distance"
    if not worth_it:
        return f"A closed-form start saves {saves}, but plain Heun with fewer steps does as well."
    return f"A closed-form start saves {saves}."


def _listed(ratios: dict[str, Interval]) -> str:
    return ", ".join(f"{NAMES[name]} {ratio}" for name, ratio in ratios.items())


def _most(changes: list[Interval], whole: float) -> int:
    """The longest of SKIPS, by its place, whose Frechet distance is equal within MARGIN."""
    return max((i for i, change in enumerate(changes, 1) if change.high <= MARGIN * whole), default=0)


def _frechet(record: Record, features: np.ndarray) -> float:
    """The Frechet distance of features (B, F) from those of held-out data."""
    return gd.metrics.frechet_distance(features, record.target)


def _changes(record: Record, rows: np.ndarray) -> list[Interval]:
    """Of the Frechet distance in each of the rows (k, B, F) from that without a jump, over the same starts."""
    whole, picks = record.jump_features[0], resamples(rows.shape[1], DRAWS)
    value, drawn = _frechet(record, whole), resampled_frechet(whole, picks, record.target)
    return [
        percentiles(_frechet(record, row) - value, resampled_frechet(row, picks, record.target) - drawn) for row in rows
    ]


def _ratio(a: np.ndarray, b: np.ndarray) -> float:
    return endpoints.root_mean(a) / endpoints.root_mean(b)


def draw(record: Record) -> Figure:
    """Distance to the fine solution and Frechet distance against calls, with a jump and without."""
    figure, (distance, quality) = panels(2, width=4.6)
    distances = ([endpoints.root_mean(row) for row in rows] for rows in (record.jump, record.plain))
    frechet = ([_frechet(record, row) for row in rows] for rows in (record.jump_features, record.plain_features))
    _draw_curves(distance, record, *distances)
    _draw_curves(quality, record, *frechet)
    for name, squares in record.controls.items():
        label = f"the longest jump by {NAMES[name]}"
        distance.plot(record.calls[-1], endpoints.root_mean(squares), "x", color=COLORS[name], label=label)
    distance.set(ylabel="root mean square per entry", title="distance to the fine solution")
    quality.set(ylabel="Fréchet distance to held-out data", title="quality of the samples")
    ratio = _ratio(record.jump[-1], record.plain[-1])
    figure.suptitle(f"{record.calls[-1]} calls: with a closed-form start {ratio:.2f} times as far from the flow")
    handles, labels = distance.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_curves(axis: Axes, record: Record, jump: list[float], plain: list[float]) -> None:
    """One value against calls, after jumps and of plain Heun, with the noise scale of each jump."""
    axis.plot(record.calls, plain, "s--", color=COLORS["network"], label="plain Heun, fewer steps")
    axis.plot(record.calls, jump, "o-", color=COLORS["gaussian"], label="closed-form start, then Heun")
    axis.set(xlabel="calls of the network", ylim=(0, 1.2 * max(*plain, *jump)))
    below = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
    for sigma, calls, value in zip(record.sigma[1:], record.calls[1:], jump[1:], strict=True):
        axis.annotate(f"σ {sigma:.3g}", (calls, value), (0, -14), **below)


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
    caption="Each point is a sampler, from the same noise: blue is the Gaussian's exact flow to the noise scale σ that "
    "is written there and then Heun, black is Heun on a coarser grid, and crosses are the longest jump by wrong "
    "covariances. Lower is better; a jump saves the calls by which it lies to the left of a black point of its height.",
    headline=Headline("fraction of calls saved at equal Fréchet distance", ("saved_at_equal_frechet",)),
    measure=measure,
    find=find,
    draw=draw,
)
