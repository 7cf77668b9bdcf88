"""Which images each step trains on, and how they get there.

The places are a pure function of the seed and the step, so that resuming is exact for free. Small sets lie in device
memory whole; of large ones a thread gathers the next batches while the device computes. Both ways give the same images
to the same step, and on the CPU the same bits.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from training import devices
from training.config import Config
from training.data.dataset import Dataset, Rows

DEVICE_BYTES = 2**30  # sets below this lie in device memory where `data_on` is "auto"
AHEAD = 2  # batches gathered beyond the one in use


class Examples(NamedTuple):
    """Samples in device memory: x (N, *shape) float32 and labels (N,) int32, or None."""

    x: Float[Array, "n *event"]
    labels: Int[Array, " n"] | None


Fetch = Callable[[int], tuple[Examples, Array | None]]


def indices(seed: int, step: int, count: int, batch: int) -> np.ndarray:
    """The places (batch,) int32 in the training set of the images of `step`, counted from 0.

    Every epoch is a new shuffle of all `count` images, laid end to end; a batch may reach into the next.
    """
    places = np.arange(step * batch, (step + 1) * batch)
    return np.array([_shuffle(seed, p // count, count)[p % count] for p in places], np.int32)


def on_device(x: Any, labels: Any) -> Examples:
    """The examples in the memory of every device."""
    return devices.place(Examples(x, labels), devices.everywhere())


@contextmanager
def feed(config: Config, dataset: Dataset) -> Iterator[Fetch]:
    """Give fetch(step) -> (examples on the device, places in them of the images of that step, counted from 0).

    Gathered examples are the batch itself, without places; every host reads only those of its own devices.
    The shapes are the same at every step. An error met while gathering a batch is raised by the fetch of that batch.
    """
    rows, labels, batch = dataset.train_rows, dataset.train_labels, config.batch
    if config.data_on == "device" or (config.data_on == "auto" and rows.nbytes < DEVICE_BYTES):
        everything = on_device(rows[:], labels)
        yield lambda step: (everything, _spread(indices(config.seed, step, len(rows), batch)))
        return

    def gather(step: int) -> Examples:
        places = indices(config.seed, step, len(rows), batch)
        return Examples(_shards(rows, places, dataset.shape), None if labels is None else _shards(labels, places, ()))

    with ThreadPoolExecutor(1, "batches") as thread:
        coming: dict[int, Future[Examples]] = {}

        def fetch(step: int) -> tuple[Examples, None]:
            for ahead in range(step, step + AHEAD + 1):
                if ahead not in coming:
                    coming[ahead] = thread.submit(gather, ahead)
            return coming.pop(step).result(), None

        try:
            yield fetch
        finally:
            thread.shutdown(cancel_futures=True)


def _shards(rows: Rows | np.ndarray, places: np.ndarray, shape: tuple[int, ...]) -> Array:
    """The rows of one shape at the places, spread over the devices; each shard is read for its own device."""
    whole = (len(places), *shape)
    return jax.make_array_from_callback(whole, devices.spread(), lambda index: rows[places[index[0]]])  # pyright: ignore


def _spread(places: np.ndarray) -> Array:
    """On several devices each looks up its own shard of the batch."""
    return devices.place(places, devices.spread())


@lru_cache(maxsize=2)
def _shuffle(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count).astype(np.int32)
