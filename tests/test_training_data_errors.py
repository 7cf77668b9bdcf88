"""Bad data: one clear sentence each, before anything is written."""

import dataclasses
import itertools
import re
import warnings

import jax.numpy as jnp
import numpy as np
import prepared_sets
import pytest
from PIL import Image

import gaussdiff as gd
import training
from training import Config, runs, start
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
        "data: expected one image ... 8 bits per channel, got 16 bits ... 0.png ... convert",
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
        "data: expected images (N, H, W, C) ... vectors (N, D) ... got shape (9,) ... x[:, None]",
    ),
    "films": (npy(np.zeros((2, 3, 8, 8, 3))), "data: expected images ... got shape (2, 3, 8, 8, 3)"),
    "empty samples": (npy(np.zeros((5, 0))), "data: expected images ... got shape (5, 0)"),
    "channels first": (
        npy(np.zeros((5, 3, 8, 8))),
        "data: expected images (N, H, W, C) ... channels first ... transpose(0, 2, 3, 1)",
    ),
    "integers": (npy(X.astype(np.int64)), "data: expected bytes ... got int64 ... astype"),
    "complex": (npy(np.zeros((5, 2), complex)), "data: expected bytes ... got complex128 ... x.real"),
    "one sample": (npy(X[:1]), "data: expected at least 2 samples ... got 1"),
    "NaN": (
        npy(np.where(np.arange(3000)[:, None] == 2500, np.nan, np.ones(2))),
        "data: expected finite ... in sample 2500 ... leave",
    ),
    "too large": (npy(np.full((4, 2), 1e300)), "data: expected finite float32 ... in sample 0"),
    "alike": (
        npy(X),
        "held_out: expected samples in both splits, got 0 of 6 ... all of them are equal ... add other samples",
    ),
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
        "labels: expected every class from 0 to 5 ... from -1 to 4 ... -1 (1) -> 0 ... np.unique",
    ),
    "huge labels": (
        npz(x=X, labels=np.arange(6) * 99),
        "labels: expected every class from 0 to 5 ... from 0 to 495 ... 495 (1) -> 5 ... np.unique",
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
        with pytest.raises(
            ValueError, match=r"image_size: expected None for .*, got 4; only a folder.*drop --image-size"
        ):
            training.train(Config(data=name, image_size=4), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def warned(x):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset.from_arrays(x)
    return [str(each.message) for each in caught]


TINY = Config(data="program", channels=8, blocks=1, channel_mult=(1,), attention=(), labels=True, steps=0)
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(40, 3)).astype(np.float32)
PICTURES = RNG.integers(0, 256, (40, 8, 8, 3), np.uint8)
ONES = np.eye(4, dtype=int)[np.arange(40) % 4]
FIELDS = np.array(list(map(tuple, POINTS.tolist())), [("a", "f4"), ("b", "f4"), ("c", "f4")])
# what it is: the samples and their labels, whose error ends in the line that mends them
CURED = {
    "uint16": (PICTURES.astype(np.uint16) * 257, None),
    "int64 as pixels": (PICTURES.astype(np.int64), None),
    "integers below 0": ((POINTS * 1000).astype(np.int32), None),
    "booleans": (PICTURES > 100, None),
    "zeros and ones": ((PICTURES > 100).astype(int), None),
    "complex": (POINTS + 1j * POINTS[::-1], None),
    "objects": (POINTS.astype(object), None),
    "digits in strings": (POINTS.astype(str), None),
    "fields": (FIELDS, None),
    "numbers": (POINTS[:, 0], None),
    "channels first": (np.moveaxis(PICTURES, -1, 1), None),
    "films": (PICTURES[:, None], None),
    "NaN": (np.where(np.arange(40)[:, None] == 7, np.nan, POINTS), None),
    "labels from 1": (POINTS, np.arange(40) % 3 + 1),
    "labels with gaps": (POINTS, np.array([0, 5, 9])[np.arange(40) % 3]),
    "labels below 0": (POINTS, np.arange(40) % 3 - 1),
    "labels as floats": (POINTS, (np.arange(40) % 3).astype(float)),
    "labels as booleans": (POINTS, np.arange(40) % 2 == 0),
    "labels as names": (POINTS, np.array(["cat", "dog"])[np.arange(40) % 2]),
    "labels as rows": (POINTS, ONES),
    "labels as bytes with a gap": (POINTS, (np.arange(40) % 3 * 100).astype(np.uint8)),
}


@pytest.mark.parametrize("what", CURED)
def test_the_line_at_the_end_of_an_error_mends_the_data(what):
    x, labels = CURED[what]
    with pytest.raises(ValueError, match=r"^(data|labels): expected .*, got .*[;:] (x|labels) = ") as error:
        dataset.from_arrays(x, labels)
    line = re.split(r"[;:] (?=(?:x|labels) = )", str(error.value))[-1]
    names = {"np": np, "x": x, "labels": labels}
    exec(line, names)
    made = dataset.from_arrays(names["x"], names["labels"])
    assert np.abs(made.train).max() <= max(1, np.abs(POINTS).max())
    if labels is not None:
        assert made.classes == len(np.unique(labels, axis=0))
        both = np.concatenate([made.train_labels, made.held_out_labels])
        # the same samples are alike as before, whatever the classes are called
        expected = np.unique(labels, axis=0, return_inverse=True, return_counts=True)[2]
        assert sorted(np.bincount(both)) == sorted(expected)


def test_labels_of_two_splits_are_numbered_together(tmp_path):
    parts = {"train": POINTS, "test": POINTS + 1, "train_labels": np.arange(40) % 3 + 1, "test_labels": ONES[:, 0] + 1}
    np.savez(tmp_path / "x.npz", **parts)
    with pytest.raises(ValueError, match=r"1 \(44\) -> 0, 2 \(23\) -> 1, 3 \(13\) -> 2; labels = ") as error:
        dataset.load(str(tmp_path / "x.npz"))
    line = str(error.value).split("; labels = ")[1]
    for name in ("train_labels", "test_labels"):
        mapped = eval(line, {"np": np, "labels": parts[name], **{k: parts[k] for k in parts if "labels" in k}})
        np.testing.assert_array_equal(mapped, parts[name] - 1)


def test_a_split_that_is_empty_names_a_fraction_that_is_not():
    for held_out, first in itertools.product((1e-9, 1 - 1e-9), range(0, 40, 2)):
        pair = POINTS[first : first + 2]
        with pytest.raises(ValueError, match=r"of 2 held out.*set held_out \(--held-out\) to 0\.\d+") as error:
            dataset.from_arrays(pair, held_out=held_out)
        fraction = float(re.findall(r"to (0\.\d+)", str(error.value))[0])
        assert len(dataset.from_arrays(pair, held_out=fraction).held_out) == 1
    with pytest.raises(ValueError, match=r"got 0 of 50 .* all of them are equal.*add other samples$"):
        dataset.from_arrays(np.ones((50, 2)))


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (PICTURES / 255, r"got 0 to 1, .*; rescale it: x = 2 \* x - 1$"),
        (PICTURES[..., 0].astype(np.float32), r"got 0 to 255, .*x = x / 127\.5 - 1$"),
        (
            RNG.normal(size=(40, 128, 2)),
            r"\(40, 128, 2\) is taken for 40 images of 128 x 2 .*x\.reshape\(len\(x\), -1\)$",
        ),
        (RNG.normal(size=(40, 1, 32)), r"40 images of 1 x 32"),
        (PICTURES[0], r"\(8, 8, 3\) is taken for 8 images of 8 x 3"),
    ],
)
def test_data_that_are_unlikely_to_be_meant_are_trained_on_with_a_warning(x, says):
    (message,) = warned(x)
    assert re.search(says, message), message
    if "x = " in message:
        names = {"x": x}
        exec("x = " + message.rsplit(" x = ", 1)[1], names)
        assert warned(names["x"]) == []


