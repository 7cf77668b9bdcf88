"""Files that the version before the packages wrote still load and answer as they did: classes are named inside them.

tests/saved holds a file of each law and of several recipes, and in answers.npz what that version answered, in float32.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd

SAVED = Path(__file__).parent / "saved"
LAWS = ("Gaussian", "Diagonal", "GaussianMixture", "Empirical")
RECIPES = sorted(path.stem for path in SAVED.glob("*.json"))
X, START = jnp.asarray([0.3, -0.2, 1.5], jnp.float32), jnp.asarray([30.0, -50.0, 10.0], jnp.float32)


@pytest.fixture(scope="module")
def answers():
    with np.load(SAVED / "answers.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_that_was_saved_before_answers_as_it_did(name, answers):
    law = gd.load(SAVED / f"{name}.npz")
    level = gd.NoiseLevel(0.8, 0.6)
    assert type(law) is getattr(gd, name)
    np.testing.assert_allclose(law.denoise(X, level), answers[f"{name}_denoise"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(law.log_prob(X, level), answers[f"{name}_log_prob"], rtol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_was_saved_before_ends_where_it_did(name, answers):
    sampler, levels = gd.load_recipe(SAVED / f"{name}.json")
    assert type(sampler) is getattr(gd, name)
    end = gd.sample(sampler, gd.load(SAVED / "Gaussian.npz"), START, levels).x[-1]
    np.testing.assert_allclose(end, answers[f"{name}_end"], rtol=1e-4, atol=1e-4)


def test_every_kind_of_file_has_a_fixture():
    assert len(RECIPES) >= 6
    assert {f"{name}.npz" for name in LAWS} <= {path.name for path in SAVED.iterdir()}
