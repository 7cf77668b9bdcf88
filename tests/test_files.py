"""Distributions and recipes in files come back bit for bit; other files are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd

X = np.random.default_rng(2).normal(size=(20, 2, 2))
LAWS = {
    "gaussian": gd.Gaussian.from_samples(X, 2),
    "single": gd.Gaussian.from_samples(X.astype(np.float32)),
    "diagonal": gd.Diagonal.from_samples(X),
    "mixture": gd.GaussianMixture.from_samples(X, 3, key=jax.random.key(0)),
    "data_set": gd.Empirical(X, 0.1, jnp.arange(20.0), chunk=7),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_what_is_saved_is_loaded(law, tmp_path):
    gd.save(tmp_path / "law.npz", law)
    found = gd.load(tmp_path / "law.npz")
    assert jax.tree.structure(found) == jax.tree.structure(law)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(law), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def test_the_file_holds_the_law_alone_and_no_pickle_is_needed_to_read_it(tmp_path):
    gd.save(tmp_path / "law.npz", LAWS["mixture"])
    with np.load(tmp_path / "law.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
        assert len(file.files) == 1 + len(jax.tree.leaves(LAWS["mixture"]))  # beside the arrays, their description


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    (tmp_path / "text.npz").write_text("not an archive")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(ValueError, match=r"path: expected a file that gd\.save wrote"):
            gd.load(tmp_path / name)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        gd.save(tmp_path / "law.txt", LAWS["gaussian"])


RECIPES = zoo.SAMPLERS | {
    "given_rows": gd.LinearMultistep(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)),
    "deis_cosine": gd.DEIS(2, gd.Cosine()),
}


@zoo.over(RECIPES, "sampler")
def test_a_recipe_comes_back_bit_for_bit(sampler, tmp_path):
    levels = gd.reframe(gd.grids.karras(6), gd.VariancePreserving())
    gd.save_recipe(tmp_path / "recipe.json", sampler, levels)
    found = gd.load_recipe(tmp_path / "recipe.json")
    assert jax.tree.structure(found) == jax.tree.structure((sampler, levels))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves((sampler, levels)), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def test_a_recipe_of_other_things_is_refused(tmp_path):
    levels = gd.grids.karras(4)
    for text in ("", "[]", "{}", '{"gaussdiff": 1, "arrays": {}}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match=r"path: expected a file that gd\.save_recipe wrote"):
            gd.load_recipe(tmp_path / "other.json")
    with pytest.raises(ValueError, match=r"ends in \.json"):
        gd.save_recipe(tmp_path / "recipe.npz", gd.Heun(), levels)
    with pytest.raises(ValueError, match="9 steps"):
        gd.save_recipe(tmp_path / "recipe.json", gd.LinearMultistep(np.zeros((9, 1))), levels)
