"""Data sets: values, splits by content, no TensorFlow, no download, clear errors."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd
from training.data import dataset, prepared, toys
from training.data.fingerprint import Contents
from training.presets import TOYS
from training.storage.checkpoint import Checkpoint

HAS_MNIST = prepared.folder("mnist") is not None
needs_mnist = pytest.mark.skipif(not HAS_MNIST, reason="TFDS_DATA_DIR holds no prepared mnist")


def test_digits_are_images_in_range_with_labels():
    digits = dataset.load("digits")
    assert digits.shape == (8, 8, 1)
    assert digits.train.dtype == np.float32
    assert len(digits.train) + len(digits.held_out) == 1797
    assert digits.train.min() == -1
    assert digits.train.max() == 1
    assert digits.classes == 10
    assert digits.train_labels is not None
    assert set(digits.train_labels) == set(range(10))


def test_split_follows_content_and_not_order():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    x = np.concatenate([x, x[:100]])
    labels = np.arange(500, dtype=np.int32) % 400
    order = rng.permutation(500)
    one, other = dataset.split(x, labels, 400, 0.2), dataset.split(x[order], labels[order], 400, 0.2)
    assert one.held_out_labels is not None
    assert other.held_out_labels is not None
    assert sorted(one.held_out_labels) == sorted(other.held_out_labels)
    # Copies of one sample stay on one side.
    assert not {row.tobytes() for row in one.train} & {row.tobytes() for row in one.held_out}
    # 400 different samples at 0.2: mean 80, standard deviation 8; 5 of them, false alarms 1e-6.
    assert abs(len({row.tobytes() for row in one.held_out}) - 80) < 40


def test_contents_tell_sets_apart_and_do_not_depend_on_how_they_are_stored():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), np.uint8)
    whole = dataset.from_arrays(pixels)
    contents = Contents.of(whole)
    assert (contents.train, contents.held_out) == (len(whole.train), len(whole.held_out))
    assert Contents.of(dataset.from_arrays(dataset.images(pixels))) == contents
    changed = whole.train.copy()
    changed[7, 1, 2, 0] += 1e-3
    others = (
        dataclasses.replace(whole, train_rows=dataset.Rows(changed)),
        dataclasses.replace(whole, train_rows=dataset.Rows(whole.train[::-1])),
        dataclasses.replace(whole, held_out_rows=dataset.Rows(whole.held_out[1:])),
        dataclasses.replace(whole, train_rows=whole.held_out_rows, held_out_rows=whole.train_rows),
        dataset.from_arrays(pixels.reshape(50, 2, 8, 1)),
    )
    assert len({Contents.of(other).fingerprint for other in (whole, *others)}) == 6


def test_labels_tell_runs_apart_that_are_told_them():
    """Two of them exchanged, far from the samples that are looked at; a run that is not told any notes none."""
    x, labels = np.random.default_rng(0).normal(size=(5000, 2)), np.arange(5000, dtype=np.int32) % 3
    one = dataset.from_arrays(x, labels)
    assert one.train_labels is not None
    assert one.held_out_labels is not None
    exchanged = one.train_labels.copy()
    exchanged[[1001, 1002]] = exchanged[[1002, 1001]]
    assert exchanged.tolist() != one.train_labels.tolist()
    turned = (one.held_out_labels + 1) % 3
    others = [dataclasses.replace(one, train_labels=exchanged), dataclasses.replace(one, held_out_labels=turned)]
    assert len({Contents.of(each).fingerprint for each in (one, *others)}) == 1
    assert {Contents.of(each).labels for each in (one, *others)} == {None}
    assert len({Contents.of(each, labels=True).labels for each in (one, *others)}) == 3
    wide = dataclasses.replace(one, train_labels=one.train_labels.astype(np.int64))
    assert Contents.of(wide, labels=True) == Contents.of(one, labels=True)


def test_a_run_says_which_data_it_was_started_on():
    began, now = Contents(80, 20, "a" * 64), Contents(80, 20, "b" * 64)
    old = Checkpoint(Path(), 3, {}, {"data": {"shape": [2], "classes": None}})
    new = Checkpoint(Path(), 3, {}, {"data": {"shape": [2], "classes": None, **began._asdict()}})
    for found in (old, new):
        began.check(found, drawn=False)
    now.check(old, drawn=False)
    with pytest.raises(ValueError, match=r"^data: .* 80 training and 20 held-out .*aaaa.*, got 80 .*bbbb.*; give the"):
        now.check(new, drawn=False)
    with pytest.warns(UserWarning, match="another law"):
        now.check(new, drawn=True)
    with pytest.warns(UserWarning, match=r"started on 80 .*aaaa.*, got 80 .*bbbb.* split anew"):
        now.check(new, drawn=False, accept=True)
    told, other = began._replace(labels="c" * 64), began._replace(labels="d" * 64)
    told.check(new, drawn=False)  # of a version that did not note labels
    new = Checkpoint(Path(), 3, {}, {"data": {"shape": [2], "classes": 2, **told._asdict()}})
    told.check(new, drawn=False)
    with pytest.raises(ValueError, match=r"aaaa, labels cccc.*aaaa, labels dddd.*version of Pillow .*--accept-data"):
        other.check(new, drawn=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOYS)
def test_toys_have_the_moments_of_their_law(name):
    toy = dataset.load(name)
    x = np.concatenate([toy.train, toy.held_out]).astype(np.float64)
    law = toys.law(name)
    # Against the law's own denoiser at a large noise level, where E[x0 | x] tends to the mean.
    mean = np.asarray(law.denoise(jnp.zeros(2), gd.NoiseLevel(1.0, 1e3)))
    assert np.abs(x.mean(0) - mean).max() < 5 * x.std() / np.sqrt(len(x)) + 1e-5
    assert 0.5 < x.std() < 1.5


def test_unknown_name_lists_the_known_and_the_closest():
    with pytest.raises(ValueError, match=r"Did you mean 'digits'.*toy-gaussian") as error:
        dataset.load("digit")
    assert "mnist" in str(error.value)


def test_missing_prepared_set_fails_at_once_and_says_what_to_do(tmp_path):
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError, match="download_and_prepare") as error:
        dataset.load("mnist", data_dir=str(tmp_path))
    assert time.perf_counter() - start < 10
    assert "TFDS_DATA_DIR" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_split_with_an_empty_part_is_an_error(share):
    with pytest.raises(ValueError, match="held_out"):
        dataset.split(np.zeros((3, 2), np.float32), None, None, share)


@needs_mnist
@pytest.mark.slow
def test_mnist_is_read_without_tensorflow(tmp_path):
    """Where TensorFlow can be imported, too: one that says that it was."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from training.data.dataset import load; d = load('mnist'); "
        "assert d.train.shape == (60000, 28, 28, 1) and d.held_out.shape == (10000, 28, 28, 1), d.train.shape; "
        "assert d.train.min() == -1 and d.train.max() == 1 and d.classes == 10; "
        "assert 'tensorflow' not in sys.modules"
    )
    here = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=here, env=dict(os.environ))


@pytest.mark.slow
def test_importing_training_brings_no_heavy_packages():
    code = (
        "import sys, training; "
        "heavy = {'tensorflow', 'tensorflow_datasets', 'matplotlib', 'sklearn', 'tyro'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
