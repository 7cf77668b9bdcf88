"""Softmaxes over more points than fit against a batch at once: parts of them, and how two parts become one.

A part holds its largest exponent L, and sums of weights exp(l_i - L) and of what they weigh. Two parts are merged by
scaling both to the larger L, which is associative: chunks in a loop, files and devices all combine the same way.
Beside the sums a part keeps its leading points by index, so that their exponents can be computed again to more digits.

L is a constant to derivatives, which flow through the sums: it cancels from every answer. The derivative of a maximum
asks which entries equal it, and a compiler that computes them once more, in another order, finds none: 0 / 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gaussdiff.numerics.arrays import dot


class Part(NamedTuple):
    """Sums over some of the points, each times exp(-largest); the leading ones in decreasing order of exponents."""

    largest: Float[Array, ""]
    mass: Float[Array, ""]  # sum w
    weighted: Float[Array, " D"]  # sum w y
    power: Float[Array, ""]  # sum w |y|^2 / 2
    square: Float[Array, ""]  # sum w^2
    tilt: Float[Array, ""]  # sum w (exponent - largest)
    leading: Float[Array, " m"]
    indices: Int[Array, " m"]

    @staticmethod
    def empty(size: int, leading: int, dtype) -> "Part":
        zero, none = jnp.zeros((), dtype), jnp.full(leading, -jnp.inf, dtype)
        return Part(none[0], zero, jnp.zeros(size, dtype), zero, zero, zero, none, jnp.zeros(leading, int))

    @staticmethod
    def of(
        exponents: Float[Array, " n"],
        points: Float[Array, "n D"],
        half_norms: Float[Array, " n"],
        indices: Int[Array, " n"],
        leading: int,
    ) -> "Part":
        """The part of a chunk of points with these exponents, of which -inf stands for weight 0."""
        # a slice of top_k's values here would turn it into a sort of the whole chunk on the CPU: hence the maximum
        values, order = jax.lax.top_k(exponents, min(leading, len(exponents)))
        largest = jax.lax.stop_gradient(jnp.max(exponents))
        away = exponents - _finite(largest)
        weights = jnp.exp(away)
        tilt = jnp.sum(weights * jnp.where(weights > 0, away, 0))
        power, square = jnp.sum(weights * half_norms), jnp.sum(weights**2)
        missing = (0, leading - len(values))
        values = jnp.pad(values, missing, constant_values=-jnp.inf)
        indices = jnp.pad(indices[order], missing)
        return Part(largest, jnp.sum(weights), dot(weights, points), power, square, tilt, values, indices)

    def merge(self, other: "Part") -> "Part":
        largest = jnp.maximum(self.largest, other.largest)
        a, b = self._scaled(largest), other._scaled(largest)
        leading, order = jax.lax.top_k(jnp.concatenate([self.leading, other.leading]), len(self.leading))
        indices = jnp.concatenate([self.indices, other.indices])[order]
        sums = [x + y for x, y in zip(a[1:6], b[1:6], strict=True)]
        return Part._make([largest, *sums, leading, indices])

    def without_leading(self, points: Float[Array, "m D"]) -> "Part":
        """The sums without the leading points; 0 where the difference is no more than rounding."""
        away = jnp.where(self.leading > -jnp.inf, self.leading - _finite(self.largest), -jnp.inf)
        weights = jnp.exp(away)
        mass = self.mass - jnp.sum(weights)
        tilt = self.tilt - jnp.sum(weights * jnp.where(weights > 0, away, 0))
        power = self.power - jnp.sum(weights * jnp.sum(points**2, axis=1)) / 2
        rest = (mass, self.weighted - dot(weights, points), power, self.square - jnp.sum(weights**2), tilt)
        significant = mass > 16 * jnp.finfo(mass.dtype).eps * self.mass
        rest = [jnp.where(significant, value, 0) for value in rest]
        return self._replace(mass=rest[0], weighted=rest[1], power=rest[2], square=rest[3], tilt=rest[4])

    def _scaled(self, largest) -> "Part":
        """The same sums relative to a larger exponent."""
        shift = jnp.where(self.largest > -jnp.inf, self.largest - _finite(largest), 0)
        scale = jnp.exp(shift)
        return Part(
            largest,
            scale * self.mass,
            scale * self.weighted,
            scale * self.power,
            scale**2 * self.square,
            scale * (self.tilt + jnp.where(scale > 0, shift, 0) * self.mass),
            self.leading,
            self.indices,
        )


def _finite(exponent: Array) -> Array:
    """An exponent to subtract: 0 as long as every weight was 0."""
    return jnp.where(exponent > -jnp.inf, exponent, 0)
