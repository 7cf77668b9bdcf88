"""D2: how far a path leaves the straight line between its ends: the sampling path and the denoised one, at alpha = 1.

On a Gaussian the state's mode k is mu_k + S z_k, so a path bends where sigma passes the modes' own scales sqrt(lam),
and so does the denoised path, mu_k + (lam / S) z_k. Both follow from second moments alone (gd.exact.gaussian_path);
what the network adds to them is compared as vectors, path by path, from the same starts.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import model_curves, noise_axes, panels
from analysis.measures.bootstrap import Interval, extreme, interval
from analysis.measures.geometry import off_chord
from analysis.measures.paths import Paths

PARTS = ("state", "denoised")
STRAIGHT = 0.01  # the state's deviation, as a fraction of its chord, from which on a path is not called straight
CLOSE = 0.25  # how far the Gaussian's peak over the network's may be from 1
HALF = 0.5  # of the network's squared deviation, as vectors, that the closed form must explain


@dataclass(frozen=True)
class Record:
    """sigma (n+1,); deviations {model: {part: (B, points)}} and chords {model: {part: (B,)}}, lengths in data units.

    missed: the same of the network and the controls, lengths of the deviation minus the closed form's, as vectors.
    controls: the models that learned nothing of the data's order.
    """

    sigma: np.ndarray
    deviations: dict[str, dict[str, np.ndarray]]
    chords: dict[str, dict[str, np.ndarray]]
    missed: dict[str, dict[str, np.ndarray]]
    controls: tuple[str, ...]


def measure(setting: Setting) -> Record:
    """Of every model, every control and the closed form."""
    if setting.gaussian.mean.size < 2:
        raise NotMeasuredError("One number has no room beside a line. Study data of two dimensions or more.")
    paths = {**setting.paths, "closed_form": setting.closed_form, **setting.control_paths}
    off = {part: off_chord(_points(paths["closed_form"], part)) for part in PARTS}
    missed = {
        name: {part: _length(off_chord(_points(paths[name], part)) - off[part]) for part in PARTS}
        for name in ("network", *setting.controls)
    }
    deviations = {n: {part: _length(off_chord(_points(path, part))) for part in PARTS} for n, path in paths.items()}
    chords = {n: {part: _chord(_points(path, part)) for part in PARTS} for n, path in paths.items()}
    return Record(setting.sigma, deviations, chords, missed, tuple(setting.controls))


def _points(path: Paths, part: str) -> np.ndarray:
    return path.x if part == "state" else path.denoised


def _chord(points: np.ndarray) -> np.ndarray:
    return _length((points[:, 0].astype(np.float64) - points[:, -1]).reshape(len(points), -1))


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


def find(record: Record) -> Finding:
    """Straight where the peak is below STRAIGHT of the chord; bent by second moments where they explain HALF of it."""
    peak = {part: {n: _peak(parts[part]) for n, parts in record.deviations.items()} for part in PARTS}
    chord = float(record.chords["network"]["state"].mean())
    ratio = {name: {part: _ratio(record, name, part) for part in PARTS} for name in record.missed}
    explained = {name: {part: _explained(record, name, part) for part in PARTS} for name in record.missed}
    places = {part: {n: _place(record, n, part) for n in record.deviations} for part in PARTS}
    straight = {name: _straight(record, name) for name in record.missed}
    bent = {name: _bent(ratio[name], explained[name]) for name in record.missed}
    later = {name: places["denoised"][name] < places["state"][name] for name in record.missed}
    state, denoised = (peak[part]["network"] for part in PARTS)
    least = min(explained["network"].values(), key=lambda one: one.value)
    return Finding(
        sentence=f"A path leaves the straight line between its ends by at most {state.value / chord:.2%} of its "
        f"length.",
        criteria=(
            Criterion(
                "largest mean distance of the state from the chord ÷ its length",
                state.value / chord,
                f"at most {STRAIGHT:g}",
                straight["network"],
                note=f"It is {state} data units at σ = {places['state']['network']:.2g}, on a chord of {chord:.3g}.",
                controls=meet(straight, record.controls),
            ),
            Criterion(
                "fraction of the squared deviation, of state or denoised sample, that the Gaussian's path explains",
                least,
                f"at least {HALF:g}; the Gaussian's peaks {1 - CLOSE:g} to {1 + CLOSE:g} times the network's",
                bent["network"],
                note="Shown is the smaller. The Gaussian's peaks are "
                f"{ratio['network']['state']} (state) and {ratio['network']['denoised']} (denoised) times the "
                f"network's; it explains {explained['network']['state']} and "
                f"{explained['network']['denoised']} (1 is all, below 0 is worse than a straight line).",
                controls=meet(bent, record.controls),
            ),
            Criterion(
                "noise level of the denoised sample's largest deviation",
                places["denoised"]["network"],
                f"below the state's, {places['state']['network']:.3g}",
                later["network"],
                note=f"The deviation there is {denoised} data units.",
                controls=meet(later, record.controls),
            ),
        ),
        numbers={
            "chord": chord,
            "peak": {part: {n: list(one) for n, one in ones.items()} for part, ones in peak.items()},
            "sigma_of_peak": places,
            "peak_over_chord": {
                part: {n: float(one.value / record.chords[n][part].mean()) for n, one in ones.items()}
                for part, ones in peak.items()
            },
            "closed_form_peak_over_network_peak": {part: list(one) for part, one in ratio["network"].items()},
            "explained_by_closed_form": {part: list(one) for part, one in explained["network"].items()},
        },
    )


def _straight(record: Record, name: str) -> bool:
    """Whether the state's mean deviation is at most STRAIGHT of the mean chord."""
    parts = record.deviations[name]["state"], record.chords[name]["state"]
    return bool(parts[0].mean(0).max() <= STRAIGHT * parts[1].mean())


