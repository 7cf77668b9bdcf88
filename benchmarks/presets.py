"""The presets: how large their networks are, what an image costs, and how fast the small ones train here.

python -m benchmarks.presets           # prints the table
python -m benchmarks.presets --write --time   # docs/presets.md, with the speed of what fits a CPU that is idle
"""

import argparse
import math
from pathlib import Path

import jax
import numpy as np

from benchmarks.network import products, step_of
from benchmarks.timing import machine, take_turns
from training.build import skeleton
from training.config import Config, preset

PAGE = Path(__file__).parents[1] / "docs" / "presets.md"
SHAPES = {
    "toy-ring": (2,),
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "celeba64": (64, 64, 3),
    "afhq64": (64, 64, 3),
}
TIMED = "toy-ring", "digits", "mnist"  # steps of at most seconds on a CPU

HEAD = """# Presets

Written by `python -m benchmarks.presets --write --time`. `training.preset(data)`, and the command line with `--data`,
start from these settings; every field can be changed. Operations are the additions and multiplications of the products
in one forward pass; a training step takes three times as many. Speed, and the time that all steps take at it, were
measured for the small ones on a CPU; no large one has been trained yet.

| data | samples | network | weights | MFLOP / image, forward | batch | steps | images / s | minutes |
|---|---|---|---:|---:|---:|---:|---:|---:|
"""


def line(name: str, shape: tuple[int, ...], timed: bool) -> str:
    config = preset(name)
    weights = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(skeleton(config, shape, None)[1]))
    work = sum(p.operations for p in products(config, shape, 1)) / 1e6
    widths = ", ".join(str(config.channels * mult) for mult in config.channel_mult)
    network = f"MLP, {widths}" if len(shape) == 1 else f"U-Net, {widths}, {config.blocks} a side"
    speed = _speed(config, shape) if timed else "|"
    size = " x ".join(map(str, shape))
    return f"| {name} | {size} | {network} | {weights:,} | {work:,.3g} | {config.batch} | {config.steps:,} | {speed} |"


def _speed(config: Config, shape: tuple[int, ...]) -> str:
    """Two cells: the median rate of the training step, and how long all steps take at it."""
    seconds = float(np.median(take_turns({"step": step_of(config, shape)}, 9)["step"]))
    return f"{config.batch / seconds:,.0f} | {config.steps * seconds / 60:,.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store docs/presets.md")
    parser.add_argument("--time", action="store_true", help="time the training steps of the small presets")
    options = parser.parse_args()
    lines = "\n".join(line(name, shape, options.time and name in TIMED) for name, shape in SHAPES.items())
    text = f"{HEAD}{lines}\n\nMachine: {machine()}.\n"
    print(text)
    if options.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
