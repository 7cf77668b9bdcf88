"""D7: interpolating between two noises: which mixtures of them are noise, and what comes out.

c1 z1 + c2 z2 of independent normal noises has variance c1^2 + c2^2: half way 1/2 on the straight line, 1 on the arc and
on the line rescaled by sqrt(c1^2 + c2^2). A Gaussian's flow is affine, so the total variance of its samples is just so
many times that of the data: the straight line makes images of too little contrast, by 1/2 exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure, SubFigure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import is_image, picture_row
from analysis.measures.bootstrap import interval
from analysis.measures.manifold import linear, rescaled, spherical, thinned
from analysis.measures.paths import follow
from training.evaluation.features import unseen
from training.evaluation.samples import draws

KINDS = (linear, spherical, rescaled)
COLORS = {"ends": "#999999", "linear": "#d55e00", "spherical": "#0072b2", "rescaled": "#009e73"}
FRACTIONS = np.linspace(0, 1, 9)  # of the second noise, in the picture
STEPS = 16  # of the solver: as many calls
TOLERANCE = 0.1  # how far from what is expected a length or a variance may be
LEAST = 4  # pairs of noises


@dataclass(frozen=True)
class Record:
    """Of P pairs of noises half way, and of the first of each pair ("ends"); numbers by kind of interpolation.

    power, gaussian: (P,), squared distance of the network's or the Gaussian's sample from the mean of the ends, over
    the mean of that of the ends. frechet: to the held-out data in the features of that name; floor: that of as many
    training samples. fractions: (s,) of the second noise; lengths: (s,), mean length of the noise over sigma sqrt(D);
    rows: (s, *event), samples between one pair. controls: {model: power} of those that learned nothing.
    """

    power: dict[str, np.ndarray]
    gaussian: dict[str, np.ndarray]
    frechet: dict[str, float]
    floor: float
    features: str
    fractions: np.ndarray
    lengths: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    controls: dict[str, dict[str, np.ndarray]]


def measure(setting: Setting) -> Record:
    """Samples from half way between pairs of starts by three kinds of interpolation, and from the starts."""
    pairs = min(setting.count(64, 512), len(setting.starts) // 2)
    if setting.gaussian.variances.size < 2:
        raise NotMeasuredError("Noises of one number have no arc between them. Take data of two numbers or more.")
    if pairs < LEAST:
        raise NotMeasuredError(f"It takes {LEAST} pairs of noises, there are {pairs}. Raise --starts to {2 * LEAST}.")
    starts = np.asarray(setting.starts[: 2 * pairs])
    first, second = starts[::2], starts[1::2]
    half = {"ends": first, **{kind.__name__: _between(kind, first, second, 0.5) for kind in KINDS}}
    along = {kind.__name__: [_between(kind, first, second, fraction) for fraction in FRACTIONS] for kind in KINDS}
    noises = {**half, **{f"row {name}": np.array([x[0] for x in rows]) for name, rows in along.items()}}
    models = {name: setting.models[name] for name in ("network", "gaussian")} | dict(setting.controls)
    samples = {name: _samples(setting, model, noises if name == "network" else half) for name, model in models.items()}
    powers = {name: _power({kind: one[kind] for kind in half}) for name, one in samples.items()}
    target = setting.features.extract(setting.data.held_out)
    training = [setting.features.extract(x) for x in draws(unseen(setting.data), pairs, setting.seed)]
    scale = float(setting.sigma[0]) * np.sqrt(first[0].size)
    return Record(
        power=powers["network"],
        gaussian=powers["gaussian"],
        frechet={
            name: gd.metrics.frechet_distance(setting.features.extract(samples["network"][name]), target)
            for name in half
        },
        floor=float(np.mean([gd.metrics.frechet_distance(x, target) for x in training])),
        features=setting.features.name,
        fractions=FRACTIONS,
        lengths={name: np.array([_length(x).mean() / scale for x in rows]) for name, rows in along.items()},
        rows={name: samples["network"][f"row {name}"] for name in along},
        controls={name: powers[name] for name in setting.controls},
    )


def _between(kind: Callable, first: np.ndarray, second: np.ndarray, fraction: float) -> np.ndarray:
    return np.array([kind(a, b, fraction) for a, b in zip(first, second, strict=True)]).astype(first.dtype)


def _samples(setting: Setting, model: gd.Denoiser, noises: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a model makes of each set of noises, all in one batch, with a solver of few calls."""
    together = jnp.asarray(np.concatenate(list(noises.values())))
    levels = thinned(setting.levels, STEPS)
    path = follow({"model": model}, gd.DPMSolverPP2M(), together, levels)["model"]
    ends = np.cumsum([len(x) for x in noises.values()])[:-1]
    return dict(zip(noises, np.split(path.samples, ends), strict=True))


