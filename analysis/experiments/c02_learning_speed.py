"""C2: at which step of training the network has learned each principal component of the data.

The network of each checkpoint generates samples from the same noise; their variance along a component goes from that of
the first checkpoint to that of the last, and is learned where it crosses the geometric mean of the two (half of the
way, in log). The exponent is the slope of log step on log variance over the components that change by a factor of 2 or
more, by itself for those that rise and those that fall: -1 for a plain linear denoiser, about -1/2 with preconditioning
(C1), near 0 for a convolutional network, for which whole-image components are no modes. What explains that is patches:
the same is measured along the components of the covariance of small patches (analysis/experiments/c02_patches.py). A
step before the first saved state after step 0 is an interpolation, not a measurement, so few components may be learned
there.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.experiments.a07_order_of_learning import chosen
from analysis.experiments.c02_patches import Growth, exponents, fitting, growth, seen_learning, tells
from analysis.experiments.c02_patches import times as patch_times
from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import Criterion, Finding
from analysis.harness.setting import Setting
from analysis.harness.style import panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.crossing import exponent, half_way, rising_and_falling
from analysis.measures.paths import follow, leading_modes

STEPS = 10  # of a sampler
FLAT = 0.25  # an exponent nearer to 0 than to -1/2


@dataclass(frozen=True)
class Record:
    """steps (c,); coefficients (c, n, K) of generated samples along the components of variances (K,).

    patches: by their size, how the components of the patches of these samples grow; none where they are no images.
    """

    steps: np.ndarray
    coefficients: np.ndarray
    variances: np.ndarray
    patches: dict[int, Growth] = field(default_factory=dict)


def measure(setting: Setting) -> Record:
    """Samples of every checkpoint from the same noise, by DPM-Solver++(2M)."""
    steps = chosen(list(setting.history), setting.count(10, 20))
    steps = [0, *steps] if 0 in setting.history else steps
    gaussian = setting.gaussian
    variances = np.asarray(gaussian.eigvals, np.float64)
    count = leading_modes(gaussian)
    basis, mean = np.asarray(gaussian.eigvecs, np.float64)[:, :count], np.asarray(gaussian.mean, np.float64)
    smallest, largest = np.sqrt(variances[[count - 1, 0]])
    levels = gd.grids.karras(STEPS, float(smallest) / 2, 10 * float(largest))
    starts = setting.starts[: setting.count(64, 256)] * (levels.sigma[0] / setting.levels.sigma[0])

    def generated(step: int) -> np.ndarray:
        return follow({"network": setting.history[step]()}, gd.DPMSolverPP2M(), starts, levels)["network"].samples

    samples = [generated(step) for step in steps]
    coefficients = np.stack([(images - mean).reshape(len(starts), -1) @ basis for images in samples])
    patches = {components.size: growth(samples, components) for components in fitting(setting)}
    return Record(np.array(steps), coefficients, variances[:count], patches)


def times(steps: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """The step (K,) at which each variance of the coefficients (c, n, K) is half of the way; NaN where none is."""
    return half_way(steps, coefficients.var(1))


def find(record: Record) -> Finding:
    """Agrees where whole-image exponents are nearer to 0 than to -1/2, intervals too, and those of patches are not."""
    learned, groups, change = times(record.steps, record.coefficients), split(record), record.coefficients.var(1)
    crossing = np.isfinite(learned)
    whole = {name: _exponent(record, group) for name, group in groups.items() if _measurable(record, group)}
    if not whole:
        raise NotMeasuredError(
            "history: expected 3 components or more, of unlike variance, that rise or that fall by a factor of 2 in "
            f"training, got {_counted(groups)}. Train longer, on images, with --keep-powers."
        )
    early, first = seen_learning("components", record.steps, learned), record.steps[record.steps > 0][0]
    by_size = {size: exponents(record.steps, one) for size, one in record.patches.items()}
    steepest = max(whole.values(), key=lambda one: abs(one.value))
    unmeasured = [name for name in groups if name not in whole]
    return Finding(
        sentence="The step at which the network learns a component goes as its variance to the power "
        + " and ".join(f"{one.value:.2f} for those that are {name}" for name, one in whole.items())
        + ".",
        criteria=(
            Criterion(
                "power of the variance that the learning step goes as, of rising or falling components",
                steepest,
                f"between -{FLAT:g} and {FLAT:g}",
                all(abs(one.value) < FLAT for one in whole.values()),
                note="Shown is the power that is farther from 0.",
            ),
            Criterion(
                "the intervals of both powers",
                "; ".join(f"{name} {one}" for name, one in whole.items()),
                f"between -{FLAT:g} and {FLAT:g}, both of them",
                len(whole) == 2 and all(one.low > -FLAT and one.high < FLAT for one in whole.values()),
                note=f"Those that are {', '.join(unmeasured)} are too few, or too alike, to measure."
                if unmeasured
                else "",
            ),
            *of_patches(by_size),
        ),
        numbers={
            "exponent": {name: list(one) for name, one in whole.items() if one.is_known},
            "components": {name: int(group.sum()) for name, group in groups.items()},
            "steps": record.steps.tolist(),
            "variances": record.variances.tolist(),
            "generated_variance": change.tolist(),
            "learned": {"component": (np.flatnonzero(crossing) + 1).tolist(), "step": learned[crossing].tolist()},
            "median_step": float(np.median(learned[crossing])),
            "learned_before_first_state": early,
            "patches": {f"{size}x{size}": _patch_numbers(record, size, one) for size, one in by_size.items()},
        },
        notes=(
            f"Of {len(crossing)} components {crossing.sum()} change by a factor of 2 in training: {_counted(groups)}.",
            f"The median step is {np.median(learned[crossing]):.0f}; {early} of them are learned before step {first}, "
            "the first saved state after step 0.",
        ),
    )


def of_patches(by_size: dict[int, dict[str, Interval]]) -> tuple[Criterion, ...]:
    """The criterion of the exponents of patches, which is not judged where they cannot be measured; none of vectors."""
    if not by_size:
        return ()
    powers = [power for one in by_size.values() for power in one.values()]
    listed = "; ".join(
        f"{size} x {size}: " + (", ".join(f"{power} ({name})" for name, power in one.items()) or "too few or too alike")
        for size, one in by_size.items()
    )
    return (
        Criterion(
            "the same power along components of patches, the one nearest to 0 or above it",
            max(powers, key=lambda one: one.high) if powers else "components are too few or too alike",
            f"below -{FLAT:g} with its interval",
            all(one.high < -FLAT for one in powers) if powers else None,
            note=f"By the size of patches: {listed}.",
        ),
    )


def _patch_numbers(record: Record, size: int, powers: dict[str, Interval]) -> dict[str, Any]:
    one = record.patches[size]
    learned = patch_times(record.steps, one)
    crossing = np.isfinite(learned)
    return {
        "exponent": {name: list(power) for name, power in powers.items() if power.is_known},
        "variances": one.variances.tolist(),
        "generated_variance": one.generated().tolist(),
        "learned": {"component": (np.flatnonzero(crossing) + 1).tolist(), "step": learned[crossing].tolist()},
    }


def split(record: Record) -> dict[str, np.ndarray]:
    """Which components (K,) rise, and which fall, by a factor of 2 or more."""
    return rising_and_falling(record.steps, record.coefficients.var(1))


def _counted(groups: dict[str, np.ndarray]) -> str:
    return " and ".join(f"{group.sum()} {name}" for name, group in groups.items())


def _measurable(record: Record, group: np.ndarray) -> bool:
    return tells(record.variances[group])


def _exponent(record: Record, group: np.ndarray) -> Interval:
    """Of a group of components (K,), with its interval over resampled starts, the same for all checkpoints."""

    def slope(rows: np.ndarray) -> float:
        return exponent(record.variances[group], times(record.steps, rows.transpose(1, 0, 2)))

    return interval(slope, record.coefficients[..., group].transpose(1, 0, 2), draws=200)


def draw(record: Record) -> Figure:
    """Variances of some components over the steps, and the step at which each is learned."""
    figure, axes = panels(2 + bool(record.patches), width=4.6)
    first, second = axes[:2]
    if record.patches:
        _draw_patches(axes[2], record)
    change, learned = record.coefficients.var(1), times(record.steps, record.coefficients)
    picked = np.unique(np.geomspace(1, len(record.variances), 6).astype(int) - 1)
    for i, k in enumerate(picked):
        color = (0.0, 0.45, 0.7, 1 - 0.13 * i)
        first.plot(record.steps, change[:, k], "o-", ms=3, color=color, label=f"component {k + 1}")
        first.axhline(float(record.variances[k]), color=color, lw=0.6, ls=":")
    first.set_xscale("symlog", linthresh=max(1, record.steps[record.steps > 0][0]))
    first.set(xlim=(0, None), yscale="log", xlabel="step of training", ylabel="variance of generated samples")
    groups = split(record)
    for (name, group), mark, color in zip(groups.items(), "^v", ("#111111", "#0072b2"), strict=True):
        second.plot(record.variances[group], learned[group], mark, color=color, label=name)
    second.set(xscale="log", yscale="log", xlabel="variance of the component", ylabel="step when half learned")
    crossing = np.isfinite(learned)
    span = record.variances[crossing]
    middle, line = np.sqrt(span.max() * span.min()), np.array([span.min(), span.max()])
    for power in (0.0, -0.5, -1.0):
        second.plot(line, np.median(learned[crossing]) * (line / middle) ** power, color="0.75", lw=0.8, zorder=0)
        second.annotate(f"{power:g}", (line[0], np.median(learned[crossing]) * (line[0] / middle) ** power), fontsize=8)
    powers = [
        f"{exponent(record.variances[group], learned[group]):.2f} ({name})"
        for name, group in groups.items()
        if _measurable(record, group)
    ]
    figure.suptitle(f"A component is learned at a step that goes as its variance to the power {' and '.join(powers)}")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


def _draw_patches(axis: Axes, record: Record) -> None:
    """The step at which each component of patches is learned, over its variance."""
    for (size, one), color in zip(record.patches.items(), ("#111111", "#0072b2"), strict=False):
        change, learned = one.generated(), patch_times(record.steps, one)
        rises, fill = change[-1] > change[0], color if size == min(record.patches) else "none"
        for which, mark in ((rises, "^"), (~rises, "v")):
            axis.plot(one.variances[which], learned[which], mark, color=color, mfc=fill)
    sizes = ", ".join(f"{size} x {size}" for size in record.patches)
    axis.set(xscale="log", yscale="log", xlabel="variance of the patches' component", ylabel="step when half learned")
    axis.set_title(f"components of patches: {sizes} (open)" if len(record.patches) > 1 else f"patches: {sizes}")
    axis.title.set_fontsize(10)


LEARNING_SPEED = Experiment(
    name="C2",
    title="A convolutional network learns all components at about one time",
    claim="For the whole image, the time at which a convolutional network learns a component hardly depends on its "
    "variance, unlike in a linear denoiser; the covariance of patches explains it, whose components are learned in "
    "order.",
    published="Exponent near 0 for a convolutional U-Net, which patches explain; -.48 (rising) and -.35 (falling) for "
    "a U-Net of MLPs on FFHQ32 (Wang & Pehlevan, arXiv 2503.03206).",
    criterion="Agrees where (1) the exponents of the components that rise and of those that fall are between -.25 and "
    ".25 with their whole intervals, and (2) those of patches of 3 x 3 and 5 x 5 pixels, where they can be measured, "
    "are below -.25 with theirs; in part where only (2) holds, or the estimates of (1) for the groups that can be "
    "judged, one or both: that takes 3 components or more, whose variances span a factor of 4. Not measured where more "
    "than 10 % of the components, of whole images or of patches of one size, are learned before the first saved state "
    "after step 0.",
    caption="Left: the variance of generated samples along some components over the steps of training (dotted: the "
    "data's). Then the step at which a component is half of the way, in log, over its variance, and, for images, the "
    "same for components of patches; grey lines have the slopes 0, -1/2 and -1.",
    headline=Headline("exponent of learning time, falling components", ("exponent", "falling")),
    measure=measure,
    find=find,
    draw=draw,
)
