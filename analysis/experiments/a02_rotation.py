"""A2: a path as a turn from noise to data in one plane.

At alpha^2 + sigma^2 = 1 a state is nearly alpha x_0 + sigma noise, with the path's own ends: x_0 its sample, and the
noise that the model sees at the start. On a Gaussian what that leaves out is S - alpha sqrt(lam) - sigma for a path one
standard deviation out along a mode (gd.exact.rotation_residual), never positive: the turn cuts no corner, it swings
out.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import NAMES, model_curves, noise_axes, panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.geometry import flat, noise, preserved, preserving, rms
from analysis.measures.paths import Paths

FACTOR = 1.2  # times what the closed form's turn leaves out at its worst level: the theory is no exact turn itself
CLOSE = 0.2  # of the closed form's largest residual: how far the curve may be from it


@dataclass(frozen=True)
class Record:
    """sigma (n+1,); {model: (B, n+1)} lengths of states, of what the turn and of what the best plane leave out.

    "closed_form" is the Gaussian's, by no solver. controls: the models that learned nothing of the data's order.
    """

    sigma: np.ndarray
    lengths: dict[str, np.ndarray]
    turn: dict[str, np.ndarray]
    plane: dict[str, np.ndarray]
    controls: tuple[str, ...]


def measure(setting: Setting) -> Record:
    """Of every model, every control and the closed form."""
    parts = {name: _parts(path) for name, path in {**setting.paths, **setting.control_paths}.items()}
    parts["closed_form"] = _closed_form(setting)
    lengths, turn, plane = ({name: part[i] for name, part in parts.items()} for i in range(3))
    return Record(setting.sigma, lengths, turn, plane, tuple(setting.controls))


def _parts(path: Paths) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    states, scale = preserved(path), np.hypot(1, path.sigma.astype(np.float64))
    alpha, sigma = (1 / scale)[:, None], (path.sigma / scale)[:, None]
    turn = states - alpha * states[:, -1:] - sigma * noise(path)[:, :1]
    return _length(states), _length(turn), _length(off_plane(states))


def _closed_form(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    turn, plane = (flat(np.asarray(part)) for part in _rotations(setting.gaussian, setting.starts, setting.levels))
    states = turn + plane
    return _length(states), _length(turn), _length(off_plane(states))


@jax.jit
def _rotations(gaussian: gd.Gaussian, starts: Array, levels: gd.NoiseLevel) -> tuple[Array, Array]:
    """What the turn leaves out, and the turn, from starts at alpha = 1: (B, n+1, *event) both."""
    levels = preserving(levels)
    turns = jax.vmap(gd.exact.gaussian_rotation, in_axes=(None, 0, None))(gaussian, levels.alpha[0] * starts, levels)
    return turns.residual, turns.path


def off_plane(states: np.ndarray) -> np.ndarray:
    """What the best plane through 0 leaves out of each row of states (B, n+1, D)."""
    return np.asarray(_off_plane(jnp.asarray(states)), np.float64)


@jax.jit
def _off_plane(states: Array) -> Array:
    def one(path: Array) -> Array:
        plane = gd.exact.best_plane(path, min(2, path.shape[1]))
        return path - jnp.matmul(plane.coordinates, plane.axes, precision="highest")

    return jax.vmap(one)(states)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


def fraction(residual: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The fraction of squared length left out at each level, over paths: (B, n+1), (B, n+1) -> (n+1,)."""
    return (rms(residual) / rms(lengths)) ** 2


