"""A4: what a push on the way does to the final sample.

A push delta of a state at noise sigma ends, on a Gaussian, as U diag(sqrt(lam) / S) U^T delta in the sample, exactly
and for every size (gd.exact.gaussian_perturbation). Early that is sqrt(lam) / sigma: of any push the large components
are left, the outline. Late it is 1 along every component that has variance: details pass as they are. Pushes are
counted in standard deviations of the noisy marginal along their direction.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

import gaussdiff as gd
from analysis.experiments.a04_pushes import AMOUNTS, RANDOM, directions, ends, predicted, remaining
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import NAMES, NOISE_AXIS, is_image
from analysis.measures.bootstrap import interval
from analysis.measures.paths import rank_correlation

LEVELS = 4  # of the grid that are pushed
STATES, STATES_OF_CONTROLS = (8, 32), (2, 16)  # how many are pushed, usually and in full
ORDER, RATIO = 0.9, 1.25  # what the criterion asks for
PICTURED = ("component 1", "component 2", "component 11", f"random direction {RANDOM}")
COLORS = ("#332288", "#88ccee", "#117733", "#ddaa33", "#cc6677", "#999999", "#666666")  # of directions


@dataclass(frozen=True)
class Record:
    """Of S states, L levels, P directions (components first) and A amounts.

    pushes, predicted: (L, P, A) lengths of the pushes and, in closed form, of the changes of the sample. changes:
    {model: (S, L, P, A)} their lengths. coarse: {model: (S, L)}, the fraction of the squared changes by random pushes
    that lies in the components of half of the data's variance; (1, L) of the closed form. pictures: (L, 1 + P A,
    *event), the ends of the network's first state, the first without a push. controls: the models among them that
    learned nothing, of fewer states.
    """

    sigma: np.ndarray
    directions: tuple[str, ...]
    pushes: np.ndarray
    predicted: np.ndarray
    changes: dict[str, np.ndarray]
    coarse: dict[str, np.ndarray]
    pictures: np.ndarray
    controls: tuple[str, ...] = ()


def measure(setting: Setting) -> Record:
    """States of network, Gaussian and controls on their own paths, pushed, and carried on by one solver and grid."""
    names, units = directions(setting)
    steps = np.unique(np.linspace(0, len(setting.sigma) - 2, LEVELS, endpoint=False).astype(int)).tolist()
    closed = [predicted(setting.gaussian, units, setting.levels[step]) for step in steps]
    pushes, expected = (np.stack(parts) for parts in zip(*closed, strict=True))
    models = {name: setting.models[name] for name in ("network", "gaussian")} | dict(setting.controls)
    pushed = {name: _pushed(setting, name, model, steps, pushes) for name, model in models.items()}
    changes = {name: one[:, :, 1:] - one[:, :, :1] for name, one in pushed.items()}
    shape = (len(steps), len(units), len(AMOUNTS))
    return Record(
        sigma=setting.sigma[steps],
        directions=names,
        pushes=_lengths(pushes, 2).reshape(shape),
        predicted=_lengths(expected, 2).reshape(shape),
        changes={name: _lengths(one, 3).reshape(-1, *shape) for name, one in changes.items()},
        coarse={
            name: _coarse(setting.gaussian, one[:, :, -RANDOM * len(AMOUNTS) :])
            for name, one in {**changes, "closed_form": expected[None]}.items()
        },
        pictures=pushed["network"][0],
        controls=tuple(setting.controls),
    )


def _pushed(setting: Setting, name: str, model: gd.Denoiser, steps: list[int], pushes: np.ndarray) -> np.ndarray:
    """The ends (S, L, 1 + M, *event) of a model's first states at L steps, with pushes (L, M, *event)."""
    controlled = name in setting.controls
    x = (setting.control_paths if controlled else setting.paths)[name].x
    few = x[: setting.count(*(STATES_OF_CONTROLS if controlled else STATES))]
    each = zip(steps, pushes, strict=True)
    return np.stack([ends(model, few[:, step], moves, remaining(setting, step)) for step, moves in each], 1)


