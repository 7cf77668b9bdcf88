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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.experiments.a07_order_of_learning import chosen
from analysis.experiments.c02_patches import Growth, exponents, fitting, growth, seen_learning, tells
from analysis.experiments.c02_patches import times as patch_times
from analysis.harness.experiment import Experiment, Finding, NotMeasuredError, Verdict
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
    patches = {found.size: growth(samples, found) for found in fitting(setting)}
    return Record(np.array(steps), coefficients, variances[:count], patches)


def times(steps: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """The step (K,) at which each variance of the coefficients (c, n, K) is half of the way; NaN where none is."""
    return half_way(steps, coefficients.var(1))


def find(record: Record) -> Finding:
    """Agrees where whole-image exponents are nearer to 0 than to -1/2, intervals too, and those of patches are not."""
    learned, groups, change = times(record.steps, record.coefficients), split(record), record.coefficients.var(1)
    held = np.isfinite(learned)
    found = {name: _exponent(record, group) for name, group in groups.items() if _measurable(record, group)}
    if not found:
        raise NotMeasuredError(
            "history: expected 3 components or more, of unlike variance, that rise or that fall by a factor of 2 in "
            f"training, got {_counted(groups)}. Train longer, on images, with --keep-powers."
        )
    early, first = seen_learning("components", record.steps, learned), record.steps[record.steps > 0][0]
    of_patches = {size: exponents(record.steps, one) for size, one in record.patches.items()}
    sentence = (
        f"Of {len(held)} components {held.sum()} change by a factor of 2 in training: {_counted(groups)}. The step at "
        "which a component is learned goes as its variance to a power, which is "
        + " and ".join(f"{one} for those that are {name}" for name, one in found.items())
        + " (95 % interval over samples)"
        + "".join(f"; those that are {name} are too few, or too alike, to tell" for name in groups if name not in found)
        + f". The median step is {np.median(learned[held]):.0f}; {early} of them are learned before step {first}, the "
        f"first saved state after step 0.{_told(of_patches)}"
    )
    numbers: dict[str, Any] = {
        "exponent": {name: list(one) for name, one in found.items() if one.is_known},
        "components": {name: int(group.sum()) for name, group in groups.items()},
        "steps": record.steps.tolist(),
        "variances": record.variances.tolist(),
        "generated_variance": change.tolist(),
        "learned": {"component": (np.flatnonzero(held) + 1).tolist(), "step": learned[held].tolist()},
        "median_step": float(np.median(learned[held])),
        "learned_before_first_state": early,
        "patches": {f"{size}x{size}": _patch_numbers(record, size, one) for size, one in of_patches.items()},
    }
    told = [power for one in of_patches.values() for power in one.values()]
    return Finding(_judge(list(found.values()), told), sentence, numbers)


def _told(of_patches: dict[int, dict[str, Interval]]) -> str:
    """The exponents of patches, in words."""
    if not any(of_patches.values()):
        return " Components of patches are too few, or too alike, to tell." if of_patches else ""
    listed = "; ".join(
        f"{', '.join(f'{one} ({name})' for name, one in found.items())} for patches of {size} x {size} pixels"
        for size, found in of_patches.items()
        if found
    )
    untold = "".join(f" Those of {size} x {size} cannot be told." for size, found in of_patches.items() if not found)
    steep = _steep([power for found in of_patches.values() for power in found.values()])
    order = "" if steep else f" Patches do not explain it here: learned in order, their power would be below -{FLAT:g}."
    return f" Along the components of patches the power is {listed}.{untold}{order}"


def _patch_numbers(record: Record, size: int, found: dict[str, Interval]) -> dict[str, Any]:
    one = record.patches[size]
    learned = patch_times(record.steps, one)
    held = np.isfinite(learned)
    return {
        "exponent": {name: list(power) for name, power in found.items() if power.is_known},
        "variances": one.variances.tolist(),
        "generated_variance": one.generated().tolist(),
        "learned": {"component": (np.flatnonzero(held) + 1).tolist(), "step": learned[held].tolist()},
    }


def split(record: Record) -> dict[str, np.ndarray]:
    """Which components (K,) rise, and which fall, by a factor of 2 or more."""
    return rising_and_falling(record.steps, record.coefficients.var(1))


def _counted(groups: dict[str, np.ndarray]) -> str:
    return " and ".join(f"{group.sum()} {name}" for name, group in groups.items())


def _judge(whole: Sequence[Interval], patches: Sequence[Interval]) -> Verdict:
    surely = len(whole) == 2 and all(one.low > -FLAT and one.high < FLAT for one in whole)
    flat = all(abs(one.value) < FLAT for one in whole)
    steep = _steep(patches)
    if surely and (steep or not patches):
        return "agrees"
    return "agrees in part" if flat or steep else "differs"


def _steep(patches: Sequence[Interval]) -> bool:
    return bool(patches) and all(one.high < -FLAT for one in patches)


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
    held = np.isfinite(learned)
    middle = np.sqrt(record.variances[held].max() * record.variances[held].min())
    line = np.array([record.variances[held].min(), record.variances[held].max()])
    for power in (0.0, -0.5, -1.0):
        second.plot(line, np.median(learned[held]) * (line / middle) ** power, color="0.75", lw=0.8, zorder=0)
        second.annotate(f"{power:g}", (line[0], np.median(learned[held]) * (line[0] / middle) ** power), fontsize=8)
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
    for (size, found), color in zip(record.patches.items(), ("#111111", "#0072b2"), strict=False):
        change, learned = found.generated(), patch_times(record.steps, found)
        rises, fill = change[-1] > change[0], color if size == min(record.patches) else "none"
        for which, mark in ((rises, "^"), (~rises, "v")):
            axis.plot(found.variances[which], learned[which], mark, color=color, mfc=fill)
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
    ".25 with their whole intervals, and (2) those of patches of 3 x 3 and 5 x 5 pixels, where they can be told, are "
    "below -.25 with theirs; in part where only (2) holds, or the estimates of (1) for the groups that can be judged, "
    "one or both: that takes 3 components or more, whose variances span a factor of 4. Not measured where more than "
    "10 % of the components, of whole images or of patches of one size, are learned before the first saved state after "
    "step 0.",
    caption="Left: the variance of generated samples along some components, over the steps of training; dotted, the "
    "data's. Right: the step at which a component is half of the way, in log, over its variance, for variances that "
    "rise in training and for those that fall; grey lines have the slopes 0, -1/2 and -1. Last, for images, the same "
    "for the components of the covariance of patches.",
    measure=measure,
    find=find,
    draw=draw,
)
