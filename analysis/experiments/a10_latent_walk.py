"""The part of A10 that walks in a latent model: along what is undecided there, decoded, beside a walk in pixels.

Both walks start at one decoded image, are led by the leading axes of the posterior covariance at the same noise (in
deviations of the first component), and are equally far from their start at each step: so what differs is the way alone.
The latent one goes along axes of the law of the codes (analysis/measures/latent_model.py), the one in pixels along the
model's.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import SubFigure

import gaussdiff as gd
from analysis.experiments.a10_latent_map import STEPS, head
from analysis.harness.setting import Setting
from analysis.harness.style import picture_row
from analysis.measures import latent_model, manifold
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.noise import normal
from training.data.dataset import spread

LATENTS, ROWS = 8, 3  # numbers of a code, axes that are walked along
FEWEST, MOST = 100, 10_000  # training images: as few as it can learn from, and as many as it takes


@dataclass(frozen=True)
class LatentWalk:
    """Of B held-out images. size: numbers of a code. error, error_of_components: the fraction of held-out variance
    that codes and as many components leave. walks: {"latent" or "pixels": (rows, steps, *event)} of the first image.
    nearest: {the same: (B, rows, steps)}, the distance to the nearest training image over the median of held-out ones;
    way: (B, rows, steps), how far from the start, in the same unit.
    """

    size: int
    error: float
    error_of_components: float
    walks: dict[str, np.ndarray]
    nearest: dict[str, np.ndarray]
    way: np.ndarray


def measure(setting: Setting, scale: float, place: int, count: int) -> LatentWalk | None:
    """Walks at levels[place], whose noise is `scale` deviations of the first component; None for other data than
    images, too few of them, or held-out ones that repeat the training images.

    count: how many axes are sought in pixels, as many as elsewhere, so that the search is compiled once.
    """
    train, held_out = setting.data.train, setting.data.held_out
    if not setting.is_image or len(train) < FEWEST:
        return None
    unit = float(np.median(gd.metrics.nearest_distances(held_out, train)))
    if unit == 0:
        return None
    size = min(LATENTS, train[0].size)
    keys = jax.random.split(setting.key("latent walk"), 4)
    images = train[spread(len(train), MOST)]
    model = latent_model.fit(images, size, keys[0])
    law = latent_model.law(latent_model.encoded(model, jnp.asarray(images, jnp.float32)), keys[1])
    others = jnp.asarray(held_out[spread(len(held_out), setting.count(8, 32))], jnp.float32)
    starts, curved = _latent(model, law, others, scale, min(ROWS, size, count), keys[2])
    change = curved - starts[:, None, None]
    way = np.linalg.norm(change.reshape(*change.shape[:3], -1), axis=-1)
    walks = {"pixels": _pixels(setting, starts, way, place, count, keys[3]), "latent": curved}
    return LatentWalk(
        size=size,
        **_errors(setting, model, size),
        walks={name: one[0] for name, one in walks.items()},
        nearest={name: _nearest(one, train) / unit for name, one in walks.items()},
        way=way / unit,
    )


def _latent(
    model: latent_model.Autoencoder, law: gd.Denoiser, images: jax.Array, scale: float, rows: int, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Decoded starts (B, *event), and walks (B, rows, steps, *event) by STEPS deviations of what is undecided."""
    codes = latent_model.encoded(model, images)
    level = gd.NoiseLevel(jnp.float32(1), jnp.float32(scale))  # the codes' deviation is 1
    draw, search = jax.random.split(key)
    noisy = codes + level.sigma * normal(draw, codes.shape, codes.dtype)
    undecided = manifold.principal_variations(law, noisy, level, rows, search)
    sizes = np.sqrt(np.maximum(np.asarray(undecided.variances), 0))
    origins, axes = np.asarray(undecided.denoised), np.asarray(undecided.directions)
    moved = _walked(origins, axes, sizes[..., None] * STEPS).astype(np.float32)
    return _decoded(model, origins), _decoded(model, moved)


