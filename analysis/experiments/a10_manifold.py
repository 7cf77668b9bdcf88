"""A10: the manifold of images, from what is undecided at a noise level, and from the map from noise to image.

Around one image the posterior covariance (sigma^2 / alpha) dD/dx says what may still vary. Of a Gaussian its axes are
the principal components at every level, with variances lam sigma^2 / (lam + sigma^2). The map from noise at sigma_T to
the image has the gains sqrt(lam) / sqrt(lam + sigma_T^2) along them: a generator, whose latent axes are the components
(analysis/experiments/a10_latent_map.py). Walks are taken in the latent space of an autoencoder as well
(analysis/experiments/a10_latent_walk.py).
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from analysis.experiments import a10_latent_map, a10_latent_walk
from analysis.experiments.a10_latent_map import STEPS, LatentMap, head
from analysis.experiments.a10_latent_walk import LatentWalk
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, LINES, NAMES, NOISE_AXIS, is_image, picture_row
from analysis.measures import manifold
from analysis.measures.bootstrap import Interval, interval

SCALES = (4.0, 1.0, 0.5, 0.2)  # noise scales, in standard deviations of the first component
OUTLINE, SHOWN = 1, 2  # places in SCALES: of the scale that is judged, and of the one at which one walks
INSIDE = 0.8  # the least fraction of the undecided directions in as many components
FACTOR = 1.5  # by which a gain is typically off the Gaussian's, at the most
ROWS = 3  # directions that are walked along, images whose emergence is mapped, at the most


@dataclass(frozen=True)
class Record:
    """For B images, m noise scales, k undecided directions.

    sigma: (m,). fractions: {model: (m or 1, B)} of the directions in the span of as many components, controls at the
    outline alone; chance: that of random ones. variances: (m, B, k), expected (m, k). latent: what is known of the map
    from noise to image; latent_walk: walks in a latent model, None where there is none. straight, redenoised: (rows,
    steps, *event) walks. finals, emergence: {model: (rows, *event)}, images and the noise scale at which each entry of
    theirs committed.
    """

    sigma: np.ndarray
    fractions: dict[str, np.ndarray]
    chance: float
    variances: np.ndarray
    expected: np.ndarray
    latent: LatentMap
    latent_walk: LatentWalk | None
    straight: np.ndarray
    redenoised: np.ndarray
    finals: dict[str, np.ndarray]
    emergence: dict[str, np.ndarray]


def measure(setting: Setting) -> Record:
    """Undecided directions at four noise scales, the map's gains, walks, and when each entry of images committed."""
    lam, basis = (np.asarray(part, np.float64) for part in (setting.gaussian.eigvals, setting.gaussian.eigvecs))
    places = [int(np.abs(setting.sigma[:-1] - scale * np.sqrt(lam[0])).argmin()) for scale in SCALES]
    count = min(10, max(1, len(basis) // 4))
    own = [_undecided(setting, "network", place, count) for place in places]
    others = {name: [_undecided(setting, name, places[OUTLINE], count)] for name in setting.controls}
    noise2 = setting.sigma[places].astype(np.float64)[:, None] ** 2
    straight, redenoised = _walks(setting, own[SHOWN], places[SHOWN])
    finals = {name: setting.paths[name].samples[:ROWS] for name in ("network", "gaussian")}
    return Record(
        sigma=setting.sigma[places],
        fractions={name: _fractions(one, basis[:, :count]) for name, one in {"network": own, **others}.items()},
        chance=count / len(basis),
        variances=np.array([np.asarray(one.variances, np.float64) for one in own]),
        expected=lam[:count] * noise2 / (lam[:count] + noise2),
        latent=a10_latent_map.measure(setting),
        latent_walk=a10_latent_walk.measure(setting, SCALES[OUTLINE], places[OUTLINE], count),
        straight=straight,
        redenoised=redenoised,
        finals=finals,
        emergence={name: _emergence(setting, name) for name in finals},
    )


def _undecided(setting: Setting, name: str, place: int, count: int) -> manifold.Variations:
    model = {"network": setting.network, **setting.controls}[name]
    path = {"network": setting.paths["network"], **setting.control_paths}[name]
    x = jnp.asarray(path.x[: setting.count(8, 32), place])
    return manifold.principal_variations(model, x, setting.levels[place], count, setting.key("A10"))


def _fractions(undecided: list[manifold.Variations], basis: np.ndarray) -> np.ndarray:
    directions = np.array([np.asarray(one.directions, np.float64) for one in undecided])
    return manifold.principal_share(directions.reshape(*directions.shape[:3], -1), basis).mean(-1)


def _walks(setting: Setting, undecided: manifold.Variations, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Along what the first image leaves undecided; noised as that image is, and denoised again."""
    level, origin = setting.levels[place], np.asarray(undecided.denoised[0])
    noise = (setting.paths["network"].x[0, place] - origin) / np.asarray(level.sigma)
    rows = min(ROWS, undecided.variances.shape[1])
    std = np.sqrt(np.maximum(np.asarray(undecided.variances[0]), 0))
    along = np.asarray(undecided.directions[0])
    straight = np.array([manifold.walk(origin, along[i], std[i] * STEPS) for i in range(rows)]).astype(origin.dtype)
    again = manifold.redenoise(setting.network, straight.reshape(-1, *origin.shape), noise, level)
    return straight, again.reshape(straight.shape)


def _emergence(setting: Setting, name: str) -> np.ndarray:
    path, mean = setting.paths[name], np.asarray(setting.gaussian.mean)
    maps = [
        manifold.emergence_map(path.denoised[i], path.samples[i], mean, path.sigma)
        for i in range(len(path.samples[:ROWS]))
    ]
    return np.array(maps)


def find(record: Record) -> Finding:
    """Agrees where the undecided directions are components at the outline, and the gains of the map are theirs."""
    inside = {name: _mean(values[OUTLINE if name == "network" else 0]) for name, values in record.fractions.items()}
    detail = _mean(record.fractions["network"][-1])
    controls = {name: one.value for name, one in inside.items() if name != "network"}
    ratio, factor = _gains(record.latent)
    within = {name: one.value >= INSIDE for name, one in inside.items()}
    others = "".join(f", {NAMES.get(name, name)} {value:.2f}" for name, value in controls.items())
    outline, images = f"σ = {record.sigma[OUTLINE]:.2g}", record.fractions["network"].shape[1]
    return Finding(
        sentence=f"At {outline} {'' if within['network'] else 'only '}{inside['network'].value:.0%} of what is "
        "undecided about a sample lies in the leading principal components.",
        criteria=(
            Criterion(
                "fraction of the leading undecided directions that lies in as many principal components",
                inside["network"],
                f"at least {INSIDE:g}",
                within["network"],
                note=f"It is measured at {outline}. The Gaussian has 1, random directions {record.chance:.2f}{others}.",
                controls=meet(within, controls),
            ),
            Criterion(
                "typical factor between the map's gains along components and the Gaussian's by the same solver",
                factor,
                f"at most {FACTOR:g}",
                factor.value <= FACTOR,
                note=f"The median gain is {ratio} times the Gaussian's.",
            ),
        ),
        numbers={
            "noise_scale": record.sigma.tolist(),
            "share_in_components": record.fractions["network"].mean(1).tolist(),
            "share_at_outline": list(inside["network"]),
            "share_by_chance": record.chance,
            "share_of_controls_at_outline": controls,
            "undecided_variance": record.variances.mean(1).tolist(),
            "undecided_variance_of_gaussian": record.expected.tolist(),
            "gain_ratio": list(ratio),
            "gain_factor": list(factor),
            "images": images,
            **a10_latent_map.numbers(record.latent),
            **a10_latent_walk.numbers(record.latent_walk),
            "entries_that_commit": {name: np.isfinite(maps).mean().item() for name, maps in record.emergence.items()},
        },
        notes=(
            f"At σ = {record.sigma[-1]:.2g} the fraction of the undecided directions in components is {detail}.",
            f"Intervals are over {images} samples.",
            *a10_latent_map.notes(record.latent),
            *a10_latent_walk.notes(record.latent_walk),
        ),
    )


def _gains(latent: LatentMap) -> tuple[Interval, Interval]:
    """The median over components of the gain over the Gaussian's, and the factor by which it is typically off."""

    def ratio(rows: np.ndarray) -> float:
        return float(np.median(rows.mean(0) / latent.solver))

    def factor(rows: np.ndarray) -> float:
        return float(np.exp(np.median(np.abs(np.log(rows.mean(0) / latent.solver)))))

    return interval(ratio, latent.gains), interval(factor, latent.gains)


def _mean(values: np.ndarray) -> Interval:
    return interval(np.mean, values)


def draw(record: Record) -> Figure:
    """Two curves, and for images the walks and the maps below them."""
    pictures = is_image(record.straight[0, 0])
    heights = (4, 5.2, 5.2) if pictures else (4,)
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=(7, 4.6))
    left, right = figure.add_subfigure(grid[0, :]).subplots(1, 2, squeeze=False)[0]
    _draw_fractions(left, record)
    a10_latent_map.draw_gains(right, record.latent)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=7)
    if pictures:
        _draw_walks(figure.add_subfigure(grid[1, 0]), record)
        _draw_maps(figure.add_subfigure(grid[1, 1]), record)
        below = grid[2, :].subgridspec(1, 2)
        a10_latent_map.draw_walks(figure.add_subfigure(below[0]), record.latent)
        if record.latent_walk is not None:
            a10_latent_walk.draw(figure.add_subfigure(below[1]), record.latent_walk)
    inside = record.fractions["network"][OUTLINE].mean()
    figure.suptitle(f"{inside:.0%} of what is undecided at σ = {record.sigma[OUTLINE]:.2g} are principal components")
    return figure


def _draw_fractions(axis: Axes, record: Record) -> None:
    axis.axhline(1, color=COLORS["gaussian"], label="Gaussian (closed form)")
    axis.axhline(record.chance, color="#999999", ls=":", label="random directions")
    for name, values in record.fractions.items():
        sigma = record.sigma if name == "network" else record.sigma[[OUTLINE]]
        axis.plot(sigma, values.mean(1), color=COLORS[name], label=NAMES[name], **LINES[name])
    axis.set(xscale="log", ylim=(0, 1.05), xlabel=NOISE_AXIS, ylabel="fraction in the leading components")
    axis.set_title("What is undecided, at each noise level", fontsize=10)
    axis.invert_xaxis()
    axis.set_xticks(record.sigma, [f"{sigma:.2g}" for sigma in record.sigma])
    axis.minorticks_off()


def _draw_walks(figure: SubFigure, record: Record) -> None:
    rows = len(record.straight)
    axes = figure.subplots(2 * rows, len(STEPS), squeeze=False)
    for i in range(rows):
        picture_row(axes[2 * i], record.straight[i], f"direction {i + 1}")
        picture_row(axes[2 * i + 1], record.redenoised[i], "denoised again")
    head(axes[0])
    figure.suptitle(f"Walks along what is undecided at σ = {record.sigma[SHOWN]:.2g}", fontsize=10)


def _draw_maps(figure: SubFigure, record: Record) -> None:
    """Each image, and below it the noise scale at which each of its pixels committed, a mean over its channels."""
    maps = {name: _over_channels(levels) for name, levels in record.emergence.items()}
    committed = maps["network"][np.isfinite(maps["network"])]
    low, high = (committed.min(), committed.max()) if committed.size else (record.sigma.min(), record.sigma.max())
    axes = figure.subplots(4, len(maps["network"]), squeeze=False)
    shown = None
    for i, (name, images) in enumerate(record.finals.items()):
        picture_row(axes[2 * i], images, NAMES[name])
        for axis, levels in zip(axes[2 * i + 1], maps[name], strict=True):
            shown = axis.imshow(levels, cmap="viridis", norm="log", vmin=low, vmax=high)
            axis.set(xticks=[], yticks=[])
        axes[2 * i + 1][0].set_ylabel("committed\nat σ", rotation=0, ha="right", va="center", fontsize=8)
    if shown is not None:
        figure.colorbar(shown, ax=axes, shrink=0.6, format="{x:g}")
    figure.suptitle("When each pixel was decided (white: little to decide)", fontsize=10)


def _over_channels(levels: np.ndarray) -> np.ndarray:
    """The mean over channels of those that committed, NaN where none did: (..., C) -> (...)."""
    committed = np.isfinite(levels)
    count, total = committed.sum(-1), np.where(committed, levels, 0).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


MANIFOLD = Experiment(
    name="A10",
    title="What is undecided are principal components, and noise is a latent space along them",
    claim="At a noise level the directions in which an image may still vary are the principal components that have not "
    "emerged yet; the map from noise to image stretches along them as a Gaussian's does.",
    published="No number was published; Wang & Vastola, arXiv 2303.02490.",
    criterion=f"Agrees where, at the noise scale of the first component's standard deviation, {INSIDE:.0%} of the "
    "leading undecided directions lie in as many principal components, and the gains of the map along components are "
    f"typically within a factor {FACTOR} of the Gaussian's with the same solver; in part where one of the two holds.",
    caption="Top: how much of the leading axes of the posterior covariance lies in as many principal components, and "
    "how much a change of the noise changes the image, along components and along the directions that the map "
    "stretches most (singular values). Below: walks along undecided directions, as they are and denoised again, walks "
    "of the noise, the noise scale at which each pixel was over half way from the mean to its final value, and walks "
    "equally far from one decoded image in the latent space of an autoencoder and in pixels.",
    headline=Headline("fraction of what is undecided in leading components", ("share_at_outline",)),
    measure=measure,
    find=find,
    draw=draw,
)