def _lengths(vectors: np.ndarray, axes: int) -> np.ndarray:
    """Of the events behind the first axes."""
    return np.linalg.norm(vectors.reshape(*vectors.shape[:axes], -1).astype(np.float64), axis=-1)


def _coarse(gaussian: gd.Gaussian, changes: np.ndarray) -> np.ndarray:
    """The fraction of the squares of changes (S, L, M, *event) in the components of half of the variance: (S, L)."""
    half = int(gd.exact.components_for_share(gaussian.eigvals, 0.5))
    flat = changes.reshape(*changes.shape[:3], -1).astype(np.float64)
    inside = flat @ np.asarray(gaussian.eigvecs, np.float64)[:, :half]
    return (inside**2).sum((2, 3)) / (flat**2).sum((2, 3))


def find(record: Record) -> Finding:
    """Whether gains rank as predicted, changes are as large, and random pushes change ever less of the outline."""
    order = {name: interval(lambda rows: _order(record, rows), rows) for name, rows in record.changes.items()}
    ratio = {name: interval(lambda rows: _ratio(record, rows), rows) for name, rows in record.changes.items()}
    early, late = (interval(np.mean, record.coarse["network"][:, i]) for i in (0, -1))
    expected = record.coarse["closed_form"][0]
    ordered = {name: one.value >= ORDER for name, one in order.items()}
    sized = {name: 1 / RATIO <= one.value <= RATIO for name, one in ratio.items()}
    fall = {name: _fall(record.coarse[name]) for name in record.changes}
    # two random directions are weighed a little differently at each level: half of the network's fall is more than that
    finer = {name: one > 0 and (name == "network" or one >= fall["network"] / 2) for name, one in fall.items()}
    return Finding(
        sentence=f"A push on the way changes the sample {ratio['network'].value:.2f} times as much as the closed form "
        "says.",
        criteria=(
            Criterion(
                "rank correlation of measured and predicted gains",
                order["network"],
                f"at least {ORDER:g}",
                ordered["network"],
                controls=meet(ordered, record.controls),
            ),
            Criterion(
                "change of the sample ÷ closed form's (median)",
                ratio["network"],
                f"between {1 / RATIO:g} and {RATIO:g}",
                sized["network"],
                note=f"For the Gaussian with the same solver it is {ratio['gaussian'].value:.3f}.",
                controls=meet(sized, record.controls),
            ),
            Criterion(
                "fall, from early to late, of the outline's fraction in what a random push changes",
                fall["network"],
                "above 0",
                finer["network"],
                note=f"The fraction is {early} for pushes at σ = {record.sigma[0]:.3g} and {late} at "
                f"{record.sigma[-1]:.2g} (closed form {expected[0]:.2f} and {expected[-1]:.2f}).",
                controls=meet(finer, record.controls),
            ),
        ),
        numbers={
            "measured_over_predicted": {name: list(one) for name, one in ratio.items()},
            "measured_over_predicted_by_amount": {
                f"{amount:+g}": float(np.median(record.changes["network"][..., a] / record.predicted[..., a]))
                for a, amount in enumerate(AMOUNTS)
            },
            "rank_correlation_of_gains": {name: list(one) for name, one in order.items()},
            "sigma": record.sigma.tolist(),
            "share_of_outline_in_random_change": {name: rows.mean(0).tolist() for name, rows in record.coarse.items()},
            "predicted_gain": _by_direction(record, record.predicted),
            "measured_gain": {name: _by_direction(record, rows.mean(0)) for name, rows in record.changes.items()},
        },
        notes=("The noise levels alone put most gains of any denoiser in order, a control's too.",),
    )


def _fall(coarse: np.ndarray) -> float:
    """How much less of the outline a late push changes, (S, L)."""
    return float(coarse[:, 0].mean() - coarse[:, -1].mean())


def _by_direction(record: Record, changes: np.ndarray) -> dict[str, list[float]]:
    """The gain (L, P) of changes (L, P, A), the mean over amounts, by direction."""
    return {name: gains.tolist() for name, gains in zip(record.directions, _gains(record, changes).T, strict=True)}