def _power(samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    mean = samples["ends"].mean(0, dtype=np.float64)
    squares = {name: _length(x - mean) ** 2 for name, x in samples.items()}
    return {name: values / squares["ends"].mean() for name, values in squares.items()}


def _length(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x.reshape(len(x), -1).astype(np.float64), axis=1)


def find(record: Record) -> Finding:
    """Agrees where the straight line halves the variance of noise and samples, and the other two keep both."""
    power = {name: interval(_ratio, values, record.power["ends"]) for name, values in record.power.items()}
    gaussian = {name: float(values.mean()) for name, values in record.gaussian.items()}
    lengths = {name: float(values[len(values) // 2]) for name, values in record.lengths.items()}
    of_controls = {
        model: {name: float(values.mean()) for name, values in one.items()} for model, one in record.controls.items()
    }
    means = {"network": {name: float(values.mean()) for name, values in record.power.items()}, **of_controls}
    shrinks = {model: _shrinks(lengths, one) for model, one in means.items()}
    keeps = {model: _keeps(lengths, one) for model, one in means.items()}
    distances = ", ".join(f"{name} {record.frechet[name]:.3g}" for name in ("linear", "spherical", "rescaled", "ends"))
    return Finding(
        sentence="Half way on the straight line between two noises, samples have "
        f"{power['linear'].value:.0%} of the variance at the ends; on the arc, {power['spherical'].value:.0%}.",
        criteria=(
            Criterion(
                "variance of samples half way on the straight line ÷ at its ends",
                power["linear"],
                f"within {TOLERANCE:g} of 1/2, and the noise's length within {TOLERANCE:g} of √½",
                shrinks["network"],
                note=f"The noise has {lengths['linear']:.2f} of its length; the Gaussian's samples have "
                f"{gaussian['linear']:.2f} of the variance, in closed form 1/2.",
                controls=meet(shrinks, of_controls),
            ),
            Criterion(
                "variance of samples half way on the arc or the rescaled line ÷ at its ends",
                max((power["spherical"], power["rescaled"]), key=lambda one: abs(one.value - 1)),
                f"within {2 * TOLERANCE:g} of 1, and the noise's length within {TOLERANCE:g} of 1",
                keeps["network"],
                note="Shown is what is farther from 1. On the arc the noise has "
                f"{lengths['spherical']:.2f} of its length and samples {power['spherical']} of the variance; on the "
                f"rescaled line {lengths['rescaled']:.2f} and {power['rescaled']}.",
                controls=meet(keeps, of_controls),
            ),
        ),
        numbers={
            "variance_share": {name: list(one) for name, one in power.items()},
            "variance_share_of_gaussian": gaussian,
            "variance_share_of_controls": of_controls,
            "frechet": record.frechet,
            "frechet_of_training_samples": record.floor,
            "frechet_features": record.features,
            "pairs": len(record.power["ends"]),
            "noise_length": {name: values.tolist() for name, values in record.lengths.items()},
            "share_of_second_noise": record.fractions.tolist(),
        },
        notes=(
            f"Fréchet distances to held-out data, not judged: {distances}; of as many training samples "
            f"{record.floor:.3g}.",
        ),
    )


def _shrinks(lengths: dict[str, float], variances: dict[str, float]) -> bool:
    """Whether noise and samples lose half of their variance half way on the straight line."""
    return abs(lengths["linear"] - np.sqrt(0.5)) <= TOLERANCE and abs(variances["linear"] - 0.5) <= TOLERANCE


def _keeps(lengths: dict[str, float], variances: dict[str, float]) -> bool:
    """Whether noise and samples keep their variance on the arc and on the rescaled line."""
    return all(
        abs(lengths[k] - 1) <= TOLERANCE and abs(variances[k] - 1) <= 2 * TOLERANCE for k in ("spherical", "rescaled")
    )


def _ratio(values: np.ndarray, ends: np.ndarray) -> float:
    return values.mean() / ends.mean()


def draw(record: Record) -> Figure:
    """Length of the noise, variance and quality of samples; below, one pair."""
    pictures = is_image(record.rows["linear"][0])
    figure = Figure(figsize=(11, 7.2 if pictures else 3.8), layout="constrained")
    grid = figure.add_gridspec(1 + pictures, 1, height_ratios=(3.6, 3.4)[: 1 + pictures])
    length, power, quality = figure.add_subfigure(grid[0]).subplots(1, 3, squeeze=False)[0]
    for name, values in record.lengths.items():
        length.plot(record.fractions, values, color=COLORS[name], label=name, ls="--" if name == "rescaled" else "-")
    length.set(xlabel="fraction of the second noise", ylabel="length / (σ √D)", ylim=(0.6, 1.1))
    length.set_title("Length of the noise", fontsize=10)
    length.legend(frameon=False)
    names = list(record.power)
    colors = [COLORS[name] for name in names]
    power.bar(names, [record.power[name].mean() for name in names], color=colors)
    power.plot(names, [record.gaussian[name].mean() for name in names], "k_", ms=24)
    power.axhline(0.5, color="black", ls=":", lw=0.8)
    power.set_title("Variance of samples half way (dashes: Gaussian)", fontsize=10)
    quality.bar(names, [record.frechet[name] for name in names], color=colors)
    quality.axhline(record.floor, color="black", ls=":", lw=0.8)
    quality.set_title(f"Fréchet distance to held-out data, {len(record.power['ends'])} samples", fontsize=10)
    for axis in (length, power, quality):
        axis.spines[["top", "right"]].set_visible(False)
    if pictures:
        _draw_rows(figure.add_subfigure(grid[1]), record)
    variance = record.power["linear"].mean()
    figure.suptitle(f"Half way on the straight line between two noises, samples have {variance:.0%} of their variance")
    return figure


def _draw_rows(figure: SubFigure, record: Record) -> None:
    axes = figure.subplots(len(record.rows), len(record.fractions))
    for line, (name, images) in zip(axes, record.rows.items(), strict=True):
        picture_row(line, images, name)
    for axis, fraction in zip(axes[0], record.fractions, strict=True):
        axis.set_title(f"{fraction:.2g}", fontsize=8)


INTERPOLATION = Experiment(
    name="D7",
    title="Between two noises one goes along the arc, not along the straight line",
    claim="The straight line between two noises leaves the shell on which noise lies, and its samples fade; spherical "
    "and rescaled interpolation keep the length of the noise and the quality of the samples.",
    published="No number was published; Chen et al., arXiv 2305.19947.",
    criterion=f"Agrees where, half way, (1) on the straight line the noise has within {TOLERANCE} of √½ of its length, "
    f"and samples within {TOLERANCE} of half the variance of those at its ends, and (2) on the arc and on the rescaled "
    f"line the noise has within {TOLERANCE} of all of its length, and samples within {2 * TOLERANCE} of all of that "
    "variance; in part where one of the two holds. Fréchet distances of so few samples are shown, not judged.",
    caption="Left: the length of the noise on the way; middle: the variance of samples half way over that at the ends "
    "(dashes: the Gaussian with the same solver); right: their distance to held-out data (dots: as many training "
    "samples). Below: one pair, sampled along the way.",
    headline=Headline("variance half way on the line ÷ at its ends", ("variance_share", "linear")),
    measure=measure,
    find=find,
    draw=draw,
)
