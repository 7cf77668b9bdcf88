"""A6: how much of the network its closed-form twins explain, at sixteen noise scales.

    explained = 1 - sum |network - twin|^2 / sum |network - mean(network)|^2        training.evaluation.explain.compare

of the denoised samples and of the scores, on samples the network never saw and on those it was trained on. The gain of
a twin is the part it explains of what the isotropic Gaussian leaves; it is one number for both
(analysis/measures/probes.py). It is judged where some twin has a gain of one half: elsewhere most of the residual is
the network's own error. For the Gaussian also mode by mode: the coefficient of the denoised sample along each principal
component of the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import Criterion, Finding
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, LINES, NAMES, noise_axes, panels
from analysis.harness.table import Table
from analysis.measures import patches
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.explained import Part, by_mode, compared, gains, with_local
from analysis.measures.paths import leading_modes
from analysis.measures.probes import SIGMAS, Probes, ask, fraction_explained

QUOTED = (0.1, 1.0, 2.0)  # the noise scales of the published table
TWINS = ("gaussian", "data_set")
FINER = ("mixture", "fine_mixture", "data_set")  # on all samples, as the patches are not
WELL, HALF = 0.95, 0.5
LARGE = 2  # deviations of the data, from which on noise is called large
SMALL = 5  # small noise is at most this part of a deviation


@dataclass(frozen=True)
class Record:
    """sigma (m,); parts: "held_out", "training"; deviation: of the data; variances (K,), modes (m, K).

    sizes: of the patches at each scale (m,), or (); no_patches: why there are none, "" where there are.
    quoted: on the held-out samples at QUOTED. untrained: the same as "held_out" for an untrained network, where there
    is one, of the two Gaussians alone.
    """

    sigma: np.ndarray
    deviation: float
    parts: dict[str, Part]
    quoted: Part
    untrained: Part | None
    variances: np.ndarray
    modes: np.ndarray
    sizes: np.ndarray
    no_patches: str


def measure(setting: Setting) -> Record:
    """Ask every twin what the network was asked."""
    deviation = float(np.sqrt(np.asarray(setting.gaussian.variances, np.float64).mean()))
    if SIGMAS[-1] < LARGE * deviation:
        raise NotMeasuredError(
            f"data: expected a deviation of at most {SIGMAS[-1] / LARGE:g}, half of the largest noise scale that is "
            f"measured, got {deviation:.3g}. Divide the data by a number and train on them anew."
        )
    twins = {name: model for name, model in {**setting.models, **setting.more}.items() if name != "network"}
    beliefs: dict[str, dict[str, np.ndarray]] = {}
    parts = {}
    for name, probes in (("held_out", setting.held_out), ("training", setting.training)):
        beliefs[name] = {twin: ask(model, probes.noisy, probes.sigma) for twin, model in twins.items()}
        parts[name] = compared(probes, beliefs[name])
    if setting.local is not None:
        parts["held_out"] = with_local(parts["held_out"], setting.held_out, setting.local.beliefs)
    gaussian = setting.gaussian
    variances = np.asarray(gaussian.eigvals, np.float64)
    count = leading_modes(gaussian)
    basis = np.asarray(gaussian.eigvecs, np.float64)[:, :count]
    return Record(
        sigma=setting.held_out.sigma,
        deviation=deviation,
        parts=parts,
        quoted=_quoted(setting, twins),
        untrained=_untrained(setting, beliefs["held_out"]),
        variances=variances[:count],
        modes=by_mode(setting.held_out.network, beliefs["held_out"]["gaussian"], basis),
        sizes=np.array([]) if setting.local is None else setting.local.sizes,
        no_patches=patches.too_expensive(setting.data.train) if setting.is_image else "",
    )


def _quoted(setting: Setting, twins: Mapping[str, gd.Denoiser]) -> Part:
    """Of the held-out samples with the same noise at the scales of the published table."""
    held_out, sigma = setting.held_out, np.array(QUOTED)
    noise = (held_out.noisy[-1] - held_out.clean) / held_out.sigma[-1]
    scales = sigma.reshape(-1, *(1 for _ in noise.shape))
    noisy = (held_out.clean + scales * noise).astype(held_out.noisy.dtype)
    probes = Probes(sigma, held_out.clean, noisy, ask(setting.network, noisy, sigma))
    return compared(probes, {name: ask(twins[name], noisy, sigma) for name in TWINS})


def _untrained(setting: Setting, beliefs: dict[str, np.ndarray]) -> Part | None:
    if "untrained" not in setting.controls:
        return None
    probes = setting.held_out.by(setting.controls["untrained"])
    return compared(probes, {name: beliefs[name] for name in ("isotropic", "gaussian")})


def find(record: Record) -> Finding:
    """Whether at LARGE noise the Gaussian explains WELL of the score and HALF beyond isotropic, where any twin does,

    and whether at small noise a finer model explains more.
    """
    held_out = record.parts["held_out"]
    far, gained, least = large(record), gains(held_out), _least(record)
    shared = far & (np.max(list(gained.values()), axis=0) >= HALF)
    finest, more = _finest(record)
    quoted = {sigma: {name: _score(record.quoted, name, i) for name in TWINS} for i, sigma in enumerate(QUOTED)}
    listed = "; ".join(f"{both['gaussian']} and {both['data_set']} at σ = {sigma:g}" for sigma, both in quoted.items())
    return Finding(
        sentence=f"At every large noise level the Gaussian explains {least.value:.3f} of the network's score or more."
        if least.value >= WELL
        else f"At some large noise level the Gaussian explains only {least.value:.3f} of the network's score (1: all).",
        criteria=(
            Criterion(
                "least fraction of the score that the Gaussian explains at large noise",
                least,
                f"at least {WELL:g}",
                least.value >= WELL,
                note=f"Large noise begins at σ = {record.sigma[far][0]:.2g}.{_of_untrained(record)}",
            ),
            _beyond_isotropic(record, gained, shared),
            Criterion(
                "fraction of the score that the best finer model explains beyond the Gaussian at small noise",
                more,
                "above 0 with its interval",
                more.low > 0,
                note=f"At σ = {record.sigma[_small(record)]:.2g} the {NAMES[finest]} is the best of {len(FINER)}.",
            ),
        ),
        numbers={
            "least_at_large_noise": list(least),
            "finest_at_small_noise": finest,
            "finest_beyond_gaussian_at_small_noise": list(more),
            **_numbers(record, quoted),
        },
        notes=(
            f"At the noise levels of the published table the Gaussian and the data set explain this much of the score: "
            f"{listed}.",
            *_on_training(record),
            *_of_patches(record),
        ),
    )


def _small(record: Record) -> int:
    """The place of the scale nearest to the smallest of the published table, or to a lower one for smaller data."""
    return int(np.abs(np.log(record.sigma / min(QUOTED[0], record.deviation / SMALL))).argmin())


def _finest(record: Record) -> tuple[str, Interval]:
    """The finer model that explains most of the score at small noise, held out, and how much more than the Gaussian.

    It is chosen on the samples that judge it, so the interval is wide enough for each of them to be the one.
    """
    part, i = record.parts["held_out"], _small(record)
    finest = min(FINER, key=lambda name: part.residuals[name][i].sum())
    of = (part.residuals["gaussian"][i], part.residuals[finest][i], part.whole["score"][i])

    def difference(gaussian: np.ndarray, finer: np.ndarray, whole: np.ndarray) -> float:
        return (gaussian.sum() - finer.sum()) / whole.sum()

    return finest, interval(difference, *of, level=1 - 0.05 / len(FINER))


def _on_training(record: Record) -> tuple[str, ...]:
    """What the data set explains, beside the Gaussian, of samples that it contains, at the smallest quoted scale."""
    i = _small(record)
    both = {part: [_score(record.parts[part], name, i) for name in TWINS] for part in ("training", "held_out")}
    (gaussian, data_set), (gaussian_held_out, data_set_held_out) = both["training"], both["held_out"]
    only = data_set.low > gaussian.high and data_set_held_out.high < gaussian_held_out.low
    denoised = record.parts["held_out"].explained["denoiser"]["gaussian"][i]
    return (
        f"On training samples, at σ = {record.sigma[i]:.2g}, the Gaussian explains {gaussian} of it, and the data set "
        f"{data_set}.",
        *(("There the data set explains more than the Gaussian only of samples that it contains.",) if only else ()),
        f"Of the denoised sample there the Gaussian explains {denoised:.3g} on held-out samples.",
    )


def _least(record: Record) -> Interval:
    """The least fraction of the score that the Gaussian explains at a large scale, which is chosen on all samples."""
    held_out, far = record.parts["held_out"], np.flatnonzero(large(record))
    return _score(held_out, "gaussian", far[held_out.explained["score"]["gaussian"][far].argmin()])


def _of_patches(record: Record) -> tuple[str, ...]:
    if not record.sizes.size:
        return (record.no_patches,) if record.no_patches else ()
    count = record.parts["held_out"].residuals["local"].shape[1]
    sizes = len(patches.SIZES)
    return (f"Patches, the best of {sizes} sizes at each level, are measured on the first {count} samples alone.",)


def large(record: Record) -> np.ndarray:
    """Which noise scales (m,) are large."""
    return record.sigma >= LARGE * record.deviation


def _of_untrained(record: Record) -> str:
    if record.untrained is None:
        return ""
    score = record.untrained.explained["score"]["gaussian"][large(record)].min()
    return f" Of an untrained network's score the Gaussian explains at least {score:.3f}."


def _beyond_isotropic(record: Record, gained: dict[str, np.ndarray], shared: np.ndarray) -> Criterion:
    """What the Gaussian explains of the isotropic one's residual, at the large levels where some twin explains HALF."""
    name = "fraction of the isotropic Gaussian's residual that the Gaussian explains at large noise"
    expected = f"at least {HALF:g}"
    if not shared.any():
        return Criterion(name, "no twin explains half of it", expected, False)
    worst = np.flatnonzero(shared)[gained["gaussian"][shared].argmin()]
    residuals = record.parts["held_out"].residuals
    others = int(large(record).sum() - shared.sum())
    return Criterion(
        name,
        fraction_explained(residuals["gaussian"][worst], residuals["isotropic"][worst]),
        expected,
        bool(gained["gaussian"][worst] >= HALF),
        note=f"The least is at σ = {record.sigma[worst]:.2g}, of the {shared.sum()} large noise levels at which some "
        f"twin explains half{f'; at the other {others} none does' if others else ''}.",
    )


