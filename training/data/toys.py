"""Two-dimensional data drawn from laws that gaussdiff knows in closed form, to judge a trained model exactly."""

import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from training.presets import TOYS


def law(name: str) -> gd.Gaussian | gd.GaussianMixture:
    """The law that the toy `name` is drawn from, with samples of shape (2,) and about unit variance.

    toy-gaussian: one tilted ellipse. toy-mixture: three ellipses of unequal weight. toy-ring: eight points on a circle.
    """
    if name == "toy-gaussian":
        return _ellipse((0.5, -0.25), 1.2, 0.3, 0.6)
    if name == "toy-mixture":
        parts = [
            _ellipse((-1.2, -0.5), 0.4, 0.1, 0.3),
            _ellipse((1.0, -0.7), 0.3, 0.2, 1.2),
            _ellipse((0.2, 1.1), 0.5, 0.1, -0.2),
        ]
        return gd.GaussianMixture(jnp.log(jnp.array([0.5, 0.3, 0.2])), parts)
    if name == "toy-ring":
        angles = np.arange(8) * np.pi / 4
        points = [_ellipse((1.4 * np.cos(a), 1.4 * np.sin(a)), 0.08, 0.08, 0.0) for a in angles]
        return gd.GaussianMixture(jnp.zeros(8), points)
    raise ValueError(f"name: expected one of {', '.join(TOYS)}, got {name!r}")


def _ellipse(mean: tuple[float, float], long: float, short: float, angle: float) -> gd.Gaussian:
    """A Gaussian with these standard deviations along and across the direction `angle` (radians)."""
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return gd.Gaussian.from_moments(jnp.asarray(mean), axes @ np.diag([long**2, short**2]) @ axes.T)
