"""Folders of images, .npy and .npz files and distributions: the same picture is the same sample in each of them."""

import contextlib
import errno
import io
import os
import shutil
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import odd_images
import PIL
import prepared_sets
import pytest
from PIL import Image, ImageCms

import gaussdiff as gd
from training.data import dataset as data
from training.data import folder as folder_of_images
from training.data import pictures, prepared

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


GREY, DEEP = PIXELS[0, ..., 0], np.random.default_rng(2).integers(0, 65536, (6, 4, 4)).astype(np.uint16)
FRAMES = [Image.fromarray(each) for each in PIXELS[:3]]
ROTATED = Image.Exif()
ROTATED[0x0112] = 6


def stored(image, name, **options):
    return lambda folder: image.save(folder / name, **options)


def palette(colors, name, **options):
    image = Image.new("P", (4, 6))
    image.putdata((GREY // 64).ravel().tolist())
    image.putpalette(np.ravel(colors).tolist())
    return stored(image, name, **options)


def plain(name, head, x):
    return lambda folder: (folder / name).write_bytes(head + x.tobytes())


def lab(folder):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    ImageCms.profileToProfile(FRAMES[0], *profiles, outputMode="LAB").save(folder / "x.tif")


GREYS = np.array([[v, v, v] for v in (0, 80, 160, 255)], np.uint8)
COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 8, 7]], np.uint8)
# how the file is made, and the pixels (H, W, C) that it holds
LOADED = {
    "grey palette": (palette(GREYS, "x.png"), GREYS[GREY // 64][..., :1]),
    "grey palette, bmp": (palette(GREYS, "x.bmp"), GREYS[GREY // 64][..., :1]),
    "grey palette, tiff": (palette(GREYS, "x.tif"), GREYS[GREY // 64][..., :1]),
    "grey palette, transparent": (palette(GREYS, "x.png", transparency=1), GREYS[GREY // 64][..., :1]),
    "palette": (palette(COLORS, "x.png"), COLORS[GREY // 64]),
    "palette, transparent": (palette(COLORS, "x.png", transparency=1), COLORS[GREY // 64]),
    "one bit": (stored(Image.fromarray(GREY > 99), "x.png"), 255 * (GREY > 99)[..., None]),
    "white is 0": (lambda folder: odd_images.tiff(folder / "x.tif", GREY, 0, 1), 255 - GREY[..., None]),
    "grey and alpha": (stored(Image.fromarray(np.dstack([GREY, 255 - GREY])), "x.png"), GREY[..., None]),
    "four bits, ppm": (plain("x.pgm", b"P5 4 6 15\n", GREY // 16), (GREY // 16 * 17)[..., None]),
    "lossless webp": (stored(FRAMES[0], "x.webp", lossless=True), PIXELS[0]),
    "rotated tiff": (stored(Image.fromarray(np.rot90(GREY).copy()), "x.tif", exif=ROTATED), GREY[..., None]),
    "upper case": (stored(FRAMES[0], "X.PNG"), PIXELS[0]),
}
# how the file is made, what the error says of it, and the pixels after its line was followed, within 1 (None: any)
REFUSED = {
    "48-bit png": (lambda f: odd_images.png(f / "x.png", DEEP[..., :3], 2), "16 bits per", DEEP[..., :3] // 256),
    "64-bit png": (lambda f: odd_images.png(f / "x.png", DEEP, 6), "16 bits per", DEEP[..., :3] // 256),
    "deep grey, alpha": (lambda f: odd_images.png(f / "x.png", DEEP[..., :2], 4), "16 bits per", DEEP[..., :1] // 256),
    "deep grey png": (lambda f: odd_images.png(f / "x.png", DEEP[..., 0], 0), "16 bits per", DEEP[..., :1] // 256),
    "deep grey tiff": (lambda f: odd_images.tiff(f / "x.tif", DEEP[..., 0], 1, 1), "16 bits", DEEP[..., :1] // 256),
    "deep tiff": (lambda f: odd_images.tiff(f / "x.tif", DEEP[..., :3], 2, 1), "16 bits per", DEEP[..., :3] // 256),
    "deep ppm": (plain("x.ppm", b"P6 4 6 65535\n", DEEP[..., :3].astype(">u2")), "16 bits", DEEP[..., :3] // 256),
    "10 bits": (plain("x.pgm", b"P5 4 6 1023\n", (DEEP[..., 0] >> 6).astype(">u2")), "10 bits", DEEP[..., :1] // 256),
    "floats": (lambda f: odd_images.tiff(f / "x.tif", np.float32(GREY / 255), 1, 3), "floating-point", None),
    "signed 32 bits": (lambda f: odd_images.tiff(f / "x.tif", np.int32(GREY) - 9, 1, 2), "signed or", None),
    "cmyk jpeg": (stored(FRAMES[0].convert("CMYK"), "x.jpg"), "CMYK", None),
    "cmyk tiff": (stored(FRAMES[0].convert("CMYK"), "x.tif"), "CMYK", PIXELS[0]),
    "lab": (lab, "CIELAB", None),
    "pages": (stored(FRAMES[0], "x.tif", save_all=True, append_images=FRAMES[1:]), "3 pages", PIXELS[0]),
    "animated png": (stored(FRAMES[0], "x.png", save_all=True, append_images=FRAMES[1:]), "3 pages", PIXELS[0]),
    "animated webp": (stored(FRAMES[0], "x.webp", save_all=True, append_images=FRAMES[1:]), "3 pages", None),
}  # fmt: skip


def pixels_in(folder):
    return folder_of_images.read(folder, None)[0]["train"][0][0]


@pytest.mark.parametrize("what", LOADED)
def test_an_image_is_what_its_file_holds(what, tmp_path):
    make, expected = LOADED[what]
    make(tmp_path)
    np.testing.assert_array_equal(pixels_in(tmp_path), expected)


@pytest.mark.parametrize("what", REFUSED)
def test_an_image_that_bytes_do_not_hold_is_refused_with_a_line_that_converts_it(what, tmp_path):
    make, says, expected = REFUSED[what]
    make(tmp_path)
    (path,) = tmp_path.iterdir()
    with pytest.raises(ValueError, match=rf"^data: expected one image .* got .*{says}.* in .*{path.name}; ") as error:
        pixels_in(tmp_path)
    exec(str(error.value).split(": ")[-1], {"PIL": PIL, "np": np, "path": path})
    found = pixels_in(tmp_path)
    assert found.shape[:2] == (6, 4)
    assert np.ptp(found) > 100
    if expected is not None:
        np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize("x", [GREY.astype(np.int8), DEEP[..., 0].astype(np.uint32) << 16])
def test_numbers_that_pillow_wraps_are_refused(x, tmp_path):
    odd_images.tiff(tmp_path / "x.tif", x, 1, 2 if x.dtype == np.int8 else 1)
    with pytest.raises(ValueError, match=r"signed numbers of (8|32) bits in .*; give an \.npy of floats"):
        pixels_in(tmp_path)


def test_a_photo_with_its_preview_is_the_photo(tmp_path):
    FRAMES[0].save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=FRAMES[1:])
    assert pixels_in(tmp_path).shape == (6, 4, 3)


def test_colours_of_another_profile_are_said(tmp_path):
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(*(
        name.encode("utf-16-be") for name in ("sRGB", "wide")
    ))  # fmt: skip
    for i, profile in enumerate((None, other, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())):
        FRAMES[i].save(tmp_path / f"{i}.png", icc_profile=profile)
    with pytest.warns(UserWarning, match=r"1 of 3 images have a colour profile other than sRGB, .*1\.png") as caught:
        np.testing.assert_array_equal(folder_of_images.read(tmp_path, None)[0]["train"][0], PIXELS[:3])
    line = str(caught[0].message).split("such files: ")[1]
    exec(line, {"PIL": PIL, "io": io, "path": tmp_path / "1.png"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = folder_of_images.read(tmp_path, None)[0]["train"][0]
    assert np.abs(found.astype(int) - PIXELS[:3]).max() <= 2  # the numbers of that profile are those of sRGB


def touch(*names, content=b"no image"):
    def make(root):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)

    return make


def link(name, to):
    return lambda root: (root / name).symlink_to(to)


def copied(name):
    """Images as such programs put them beside a user's own."""
    return lambda root: save_images(root / name, PIXELS[:2, ::-1])


# what systems and programs put into a folder with the classes "cat" and "dog"
ADDED = {
    "hidden file": touch(".DS_Store", ".hidden.png", "cat/.hidden.png"),
    "hidden folder": copied(".ipynb_checkpoints"),
    "hidden folder in a class": copied("cat/.ipynb_checkpoints"),
    "git": copied(".git/objects"),
    "thumbnails": copied("cat/@eaDir/0.png"),
    "thumbnails of a class": copied("@eaDir"),
    "zip of macOS": touch("__MACOSX/cat/._0.png", "cat/._0.png"),
    "Windows": touch("Thumbs.db", "cat/Thumbs.db", "desktop.ini"),
    "text": touch("README.md", "cat/labels.txt"),
    "recycle bin": copied("$RECYCLE.BIN"),
    "circle": link("again", "."),
    "circle in a class": link("cat/again", ".."),
    "circle above": link("above", "../.."),
    "link to a class": link("another", "cat"),
    "link to a class, last": link("zoo", "cat"),
}


@pytest.mark.parametrize("what", ADDED)
@pytest.mark.parametrize("inside", ["", ".data"])
def test_what_a_system_adds_to_a_folder_is_no_image_and_no_class(what, inside, tmp_path):
    root = save_images(
        tmp_path / inside / "set", PIXELS[:6], [f"{'cat' if i < 4 else 'dog'}/{i}.png" for i in range(6)]
    )
    ADDED[what](root)
    splits, classes = folder_of_images.read(root, None)
    np.testing.assert_array_equal(splits["train"][0], PIXELS[:6])
    assert (splits["train"][1].tolist(), classes) == ([0, 0, 0, 0, 1, 1], 2)


# what is damaged in a folder with the classes "cat" and "dog", and what the error says
DAMAGED = {
    "empty file": (
        touch("dog/9.png", content=b""),
        r"got 1 files without one: .*9\.png \(0 bytes\); replace or remove",
    ),
    "broken link": (link("dog/9.png", "nowhere.png"), r"9\.png \(a link to nothing\); replace or remove"),
    "broken class": (link("eel", "nowhere"), r"eel \(a link to nothing\)"),
    "link to itself": (link("dog/9.png", "9.png"), r"9\.png \(a link to nothing\)"),
    "empty class": (lambda root: (root / "eel").mkdir(), r"each subfolder .* got none in eel; remove such folders"),
    "class of hidden images": (touch("eel/.9.png"), "got none in eel"),
    "pipe": (lambda root: os.mkfifo(root / "dog" / "9.png"), r"9\.png \(no file\); replace or remove"),
    "bytes that are no UTF-8": (
        lambda root: (root / os.fsdecode(b"dog/\xff.png")).write_bytes(b"no image"),
        r"got .*dog/\\xff\.png, which cannot be read",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_damaged_in_a_folder_is_named_and_mended_by_removing_it(what, tmp_path):
    root = save_images(tmp_path / "set", PIXELS[:6], [f"{'cat' if i < 4 else 'dog'}/{i}.png" for i in range(6)])
    make, says = DAMAGED[what]
    make(root)
    with pytest.raises(ValueError, match=f"^data: expected .*{says}") as error:
        folder_of_images.read(root, None)
    str(error.value).encode()
    for path in (root / "eel", root / "dog" / "9.png", root / os.fsdecode(b"dog/\xff.png")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    assert folder_of_images.read(root, None)[1] == 2


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    root, listed = save_images(tmp_path / "set", PIXELS[:6], [f"cat/{i}.png" for i in range(6)]), os.listdir

    def refused(path):
        if Path(path).name == "cat":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(ValueError, match=r"expected folders that can be read, got .*cat \(Permission denied\); make"):
        folder_of_images.read(root, None)


def test_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    root = save_images(tmp_path / "set", PIXELS[:2])

    @contextlib.contextmanager
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
        yield

    monkeypatch.setattr(pictures.archives, "opened", refused)
    with pytest.raises(ValueError, match=r"got .*000\.png, which cannot be read \(.*Permission denied.*\); replace"):
        folder_of_images.read(root, None)


def test_class_folders_may_be_links_and_have_names_of_any_bytes(tmp_path):
    elsewhere = save_images(tmp_path / "elsewhere", PIXELS[:3])
    root = save_images(tmp_path / "set", PIXELS[3:6], [os.fsdecode(b"\xff/%d.png" % i) for i in range(3)])
    (root / "cat").symlink_to(elsewhere)
    splits, classes = folder_of_images.read(root, None)
    np.testing.assert_array_equal(splits["train"][0], PIXELS[:6])
    assert (splits["train"][1].tolist(), classes) == ([0, 0, 0, 1, 1, 1], 2)


@pytest.mark.parametrize("ending", ["JPG", "Png", "TIFF"])
def test_endings_may_be_in_upper_case(ending, tmp_path):
    save_images(tmp_path, PIXELS[:1, ..., 0], [f"x.{ending}"])
    assert pixels_in(tmp_path).shape == (6, 4, 1)


def classes_of(declared, labels):
    """What a prepared set gives whose training labels are `labels` and whose test labels end in the last of them."""
    x = PIXELS[: len(labels)]
    splits = {"train": (x, np.array(labels, np.int32)), "test": (x[:1], np.array(labels[-1:], np.int32))}
    return lambda begun=None: prepared._numbered("tiny", splits, declared, begun)


def test_classes_that_a_prepared_set_does_not_hold_are_left_out():
    whole, gaps = classes_of(3, [0, 1, 2]), classes_of(37, [1, 2, 26])
    assert whole()[1] == 3
    with pytest.warns(UserWarning, match=r"3 of the 37 classes of 'tiny' occur; .* label \[1, 2, 26\]\[i\]"):
        splits, classes = gaps()
    assert (classes, splits["train"][1].tolist(), splits["test"][1].tolist()) == (3, [0, 1, 2], [2])
    splits, classes = gaps(37)  # as a run of an earlier version began
    assert (classes, splits["train"][1].tolist()) == (37, [1, 2, 26])
    splits, classes = classes_of(3, [0, 1, -1])()
    assert (classes, splits["train"][1], splits["test"][1]) == (None, None, None)