def _from(record: Record, score: np.ndarray) -> str:
    """From which noise scale on a curve (m,) is at least WELL, in words."""
    below = np.flatnonzero(score < WELL)
    if len(below) and below[-1] + 1 == len(score):
        return "at no large noise scale"
    return f"from σ = {record.sigma[below[-1] + 1 if len(below) else 0]:.2g} on"


def _score(part: Part, name: str, i: int) -> Interval:
    return fraction_explained(part.residuals[name][i], part.whole["score"][i])


def _numbers(record: Record, quoted: dict[float, dict[str, Interval]]) -> dict[str, Any]:
    return {
        "sigma": record.sigma.tolist(),
        "data_deviation": record.deviation,
        **{name: _curves(part) for name, part in record.parts.items()},
        "untrained": {} if record.untrained is None else _curves(record.untrained),
        "score_at": {f"{sigma:g}": {name: list(one) for name, one in both.items()} for sigma, both in quoted.items()},
        "mode_variances": record.variances.tolist(),
        "gaussian_by_mode": record.modes.tolist(),
        "patch_sizes": record.sizes.tolist(),
    }


def _curves(part: Part) -> dict[str, dict[str, list[float]]]:
    return {
        **{key: {twin: curve.tolist() for twin, curve in one.items()} for key, one in part.explained.items()},
        "gain_over_isotropic": {twin: curve.tolist() for twin, curve in gains(part).items()},
    }