def find(record: Record) -> Finding:
    """Whether the turn leaves out no more than FACTOR of the closed form's, and whether their curves are as CLOSE."""
    worst = {name: _worst(record.turn[name], record.lengths[name]) for name in record.turn}
    plane = {name: _worst(record.plane[name], record.lengths[name]) for name in record.plane}
    distance = {name: _distance(record, name) for name in record.turn if name != "closed_form"}
    exact = worst["closed_form"].value
    turns = {name: worst[name].value <= FACTOR * exact for name in distance}
    alike = {name: one.value <= CLOSE for name, one in distance.items()}
    others = ", ".join(f"{one.value:.3f} ({NAMES[name]})" for name, one in worst.items() if name != "network")
    return Finding(
        sentence="A path is a turn from its own noise to its own sample, but for "
        f"{'at most' if turns['network'] else 'as much as'} {worst['network'].value:.1%} of its squared length.",
        criteria=(
            Criterion(
                "fraction of squared length outside the turn, at the worst level",
                worst["network"],
                f"at most {FACTOR * exact:.3g}, {FACTOR:g} times the closed form's",
                turns["network"],
                note=f"Of other models it is {others}.",
                controls=meet(turns, record.controls),
            ),
            Criterion(
                "largest distance of the residual from the closed form's ÷ the peak of the closed form's",
                distance["network"],
                f"at most {CLOSE:g}",
                alike["network"],
                controls=meet(alike, record.controls),
            ),
        ),
        numbers={
            "worst_share_left_by_turn": {name: list(one) for name, one in worst.items()},
            "worst_share_left_by_best_plane": {name: list(one) for name, one in plane.items()},
            "distance_to_closed_form_over_its_peak": {name: list(one) for name, one in distance.items()},
            "sigma": record.sigma.tolist(),
            "residual_of_turn": {name: rms(residual).tolist() for name, residual in record.turn.items()},
        },
        notes=(f"The plane that fits a path best leaves out {plane['network']} of the squared length.",),
    )


def _worst(residual: np.ndarray, lengths: np.ndarray) -> Interval:
    """At the level where the fraction is largest, which is chosen on all paths."""
    place = int(fraction(residual, lengths).argmax())
    return interval(lambda a, b: float(fraction(a, b)), residual[:, place], lengths[:, place])


def _distance(record: Record, name: str) -> Interval:
    """The largest distance of the length that the turn leaves out from the closed form's, over the largest of those.

    Both levels are chosen on all paths.
    """
    own, expected = record.turn[name], record.turn["closed_form"]
    place, peak = int(np.abs(rms(own) - rms(expected)).argmax()), int(rms(expected).argmax())

    def relative(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        return float(np.abs(rms(a) - rms(b)) / rms(c))

    return interval(relative, own[:, place], expected[:, place], expected[:, peak])


def draw(record: Record) -> Figure:
    """The fraction of squared length outside the turn, and outside the best plane, by noise scale."""
    figure, axes = panels(2, width=5)
    for axis, residuals in zip(axes, (record.turn, record.plane), strict=True):
        curves = {name: fraction(residual, record.lengths[name]) for name, residual in residuals.items()}
        model_curves(axis, record.sigma, curves, axis is axes[0])
    bound = FACTOR * fraction(record.turn["closed_form"], record.lengths["closed_form"]).max()
    axes[0].axhline(bound, color="#cc3311", lw=0.8)
    axes[0].set(title="outside the turn from noise to sample", ylabel="squared length left out (fraction)")
    axes[1].set(title="outside the path's best plane", ylim=axes[0].get_ylim())
    worst = fraction(record.turn["network"], record.lengths["network"]).max()
    figure.suptitle(f"A path is a turn from its noise to its sample but for at most {worst:.1%} of its squared length")
    return noise_axes(figure, *axes)


ROTATION = Experiment(
    name="A2",
    title="A path is a turn from its noise to its sample",
    claim="With signal and noise scaled to constant power, every state of a path is nearly alpha times its final "
    "sample plus sigma times its initial noise: a rotation within the plane of the two.",
    published="No number was published; Wang & Vastola, arXiv 2303.02490, section 3.",
    criterion="Agrees where what the turn leaves out of a state's squared length, at the worst level, is at most 1.2 "
    "times what it leaves out in the Gaussian's closed form, and the network's residual is within 20 % of the closed "
    "form's peak at every level; in part where one of both holds.",
    caption="The fraction of a state's squared length outside the turn from the path's own noise to its own sample "
    "(left; red: 1.2 times the closed form's largest), and outside the plane that fits the path best (right). "
    "Dashed: the Gaussian's exact residual.",
    headline=Headline("fraction of squared length outside the turn, at worst", ("worst_share_left_by_turn", "network")),
    measure=measure,
    find=find,
    draw=draw,
)
