"""Guided denoisers: scores of a product at each level, and of a shifted Gaussian where both have one covariance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

COV = np.array([[1.5, 0.4], [0.4, 0.5]])
WIDE = gd.Gaussian.from_moments(np.zeros(2), COV + 1.0)
MIXTURE = gd.GaussianMixture.from_samples(np.random.default_rng(0).normal(size=(60, 2)), 3, key=jax.random.key(0))
X = jnp.array([0.7, -1.3])


@pytest.mark.slow
@pytest.mark.parametrize("weight", [-0.5, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("level", [gd.NoiseLevel(1.0, 0.3), gd.NoiseLevel(0.6, 0.8)], ids=["alpha_1", "vp"])
def test_the_score_is_the_gradient_of_the_product_s_log_density(weight, level):
    """By autodiff through the densities, for laws of unlike shape."""
    guided = gd.Guided(MIXTURE, WIDE, weight)
    product = jax.grad(lambda x: weight * MIXTURE.log_prob(x, level) + (1 - weight) * WIDE.log_prob(x, level))
    np.testing.assert_allclose(gd.score(guided, X, level), product(X), rtol=1e-9)


def test_two_gaussians_of_one_covariance_make_the_one_beyond_them():
    """So the flow of the guided denoiser is that Gaussian's, in closed form."""
    model, base = (gd.Gaussian.from_moments(np.array(mean), COV) for mean in ([1.0, 2.0], [-1.0, 0.5]))
    beyond = gd.Gaussian.from_moments(np.array([3.0, 3.5]), COV)
    levels = gd.grids.karras(8)
    paths = [gd.sample(gd.Heun(), law, X, levels).x for law in (gd.Guided(model, base, 2.0), beyond)]
    np.testing.assert_allclose(*paths, rtol=1e-9, atol=1e-12)


def test_a_guided_denoiser_keeps_the_dtype_and_compiles_once_for_all_weights():
    traces = []

    @jax.jit
    def ask(model, x, level):
        traces.append(None)
        return model.denoise(x, level)

    for weight in (0.0, 1.0, 2.0):
        small = zoo.cast((gd.Guided(MIXTURE, WIDE, weight), X, gd.NoiseLevel(jnp.asarray(1.0), jnp.asarray(0.5))))
        assert ask(*small).dtype == jnp.float32
    assert len(traces) == 1
