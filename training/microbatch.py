"""In how many parts a batch is computed, one after the other: they need less memory, and may fit a CPU's cache."""

import math

import jax

from training.config import Config

# Numbers of samples at full resolution and width (256 KiB) that a part is to have on a CPU. With half or twice as many
# steps took about as long; whole batches took up to twice as long. Transformers were faster or slower by as much.
CACHED = 2**16


def of(config: Config, shape: tuple[int, ...]) -> int:
    """Return the number of parts; ValueError where the devices cannot share a part evenly.

    `accumulate`, or where it is 0: one, but on a CPU, for all but transformers, as many as bring a part on each device
    nearest to CACHED numbers, in at least two samples, since each part also costs a sum over the weights.
    """
    devices, asked = jax.device_count(), config.accumulate or 1
    if config.batch // asked % devices:
        raise ValueError(
            f"batch: expected a multiple of the {devices} devices for each of the {asked} parts, got "
            f"{config.batch // asked} images a part; set --batch to "
            f"{asked * devices * max(1, round(config.batch / asked / devices))}"
        )
    if config.accumulate or jax.default_backend() != "cpu" or config.network == "dit":
        return asked
    share, fitting = config.batch // devices, CACHED / (math.prod(shape[:-1]) * config.channels)
    even = [parts for parts in range(1, share // 2 + 1) if share % parts == 0] or [1]
    return min(even, key=lambda parts: abs(math.log(share / parts / fitting)))
