"""A7: what the network has learned after so many steps: first its Gaussian, then what only the data set knows.

What a twin leaves of the network's score, 1 - explained (A6), at checkpoints spread evenly in the logarithm of the
step, as a mean over noise scales around the data's deviation. A network that learned means and covariances before
anything else is nearest to the Gaussian early, and leaves it while it still approaches the data set.

Two controls can show a dip that is no learning of the data's covariance. A Gaussian with a shuffled spectrum in the
Gaussian's place: were its residual to dip and to grow as well, the total variance alone would make the dip. And every
checkpoint with its weights shuffled: were the curves the same, sizes of weights would make them. An untrained network
is the first checkpoint already, and does not change with the step. A network trained on data with shuffled pixels or
phases would be another run, to be compared with this one.
"""

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.controls import shuffled
from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, LINES, NAMES, panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.probes import Probes, ask, squared_residuals, to_explain

TWINS = ("gaussian", "data_set")
LEAST = 4  # checkpoints after step 0
CHECKPOINTS = 8  # that are measured, usually
GROWN = 1.1  # what the Gaussian leaves at the end, over its least
RANGE = (0.1, 3.0)  # noise scales, in deviations of the data
ROUNDING = 1e-12  # a residual that is no larger is that of the same model


@dataclass(frozen=True)
class Record:
    """steps (c,); sigma (m,); residuals {twin: (c, m, N)} and whole {part: (c, m, N)}, of every sample.

    Twins: those of TWINS, and "shuffled_spectrum" where there is such a control. shuffled: the same for the networks
    with their weights shuffled, where there is such a control.
    """

    steps: np.ndarray
    sigma: np.ndarray
    residuals: dict[str, np.ndarray]
    whole: dict[str, np.ndarray]
    shuffled: "Record | None" = None


def chosen(steps: list[int], count: int) -> list[int]:
    """About `count` of the steps above 0, spread evenly in their logarithm, the first and the last among them."""
    after = np.array(sorted(step for step in steps if step > 0))
    if len(after) < LEAST:
        raise NotMeasuredError(
            f"history: expected at least {LEAST} saved states after step 0, got {len(after)}. Train with --keep-powers."
        )
    wanted = np.geomspace(after[0], after[-1], count)
    return sorted({int(after[np.argmin(np.abs(np.log(after / step)))]) for step in wanted})


def measure(setting: Setting) -> Record:
    """Ask the network of each checkpoint what the twins are asked, on held-out samples."""
    steps = chosen(list(setting.history), setting.count(CHECKPOINTS, 16))
    deviation = float(np.sqrt(np.asarray(setting.gaussian.variances, np.float64).mean()))
    whole = setting.held_out
    near = (whole.sigma >= RANGE[0] * deviation) & (whole.sigma <= RANGE[1] * deviation)
    probes = whole.first(setting.count(64, 512)).scales(near)
    twins = {name: setting.models[name] for name in TWINS}
    twins |= {name: one for name, one in setting.controls.items() if name == "shuffled_spectrum"}
    beliefs = {name: ask(model, probes.noisy, probes.sigma) for name, model in twins.items()}
    networks = [setting.history[step]() for step in steps]
    record = _record(steps, beliefs, [probes.by(network) for network in networks])
    if "shuffled_weights" not in setting.controls:
        return record
    key = setting.key("A7")
    mixed = [probes.by(shuffled(network, key)) for network in networks]
    return replace(record, shuffled=_record(steps, beliefs, mixed))


def _record(steps: list[int], beliefs: dict[str, np.ndarray], answered: list[Probes]) -> Record:
    return Record(
        steps=np.array(steps),
        sigma=answered[0].sigma,
        residuals={
            name: np.stack([squared_residuals(one, belief) for one in answered]) for name, belief in beliefs.items()
        },
        whole={part: np.stack([to_explain(one, part) for one in answered]) for part in ("denoiser", "score")},
    )


