"""The part of A10 that is about the map from noise to image: its gains, its singular values, and walks through it.

The map is that of a solver of few calls, whose own gain on a Gaussian gd.transfer knows; analysis/measures/latent.py
says how its singular values are found without its matrix. A walk moves the noise by -3 to +3 standard deviations of the
noisy data along a direction: the Gaussian's image then moves along a component by the step times sqrt(lam), and nowhere
else.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

import gaussdiff as gd
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, LINES, NAMES, picture_row
from analysis.measures import latent, manifold

STEPS = np.array([-3.0, -2, -1, 0, 1, 2, 3])  # of a walk, in standard deviations of its direction
CALLS = 16  # of the map, by DPM-Solver++(2M): its derivative compiles in half the time of Heun's
ROWS, TOP = 3, 8  # directions of each kind that are walked along; singular values
SMALLEST = 1e-6  # variance of a component over the first one's: those below have no gain to speak of


@dataclass(frozen=True)
class LatentMap:
    """Of B images and d components, b images and k singular values.

    gains: (B, d) of noise -> image along the components; exact, solver: (d,) the Gaussian's, by no solver and by the
    one that was used. values {model: (b, k)}, the largest singular values, expected (k,) the Gaussian's; residual: how
    far they may be off, as a fraction of the largest; fractions {model: (b,)}, of their directions in the span of as
    many components. walks: (2 rows, steps, *event) of the first image, along components, then along what the map
    stretches most. along, inside: (b, rows), how far images go along their component, over the Gaussian's way, and the
    fraction of their squared change that lies along it.
    """

    gains: np.ndarray
    exact: np.ndarray
    solver: np.ndarray
    values: dict[str, np.ndarray]
    expected: np.ndarray
    residual: float
    fractions: dict[str, np.ndarray]
    walks: np.ndarray
    along: np.ndarray
    inside: np.ndarray


def measure(setting: Setting) -> LatentMap:
    """Gains along components, singular values of the network's and the controls' maps, and walks."""
    gaussian, solver = setting.gaussian, (gd.DPMSolverPP2M(), manifold.thinned(setting.levels, CALLS))
    lam, basis = (np.asarray(part, np.float64) for part in (gaussian.eigvals, gaussian.eigvecs))
    components = min(16, int((lam > SMALLEST * lam[0]).sum()))
    count, models = min(TOP, lam.size), {"network": setting.network, **setting.controls}
    few, every = setting.starts[: setting.count(2, 16)], np.abs(np.asarray(gd.transfer(*solver, gaussian.variances)))
    stretched = {
        name: latent.stretches(model, solver[0], few, solver[1], count, setting.key("A10"))
        for name, model in models.items()
    }
    rows = min(ROWS, count)
    walked = [
        _walk(setting, x, stretched["network"].directions[i, :rows], *solver) for i, x in enumerate(np.asarray(few))
    ]
    spread = np.sqrt(lam[:rows] + float(setting.sigma[0]) ** 2)
    along, inside = zip(*(_moved(one[:rows], basis[:, :rows], spread * every[:rows]) for one in walked), strict=True)
    return LatentMap(
        gains=_gains(setting, *solver, components),
        exact=np.sqrt(lam[:components] / (lam[:components] + float(setting.sigma[0]) ** 2)),
        solver=every[:components].astype(np.float64),
        values={name: np.asarray(one.values, np.float64) for name, one in stretched.items()},
        expected=np.sort(every)[::-1][:count].astype(np.float64),
        residual=max(float(one.residual.max()) for one in stretched.values()),
        fractions={name: _fraction(np.asarray(one.directions), basis[:, :count]) for name, one in stretched.items()},
        walks=walked[0],
        along=np.array(along),
        inside=np.array(inside),
    )


def _gains(setting: Setting, sampler: gd.Sampler, levels: gd.NoiseLevel, components: int) -> np.ndarray:
    """How long each component of the noise is in the image: (B, components)."""
    directions = setting.gaussian.eigvecs[:, :components].T.reshape(components, *setting.data.shape)
    starts = np.asarray(setting.starts[: setting.count(8, 32)])
    maps = [manifold.perturbation_maps(setting.network, sampler, x, levels, directions) for x in starts]
    flat = np.asarray(jax.device_get(maps), np.float64).reshape(len(maps), components, -1)
    return np.linalg.norm(flat, axis=-1)


def _walk(setting: Setting, x: np.ndarray, stretched: jax.Array, sampler: gd.Sampler, levels: gd.NoiseLevel):
    """Images (2 rows, steps, *event) from noise moved along components, and along the stretched directions."""
    rows = len(stretched)
    components = np.asarray(setting.gaussian.eigvecs)[:, :rows].T.reshape(rows, *x.shape)
    directions = np.concatenate([components, np.asarray(stretched)])
    moves = latent.moves(setting.gaussian, directions, levels[0], STEPS)
    return latent.walks(setting.network, sampler, x, levels, moves.astype(x.dtype))


def _moved(walks: np.ndarray, basis: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of walks (rows, steps, *event): how far along its own component each goes per step, over way (rows,), by least
    squares, and the fraction of the squared change that lies along it; basis (D, rows).
    """
    middle = int(np.flatnonzero(STEPS == 0)[0])
    change = (walks - walks[:, [middle]]).reshape(*walks.shape[:2], -1).astype(np.float64)
    own = np.einsum("rsd,dr->rs", change, basis)
    total = (change**2).sum((1, 2))
    inside = np.divide((own**2).sum(1), total, out=np.zeros_like(total), where=total > 0)
    return own @ STEPS / (STEPS**2).sum() / way, inside