def _walked(origins: np.ndarray, axes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """From origins (B, *event) along axes (B, rows, *event) by steps (B, rows, m): (B, rows, m, *event)."""
    moved = [
        [manifold.walk(origin, axis, by) for axis, by in zip(*ways, strict=True)]
        for origin, *ways in zip(origins, axes, steps, strict=True)
    ]
    return np.array(moved)


def _decoded(model: latent_model.Autoencoder, codes: np.ndarray) -> np.ndarray:
    images = np.asarray(latent_model.decoded(model, jnp.asarray(codes.reshape(-1, codes.shape[-1]))))
    return images.reshape(*codes.shape[:-1], *images.shape[1:])


def _pixels(
    setting: Setting, starts: np.ndarray, way: np.ndarray, place: int, count: int, key: jax.Array
) -> np.ndarray:
    """Walks (B, rows, steps, *event) along what the network leaves undecided, as far at each step as `way` says."""
    level = setting.levels[place]
    draw, search = jax.random.split(key)
    x = jnp.asarray(starts, setting.starts.dtype)
    x = x + level.sigma * normal(draw, x.shape, x.dtype)
    axes = manifold.principal_variations(setting.network, x, level, count, search).directions
    return _walked(starts, np.asarray(axes)[:, : way.shape[1]], np.sign(STEPS) * way)


def _nearest(walks: np.ndarray, train: np.ndarray) -> np.ndarray:
    distances = gd.metrics.nearest_distances(walks.reshape(-1, *train.shape[1:]), train)
    return distances.reshape(walks.shape[: walks.ndim - train.ndim + 1])


def _errors(setting: Setting, model: latent_model.Autoencoder, size: int) -> dict[str, float]:
    """What codes leave of the held-out variance, and what as many principal components leave."""
    x, mean = setting.data.held_out, np.asarray(setting.gaussian.mean, np.float64)
    axes = np.asarray(setting.gaussian.eigvecs, np.float64)[:, :size]
    flat = (x - mean).reshape(len(x), -1)
    linear = mean + (flat @ axes @ axes.T).reshape(x.shape)
    again = latent_model.decoded(model, latent_model.encoded(model, jnp.asarray(x, jnp.float32)))
    copies = {"error": again, "error_of_components": linear}
    return {name: latent_model.left_over(x, np.asarray(one), mean) for name, one in copies.items()}


def _at_the_ends(values: np.ndarray) -> Interval:
    """The mean over axes and both ends of walks (B, rows, steps), with its interval over images."""
    return interval(np.mean, values[..., [0, -1]].mean((1, 2)))


def notes(walk: LatentWalk | None) -> tuple[str, ...]:
    """What the walks say."""
    if walk is None:
        return (
            f"There is no walk in a latent model: it takes {FEWEST} training images or more, and held-out images that "
            "do not repeat them.",
        )
    ends = {name: _at_the_ends(one) for name, one in walk.nearest.items()}
    start = walk.nearest["latent"][..., len(STEPS) // 2].mean()
    return (
        f"A latent model of {walk.size} numbers leaves {walk.error:.2f} of the variance of held-out images, and as "
        f"many components {walk.error_of_components:.2f}.",
        "Walks in it along what is undecided end "
        f"{ends['latent']} times as far from the nearest training image as held-out images are; walks in pixels that "
        f"are as long end {ends['pixels']} times as far, and both start at {start:.2f}.",
    )


def numbers(walk: LatentWalk | None) -> dict[str, Any]:
    """For JSON; none where there is no latent model."""
    if walk is None:
        return {}
    return {
        "latent_size": walk.size,
        "latent_error": walk.error,
        "latent_error_of_components": walk.error_of_components,
        "latent_walk_way": walk.way.mean((0, 1)).tolist(),
        "latent_walk_nearest": {name: one.mean((0, 1)).tolist() for name, one in walk.nearest.items()},
        "latent_walk_nearest_at_ends": {name: list(_at_the_ends(one)) for name, one in walk.nearest.items()},
    }


def draw(figure: SubFigure, walk: LatentWalk) -> None:
    """For each axis a row of the walk in pixels, and below it the one in the latent model."""
    rows = len(walk.walks["latent"])
    axes = figure.subplots(2 * rows, len(STEPS), squeeze=False)
    for i in range(rows):
        picture_row(axes[2 * i], walk.walks["pixels"][i], f"pixels {i + 1}")
        picture_row(axes[2 * i + 1], walk.walks["latent"][i], f"latent {i + 1}")
    head(axes[0])
    figure.suptitle("Walks in pixels and in a latent model, equally far", fontsize=10)