def draw(record: Record) -> Figure:
    """The residual of the score, the gain over the isotropic Gaussian, and the Gaussian mode by mode."""
    figure, (first, second, third) = panels(3, width=4.6)
    held_out, training = record.parts["held_out"], record.parts["training"]
    for name, curve in held_out.explained["score"].items():
        first.plot(record.sigma, 1 - curve, color=COLORS[name], **LINES[name], label=NAMES[name])
    for name, curve in gains(held_out).items():
        second.plot(record.sigma, curve, color=COLORS[name], **LINES[name])
    remembered = gains(training)["data_set"]
    second.plot(record.sigma, remembered, color=COLORS["data_set"], lw=0.8, label="data set, on training samples")
    first.set(yscale="log", ylim=(None, 10), title="score: fraction not explained", ylabel="1 − explained variance")
    second.set(ylim=(-0.5, 1.02), title="gain over the isotropic Gaussian", ylabel="fraction of its residual explained")
    if record.untrained is not None:
        curve = record.untrained.explained["score"]["gaussian"]
        first.plot(record.sigma, 1 - curve, color=COLORS["gaussian"], lw=0.8, label="Gaussian, of an untrained network")
    for axis in (first, second):
        axis.axvline(LARGE * record.deviation, color="0.7", lw=0.8)
    shown = third.pcolormesh(
        record.sigma, np.arange(len(record.variances)) + 1, record.modes.T, vmin=0, vmax=1, shading="nearest"
    )
    third.set(title="denoised sample, by component: Gaussian", ylabel="principal component")
    figure.colorbar(shown, ax=third, label="explained variance")
    onward = _from(record, held_out.explained["score"]["gaussian"])
    figure.suptitle(f"The Gaussian explains {WELL:.0%} of the network's score {onward}")
    return noise_axes(figure, first, second, third)


