"""Which images each step trains on: a pure function of the seed and the step, so that resuming is exact for free."""

from functools import lru_cache

import numpy as np


def indices(seed: int, step: int, count: int, batch: int) -> np.ndarray:
    """Return the places (batch,) int32 in the training set of the images of `step`, counted from 0.

    Every epoch is a new shuffle of all `count` images, laid end to end; a batch may reach into the next.
    """
    places = np.arange(step * batch, (step + 1) * batch)
    return np.array([_shuffle(seed, p // count, count)[p % count] for p in places], np.int32)


@lru_cache(maxsize=2)
def _shuffle(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count).astype(np.int32)
