"""Patch-wise denoisers: against loops over patches, the data set's own denoiser, and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(5, 4, 5, 2))
LEVEL = gd.NoiseLevel(0.8, 0.6)
X = jnp.asarray(0.8 * IMAGES[1] + 0.6 * RNG.normal(size=(4, 5, 2)))
TRANSLATES = np.concatenate([np.roll(IMAGES, (i, j), (1, 2)) for i in range(4) for j in range(5)])


def window(image, row: int, column: int, reach: int, borders: str) -> np.ndarray:
    """The patch around a place, NaN beyond the edge."""
    mode = {"clip": {"mode": "constant", "constant_values": np.nan}, "wrap": {"mode": "wrap"}}[borders]
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), **mode)
    return padded[row : row + 2 * reach + 1, column : column + 2 * reach + 1]


def by_loops(x, size: int, equivariant: bool, borders: str) -> np.ndarray:
    """Patch after patch; two are compared where NaN stands in the same places."""
    result, places = np.zeros(x.shape), list(np.ndindex(x.shape[:2]))
    for p in places:
        here = window(np.asarray(x), *p, size // 2, borders)
        exponents, values = [], []
        for image in IMAGES:
            for q in places if equivariant else [p]:
                there = window(image, *q, size // 2, borders)
                if (np.isnan(here) == np.isnan(there)).all():
                    exponents.append(-np.nansum((here - 0.8 * there) ** 2) / 2 / 0.36)
                    values.append(image[q])
        weights = np.exp(np.array(exponents) - max(exponents))
        result[p] = weights @ np.array(values) / weights.sum()
    return result


def denoise(model, x=X, level=LEVEL):
    return jax.jit(lambda model, x, level: model.denoise(x, level))(model, x, level)


@pytest.mark.slow
@pytest.mark.parametrize("borders", ["clip", "wrap"])
@pytest.mark.parametrize("equivariant", [False, True], ids=["ls", "els"])
@pytest.mark.parametrize("size", [1, 3])
def test_denoise_is_the_posterior_over_patches(size, equivariant, borders):
    model = gd.LocalScore(IMAGES, size, equivariant, borders, chunk=2)
    np.testing.assert_allclose(denoise(model), by_loops(X, size, equivariant, borders), 1e-12)
    np.testing.assert_allclose(denoise(*zoo.cast((model, X, LEVEL))), denoise(model), 1e-4, 1e-5)


@pytest.mark.slow
def test_a_patch_of_the_whole_image_makes_it_the_data_set():
    expected = gd.Empirical(IMAGES).denoise(X, LEVEL)
    for equivariant in (False, True):  # clipped, each place of a patch larger than the image is like no other
        np.testing.assert_allclose(denoise(gd.LocalScore(IMAGES, 9, equivariant)), expected, 1e-12)
    np.testing.assert_allclose(denoise(gd.LocalScore(IMAGES, 5, borders="wrap")), expected, 1e-12)


@pytest.mark.slow
def test_equivariance_is_locality_on_all_translates():
    """ELS of images on a torus is LS of their translates; with the largest patch, the data set of translates."""
    for images in (IMAGES, TRANSLATES):
        els = denoise(gd.LocalScore(images, 3, True, "wrap"))
        np.testing.assert_allclose(els, denoise(gd.LocalScore(TRANSLATES, 3, False, "wrap")), 1e-12)
    whole = denoise(gd.LocalScore(IMAGES, 5, True, "wrap"))
    np.testing.assert_allclose(whole, gd.Empirical(TRANSLATES).denoise(X, LEVEL), 1e-12)


def test_els_on_a_torus_commutes_with_translations():
    model = gd.LocalScore(IMAGES, 3, True, "wrap")
    moved = denoise(model, jnp.roll(X, (1, 3), (0, 1)))
    np.testing.assert_allclose(moved, jnp.roll(denoise(model), (1, 3), (0, 1)), 1e-12)


def test_the_patch_can_follow_the_noise_level():
    growing = gd.LocalScore(IMAGES, jax.tree_util.Partial(lambda level: jnp.where(level.sigma < 0.5, 3, 9)))
    for sigma, size in ((0.3, 3), (0.6, 9)):
        level = gd.NoiseLevel(0.8, sigma)
        expected = denoise(gd.LocalScore(IMAGES, size), level=level)
        np.testing.assert_allclose(denoise(growing, level=level), expected, 1e-12)


def test_without_noise_the_nearest_patch_is_left():
    found = denoise(gd.LocalScore(IMAGES, 3), jnp.asarray(IMAGES[2] + 1e-3), gd.NoiseLevel(1.0, 0.0))
    np.testing.assert_array_equal(found, IMAGES[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGES[0], 3), "images: expected shape"),
        ((IMAGES * np.nan, 3), "images: expected finite"),
        ((IMAGES, 4), "size: expected an odd number"),
        ((IMAGES, 3, True, "mirror"), "borders: expected"),
        ((IMAGES, 3, True, "clip", 0), "chunk: expected"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gd.LocalScore(*arguments)
