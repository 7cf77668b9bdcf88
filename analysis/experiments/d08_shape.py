"""D8: the shape that all paths share: a bow of two directions beside the chord, whatever the image.

alpha = 1. Beside its chord, from start to end, a path is written in the two directions that hold most of the rest; the
paths are turned onto each other there (orthogonal Procrustes, no scaling). The Gaussian's path that has the expected
Gram matrix is the shape that all paths should have. How fast a path turns and twists follows from derivatives
in sigma, of which dx/dsigma = (x - D) / sigma is known without differences, G their Gram matrices:

    turning = sigma |x'| curvature, curvature = sqrt(det G2) / |x'|^3;    twist = sigma |x'| sqrt(det G3) / det G2

in radians per unit of log sigma: curvature and torsion, free of the path's length.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, LINES, NAMES, noise_axes, panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.geometry import expected_path, noise, off_chord
from analysis.measures.paths import Paths

ALIKE = 0.9  # fractions from which paths count as planar beside the chord, and as alike
STRAIGHT = 1e-3  # paths that leave the chord by less than this fraction of the closed form's have no shape
ROUNDING = 1e-9  # of the chord: a closed form that leaves it by less is straight
RESOLVED = 20.0  # noise level from which on turning and twist are above the rounding of single precision


@dataclass(frozen=True)
class Shape:
    """Of B paths. beside: (B, n+1, 2), from the chord, in the two directions that hold most of it; planar: (B,), the
    fraction of the squares that they hold; turning, twist: (B, n), in radians per unit of log sigma.
    """

    beside: np.ndarray
    planar: np.ndarray
    turning: np.ndarray
    twist: np.ndarray


@dataclass(frozen=True)
class Record:
    """sigma: (n+1,). shapes: of each model whose paths leave the chord; straight: the others; controls: those of all
    these that learned nothing. expected: the closed form's, of one path.
    """

    sigma: np.ndarray
    shapes: dict[str, Shape]
    straight: list[str]
    controls: list[str]
    expected: Shape


def measure(setting: Setting) -> Record:
    """Shape, turning and twist of every model's and every control's paths, and the closed form's."""
    if setting.gaussian.variances.size < 2:
        raise NotMeasuredError("Data of one number have no direction beside the chord. Take data of two or more.")
    if len(setting.levels) < 4:
        raise NotMeasuredError(f"Turning takes 3 noise levels before 0, the grid has {len(setting.levels) - 1}.")
    path = expected_path(setting.gaussian, setting.levels)
    expected = shape(path)
    depth = np.linalg.norm(expected.beside[0])
    if depth <= ROUNDING * np.linalg.norm(path.x[0, 0] - path.x[0, -1]):
        raise NotMeasuredError(
            "All variances of the data are equal: the closed form's path is straight, without shape."
        )
    shapes, straight = {}, []
    for name, path in {**setting.paths, **setting.control_paths}.items():
        own = shape(path, expected.beside[0])
        if np.sqrt(np.mean(own.beside**2)) * np.sqrt(own.beside[0].size) < STRAIGHT * depth:
            straight.append(name)
        else:
            shapes[name] = own
    return Record(setting.sigma, shapes, straight, list(setting.control_paths), expected)


def shape(paths: Paths, reference: np.ndarray | None = None) -> Shape:
    """The shape of each path, turned onto the reference (n+1, 2) where there is one.

    Path by path: derivatives of all of them at once would take many times what the paths do.
    """
    each = [_shape(Paths(paths.sigma, *one), reference) for one in zip(paths.x, paths.denoised, strict=True)]
    return Shape(*(np.array(parts) for parts in zip(*each, strict=True)))


