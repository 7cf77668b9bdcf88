"""Bad data: one clear sentence each, before anything is written."""

import re

import jax.numpy as jnp
import numpy as np
import prepared_sets
import pytest
from PIL import Image

import gaussdiff as gd
import training
from training import Config
from training.data import dataset

X = np.zeros((6, 8, 8, 1), np.uint8)


def image(path, size=(4, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def npy(array):
    return lambda root: np.save(root / "x.npy", array, allow_pickle=True)


def npz(**arrays):
    return lambda root: np.savez(root / "x.npz", **arrays)


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def cut_npy(root):
    np.save(root / "x.npy", X)
    cut(root / "x.npy", -10)


def cut_npz(root):
    np.savez(root / "x.npz", x=X)
    cut(root / "x.npz", -10)


def flipped_npz(root):
    np.savez(root / "x.npz", x=X)
    found = bytearray((root / "x.npz").read_bytes())
    found[300] ^= 1
    (root / "x.npz").write_bytes(found)


def law_of_later(root):
    gd.save(root / "x.npz", gd.Gaussian.from_moments(jnp.zeros(2), np.eye(2)))
    arrays = dict(np.load(root / "x.npz"))
    arrays["gaussdiff.json"] = np.array(str(arrays["gaussdiff.json"]).replace('"gaussdiff": 2', '"gaussdiff": 99'))
    np.savez(root / "x.npz", **arrays)


def images(*sizes, mode="L"):
    return lambda root: [image(root / "set" / f"{i}.png", size, mode) for i, size in enumerate(sizes)]


def cut_image(root):
    path = image(root / "set" / "bad.png", (64, 64))
    Image.effect_noise((64, 64), 50).save(path)
    cut(path, -400)
    image(root / "set" / "good.png", (64, 64))


def text_image(root):
    image(root / "set" / "good.png")
    (root / "set" / "bad.png").write_text("<html>404</html>")


def unlike_classes(root):
    for name in ("train/cat", "train/dog", "test/cow"):
        image(root / "set" / name / "0.png")


def prepared(damage):
    def make(root):
        folder, _ = prepared_sets.write(root / "sets")
        damage(folder, prepared_sets.shard(folder, "test"))

    return make


def begun(root):
    (root / "sets" / "mnist" / "3.0.1.incompleteABC").mkdir(parents=True)


def zeros(path):
    found = path.read_bytes()
    path.write_bytes(found[:2000] + bytes(200) + found[2200:])


def rename_feature(folder, _):
    path = folder / "features.json"
    path.write_text(path.read_text().replace('"image":', '"picture":', 1))


HALF = "data: expected 'tiny' to be whole ... damaged or half-prepared folder ... tiny/1.0.0 ... delete it ... prepare"

# what it is: (how it comes to be, what the error says, in this order)
FOLDERS = {
    "no images": (
        lambda root: (root / "set").mkdir(),
        "data: expected images ... .png ... set, got none ... correct --data",
    ),
    "mixed sizes": (
        images((4, 4), (4, 4), (6, 5)),
        "data: expected images of one size ... 4 x 4 in ... 0.png ... 6 x 5 in ... 2.png ... --image-size",
    ),
    "16 bits": (
        images((4, 4), (4, 4), mode="I;16"),
        "data: expected 8 bits per channel ... 0.png ... I;16 ... convert",
    ),
    "cut image": (cut_image, "data: expected an image ... bad.png ... truncated ... replace or remove it"),
    "no image inside": (text_image, "data: expected an image ... bad.png ... cannot identify ... replace or remove it"),
    "unlike classes": (unlike_classes, "data: expected the classes of ... got cow ... same subfolders"),
}
NPY = {
    "no file": (lambda root: None, "data: expected a file ... x.npy, which is not there ... --data"),
    "objects": (npy(np.array([[{}], [1]])), "data: expected plain arrays ... x.npy ... Python objects"),
    "cut npy": (cut_npy, "data: expected plain arrays ... cannot be read ... np.save"),
    "no array inside": (
        lambda root: (root / "x.npy").write_text("hello"),
        "data: expected plain arrays ... cannot be read",
    ),
    "npz as npy": (
        lambda root: np.savez((root / "x.npy").open("wb"), x=X),
        "data: expected plain arrays ... no .npy file inside",
    ),
    "numbers": (
        npy(np.zeros(9)),
        "data: expected images (N, H, W, C) ... vectors (N, D) ... got shape (9,) ... reshape",
    ),
    "films": (npy(np.zeros((2, 3, 8, 8, 3))), "data: expected images ... got shape (2, 3, 8, 8, 3)"),
    "empty samples": (npy(np.zeros((5, 0))), "data: expected images ... got shape (5, 0)"),
    "channels first": (
        npy(np.zeros((5, 3, 8, 8))),
        "data: expected images (N, H, W, C) ... channels first ... transpose(0, 2, 3, 1)",
    ),
    "integers": (npy(X.astype(np.int64)), "data: expected bytes ... got int64 ... astype"),
    "complex": (npy(np.zeros((5, 2), complex)), "data: expected bytes ... got complex128 ... astype"),
    "one sample": (npy(X[:1]), "data: expected at least 2 samples ... got 1"),
    "NaN": (
        npy(np.where(np.arange(3000)[:, None] == 2500, np.nan, np.ones(2))),
        "data: expected finite ... in sample 2500 ... leave",
    ),
    "too large": (npy(np.full((4, 2), 1e300)), "data: expected finite float32 ... in sample 0"),
    "alike": (npy(X), "held_out: expected samples in both splits ... of 6 ... --held-out"),
}
NPZ = {
    "objects in npz": (
        npz(x=np.array([[{}], [1]])),
        "data: expected plain arrays ... x.npz ... np.savez ... Python objects",
    ),
    "cut npz": (cut_npz, "data: expected plain arrays ... cannot be read ... np.savez"),
    "a wrong bit": (flipped_npz, "data: expected plain arrays ... cannot be read ... CRC ... np.savez"),
    "npy as npz": (
        lambda root: np.save((root / "x.npz").open("wb"), X),
        "data: expected plain arrays ... no .npz file inside",
    ),
    "unknown names": (npz(a=X, b=X), "data: expected ... 'samples' or 'images' or 'x' ... got a, b ... rename"),
    "test without train": (npz(test=X), "data: expected ... 'train' ... got test ... rename"),
    "two names": (npz(x=X, images=X), "both images and x"),
    "unlike parts": (npz(train=X, test=X[:, :4]), "data: expected one shape ... (8, 8, 1) and (4, 8, 1)"),
    "few labels": (npz(x=X, labels=np.arange(5)), "labels: expected shape (6,) ... got (5,)"),
    "float labels": (npz(x=X, labels=np.zeros(6)), "labels: expected integers ... got float64 ... np.unique"),
    "negative labels": (
        npz(x=X, labels=np.arange(6) - 1),
        "labels: expected classes counted from 0 ... got -1 ... number",
    ),
    "huge labels": (
        npz(x=X, labels=np.arange(6) * 99),
        "labels: expected classes counted from 0 ... 495 among 6 ... np.unique",
    ),
    "labels of one part": (
        npz(train=X, test=X, train_labels=np.zeros(6, int)),
        "labels: expected them for both splits ... add",
    ),
    "later law": (law_of_later, "expected layout 2, got 99 ... update gaussdiff"),
}
SETS = {
    "no shard": (prepared(lambda folder, shard: shard.unlink()), HALF),
    "cut shard": (prepared(lambda folder, shard: cut(shard, shard.stat().st_size // 2)), HALF),
    "empty shard": (prepared(lambda folder, shard: cut(shard, 0)), HALF),
    "zeros in a shard": (prepared(lambda folder, shard: zeros(shard)), HALF),
    "no features": (prepared(lambda folder, shard: (folder / "features.json").unlink()), HALF),
    "cut features": (prepared(lambda folder, shard: cut(folder / "features.json", 90)), HALF),
    "cut info": (prepared(lambda folder, shard: cut(folder / "dataset_info.json", 40)), HALF),
    "no pictures": (prepared(rename_feature), "data: 'tiny' expected a split 'train' with a feature 'image'"),
}
TABLES = {"set": FOLDERS, "x.npy": NPY, "x.npz": NPZ, "tiny": SETS}
BAD = {what: (name, *row) for name, table in TABLES.items() for what, row in table.items()}
BAD["no folder"] = ("./set", lambda root: None, "data: expected a known data set, a folder of images ... './set'")
BAD["never prepared"] = (
    "mnist",
    lambda root: None,
    "data: 'mnist' ... not prepared in sets ... TFDS_DATA_DIR ... prepare",
)
BAD["broken off"] = ("mnist", begun, "data: 'mnist' ... interrupted: delete ... 3.0.1.incompleteABC ... prepare")


@pytest.mark.parametrize("what", BAD)
def test_bad_data_are_named_and_nothing_is_written(what, tmp_path, monkeypatch):
    name, make, says = BAD[what]
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        training.train(Config(data=name, data_dir="sets"), tmp_path / "run")
    assert re.search(".*".join(map(re.escape, says.split(" ... "))), str(error.value), re.DOTALL), error.value
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([[1.0, 2.0], [3.0, np.inf]],), "in sample 1"),
        ((X, ["a"] * 6), "labels: expected integers"),
        ((jnp.zeros((4, 2), int),), "got int64"),
    ],
)
def test_arrays_of_a_program_pass_the_same_checks(arguments, says):
    with pytest.raises(ValueError, match=says):
        dataset.from_arrays(*arguments)


def test_only_a_folder_is_resized(tmp_path):
    np.save(tmp_path / "x.npy", X)
    for name in (str(tmp_path / "x.npy"), "digits"):
        with pytest.raises(ValueError, match=r"image_size: expected None for .*, got 4; only a folder"):
            training.train(Config(data=name, image_size=4), tmp_path / "run")
    assert not (tmp_path / "run").exists()