def _bent(ratios: dict[str, Interval], explained: dict[str, Interval]) -> bool:
    """Whether the closed form has the peaks as CLOSE, and explains HALF, of the state and of the denoised image."""
    tall = all(abs(ratio.value - 1) <= CLOSE for ratio in ratios.values())
    return tall and all(one.value >= HALF for one in explained.values())


def _ratio(record: Record, name: str, part: str) -> Interval:
    """The closed form's peak over a model's, each where its mean is largest over all paths."""
    closed, own = (record.deviations[one][part] for one in ("closed_form", name))
    places = closed.mean(0).argmax(), own.mean(0).argmax()
    return interval(lambda a, b: _over(a.mean(), b.mean()), closed[:, places[0]], own[:, places[1]])


def _peak(deviations: np.ndarray) -> Interval:
    return extreme(deviations)


def _place(record: Record, name: str, part: str) -> float:
    return float(record.sigma[record.deviations[name][part].mean(0).argmax()])


def _explained(record: Record, name: str, part: str) -> Interval:
    """1 - sum |model - closed form|^2 / sum |model|^2 of the deviations, over paths and levels."""
    return interval(_fraction, record.missed[name][part], record.deviations[name][part])


def _fraction(residual: np.ndarray, own: np.ndarray) -> float:
    return 1 - _over((residual**2).sum(), (own**2).sum())


def _over(a: np.floating, b: np.floating) -> float:
    """a / b; infinite for a path that leaves its chord nowhere, as an untrained network's may."""
    return float(a / b) if b > 0 else float("inf")


def draw(record: Record) -> Figure:
    """The mean deviation of both paths by noise scale."""
    figure, axes = panels(2, width=5)
    for axis, part in zip(axes, PARTS, strict=True):
        curves = {name: parts[part].mean(0) for name, parts in record.deviations.items()}
        model_curves(axis, record.sigma, curves, axis is axes[0])
    axes[0].set(title="noisy state", ylabel="distance from the chord (data units)", ylim=(0, None))
    axes[1].set(title="denoised image", ylim=(0, None))
    own = record.deviations["network"]["state"]
    peak = own.mean(0).max() / record.chords["network"]["state"].mean()
    explained = _fraction(record.missed["network"]["state"], own)
    figure.suptitle(f"A path leaves its chord by {peak:.2%} of it; second moments explain {explained:.2f} of its bend")
    return noise_axes(figure, *axes)


BOOMERANG = Experiment(
    name="D2",
    title="The path to a sample is nearly straight, and second moments bend it",
    claim="A sampling path stays close to the straight line between its ends, leaves it at middle noise and comes "
    "back, like a boomerang; the denoised image does so at lower noise.",
    published="CIFAR-10: at most 14.0 at σ = 12.4 on a chord of 4430 (.0032), denoised 5.5 at 5.8 (read off a "
    "figure); the Gaussian of the same data 15.9 at 12.4 (.0036) and 7.1 at 3.9; Chen et al., arXiv 2305.19947.",
    criterion="Agrees where (1) the mean deviation of the state is at most 1 % of the chord, and (2) the Gaussian's "
    "closed form has the peaks of both paths within a quarter and explains at least half of the network's squared "
    "deviation as vectors, of the state and of the denoised image, and (3) the mean deviation of the denoised image is "
    "largest at lower noise than the state's; in part where some of these hold. (3) was added when the others had been "
    "measured: the claim says it.",
    caption="The distance of the noisy state (left) and of the denoised image (right) from the straight line between "
    "the ends of their path, the mean over paths. Dashed: the Gaussian's exact path from the same starts.",
    headline=Headline("distance from the chord ÷ its length", ("peak_over_chord", "state", "network")),
    measure=measure,
    find=find,
    draw=draw,
)