@pytest.mark.parametrize(
    "x", [PICTURES, PICTURES / 127.5 - 1, POINTS, np.abs(POINTS) / 10, RNG.normal(size=(40, 8, 8))]
)
def test_usual_data_bring_no_warning(x):
    assert warned(x) == []


def test_numbers_are_the_same_in_any_layout():
    numbers = PICTURES / 127.5 - 1
    expected = dataset.from_arrays(numbers)
    for x in (numbers.astype(">f8"), np.asfortranarray(numbers), numbers[::-1].copy()[::-1]):
        found = dataset.from_arrays(x)
        np.testing.assert_array_equal(found.train, expected.train)
        assert found.train.dtype == np.dtype("=f4")


@pytest.mark.parametrize("x", [np.zeros((0, 2)), np.zeros((0, 8, 8, 1), np.uint8), [], [[1.0, 2.0], [3.0]], 3.0, None])
def test_what_is_no_set_of_samples_is_named(x):
    with pytest.raises(ValueError, match=r"^data: expected .*, got .*; "):
        dataset.from_arrays(x)


def test_a_run_is_not_conditioned_on_a_class_without_training_samples(tmp_path):
    train, held_out = (dataset.Rows(part) for part in (POINTS, POINTS[:5]))
    rare = dataset.Dataset(train, held_out, np.arange(40) % 3, np.array([0, 1, 2, 3, 3]), 4)
    with pytest.raises(
        ValueError, match=r"labels: .* every class from 0 to 3, got none of 3, with 2 held-out .*--labels"
    ):
        training.train(TINY, tmp_path / "run", rare)
    assert not (tmp_path / "run").exists()
    training.train(dataclasses.replace(TINY, labels=False), tmp_path / "run", rare)


