"""D3: whether a path comes nearer to its sample at every step, and whether the noise it sees points away from it.

|x_t - x_0| and |D_t - D_0|, the ends being the path's own, and the cosine of the noise (x - D) / sigma with x_t - x_0.
On a Gaussian x_t - x_0 = sum_k (S - sqrt(lam)) z_k u_k and the noise is sum_k (sigma / S) z_k u_k: all factors are
positive and fall with sigma, so both distances do, and the cosine is positive.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.controls import also
from analysis.harness.experiment import Experiment, Finding, judged
from analysis.harness.setting import Setting
from analysis.harness.style import model_curves, noise_axes, panels
from analysis.measures.bootstrap import Interval, extreme, interval
from analysis.measures.geometry import flat, noise
from analysis.measures.paths import Paths

PARTS = ("state", "denoised")
# what controls do that hold a part
NAMED = ("the state comes nearer", "the denoised image comes nearer", "the cosine")  # the parts of the criterion
PASSED = ("come nearer with the state", "come nearer with the denoised image", "see noise that points away")
FALLING, COSINE = 0.99, 0.99  # the shares of falling steps, and the least mean cosine, that count as agreement


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
    states, seen = flat(path.x), noise(path)
    away = (states - states[:, -1:])[:, :-1]
    lengths = np.linalg.norm(seen, axis=-1) * np.linalg.norm(away, axis=-1)
    return np.divide((seen * away).sum(-1), lengths, out=np.ones_like(lengths), where=lengths > 0)


def falling(distances: np.ndarray) -> np.ndarray:
    """The share of steps at which each path comes nearer: (B, points) -> (B,)."""
    return (np.diff(distances, axis=1) < 0).mean(1)


def find(record: Record) -> Finding:
    """Monotone where FALLING of the steps come nearer, in both; aligned where the mean cosine is never below COSINE."""
    share = {part: {n: _mean(falling(parts[part])) for n, parts in record.distances.items()} for part in PARTS}
    whole = {part: float((falling(record.distances["network"][part]) == 1).mean()) for part in PARTS}
    least = {name: extreme(values, least=True) for name, values in record.cosines.items()}
    held = {
        name: (*(share[part][name].value >= FALLING for part in PARTS), one.value >= COSINE)
        for name, one in least.items()
    }
    place = float(record.sigma[record.cosines["network"].mean(0).argmin()])
    found = (
        f"The share of steps at which the state comes nearer to its end is {share['state']['network']} (95 % interval "
        f"over paths), and {whole['state']:.0%} of the paths do so at every step. For the denoised image it is "
        f"{share['denoised']['network']}, and {whole['denoised']:.0%} of the paths come nearer at every step. The mean "
        f"cosine between the noise that the model sees and the way from the sample to the state is least at "
        f"σ = {place:.2g}, where it is {least['network']}; its least in the Gaussian's closed form is "
        f"{least['closed_form'].value:.3f}.{also(PASSED, held, record.controls)}"
    )
    numbers = {
        "share_of_falling_steps": {part: {n: list(one) for n, one in ones.items()} for part, ones in share.items()},
        "share_of_network_paths_that_only_fall": whole,
        "least_mean_cosine": {name: list(one) for name, one in least.items()},
        "sigma_of_least_cosine": place,
        "sigma": record.sigma[:-1].tolist(),
        "mean_cosine": {name: values.mean(0).tolist() for name, values in record.cosines.items()},
    }
    return judged(dict(zip(NAMED, held["network"], strict=True)), found, numbers)


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
    share = min(falling(record.distances["network"][part]).mean() for part in PARTS)
    least = record.cosines["network"].mean(0).min()
    figure.suptitle(
        f"A path comes nearer at {share:.1%} of its steps; the noise points away with a cosine of {least:.3f}"
    )
    return noise_axes(figure, *axes)


DISTANCES = Experiment(
    name="D3",
    title="Every step comes nearer to the sample",
    claim="Along a path both the state and the denoised image come nearer to their end at every step, and the noise "
    "that the model sees points straight away from the final sample.",
    published="CIFAR-10: cosine above .9995 for σ above 4, at least .996 (read off a figure); Chen et al., arXiv "
    "2305.19947.",
    criterion="Agrees where both distances fall at 99 % of the steps or more and the mean cosine is at least .99 at "
    "every level; in part where one or two of these three hold.",
    caption="The distance of the noisy state and of the denoised image to where their path ends, and the cosine of the "
    "noise that the model sees with the way from the sample to the state; means over paths. Dashed: the Gaussian's "
    "exact path. A solver's last step makes its last cosine 1.",
    measure=measure,
    find=find,
    draw=draw,
)
