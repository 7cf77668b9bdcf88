"""D1: how long the state, the denoised image and the noise are along a path.

On a Gaussian, with S^2 = lam + sigma^2 over all D directions and mean mu, in the mean over paths:

    |x|^2 = |mu|^2 + sum S^2,   |denoised|^2 = |mu|^2 + sum lam^2 / S^2,   |noise|^2 = sum sigma^2 / S^2

so the denoised image grows, and the noise keeps the length sqrt(D) until sigma falls to the data's own scale.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.controls import also
from analysis.harness.experiment import Experiment, Finding, judged
from analysis.harness.setting import Setting
from analysis.harness.style import model_curves, noise_axes, panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.geometry import flat, noise, rms
from analysis.measures.paths import Paths

PARTS = ("state", "denoised", "noise")
# what controls do that hold a part
NAMED = ("the denoised image grows", "the first noise", "the lengths of the closed form")  # the parts of the criterion
PASSED = ("grow", "start with white noise", "have the lengths of the data's Gaussian")
GROWING, ROUND, NEAR = 0.95, 0.02, 0.05  # share of steps; first noise beside sqrt(D); lengths beside the closed form


@dataclass(frozen=True)
class Record:
    """sigma (n+1,); size D; norms: {model: {part: (B, n)}}, "closed_form" the Gaussian's by no solver.

    controls: the models that learned nothing of the data's order.
    """

    sigma: np.ndarray
    size: int
    norms: dict[str, dict[str, np.ndarray]]
    controls: tuple[str, ...]


def measure(setting: Setting) -> Record:
    """Of every model, every control and the closed form, at the levels where a denoised image is seen."""
    paths = {**setting.paths, "closed_form": setting.closed_form, **setting.control_paths}
    size = setting.gaussian.mean.size
    norms = {name: _norms(path) for name, path in paths.items()}
    return Record(setting.sigma, size, norms, tuple(setting.controls))


def _norms(path: Paths) -> dict[str, np.ndarray]:
    parts = {"state": flat(path.x[:, :-1]), "denoised": flat(path.denoised), "noise": noise(path)}
    return {part: np.linalg.norm(vectors, axis=-1) for part, vectors in parts.items()}


def find(record: Record) -> Finding:
    """Whether the denoised image grows and the noise starts on its shell; whether the closed form says how much."""
    models = ("network", *record.controls)
    network, grows = record.norms["network"], {name: _grows(record, name) for name in models}
    shell = {name: interval(_root_mean, record.norms[name]["noise"][:, 0] / record.size**0.5) for name in models}
    away = {name: {part: _away(record, name, part) for part in PARTS} for name in models}
    held = {name: _held(record, grows[name], shell[name], away[name]) for name in models}
    first, last = (interval(_root_mean, network["denoised"][:, i]) for i in (0, -1))
    leaves = {name: _leaves(record, name) for name in ("network", "closed_form")}
    of_state, of_denoised, of_noise = away["network"].values()
    found = (
        f"The denoised image goes from {first} to {last} (root mean square, 95 % interval over paths) and grows at a "
        f"share {grows['network']} of the steps; the noise starts at {shell['network']} √D and "
        f"{_told(leaves['network'])} (closed form: {_told(leaves['closed_form'])}). The closed form is off by at most "
        f"{of_state} (state), {of_denoised} (denoised) and {of_noise} (noise), as shares."
        f"{also(PASSED, held, record.controls)}"
    )
    numbers = {
        "share_of_steps_where_denoised_grows": list(grows["network"]),
        "first_noise_over_sqrt_dimension": list(shell["network"]),
        "largest_relative_distance_to_closed_form": {part: list(one) for part, one in away["network"].items()},
        "sigma_where_noise_leaves_its_shell": {name: one for name, one in leaves.items() if one is not None},
        "sigma": record.sigma[:-1].tolist(),
        "norm": {
            name: {part: rms(values).tolist() for part, values in parts.items()} for name, parts in record.norms.items()
        },
    }
    return judged(dict(zip(NAMED, held["network"], strict=True)), found, numbers)


def _held(record: Record, grows: Interval, shell: Interval, away: dict[str, Interval]) -> tuple[bool, bool, bool]:
    """Whether each part of the criterion holds: growth, the first noise, and the closed form's lengths."""
    error = ROUND + sampling_error(len(record.norms["network"]["noise"]), record.size)
    near = max(one.value for one in away.values()) <= NEAR
    return grows.value >= GROWING, abs(shell.value - 1) <= error, near