def table(record: Record, columns: int = 8) -> Table:
    """What the twins explain of the network at some noise scales, on held-out samples."""
    held_out, chosen = record.parts["held_out"], np.linspace(0, len(record.sigma) - 1, columns).astype(int)
    rows = [
        [f"{NAMES[name]}, {label}", *(_cell(curve[i]) for i in chosen)]
        for part, label in (("denoiser", "denoised sample"), ("score", "score"))
        for name, curve in held_out.explained[part].items()
    ]
    count = held_out.whole["score"].shape[1]
    return Table(
        "Explained variance of the network",
        "1: the twin gives the network's answer; below 0: it does worse than a constant. The isotropic Gaussian is the "
        f"baseline: it has only the mean and the total variance. On {count} held-out samples with noise of scale σ "
        "(as in A6; patches on fewer).",
        ["σ =", *(f"{record.sigma[i]:.2g}" for i in chosen)],
        rows,
    )


def _cell(value: np.ndarray) -> str:
    """An explained variance; far below 0 its size says nothing more."""
    return f"{value:.3f}" if value > -1 else "< -1"


EXPLAINED = Experiment(
    name="A6",
    title="At large noise a network is almost a Gaussian",
    claim="At moderate and large noise the learned score is that of the Gaussian with the data's mean and covariance; "
    "only at small noise do finer models, and the data set itself, explain more.",
    published="Score explained by Gaussian / data set at the last checkpoint: MNIST .747/.927 at σ = .1, .962/.983 "
    "at 1, .986/.991 at 2; CIFAR-10 .818/.786, .984/.972, .996/.986 (Wang & Vastola, arXiv 2303.02490 and "
    "follow-ups). These are other data.",
    criterion="Agrees where on held-out samples, at noise scales of twice the data's deviation or more, the Gaussian "
    "explains (1) at least 95 % of the score at each and (2) at least half of what the isotropic Gaussian leaves at "
    "each of those, one or more, at which some twin does, and (3) at the scale nearest to σ = .1, or to a fifth of the "
    "data's deviation where that is less, a mixture or the data set explains more of the score than the Gaussian "
    "(interval of the difference above 0, for the best of three; added when (1) and (2) had been measured); in part "
    "where some hold. That they do so at small noise only is reported, not judged.",
    caption="Left: what each twin does not explain of the network's score on held-out samples; middle: what it "
    "explains of the isotropic Gaussian's residual (thin green: the data set on samples that it contains; grey: where "
    "large noise begins). Right: the Gaussian, component by component.",
    headline=Headline("fraction of the score that the Gaussian explains at σ = 1", ("score_at", "1", "gaussian")),
    measure=measure,
    find=find,
    draw=draw,
    table=table,
)
