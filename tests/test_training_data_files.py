"""Folders of images, .npy and .npz files and distributions: the same picture is the same sample in each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import prepared_sets
import pytest
from PIL import Image

import gaussdiff as gd
from training.data import dataset as data

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 4, 3), np.uint8)
LABELS = np.arange(40) % 3


def save_images(folder, pixels, names=None, mode=None):
    for i, each in enumerate(pixels):
        path = folder / (names[i] if names else f"{i:03}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(each)
        (image.convert(mode) if mode else image).save(path)
    return folder


def same(one, other):
    for name in ("train", "held_out", "train_labels", "held_out_labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.classes == other.classes


def everything(dataset):
    return np.concatenate([dataset.train, dataset.held_out])


def test_one_set_is_split_alike_from_every_kind_of_file(tmp_path):
    expected = data.from_arrays(PIXELS, LABELS)
    # A second way to the values: through Python's own integers.
    for row in (everything(expected)[0], everything(expected)[-1]):
        found = np.round((row.astype(np.float64) + 1) * 127.5)
        np.testing.assert_allclose(row, found / 127.5 - 1, atol=1e-7)
        assert (found == PIXELS).all((1, 2, 3)).sum() == 1
    folder = save_images(tmp_path / "set", PIXELS, [f"{'abc'[k]}/{i:03}.png" for i, k in enumerate(LABELS)])
    np.savez(tmp_path / "set.npz", images=PIXELS, labels=LABELS[:, None], seed=3)
    floats = PIXELS.astype(np.float32) / np.float32(127.5) - np.float32(1)
    np.save(tmp_path / "floats.npy", floats.astype(np.float64))
    same(data.load(str(tmp_path / "set.npz")), expected)
    unlabelled = data.load(str(tmp_path / "floats.npy"))
    np.testing.assert_array_equal(unlabelled.train, expected.train)
    found = data.load(str(folder))  # in the order of its files
    assert found.classes == 3
    for part in ("train", "held_out"):
        pairs = [
            {(x.tobytes(), int(k)) for x, k in zip(getattr(d, part), getattr(d, f"{part}_labels"), strict=True)}
            for d in (found, expected)
        ]
        assert pairs[0] == pairs[1]


def test_some_of_a_set_in_the_order_of_its_classes_has_some_of_each():
    assert np.array_equal(data.spread(5, 9), np.arange(5))
    labels = np.repeat(np.arange(4), 250)
    assert np.bincount(labels[data.spread(1000, 40)]).tolist() == [10, 10, 10, 10]
    assert len(np.unique(data.spread(1000, 999))) == 999


def test_an_npy_is_mapped_and_read_a_batch_at_a_time(tmp_path):
    np.save(tmp_path / "set.npy", PIXELS)
    rows = data.load(str(tmp_path / "set.npy")).train_rows
    assert isinstance(rows.stored, np.memmap)
    some = rows[np.array([3, 1])]
    assert (some.dtype, some.shape) == (np.float32, (2, 6, 4, 3))
    np.testing.assert_array_equal(some, rows[:][[3, 1]])
    assert rows.nbytes == rows[:].nbytes
    for chunk in (1, 7, 100):
        assert rows.std(chunk) == pytest.approx(rows[:].std(dtype=np.float64), rel=1e-12)


def test_a_split_already_made_is_kept(tmp_path):
    np.savez(tmp_path / "set.npz", x_train=PIXELS[:30, ..., 0], x_test=PIXELS[30:, ..., 0], y_train=LABELS[:30],
             y_test=LABELS[30:])  # fmt: skip
    found = data.load(str(tmp_path / "set.npz"))
    assert (found.shape, found.classes) == ((6, 4, 1), 3)
    np.testing.assert_array_equal(found.train_labels, LABELS[:30])
    save_images(
        tmp_path / "set", PIXELS, [f"{'train' if i < 30 else 'val'}/{k}/{i:03}.png" for i, k in enumerate(LABELS)]
    )
    folder = data.load(str(tmp_path / "set"))
    assert (len(folder.train), len(folder.held_out), folder.classes) == (30, 10, 3)
    np.testing.assert_array_equal(folder.held_out_labels, np.sort(LABELS[30:]))


def test_a_law_is_drawn_from_and_vectors_are_taken(tmp_path):
    law = gd.Gaussian.from_moments(jnp.array([1.0, -2.0, 0.5]), np.diag([1.0, 4.0, 0.25]))
    gd.save(tmp_path / "law.npz", law)
    drawn = data.load(str(tmp_path / "law.npz"))
    x = everything(drawn).astype(np.float64)
    assert x.shape == (data.DRAWN, 3)
    # one sample for each key, whatever is drawn at once
    alone = np.asarray(jax.vmap(law.sample)(jax.random.split(jax.random.key(0), data.DRAWN)))
    np.testing.assert_allclose(np.sort(x, 0), np.sort(alone, 0), atol=1e-5)
    # five standard errors: false alarms 4e-6
    assert (np.abs(x.mean(0) - [1, -2, 0.5]) < 5 * np.array([1, 2, 0.5]) / 100).all()
    assert (np.abs(x.std(0) / [1, 2, 0.5] - 1) < 5 / np.sqrt(2 * len(x))).all()
    np.save(tmp_path / "vectors.npy", x)
    np.testing.assert_array_equal(np.sort(everything(data.load(str(tmp_path / "vectors.npy"))), 0), np.sort(x, 0))


def test_grey_stays_grey_and_transparency_is_dropped(tmp_path):
    grey = PIXELS[..., 0]
    assert data.load(str(save_images(tmp_path / "grey", grey))).shape == (6, 4, 1)
    mixed = save_images(tmp_path / "mixed", grey[:20])
    save_images(mixed / "more", PIXELS[20:])
    found = data.load(str(mixed))
    assert (found.shape, found.classes) == ((6, 4, 3), None)
    alpha = np.concatenate([PIXELS, np.zeros_like(PIXELS[..., :1])], -1)
    expected = data.from_arrays(PIXELS)
    np.testing.assert_array_equal(data.load(str(save_images(tmp_path / "alpha", alpha))).train, expected.train)


def test_images_are_turned_upright_and_cropped_about_their_centre(tmp_path):
    wide = np.random.default_rng(1).integers(0, 256, (20, 4, 8), np.uint8)
    lying = Image.Exif()
    lying[0x0112] = 6  # to be turned clockwise before it is looked at
    (tmp_path / "set").mkdir()
    for i, each in enumerate(wide):
        stored, exif = (Image.fromarray(each), None) if i % 2 else (Image.fromarray(np.rot90(each).copy()), lying)
        stored.save(tmp_path / "set" / f"{i:02}.png", exif=exif)
    same(data.load(str(tmp_path / "set")), data.from_arrays(wide))
    same(data.load(str(tmp_path / "set"), image_size=4), data.from_arrays(wide[:, :, 2:6]))


def test_resizing_keeps_straight_lines(tmp_path):
    # Half the size: pixel j lies over 2j and 2j + 1, so that a ramp has there its value at 2j + 1/2.
    starts = np.arange(20)
    ramps = np.broadcast_to(starts[:, None, None] + 4 * np.arange(48), (20, 32, 48)).astype(np.uint8)
    found = everything(data.load(str(save_images(tmp_path / "set", ramps)), image_size=16))
    bytes_ = (found[..., 0] + 1) * 127.5
    expected = 4 * (8 + 2 * np.arange(16) + 0.5) + starts[:, None, None]
    order = np.argsort(bytes_[:, 0, 8])
    np.testing.assert_allclose(
        bytes_[order][:, :, 3:-3], np.broadcast_to(expected, bytes_.shape)[:, :, 3:-3], atol=0.51
    )


@pytest.mark.parametrize("shape", [(1, 64, 2), (3, 8, 4), (4, 6, 1)])
def test_images_of_few_rows_are_not_taken_for_channels_first(shape, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(-1, 1, (20, *shape)))
    assert data.load(str(tmp_path / "x.npy")).shape == shape


def test_one_small_image_is_enough_to_sharpen(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS[:1])
    np.testing.assert_array_equal(data.read_images(tmp_path / "x.npy"), data.images(PIXELS[:1]))
    np.save(tmp_path / "x.npy", PIXELS[:0])
    with pytest.raises(ValueError, match="data: expected at least 1 samples, got 0"):
        data.read_images(tmp_path / "x.npy")


def test_a_prepared_set_is_read_whole(tmp_path):
    _, pixels = prepared_sets.write(tmp_path)
    found = data.load("tiny", data_dir=str(tmp_path))
    np.testing.assert_allclose(found.train, pixels / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(found.held_out_labels, np.arange(prepared_sets.COUNT) % 3)


def test_an_unfinished_version_is_not_taken_for_the_newest(tmp_path):
    folder, _ = prepared_sets.write(tmp_path)
    (tmp_path / "tiny" / "1.0.0.incompleteABC").mkdir()
    (tmp_path / "tiny" / "1.0.0.incompleteABC" / "dataset_info.json").touch()
    assert data.prepared.folder("tiny", str(tmp_path)) == folder


def test_a_bare_name_is_a_set_and_a_path_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared_sets.write(tmp_path / "sets")
    save_images(tmp_path / "tiny", PIXELS)
    assert data.load("tiny", data_dir="sets").shape == (4, 4, 1)
    assert data.load("./tiny", data_dir="sets").shape == (6, 4, 3)
    assert data.load("tiny", data_dir="elsewhere").shape == (6, 4, 3)
