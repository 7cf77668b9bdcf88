"""In how many microbatches a batch is computed, one after the other: they need less memory, and may fit a cache."""

import math

import jax

from training.config import Config

# Numbers of samples at full resolution and width (256 KiB) that suit a microbatch on a CPU. With half or twice as many
# steps took about as long; whole batches took up to twice as long. Transformers were faster or slower by as much.
CPU_CACHE_NUMBERS = 2**16


def count(config: Config, shape: tuple[int, ...]) -> int:
    """The number of microbatches; ValueError where the devices cannot divide one evenly.

    `accumulate`, or where it is 0: one, but on a CPU, for all but transformers, as many as bring a microbatch on each
    device nearest to CPU_CACHE_NUMBERS numbers, in at least two samples, since each also costs a sum over the weights.
    """
    devices, wanted = jax.device_count(), config.accumulate or 1
    if config.batch // wanted % devices:
        raise ValueError(
            f"batch: expected a multiple of the {devices} devices for each of the {wanted} microbatches, got "
            f"{config.batch // wanted} images a microbatch; set --batch to "
            f"{wanted * devices * max(1, round(config.batch / wanted / devices))}"
        )
    if config.accumulate or jax.default_backend() != "cpu" or config.network == "dit":
        return wanted
    images, fitting = config.batch // devices, CPU_CACHE_NUMBERS / (math.prod(shape[:-1]) * config.channels)
    divisors = [n for n in range(1, images // 2 + 1) if images % n == 0] or [1]
    return min(divisors, key=lambda n: abs(math.log(images / n / fitting)))
