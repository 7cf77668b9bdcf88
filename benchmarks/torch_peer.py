"""Our training step beside that of diffusers' UNet2DModel on PyTorch: as many channels, blocks and images, CPU.

Needs torch and diffusers, which nothing else here does, so in an environment of its own:

    pip install -e '.[all]' torch diffusers
    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.torch_peer --write     # docs/speed.md, on one core

On several cores that do other work too, the threads of PyTorch wait for each other and lose: one core is fair.
Each is given the operations of its own network's products, so what is compared is the rate at which they are done.
"""

# pyright: reportMissingImports=false

import argparse
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import jax
import numpy as np
import torch

from benchmarks.network import SIZES, TURNS, products, step_of
from benchmarks.timing import take_turns
from training.config import Config

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"


def peer(config: Config, shape: tuple[int, ...]) -> Any:
    """Return diffusers' U-Net with the channels, blocks, attention and groups of `config`."""
    heights = [shape[0] >> i for i in range(len(config.channel_mult))]
    attends = [height in config.attention for height in heights]
    return diffusers.UNet2DModel(
        sample_size=shape[:2],
        in_channels=shape[-1],
        out_channels=shape[-1],
        layers_per_block=config.blocks,
        block_out_channels=tuple(config.channels * mult for mult in config.channel_mult),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        add_attention=attends[-1],
        attention_head_dim=32,
        norm_num_groups=config.groups,
        resnet_time_scale_shift="scale_shift",
    )


def operations(network: Any, config: Config, shape: tuple[int, ...]) -> int:
    """Return the operations of the products in one forward pass of a PyTorch network on a batch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(config.batch, shape[-1], *shape[:2]), torch.zeros(config.batch))
    return counter.get_total_flops()


def torch_step(network: Any, config: Config, shape: tuple[int, ...]) -> Callable[[], object]:
    """Return a call that does one more step: noise, forward, backward, clipping, AdamW, averaged weights."""
    adam = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)
    average = [p.detach().clone() for p in network.parameters()]
    images = torch.randn(config.batch, shape[-1], *shape[:2])

    def advance():
        noise, level = torch.randn_like(images), torch.randn(config.batch).exp()
        output = network(images + level[:, None, None, None] * noise, level.log() / 4).sample
        loss = (output - noise).square().mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        adam.step()
        torch._foreach_lerp_(average, [p.detach() for p in network.parameters()], 0.01)
        return loss.item()

    return advance


def compare(name: str) -> str:
    config, shape = SIZES[name]
    network = peer(config, shape)
    work = {
        "ours": 3 * sum(p.operations for p in products(config, shape, config.batch)),
        "torch": 3 * operations(network, config, shape),
    }
    calls = {"ours": step_of(config, shape), "torch": torch_step(network, config, shape)}
    times = take_turns(calls, TURNS)
    rate = {side: work[side] / times[side] / 1e9 for side in calls}
    ours, theirs = (float(np.median(times[side])) * 1e3 for side in calls)
    return (
        f"| {name}, batch {config.batch} | {work['ours'] / 1e9:.1f} | {ours:.0f} | {np.median(rate['ours']):.0f} "
        f"| {work['torch'] / 1e9:.1f} | {theirs:.0f} | {np.median(rate['torch']):.0f} "
        f"| {np.median(times['ours'] / times['torch']):.2f} | {np.median(rate['ours'] / rate['torch']):.2f} |"
    )


HEAD = """# Speed beside PyTorch

Written by `python -m benchmarks.torch_peer --write`. One training step (noise, forward, backward, clipping, AdamW,
averaged weights) of our U-Net and of diffusers' `UNet2DModel` with the same channels, blocks, attention, groups and
batch. The two took turns in one process; times are medians, ratios the medians over turns. The networks are not the
same to the last layer, so each rate counts the operations of its own network's products, three times those of the
forward pass. Other work on the machine slows both: read the ratios.

| network | GFLOP | ms | GFLOP/s | diffusers GFLOP | ms | GFLOP/s | our time / theirs | our rate / theirs |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""

FOOT = """
## What made a step fast on a CPU

- Parts of a batch that fit the cache, each a call of one compiled program (`training/microbatch.py`), helped most.
- A loop inside the program did not: XLA computes the weight gradients of a loop's convolutions so slowly that a step
  took 20 times as long. A loop that is unrolled is as fast as the calls, and multiplies the time to compile.
- Few images a part suit small networks; each part also adds up the gradient of all weights, so it has two or more.
- Transformers gained a third at 8 x 8 and lost a tenth at 32 x 32, so they compute the batch in one part.
- A cheaper compilation of the update saved under a second of 3.4 and made it 1.5 to 3 times slower.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torch_peer", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the table in docs/speed.md")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(cores or 1)
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("torch", "diffusers", "jax", "flax"))
    lines = "\n".join(compare(name) for name in SIZES)
    text = f"{HEAD}{lines}\n\nMachine: {jax.default_backend()}, {cores} CPU cores, float32; {versions}.\n{FOOT}"
    print(text)
    if options.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
