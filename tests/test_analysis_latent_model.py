"""The autoencoder and the law of its codes, on data of which it is known what codes can and cannot hold."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from settings import documented, exact_setting

import gaussdiff as gd
from analysis.experiments import a10_latent_walk
from analysis.measures import latent_model, manifold
from training.data.dataset import Dataset, Rows


@pytest.fixture(scope="module")
def setting():
    return exact_setting(starts=16, steps=20)


@pytest.fixture(scope="module")
def plane():
    """Samples (900, 4, 3) that lie in three dimensions of twelve, and the autoencoder of the first 600."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(12, 3)))
    samples = (5 + rng.normal(size=(900, 3)) * [3, 2, 1] @ basis.T).reshape(900, 4, 3)
    return samples, latent_model.fit(samples[:600], 3, jax.random.key(0))


def encoded(model, samples):
    return jax.vmap(model.encode)(jnp.asarray(samples, jnp.float32))


def returned(model, samples):
    return np.asarray(jax.vmap(model.decode)(encoded(model, samples)))


@pytest.mark.slow
def test_as_many_numbers_as_data_have_dimensions_keep_all_of_held_out_samples(plane):
    samples, model = plane
    again = returned(model, samples[600:])
    assert latent_model.left_over(samples[600:], again, samples.mean(0)) < 0.01
    assert again.shape == (300, 4, 3)


@pytest.mark.slow
def test_one_number_holds_more_of_a_circle_than_one_component_but_must_tear_it():
    """Of a continuous code of one number some two opposite points are equal (Borsuk & Ulam), so that one of the two
    comes back a radius away or more. One component leaves half of the variance.
    """
    angle = np.random.default_rng(1).uniform(0, 2 * np.pi, 1000)
    basis, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 2)))

    def around(angle):
        return np.stack([np.cos(angle), np.sin(angle)], 1) @ basis.T

    model = latent_model.fit(around(angle), 1, jax.random.key(0))
    circle = around(np.linspace(0, 2 * np.pi, 20_000))
    again = returned(model, circle)
    assert latent_model.left_over(circle, again, np.zeros(6)) < 0.25
    assert np.linalg.norm(circle - again, axis=1).max() > 0.95


@pytest.mark.slow
def test_what_a_gaussian_law_of_codes_leaves_undecided_is_its_closed_form(plane):
    samples, model = plane
    codes = encoded(model, samples[:600])
    np.testing.assert_allclose(np.mean(codes, 0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(codes, rowvar=False, bias=True), np.eye(3), atol=1e-4)
    law = latent_model.law(codes, jax.random.key(1), most=1)
    for sigma in (0.3, 2.0):  # of codes with lam = 1
        level = gd.NoiseLevel(jnp.float32(1), jnp.float32(sigma))
        found = manifold.principal_variations(law, codes[:2], level, 3, jax.random.key(2))
        np.testing.assert_allclose(found.variances, sigma**2 / (1 + sigma**2), rtol=1e-3)
    assert len(np.asarray(latent_model.law(codes, jax.random.key(1)).log_weights)) == 16
    assert len(np.asarray(latent_model.law(codes[:100], jax.random.key(1)).log_weights)) == 3


def test_samples_that_hold_nothing_to_learn_are_refused():
    samples = np.random.default_rng(0).normal(size=(20, 4))
    for latents in (0, 5):
        with pytest.raises(ValueError, match=rf"latents: expected 1 to D = 4, got {latents}"):
            latent_model.fit(samples, latents, jax.random.key(0))
    for bad in (np.ones((20, 4)), samples[:1], np.where(samples > 1, np.nan, samples)):
        with pytest.raises(ValueError, match="samples: expected finite ones that differ"):
            latent_model.fit(bad, 2, jax.random.key(0))


# --- in A10 ---


@pytest.mark.slow
def test_both_walks_are_equally_far_from_one_start_and_a_gaussian_s_goes_along_components(setting, monkeypatch):
    monkeypatch.setattr(latent_model, "STEPS", 400)  # what an autoencoder comes to hold is asked above
    first, second = (a10_latent_walk.measure(setting, 1.0, 8, 12) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.walks["latent"], second.walks["latent"])
    latent, pixels = (first.walks[name].reshape(3, 7, 64) for name in ("latent", "pixels"))
    np.testing.assert_array_equal(pixels[:, 3], pixels[[0, 0, 0], 3])
    np.testing.assert_allclose(latent[:, 3], pixels[:, 3], atol=1e-5)
    far = [np.linalg.norm(one - pixels[:, [3]], axis=-1) for one in (latent, pixels)]
    np.testing.assert_allclose(*far, atol=1e-4)
    assert far[0][:, [0, -1]].min() > 0.1
    axes = np.asarray(setting.gaussian.eigvecs)[:, :3]
    ways = (pixels[:, -1] - pixels[:, 3]) / far[1][:, [-1]]
    np.testing.assert_allclose(np.abs(ways @ axes), np.eye(3), atol=0.05)
    # the distances, by NumPy
    train, held_out = (part.reshape(len(part), 1, 64) for part in (setting.data.train, setting.data.held_out))
    apart = np.median(np.linalg.norm(held_out - train[:, 0], axis=-1).min(1))
    nearest = np.linalg.norm(latent[1, :, None] - train[:, 0], axis=-1).min(1)
    np.testing.assert_allclose(first.nearest["latent"][0, 1], nearest / apart, rtol=1e-4)
    assert first.nearest["latent"][..., [0, -1]].mean() == pytest.approx(
        a10_latent_walk.numbers(first)["latent_walk_nearest_at_ends"]["latent"][0]
    )
    assert set(a10_latent_walk.numbers(first)) == {key for key in documented("A10") if key.startswith("latent_")}


def test_few_images_and_vectors_have_no_latent_walk(setting):
    few = Dataset(Rows(setting.data.train[:99]), setting.data.held_out_rows)
    again = Dataset(setting.data.train_rows, Rows(setting.data.train[:50]))
    flat = Dataset(Rows(setting.data.train.reshape(400, 64)), Rows(setting.data.held_out.reshape(200, 64)))
    for data in (few, again, flat):
        assert a10_latent_walk.measure(replace(setting, data=data), 1.0, 8, 12) is None
    assert a10_latent_walk.numbers(None) == {}
    (note,) = a10_latent_walk.notes(None)
    assert note.startswith("There is no walk in a latent model: it takes 100 training images or more")