def residual(residuals: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """1 - explained variance, as a mean over the noise scales: (c, m, N) -> (c,); at least ROUNDING."""
    return np.maximum((residuals.sum(2) / whole.sum(2)).mean(1), ROUNDING)


def find(record: Record) -> Finding:
    """Agrees where the Gaussian's residual grows after its least, and the data set's is least at the end."""
    curves = {
        part: {name: residual(residuals, whole) for name, residuals in record.residuals.items()}
        for part, whole in record.whole.items()
    }
    gaussian, data_set = (curves["score"][name] for name in TWINS)
    least, last = int(gaussian.argmin()), float(data_set[-1] / data_set.min())
    growth, fall = grows_by(record, "gaussian"), _last(record, "data_set", 0)
    beside = controls(record)
    dips = {"network": dip(record, "gaussian"), **{name: dip(*pair) for name, pair in beside.items()}}
    scales, count = grows(record), len(record.sigma)
    of_controls = "; ".join(f"{NAMES[name]} {grows_by(*pair)}" for name, pair in beside.items())
    return Finding(
        sentence=_sentence(record, least, growth),
        criteria=(
            Criterion(
                "the Gaussian's residual of the score at the end ÷ its least",
                growth,
                f"at least {GROWN:g} with its interval, the least not at the first checkpoint",
                dips["network"],
                note=f"In the controls it is: {of_controls}." if of_controls else "",
                controls=meet(dips, beside),
            ),
            Criterion(
                "the data set's residual of the score at the end ÷ its least",
                last,
                "at most 1.05, and less than at the first checkpoint",
                bool(last <= 1.05 and fall.high < 1),
                note=f"It goes from {data_set[0]:.3g} to {data_set[-1]:.3g}.",
            ),
        ),
        numbers={
            "steps": record.steps.tolist(),
            "sigma": record.sigma.tolist(),
            "left": {part: {name: c.tolist() for name, c in one.items()} for part, one in curves.items()},
            "left_of_score_by_sigma": {
                name: (residuals.sum(2) / record.whole["score"].sum(2)).tolist()
                for name, residuals in record.residuals.items()
            },
            "scales_where_gaussian_grows": scales,
            "step_of_gaussian_least": int(record.steps[least]),
            "gaussian_last_over_least": list(growth),
            "data_set_last_over_first": list(fall),
            "data_set_last_over_least": last,
            "controls_last_over_least": {name: list(grows_by(*pair)) for name, pair in beside.items()},
        },
        notes=(
            f"A residual is what a twin does not explain, in units of the variance, as a mean over {count} noise "
            f"levels; the Gaussian's least is {gaussian[least]:.3g}.",
            f"Level by level, the Gaussian's residual ends a tenth above its least or more at {scales['score']} of "
            f"{count} levels for the score, and at {scales['denoiser']} for the denoised sample.",
        ),
    )


def _sentence(record: Record, least: int, growth: Interval) -> str:
    """Whether the network leaves its Gaussian, and from when on."""
    at_the_end = f"at step {record.steps[-1]:,} the Gaussian's residual is {growth.value:.2f} times its least."
    if growth.low < GROWN:
        return f"The network does not clearly leave its Gaussian: {at_the_end}"
    if least == 0:
        return f"The network leaves its Gaussian from the first checkpoint on: {at_the_end}"
    return f"The network is nearest to its Gaussian at step {record.steps[least]:,} and then leaves it: {at_the_end}"


def controls(record: Record) -> dict[str, tuple[Record, str]]:
    """By name of the control, the record and the twin whose residual is beside the network's from the Gaussian."""
    twin = {"shuffled_spectrum": (record, "shuffled_spectrum")} if "shuffled_spectrum" in record.residuals else {}
    weights = {} if record.shuffled is None else {"shuffled_weights": (record.shuffled, "gaussian")}
    return {**twin, **weights}


def grows_by(record: Record, name: str) -> Interval:
    """What a twin leaves of the score at the last checkpoint over its least, whose step is that of all samples."""
    return _last(record, name, int(residual(record.residuals[name], record.whole["score"]).argmin()))


def dip(record: Record, name: str) -> bool:
    """Whether what a twin leaves of the score is least after the first checkpoint, and has grown by GROWN since."""
    least = residual(record.residuals[name], record.whole["score"]).argmin()
    return bool(least > 0 and grows_by(record, name).low >= GROWN)


def grows(record: Record) -> dict[str, int]:
    """At how many noise scales what the Gaussian leaves is at the end GROWN times its least or more, by part."""
    curves = {part: record.residuals["gaussian"].sum(2) / whole.sum(2) for part, whole in record.whole.items()}
    return {part: int((one[-1] >= GROWN * one.min(0)).sum()) for part, one in curves.items()}


def _last(record: Record, name: str, place: int) -> Interval:
    """The residual of the score at the last checkpoint over that at another, resampling samples."""
    rows = (np.moveaxis(one[[place, -1]], 2, 0) for one in (record.residuals[name], record.whole["score"]))

    def ratio(residuals: np.ndarray, whole: np.ndarray) -> float:
        first, last = residual(np.moveaxis(residuals, 0, 2), np.moveaxis(whole, 0, 2))
        return float(last / first)

    return interval(ratio, *rows)


def draw(record: Record) -> Figure:
    """What each twin leaves of score and of denoised samples against the step, and the Gaussian at each noise scale."""
    figure, axes = panels(3, width=4.2)
    for axis, part in zip(axes, ("score", "denoiser"), strict=False):
        for name, residuals in record.residuals.items():
            axis.plot(
                record.steps,
                residual(residuals, record.whole[part]),
                color=COLORS[name],
                **LINES[name],
                label=NAMES[name] if part == "score" else None,
            )
        if record.shuffled is not None:
            curve = residual(record.shuffled.residuals["gaussian"], record.shuffled.whole[part])
            label = "Gaussian, of shuffled weights" if part == "score" else None
            axis.plot(record.steps, curve, "--", color="0.6", label=label)
        axis.set(title=f"{part}: mean over noise scales", ylabel="fraction not explained")
    fractions = record.residuals["gaussian"].sum(2) / record.whole["score"].sum(2)
    for i, sigma in enumerate(record.sigma):
        axes[2].plot(record.steps, fractions[:, i], color=(0.0, 0.45, 0.7, 0.3 + 0.7 * i / len(record.sigma)))
        axes[2].annotate(f"σ = {sigma:.2g}", (record.steps[-1], fractions[-1, i]), fontsize=7)
    axes[2].set(title="score, Gaussian: each noise scale", ylabel="fraction not explained")
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel="step of training")
        axis.title.set_fontsize(10)
    least = record.steps[residual(record.residuals["gaussian"], record.whole["score"]).argmin()]
    figure.suptitle(f"The network is nearest to the Gaussian at step {least} of {record.steps[-1]}")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


ORDER_OF_LEARNING = Experiment(
    name="A7",
    title="A network learns its Gaussian first",
    claim="In training the network first comes near the Gaussian of the data, then leaves it, while it still comes "
    "nearer to the data set.",
    published="No number was published; Wang & Vastola, arXiv 2303.02490 and follow-ups.",
    criterion="Agrees where what the Gaussian leaves of the score is at the last checkpoint at least 1.1 times its "
    "least (with its interval, the step of the least being chosen on all samples), which is not at the first "
    "checkpoint; and what the data set leaves has fallen, and is within 5 % of its least at the end; in part where "
    "one of them holds.",
    caption="Left and middle: the residual of Gaussian and data set over the steps of training, on held-out samples, "
    "as a mean over noise levels (crosses: a Gaussian with a shuffled spectrum; dashed grey: checkpoints with shuffled "
    "weights). Right: the Gaussian's residual at each noise level.",
    headline=Headline("the Gaussian's residual at the end ÷ its least", ("gaussian_last_over_least",)),
    measure=measure,
    find=find,
    draw=draw,
)