def _shape(path: Paths, reference: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Of one path, x (n+1, *event): the entries of Shape."""
    one = Paths(path.sigma, path.x[None], path.denoised[None])
    along, singular, _ = np.linalg.svd(off_chord(one.x)[0], full_matrices=False)
    beside = _two(along * singular)
    if reference is not None:
        beside = beside @ turn(beside, reference)
    squares = singular**2
    planar = squares[:2].sum() / squares.sum() if squares.any() else np.ones(())
    turning, twist = bends(noise(one), path.sigma[:-1].astype(np.float64))
    return beside, planar, turning[0], twist[0]


def _two(coordinates: np.ndarray) -> np.ndarray:
    """The first two columns; 0 for a second that is not there."""
    return np.pad(coordinates, ((0, 0), (0, 1)))[:, :2]


def turn(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The orthogonal matrix R (2, 2) with points @ R nearest to the reference. Schoenemann 1966."""
    u, _, vt = np.linalg.svd(points.T @ reference)
    return u @ vt


def bends(velocity: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turning and twist (B, n) of paths with dx/dsigma = velocity (B, n, D), by differences of it in sigma."""
    second = np.gradient(velocity, sigma, axis=1, edge_order=2)
    third = np.gradient(second, sigma, axis=1, edge_order=2)
    derivatives = np.stack([velocity, second, third], axis=-2)
    gram = derivatives @ np.swapaxes(derivatives, -1, -2)
    areas = np.maximum(np.linalg.det(gram[..., :2, :2]), 0)
    volumes = np.maximum(np.linalg.det(gram), 0)
    speed = gram[..., 0, 0]
    turning = np.divide(np.sqrt(areas), speed, out=np.zeros_like(areas), where=speed > 0)
    twist = np.divide(np.sqrt(volumes * speed), areas, out=np.zeros_like(areas), where=areas > 0)
    return sigma * turning, sigma * twist


def find(record: Record) -> Finding:
    """Agrees where two directions hold what is beside the chord, and the paths' shapes are one."""
    if "network" not in record.shapes:
        straight = Criterion("paths of the network that leave their chord", "none", "all", False)
        return Finding(
            "The network's paths are straight: they have no shape.", (straight,), {"straight": record.straight}
        )
    planar = {name: interval(np.mean, one.planar) for name, one in record.shapes.items()}
    shared = {name: _alike(one.beside, one.beside.mean(0)) for name, one in record.shapes.items()}
    closed = {name: _alike(one.beside, record.expected.beside[0]) for name, one in record.shapes.items()}
    resolved = record.sigma[:-1] <= RESOLVED
    peak = {name: _peak(one, record.sigma, resolved) for name, one in record.shapes.items()}
    expected = _peak(record.expected, record.sigma, resolved)
    alike = {name: one.value >= ALIKE for name, one in shared.items()}
    others = ", ".join(f"{NAMES.get(name, name)} {one.value:.3f}" for name, one in shared.items() if name != "network")
    return Finding(
        sentence=f"Aligned, paths to different samples share {shared['network'].value:.0%} of their shape beside the "
        f"chord.",
        criteria=(
            Criterion(
                "fraction of a path's squared distance from its chord that lies in two directions",
                planar["network"],
                f"at least {ALIKE:g}",
                planar["network"].value >= ALIKE,
                note=f"The closed form has {record.expected.planar[0]:.3f}.",
            ),
            Criterion(
                "fraction of their shape that aligned paths share with their mean",
                shared["network"],
                f"at least {ALIKE:g}",
                alike["network"],
                note=f"Other models: {others}. With the closed form the network shares {closed['network']}.",
                controls=meet(alike, record.controls),
            ),
        ),
        numbers={
            "planar": {name: list(one) for name, one in planar.items()},
            "planar_expected": float(record.expected.planar[0]),
            "shared": {name: list(one) for name, one in shared.items()},
            "shared_with_closed_form": {name: list(one) for name, one in closed.items()},
            "straight": record.straight,
            "noise_scale": record.sigma[:-1][resolved].tolist(),
            "turning": {name: np.median(one.turning, 0)[resolved].tolist() for name, one in record.shapes.items()},
            "twist": {name: np.median(one.twist, 0)[resolved].tolist() for name, one in record.shapes.items()},
            "turning_expected": record.expected.turning[0][resolved].tolist(),
            "twist_expected": record.expected.twist[0][resolved].tolist(),
        },
        notes=(
            f"Paths turn fastest at σ = {peak['network'][0]:.2g}, by {peak['network'][1]:.3g} radians per unit of log "
            f"sigma; the closed form by {expected[1]:.3g} at {expected[0]:.2g}.",
        ),
    )


def _alike(shapes: np.ndarray, one: np.ndarray) -> Interval:
    """1 - sum |shape - one|^2 / sum |shape|^2 over paths."""
    errors, squares = (np.sum(part**2, axis=(1, 2)) for part in (shapes - one, shapes))
    return interval(lambda e, s: float(1 - e.sum() / s.sum()), errors, squares)


def _peak(one: Shape, sigma: np.ndarray, resolved: np.ndarray) -> tuple[float, float]:
    """Where the median turning is largest, and how large."""
    middle = np.where(resolved, np.median(one.turning, 0), 0)
    return float(sigma[middle.argmax()]), float(middle.max())


def draw(record: Record) -> Figure:
    """Aligned shapes, their distance from the chord, turning and twist."""
    figure, (plane, depth, turning, twist) = panels(4, width=3.5)
    drawn = [name for name in ("network", "gaussian", "data_set") if name in record.shapes]
    resolved = record.sigma[:-1] <= RESOLVED
    for name in drawn:
        own = record.shapes[name]
        style = {**LINES[name], "ms": 2}
        for i, one in enumerate(own.beside[:12] if name == "network" else []):
            plane.plot(*one.T, color=COLORS[name], lw=0.5, alpha=0.5, label=None if i else "12 paths")
        plane.plot(*own.beside.mean(0).T, color=COLORS[name], lw=2, ls=style["ls"])
        low, middle, high = np.quantile(np.linalg.norm(own.beside, axis=-1), (0.1, 0.5, 0.9), axis=0)
        depth.plot(record.sigma[:-1], middle[:-1], color=COLORS[name], label=NAMES[name], **style)
        depth.fill_between(record.sigma[:-1], low[:-1], high[:-1], color=COLORS[name], alpha=0.15, lw=0)
        for axis, values in ((turning, own.turning), (twist, own.twist)):
            axis.plot(record.sigma[:-1][resolved], np.median(values, 0)[resolved], color=COLORS[name], **style)
    only = record.expected
    plane.plot(*only.beside[0].T, color="#d55e00", ls="--")
    distance = np.linalg.norm(only.beside[0], axis=-1)[:-1]
    depth.plot(record.sigma[:-1], distance, color="#d55e00", ls="--", label="closed form")
    for axis, values in ((turning, only.turning), (twist, only.twist)):
        axis.plot(record.sigma[:-1][resolved], values[0][resolved], color="#d55e00", ls="--")
        axis.set_ylabel("radians per unit of log σ")
    plane.set(title="Aligned, beside the chord", xlabel="first direction (data units)", ylabel="second direction")
    plane.title.set_fontsize(10)
    depth.set(title="Distance from the chord", ylabel="data units (median, 80 % of paths)")
    turning.set_title("How fast it turns (curvature)")
    twist.set_title("How fast it twists (torsion)")
    twist.set(yscale="log", ylim=(1e-2, 1e2))
    noise_axes(figure, depth, turning, twist)
    figure.suptitle(_title(record))
    return figure


def _title(record: Record) -> str:
    if "network" not in record.shapes:
        return "The network's paths are straight"
    beside = record.shapes["network"].beside
    fraction = _alike(beside, beside.mean(0)).value
    return f"Aligned, paths to different samples share {fraction:.0%} of their shape beside the chord"


SHAPE = Experiment(
    name="D8",
    title="All paths have one shape",
    claim="Paths to different images are the same curve, turned: chord and two more directions hold it, and aligned "
    "they lie on each other.",
    published="No number was published; Chen et al., arXiv 2506.10177.",
    criterion=f"Agrees where two directions hold {ALIKE:.0%} of the squares beside the chord on average, and aligned "
    f"paths share {ALIKE:.0%} of theirs with their mean; in part where one of the two holds. The chord, hundreds of "
    "times longer, is left out: with it any paths would be alike.",
    caption="Left: paths beside their chord, in the two directions that hold most, turned onto the closed form "
    "(dashed: the Gaussian's path with every mode at one standard deviation). Then their distance from the chord, and "
    "how fast they turn and twist, by noise level.",
    headline=Headline("fraction of shape that paths have in common", ("shared", "network")),
    measure=measure,
    find=find,
    draw=draw,
)
