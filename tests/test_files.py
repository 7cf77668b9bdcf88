"""Distributions and recipes in files come back bit for bit; other files are refused."""

import errno
import functools
import json
import os
import resource

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


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    """A true failure of write(): files of this process may not grow past a size; and one of a read-only disk."""

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    levels = gd.grids.karras(300)
    calls = {
        "law.npz": lambda path, law: gd.save(path, law),
        "recipe.json": lambda path, law: gd.save_recipe(path, gd.Heun(), levels),
    }
    for name, write in calls.items():
        path = tmp_path / name
        path.write_bytes(b"before")
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
        try:
            with pytest.raises(OSError, match=rf"File too large: '.*{name}'"):
                write(path, gd.Empirical(np.zeros((99, 20))))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", refuse)
            with pytest.raises(OSError, match=rf"Read-only file system: '.*{name}'"):
                write(path, LAWS["gaussian"])
        assert path.read_bytes() == b"before"
        path.chmod(0o600)
        write(path, LAWS["gaussian"])
        assert path.stat().st_mode & 0o777 == 0o600, "what was private stays so"
        assert {each.name for each in tmp_path.iterdir()} <= calls.keys(), "nothing half written stays"


def test_a_file_that_was_changed_is_refused_and_what_cannot_be_changed_is_said(tmp_path):
    """A recipe is text, and JSON has no checksum: another number in it is no damage that JSON could see."""
    path = tmp_path / "recipe.json"
    gd.save_recipe(path, gd.DEIS(2, gd.Cosine()), gd.grids.karras(4))
    text = path.read_text()
    for changed in (text.replace('"order": 2', '"order": 3'), text.replace("80.0", "70.0")):
        assert changed != text
        path.write_text(changed)
        with pytest.raises(
            ValueError, match=r"recipe\.json: its content does not have the checksum .* copy, save it again"
        ):
            gd.load_recipe(path)
    path.write_text(json.dumps(json.loads(text)))  # the same content, laid out otherwise
    assert len(gd.load_recipe(path)[1]) == 5


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


@pytest.mark.parametrize("field", ["alpha", "sigma"])
def test_a_recipe_of_the_first_layout_whose_levels_are_no_numbers_is_refused(field, tmp_path):
    path = tmp_path / "recipe.json"
    gd.save_recipe(path, gd.Heun(), gd.grids.karras(4))
    head = json.loads(path.read_text()) | {"gaussdiff": 1}
    del head["sha256"]
    head["arrays"][f"levels.{field}"]["values"][2] = float("nan")
    path.write_text(json.dumps(head))
    with pytest.raises(ValueError, match=rf"recipe\.json: {field}: expected finite and >= 0, got .*nan"):
        gd.load_recipe(path)


@pytest.mark.parametrize(
    ("sampler", "name", "value", "says"),
    [
        (gd.DDIM(0.5), "arrays/sampler.eta/values", -3.0, "eta"),
        (gd.UniPC(2), "sampler/fields/order", 9, "order"),
        (gd.DPMSolver2(), "arrays/sampler.r/values", 0.0, "r"),
        (gd.AFS(gd.IPNDM(3)), "sampler/fields/sampler/fields/order", -1, "order"),
    ],
)
def test_values_that_a_sampler_would_refuse_are_refused_in_a_file(sampler, name, value, says, tmp_path):
    path = tmp_path / "recipe.json"
    gd.save_recipe(path, sampler, gd.grids.karras(4))
    head = json.loads(path.read_text()) | {"gaussdiff": 1}
    del head["sha256"]
    *way, last = name.split("/")
    functools.reduce(lambda part, key: part[key], way, head)[last] = value
    path.write_text(json.dumps(head))
    with pytest.raises(ValueError, match=rf"recipe\.json: {says}: expected"):
        gd.load_recipe(path)


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