def _fraction(directions: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return manifold.principal_share(directions.reshape(*directions.shape[:2], -1).astype(np.float64), basis).mean(-1)


def notes(latent_map: LatentMap) -> tuple[str, ...]:
    """What the singular values and the walks say."""
    top = latent_map.values["network"].mean(0) / latent_map.expected
    inside = {name: one.mean() for name, one in latent_map.fractions.items()}
    others = ", ".join(f"{NAMES[name]} {value:.2f}" for name, value in inside.items() if name != "network")
    return (
        f"Of the {top.size} directions of the noise that the whole map stretches most, {inside['network']:.2f} lies in "
        f"as many components{f' ({others})' if others else ''}.",
        f"The map stretches the first of them {top[0]:.2f} and the last {top[-1]:.2f} times as much as the Gaussian's "
        f"map stretches its own; the error is {latent_map.residual:.1g} of the first.",
        f"A walk of the noise along one of the first {latent_map.along.shape[1]} components moves the sample along it "
        f"{latent_map.along.mean():.2f} times as far as the Gaussian's, and {latent_map.inside.mean():.2f} of the "
        "squared change is along it (Gaussian: 1).",
    )


def numbers(latent_map: LatentMap) -> dict[str, Any]:
    """For JSON."""
    return {
        "gain": latent_map.gains.mean(0).tolist(),
        "gain_of_gaussian": latent_map.exact.tolist(),
        "gain_of_gaussian_with_solver": latent_map.solver.tolist(),
        "singular_value_of_map": {name: one.mean(0).tolist() for name, one in latent_map.values.items()},
        "singular_value_of_gaussian_with_solver": latent_map.expected.tolist(),
        "singular_value_residual": latent_map.residual,
        "stretched_share_in_components": {name: float(one.mean()) for name, one in latent_map.fractions.items()},
        "walk_along_component_over_gaussian": latent_map.along.mean(0).tolist(),
        "walk_share_along_component": latent_map.inside.mean(0).tolist(),
    }


def draw_gains(axis: Axes, latent_map: LatentMap) -> None:
    """Gains along components and the largest singular values, beside the Gaussian's."""
    place, top = (np.arange(1, len(one) + 1) for one in (latent_map.exact, latent_map.expected))
    axis.plot(place, latent_map.exact, color=COLORS["gaussian"], label="Gaussian, closed form: √λ / √(λ + σ²)")
    axis.plot(place, latent_map.solver, color=COLORS["gaussian"], ls=":", label="Gaussian, same solver")
    gains, label = latent_map.gains.mean(0), f"{NAMES['network']}, along components"
    axis.plot(place, gains, "o", color=COLORS["network"], label=label)
    for name, one in latent_map.values.items():
        style = {**LINES[name], "marker": "", "lw": 1}
        axis.plot(top, one.mean(0), color=COLORS[name], label=f"{NAMES[name]}, singular values", **style)
    axis.set(yscale="log", xlabel="component, or rank", ylabel="change of image / change of noise")
    axis.set_title("The map from noise to image", fontsize=10)


def draw_walks(figure: SubFigure, latent_map: LatentMap) -> None:
    """Rows of images along walks of the noise."""
    rows = len(latent_map.walks) // 2
    names = [f"component {i + 1}" for i in range(rows)] + [f"most stretched {i + 1}" for i in range(rows)]
    axes = figure.subplots(2 * rows, len(STEPS), squeeze=False)
    for line, images, name in zip(axes, latent_map.walks, names, strict=True):
        picture_row(line, images, name)
    head(axes[0])
    figure.suptitle("Walks of the noise: what it becomes", fontsize=10)


def head(axes: np.ndarray) -> None:
    """The steps of a walk over its first row."""
    for axis, step in zip(axes, STEPS, strict=True):
        axis.set_title(f"{step:+.0f} std" if step else "image", fontsize=8)