def test_a_run_of_an_earlier_version_goes_on_with_labels_that_have_gaps(tmp_path, monkeypatch):
    """Its classes were the largest label + 1."""
    x = tmp_path / "x.npz"
    np.savez(x, x=POINTS, labels=np.arange(40) % 3 + 1)
    with pytest.raises(ValueError, match=r"1 \(14\) -> 0, 2 \(13\) -> 1, 3 \(13\) -> 2; labels = "):
        dataset.load(str(x))
    begun = dataset.load(str(x), classes=4)
    assert (begun.classes, set(begun.train_labels)) == (4, {1, 2, 3})
    with pytest.raises(ValueError, match="labels: expected every class"):
        dataset.load(str(x), classes=3)
    config = dataclasses.replace(TINY, data=str(x))
    with pytest.raises(ValueError, match="got none of 0, with 0 held-out samples"):
        training.train(config, tmp_path / "run", begun)
    with monkeypatch.context() as earlier:
        earlier.setattr(start, "check_classes", lambda data: None)
        training.train(config, tmp_path / "run", begun)
    assert training.train(config, tmp_path / "run").classes == 4
    assert runs.load_data(tmp_path / "run").classes == 4


@pytest.mark.parametrize("labels", [np.arange(40) % 5, np.arange(40) % 4 - 1])
def test_a_data_set_of_a_program_has_its_classes(labels, tmp_path):
    wrong = dataset.Dataset(dataset.Rows(POINTS), dataset.Rows(POINTS), labels, labels, 4)
    with pytest.raises(ValueError, match=r"labels: expected 0 <= label < 4, .* got -?\d to \d; .*from_arrays"):
        training.train(TINY, tmp_path / "run", wrong)


@pytest.mark.parametrize("x", [(PICTURES > 253).astype(np.uint8) * 3, POINTS * 1e4, POINTS / 1e4 + 7])
def test_data_of_another_scale_are_standardised_by_the_line_of_the_error(x):
    with pytest.raises(ValueError, match=r"data: expected a standard deviation .*, x = ") as error:
        start.sigma_data(None, dataset.from_arrays(x))
    line = re.findall(r", (x = .*), or set", str(error.value))[0]
    names = {"x": x}
    exec(line, names)
    assert start.sigma_data(None, dataset.from_arrays(names["x"])) == pytest.approx(1, abs=0.2)