def _gains(record: Record, changes: np.ndarray) -> np.ndarray:
    return (changes / record.pushes).mean(-1)


def _order(record: Record, changes: np.ndarray) -> float:
    return rank_correlation(_gains(record, changes.mean(0)).ravel(), _gains(record, record.predicted).ravel())


def _ratio(record: Record, changes: np.ndarray) -> float:
    return float(np.median(changes / record.predicted))


def draw(record: Record) -> Figure:
    """Gains and the outline's fraction beside the closed form; for images, what the pushes made of one sample."""
    pictured = is_image(record.pictures[0, 0])
    figure = Figure(figsize=(11, 9.2 if pictured else 4.4), layout="constrained")
    parts = np.asarray(figure.subfigures(2 if pictured else 1, 1, squeeze=False))[:, 0]
    gains, outline = parts[0].subplots(1, 2)
    _draw_gains(gains, record)
    for name in ("network", "closed_form"):
        style = {"ls": "--"} if name == "closed_form" else {"marker": "o"}
        outline.plot(record.sigma, record.coarse[name].mean(0), color="#111111", label=NAMES[name], **style)
    outline.set(title="random pushes: fraction of the change that is outline", ylim=(0, 1))
    for axis in (gains, outline):
        axis.set(xscale="log", xlabel=NOISE_AXIS)
        axis.title.set_fontsize(10)
        axis.invert_xaxis()
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    if pictured:
        _draw_map(parts[1], record)
    ratio = _ratio(record, record.changes["network"])
    figure.suptitle(f"A push on the way changes the sample {ratio:.2f} times as much as the closed form says")
    return figure


def _draw_gains(axis: Axes, record: Record) -> None:
    measured, predicted = (_gains(record, c) for c in (record.changes["network"].mean(0), record.predicted))
    for p, (name, color) in enumerate(zip(record.directions, COLORS, strict=False)):
        axis.plot(record.sigma, predicted[:, p], "--", color=color, lw=1.2)
        axis.plot(record.sigma, measured[:, p], "o", color=color, label=name, ms=5)
    axis.set(yscale="log", ylabel="gain: change of the sample / push", title="points: network, dashed: closed form")


def _draw_map(figure: SubFigure, record: Record) -> None:
    """A row of final samples for each level that was pushed."""
    columns = [(0, "no push\n")]
    for p in (p for p, name in enumerate(record.directions) if name in PICTURED):
        short = record.directions[p].replace("component", "comp.").replace("random direction", "random")
        columns += [(1 + p * len(AMOUNTS) + a, f"{short}\n{amount:+g}") for a, amount in enumerate(AMOUNTS)]
    axes = figure.subplots(len(record.sigma), len(columns), squeeze=False)
    for row, (images, sigma) in enumerate(zip(record.pictures, record.sigma, strict=True)):
        for column, (i, title) in enumerate(columns):
            axis = axes[row, column]
            axis.imshow(np.clip(images[i].squeeze() / 2 + 0.5, 0, 1), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.set_title(title if row == 0 else "", fontsize=7)
        axes[row, 0].set_ylabel(f"σ = {sigma:.2g}", rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle("Perturbation map: one path's sample after pushes at σ, in standard deviations", fontsize=10)


PERTURBATION = Experiment(
    name="A4",
    title="A push early changes the outline, a push late the details",
    claim="A change of the state on the way passes to the sample by the square root of a component's variance over "
    "that of the noisy state: early ones change content, late ones detail.",
    published="No number was published; Wang & Vastola, arXiv 2303.02490, section 3.",
    criterion="Agrees where gains rank as predicted over levels and directions with correlation at least .9, the "
    "median change is within a quarter of the closed form's, and less of a random push's change lies in the components "
    "of half of the variance when it comes late; in part where one or two of these hold.",
    caption="Top left: the change of the sample over the size of the push, by the noise level of the push. Top right: "
    "how much of the change lies in the components of half of the data's variance; bottom, for images: what pushes by "
    "up to 10 standard deviations make of one sample.",
    headline=Headline("change of the sample ÷ closed form's", ("measured_over_predicted", "network")),
    measure=measure,
    find=find,
    draw=draw,
)
