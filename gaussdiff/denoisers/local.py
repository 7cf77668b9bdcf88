"""Local machines: what the best denoiser becomes if it sees patches, not images. They explain how networks generalise.

For every location p of an image, let x_p be the patch of x around p and y_ip that of training image i. The local score
(LS) asks which training patch of the same place lies under x_p, its equivariant kin (ELS) which one of any place q,

    LS:   x0[p] = sum_i  w_i  y_i[p],     w = softmax_i(-|x_p - alpha y_ip|^2 / 2 sigma^2)
    ELS:  x0[p] = sum_iq w_iq y_i[q],     w = softmax_iq(-|x_p - alpha y_iq|^2 / 2 sigma^2)

and each location answers for itself: images are put together from patches of many. A patch as large as the image makes
LS the data set's own denoiser. Kamb & Ganguli, arXiv 2412.20292.

The differences are squared and summed over patches with the band matrix R of |p - p'| <= size // 2, as R d R^T: nothing
cancels, and `size` can be traced. Borders, where a patch ends at the image's edge:

    "clip"   a patch is cut off at the edge, as zero padding shows a network; ELS compares only patches cut alike, so
             that a place nearer to an edge than half a patch sees only places as near to it
    "wrap"   the image is a torus, and ELS commutes with every translation
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gaussdiff.denoiser import Denoiser, Event, check_sample
from gaussdiff.numerics.arrays import concrete, dot, floating, host
from gaussdiff.numerics.checks import check_chunk, check_number
from gaussdiff.schedules import NoiseLevel, check_level


class LocalScore(Denoiser):
    """The patch-wise denoiser of images (N, H, W, C): the posterior over patches, location by location.

    size: the patch's edge in pixels, odd, as a number or as a function of the NoiseLevel (a callable pytree, so that
    larger patches serve larger noise). equivariant: patches of every location (ELS), or of the same one (LS).
    borders: "clip" or "wrap". chunk: images compared at a time; memory is O(chunk H W C) for a sample, the work of LS
    O(N H W (H + W)), that of ELS H W times more. arXiv 2412.20292. ValueError for NaN, other shapes, even sizes.
    """

    images: Float[Array, "rows H W C"]
    valid: Float[Array, " rows"]  # 1 for an image, 0 for padding
    size: Array | Callable
    equivariant: bool = eqx.field(static=True)
    borders: str = eqx.field(static=True)
    chunk: int = eqx.field(static=True)

    def __init__(self, images, size, equivariant: bool = False, borders: str = "clip", chunk: int = 100):
        images = floating(images, "images")
        if images.ndim != 4 or not len(images):
            raise ValueError(f"images: expected shape (N, H, W, C) with N >= 1, got {images.shape}. Add missing axes.")
        if borders not in ("clip", "wrap"):
            raise ValueError(f'borders: expected "clip" or "wrap", got {borders!r}. Networks with zero padding clip.')
        chunk = check_chunk(chunk, usual=100)
        if concrete(images):
            host(images, "images")
        self.chunk, self.equivariant, self.borders = min(chunk, len(images)), equivariant, borders
        cure = "A patch has a centre."
        if not callable(size) or isinstance(size, type):
            check_number(size, "size", cure)
        self.size = size if callable(size) else jnp.asarray(size)
        if not callable(size) and concrete(self.size) and (float(size) < 1 or float(size) % 2 != 1):
            raise ValueError(f"size: expected an odd number of pixels >= 1, got {size}. {cure}")
        padding = -len(images) % self.chunk
        self.images = jnp.pad(images, ((0, padding), (0, 0), (0, 0), (0, 0)))
        self.valid = jnp.pad(jnp.ones(len(images), images.dtype), (0, padding))

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        check_level(level)
        x = check_sample(x, self.images.shape[1:])
        dtype = jnp.result_type(x, self.images, level.sigma)
        reach = (self.size(level) if callable(self.size) else self.size) // 2
        rows, columns = (self._band(length, reach).astype(dtype) for length in x.shape[:2])
        # as sigma goes to 0 the nearest patch alone remains; squares of float32 would be 0 before that
        width = jnp.maximum(2 * level.sigma**2, jnp.finfo(dtype).tiny / jnp.finfo(dtype).eps)
        largest = jnp.full(x.shape[:2], -jnp.inf, dtype)
        empty = (largest, jnp.zeros(x.shape[:2], dtype), jnp.zeros(x.shape, dtype))

        def add(total, images, valid, allowed):
            squares = jnp.sum((x[None] - level.alpha * images) ** 2, axis=-1)
            distances = dot(dot(rows, squares), columns.T)
            compared = allowed[None] & (valid[:, None, None] > 0)
            return _merge(total, jnp.where(compared, -distances / width, -jnp.inf), images)

        chunks = (
            self.images.reshape(-1, self.chunk, *self.images.shape[1:]),
            self.valid.reshape(-1, self.chunk),
        )

        @jax.checkpoint
        def over_shift(total, shift):
            allowed = self._allowed(x.shape[:2], shift, reach)

            def over_chunk(total, chunk):
                images, valid = chunk
                return add(total, jnp.roll(images, shift, axis=(1, 2)), valid, allowed), None

            return jax.lax.scan(over_chunk, total, chunks)[0], None

        down, right = (jnp.arange(length if self.equivariant else 1) for length in x.shape[:2])
        shifts = (jnp.repeat(down, len(right)), jnp.tile(right, len(down)))
        _, mass, weighted = jax.lax.scan(over_shift, empty, shifts)[0]
        return (weighted / mass[..., None]).astype(x.dtype)

    def _band(self, length: int, reach) -> Array:
        """Which entries (length, length) of a row the patch around each one holds."""
        distance = jnp.abs(jnp.arange(length)[:, None] - jnp.arange(length)[None])
        return jnp.minimum(distance, length - distance) <= reach if self.borders == "wrap" else distance <= reach

    def _allowed(self, shape, shift, reach) -> Array:
        """Where (H, W) the image moved by the shift may be compared: all over, or where patches are cut alike."""
        if self.borders == "wrap":
            return jnp.ones(shape, bool)
        down, right = (_cut_alike(length, move, reach) for length, move in zip(shape, shift, strict=True))
        return down[:, None] & right[None]


def _cut_alike(length: int, move, reach) -> Array:
    here = jnp.arange(length)
    there = (here - move) % length
    inside, also = ((reach <= place) & (place < length - reach) for place in (here, there))
    return (move == 0) | (inside & also)


def _merge(total, exponents: Array, images: Array):
    """The running softmax of every location: largest exponent (H, W), mass (H, W), weighted sum (H, W, C)."""
    largest, mass, weighted = total
    larger = jax.lax.stop_gradient(jnp.maximum(largest, jnp.max(exponents, axis=0)))
    reference = jnp.where(larger > -jnp.inf, larger, 0)
    scale, weights = jnp.exp(largest - reference), jnp.exp(exponents - reference[None])
    weighted = scale[..., None] * weighted + jnp.sum(weights[..., None] * images, axis=0)
    return larger, scale * mass + jnp.sum(weights, axis=0), weighted
