"""D3: whether a path comes nearer to its sample at every step, and whether the noise in it points away from it.

|x_t - x_0| and |D_t - D_0|, the ends being the path's own, and the cosine of the noise (x - D) / sigma with x_t - x_0.
On a Gaussian x_t - x_0 = sum_k (S - sqrt(lam)) z_k u_k and the noise is sum_k (sigma / S) z_k u_k: all factors are
positive and fall with sigma, so both distances do, and the cosine is positive.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import model_curves, noise_axes, panels
from analysis.measures.bootstrap import Interval, extreme, interval
from analysis.measures.geometry import flat, noise
from analysis.measures.paths import Paths

PARTS = ("state", "denoised")
FALLING, COSINE = 0.99, 0.99  # the fractions of falling steps, and the least mean cosine, that count as agreement


@dataclass(frozen=True)
class Record:
    """sigma (n+1,); distances {model: {part: (B, points)}} to the path's own end; cosines {model: (B, n)}.

    controls: the models that learned nothing of the data's order.
    """

    sigma: np.ndarray
    distances: dict[str, dict[str, np.ndarray]]
    cosines: dict[str, np.ndarray]
    controls: tuple[str, ...]


def measure(setting: Setting) -> Record:
    """Of every model, every control and the closed form."""
    paths = {**setting.paths, "closed_form": setting.closed_form, **setting.control_paths}
    distances = {name: {"state": _to_end(path.x), "denoised": _to_end(path.denoised)} for name, path in paths.items()}
    angles = {name: cosines(path) for name, path in paths.items()}
    return Record(setting.sigma, distances, angles, tuple(setting.controls))


def _to_end(points: np.ndarray) -> np.ndarray:
    vectors = flat(points)
    return np.linalg.norm(vectors - vectors[:, -1:], axis=-1)


def cosines(path: Paths) -> np.ndarray:
    """Of the noise and the way from the sample to the state, at each step: (B, n); 1 where one of them is 0."""
    states, direction = flat(path.x), noise(path)
    way = (states - states[:, -1:])[:, :-1]
    lengths = np.linalg.norm(direction, axis=-1) * np.linalg.norm(way, axis=-1)
    return np.divide((direction * way).sum(-1), lengths, out=np.ones_like(lengths), where=lengths > 0)


def falling(distances: np.ndarray) -> np.ndarray:
    """The fraction of steps at which each path comes nearer: (B, points) -> (B,)."""
    return (np.diff(distances, axis=1) < 0).mean(1)


def find(record: Record) -> Finding:
    """Monotone where FALLING of the steps come nearer, in both; aligned where the mean cosine is never below COSINE."""
    nearer = {part: {n: _mean(falling(parts[part])) for n, parts in record.distances.items()} for part in PARTS}
    always = {part: float((falling(record.distances["network"][part]) == 1).mean()) for part in PARTS}
    least = {name: extreme(values, least=True) for name, values in record.cosines.items()}
    falls = {part: {name: nearer[part][name].value >= FALLING for name in least} for part in PARTS}
    aligned = {name: one.value >= COSINE for name, one in least.items()}
    place = float(record.sigma[record.cosines["network"].mean(0).argmin()])
    return Finding(
        sentence=f"The state comes nearer to its sample at {nearer['state']['network'].value:.1%} of the steps, the "
        f"denoised sample at {nearer['denoised']['network'].value:.1%}.",
        criteria=(
            *(
                Criterion(
                    f"fraction of the steps at which the {name} comes nearer to where it ends",
                    nearer[part]["network"],
                    f"at least {FALLING:g}",
                    falls[part]["network"],
                    note=f"{always[part]:.0%} of the paths do so at every step.",
                    controls=meet(falls[part], record.controls),
                )
                for part, name in (("state", "state"), ("denoised", "denoised sample"))
            ),
            Criterion(
                "mean cosine of the noise and the way from the sample to the state, where it is least",
                least["network"],
                f"at least {COSINE:g}",
                aligned["network"],
                note=f"That is at σ = {place:.2g}; the least of the Gaussian's closed form is "
                f"{least['closed_form'].value:.3f}.",
                controls=meet(aligned, record.controls),
            ),
        ),
        numbers={
            "share_of_falling_steps": {
                part: {n: list(one) for n, one in ones.items()} for part, ones in nearer.items()
            },
            "share_of_network_paths_that_only_fall": always,
            "least_mean_cosine": {name: list(one) for name, one in least.items()},
            "sigma_of_least_cosine": place,
            "sigma": record.sigma[:-1].tolist(),
            "mean_cosine": {name: values.mean(0).tolist() for name, values in record.cosines.items()},
        },
    )


def _mean(values: np.ndarray) -> Interval:
    return interval(np.mean, values)


def draw(record: Record) -> Figure:
    """Both distances, and what is missing from a cosine of 1, by noise scale."""
    figure, axes = panels(3)
    for axis, part in zip(axes, PARTS, strict=False):
        curves = {name: parts[part].mean(0)[:-1] for name, parts in record.distances.items()}
        model_curves(axis, record.sigma, curves, part == "state")
    model_curves(axes[2], record.sigma, {name: values.mean(0) for name, values in record.cosines.items()}, False)
    axes[0].set(title="noisy state to the sample", yscale="log", ylabel="distance (data units, mean over paths)")
    axes[1].set(title="denoised image to the sample", ylim=(0, None))
    axes[2].set(title="cosine of noise and way from the sample", ylim=(None, 1.005))
    nearer = min(falling(record.distances["network"][part]).mean() for part in PARTS)
    least = record.cosines["network"].mean(0).min()
    figure.suptitle(
        f"A path comes nearer at {nearer:.1%} of its steps; the noise points away with a cosine of {least:.3f}"
    )
    return noise_axes(figure, *axes)


DISTANCES = Experiment(
    name="D3",
    title="Every step comes nearer to the sample",
    claim="Along a path both the state and the denoised image come nearer to their end at every step, and the noise "
    "in the state points straight away from the final sample.",
    published="CIFAR-10: cosine above .9995 for σ above 4, at least .996 (read off a figure); Chen et al., arXiv "
    "2305.19947.",
    criterion="Agrees where both distances fall at 99 % of the steps or more and the mean cosine is at least .99 at "
    "every level; in part where one or two of these three hold.",
    caption="The distance of the noisy state and of the denoised sample to where their path ends, and the cosine of "
    "the noise with the way from the sample to the state (1 in a solver's last step); means over paths. Dashed: the "
    "Gaussian's exact path.",
    headline=Headline(
        "fraction of steps that come nearer, denoised sample", ("share_of_falling_steps", "denoised", "network")
    ),
    measure=measure,
    find=find,
    draw=draw,
)