def _root_mean(norms: np.ndarray) -> float:
    return float(rms(norms))


def _grows(record: Record, name: str) -> Interval:
    """The share of steps at which the root mean square norm of the denoised image does not fall."""
    return interval(lambda norms: float((np.diff(rms(norms)) >= 0).mean()), record.norms[name]["denoised"])


def sampling_error(paths: int, size: int) -> float:
    """Three standard deviations of the root mean square length over sqrt(D) of white noise: 3 / sqrt(2 D B)."""
    return 3 / (2 * size * paths) ** 0.5


def _away(record: Record, name: str, part: str) -> Interval:
    """The largest distance of a model's root mean square norm from the closed form's, as a share of that.

    Of its value at that level for the state, which falls by decades; of its largest for the others, which start at 0
    where the data's mean is 0. Both levels are chosen on all paths.
    """
    own, closed = (record.norms[one][part] for one in (name, "closed_form"))
    expected = rms(closed)
    unit = np.arange(len(expected)) if part == "state" else np.full(len(expected), expected.argmax())
    place = int((np.abs(rms(own) - expected) / expected[unit]).argmax())
    share = lambda a, b, c: float(np.abs(rms(a) - rms(b)) / rms(c))  # noqa: E731
    return interval(share, own[:, place], closed[:, place], closed[:, unit[place]])


def _leaves(record: Record, name: str) -> float | None:
    """The first noise scale at which the noise is shorter than .99 of its first length; None where it never is."""
    lengths = rms(record.norms[name]["noise"])
    short = np.flatnonzero(lengths < 0.99 * lengths[0])
    return float(record.sigma[short[0]]) if short.size else None


def _told(leaves: float | None) -> str:
    return "never falls below .99 of that" if leaves is None else f"falls below .99 of that at σ = {leaves:.2g}"


def draw(record: Record) -> Figure:
    """The three norms by noise scale."""
    figure, axes = panels(3)
    sigma = record.sigma[:-1]
    for axis, part in zip(axes, PARTS, strict=True):
        curves = {name: rms(parts[part]) for name, parts in record.norms.items()}
        model_curves(axis, sigma, curves, axis is axes[0])
    root = np.sqrt(record.size)
    axes[0].plot(sigma, root * sigma, color="#cc3311", lw=0.8)
    axes[2].axhline(root, color="#cc3311", lw=0.8)
    axes[0].set(title="noisy state (red: σ √D)", yscale="log", ylabel="length (root mean square over paths)")
    axes[1].set(title="denoised image", ylim=(0, None))
    axes[2].set(title="noise seen in it (red: √D)", ylim=(0, None))
    growth = rms(record.norms["network"]["denoised"])
    leaves = _told(_leaves(record, "network")).replace("that", "its first length")
    figure.suptitle(f"The denoised image goes from {growth[0]:.2g} to {growth[-1]:.2g}; the noise {leaves}")
    return noise_axes(figure, *axes)


NORMS = Experiment(
    name="D1",
    title="The denoised image grows, the noise keeps its length until the data's own scale",
    claim="Along a path the state shrinks to the data, the denoised image grows, and the noise keeps the length √D of "
    "a white sample until σ falls to the scale of the data.",
    published="CIFAR-10, EDM network, Euler 20: state 4450 at σ = 80, denoised 5.5 to 24, noise 55.4 until σ about 2 "
    "(read off a figure); Chen et al., arXiv 2305.19947.",
    criterion="Agrees where the denoised image grows at 95 % of the steps, the first noise is as long as √D within 2 % "
    "and three standard deviations of white noise (3 / √(2 D B) of B paths), and the Gaussian's closed form is within "
    "5 % of the state at every level, and within 5 % of its own largest for the other two; in part where some of this "
    "holds.",
    caption="Lengths along a path, root mean square over paths. Dashed: the Gaussian's exact path from the same "
    "starts.",
    measure=measure,
    find=find,
    draw=draw,
)
