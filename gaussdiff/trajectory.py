"""The record of one path through noise levels."""

import equinox as eqx
from jaxtyping import Array, Float

from gaussdiff.schedules import NoiseLevel


class Trajectory(eqx.Module):
    """One path: the levels it visits, the states there, and the denoised image that each step started from.

    levels: (n+1,), in the order visited. x: (n+1, *event). denoised: (n, *event), denoised[i] belongs to x[i]. Under
    vmap every leaf gains a leading batch axis.
    """

    levels: NoiseLevel
    x: Float[Array, "points *event"]
    denoised: Float[Array, "steps *event"]
