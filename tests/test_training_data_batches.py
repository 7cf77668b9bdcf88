"""How batches come to the step: the same bits from device memory and from a thread, errors at once, no thread left."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

from training import Config
from training.data import batches
from training.data import dataset as data
from training.step import Trainer

X = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), np.uint8)
SET = data.from_arrays(X, np.arange(50) % 3)
HOST, DEVICE = (Config(batch=16, seed=3, data_on=where) for where in ("host", "device"))


class Disk:
    """Stored samples that are counted as they are read, and one that cannot be read."""

    dtype, shape = X.dtype, X.shape
    bad = batches.indices(3, 4, len(X), 16)[-1]  # not in steps 0 and 1

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return len(X)

    def __getitem__(self, places):
        self.reads += 1
        if self.bad in places:
            raise OSError("no such sector")
        return X[places]


def threads():
    return {each for each in threading.enumerate() if each.name.startswith("batches")}


def test_both_ways_give_the_images_of_the_step_in_any_order_of_asking():
    with batches.feed(HOST, SET) as host, batches.feed(DEVICE, SET) as device:
        for step in (0, 1, 2, 2, 7, 3, 100):
            places = batches.indices(3, step, len(SET.train), 16)
            for fetch in (host, device):
                examples, where = fetch(step)
                x, labels = (np.asarray(rows if where is None else rows[where]) for rows in examples)
                np.testing.assert_array_equal(x, SET.train[places])
                np.testing.assert_array_equal(labels, SET.train_labels[places])
        assert len(host(0)[0].x) == 16
        assert len(device(0)[0].x) == len(SET.train)


def test_a_small_set_lies_on_the_device_and_a_large_one_does_not(monkeypatch):
    auto = dataclasses.replace(HOST, data_on="auto")
    for limit, count in ((SET.train_rows.nbytes + 1, len(SET.train)), (SET.train_rows.nbytes, 16)):
        monkeypatch.setattr(batches, "DEVICE_BYTES", limit)
        with batches.feed(auto, SET) as fetch:
            assert len(fetch(0)[0].x) == count


def test_each_batch_is_read_once_its_error_is_raised_in_its_place_and_no_thread_is_left():
    disk = Disk()
    dataset = data.Dataset(data.Rows(disk), SET.held_out_rows)  # pyright: ignore
    first = next(step for step in range(9) if disk.bad in batches.indices(3, step, len(X), 16))
    with batches.feed(HOST, dataset) as fetch:
        for step in range(first):
            fetch(step)
        assert threads()
        with pytest.raises(OSError, match="no such sector"):
            fetch(first)
    assert not threads()
    assert first < disk.reads <= first + 1 + batches.AHEAD


@pytest.mark.slow
def test_training_fed_by_the_thread_has_the_bits_of_training_on_the_device(monkeypatch):
    # compiled with optimization, as users do: what else the tests compile rounds by the program that a sum stands in
    compiled, options = jax.stages.Lowered.compile, {"xla_backend_optimization_level": 3}
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda lowered: compiled(lowered, compiler_options=options))
    vectors = data.from_arrays(X.reshape(50, 16), np.arange(50) % 3)
    ends = []
    for where in (HOST, DEVICE):
        config = dataclasses.replace(where, labels=True, channels=8, blocks=1)
        trainer = Trainer.create(config, (16,), 3)
        with batches.feed(config, vectors) as fetch:
            state = trainer.initial()
            step = trainer.compiled_step(state, *fetch(0))
            for n in range(9):
                state, _ = step(state, *fetch(n))
        ends.append(jax.tree.leaves(state))
    assert int(ends[0][-1]) == 9
    for one, other in zip(*ends, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
