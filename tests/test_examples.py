"""The examples in docstrings give what they say."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd

# what a newcomer meets first
WITH_EXAMPLES = {
    "NoiseLevel": gd.NoiseLevel,
    "Gaussian.from_samples": gd.Gaussian.from_samples,
    "GaussianMixture.from_samples": gd.GaussianMixture.from_samples,
    "Empirical": gd.Empirical,
    "gaussian_flow": gd.gaussian_flow,
    "sample": gd.sample,
}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_example_gives_what_it_says(name):
    test = doctest.DocTestParser().get_doctest(
        WITH_EXAMPLES[name].__doc__, {"gd": gd, "jax": jax, "jnp": jnp, "np": np}, name, None, None
    )
    assert len(test.examples) >= 2
    assert doctest.DocTestRunner().run(test).failed == 0
