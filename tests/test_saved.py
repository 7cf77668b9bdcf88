"""Files that an earlier layout of the package wrote still load, and give the answers that were stored beside them.

tests/saved/ was written before the engine was split into folders, by gd.save and gd.save_recipe of that version, in
float32; answers.npz has the inputs and what that version answered. The files stay as they are: a change that cannot read
them breaks the files of users.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd

SAVED = Path(__file__).parent / "saved"
ANSWERS = dict(np.load(SAVED / "answers.npz"))
LEVEL = gd.NoiseLevel(jnp.float32(0.8), jnp.float32(0.6))
LAWS = {"gaussian": gd.Gaussian, "diagonal": gd.Diagonal, "mixture": gd.GaussianMixture, "empirical": gd.Empirical}
RECIPES = {
    "multistep": gd.LinearMultistep,
    "switch": gd.SwitchAt,
    "unipc": gd.UniPC,
    "exponential": gd.ExponentialSDE,
}


@pytest.mark.parametrize("name", LAWS)
def test_distributions_of_before_load_and_answer(name):
    law, x = gd.load(SAVED / f"{name}.npz"), jnp.asarray(ANSWERS["x"])
    assert type(law) is LAWS[name]
    for question, answer in (
        ("denoise", law.denoise(x, LEVEL)),
        ("log_prob", law.log_prob(x, LEVEL)),
        ("score", law.score(x, LEVEL)),
    ):
        assert answer.dtype == jnp.float32
        np.testing.assert_allclose(answer, ANSWERS[f"{name}.{question}"], rtol=1e-4, atol=1e-5, err_msg=question)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_before_load_and_sample(name):
    mean, *cov = ANSWERS["target"]
    sampler, levels = gd.load_recipe(SAVED / f"{name}.json")
    assert type(sampler) is RECIPES[name]
    x = gd.sample(sampler, gd.Gaussian.from_moments(mean, np.array(cov)), ANSWERS["start"], levels).x[-1]
    np.testing.assert_allclose(x, ANSWERS[f"{name}.x"], rtol=1e-3, atol=1e-3)
