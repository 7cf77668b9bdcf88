"""The presets: how large their networks are, what an image costs, how fast the small ones train here, and how well.

python -m benchmarks.presets           # prints the table
python -m training train --data digits --out runs/digits
python -m training evaluate --run runs/digits
python -m benchmarks.presets --write --time --runs runs/digits   # docs/presets.md; the CPU should be idle
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.network import products, step_of
from benchmarks.timing import machine, take_turns
from training.config import Config
from training.networks.build import skeleton
from training.presets import preset
from training.runs import load_config

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
SAME = {"fashion_mnist": "mnist"}  # of one network and cost

HEAD = """# Presets

Written by `python -m benchmarks.presets --write --time --runs ...`. `training.preset(data)`, and the command line with
`--data`, start from these settings; every field can be changed. Operations are the additions and multiplications of the
products in one forward pass; a training step takes three times as many. Speed, and the time that all steps take at it,
were measured for the small ones on a CPU; no large one has been trained yet. A network is told by its widths, for a
U-Net one for each resolution, and by how many residual blocks a U-Net has at each of them on either side.

| data | samples | network | weights | MFLOP / image, forward | batch | steps | images / s | minutes |
|---|---|---|---:|---:|---:|---:|---:|---:|
"""
QUALITY = """
## Quality to expect

Of runs of the presets as they are, by `python -m training evaluate` ([what its numbers mean](evaluation.md)). Bits per
dimension: the bound through the flow on held-out samples, ± its standard error. The other columns compare samples with
held-out data; in brackets the floor, what as many real samples have in their place.

| data, steps | bits / dim | the Gaussian's | samples | features | Frechet distance | precision | recall | copies |
|---|---:|---:|---:|---|---:|---:|---:|---:|
"""


def line(name: str, shape: tuple[int, ...], timed: bool) -> str:
    config = preset(name)
    weights = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(skeleton(config, shape, None)[1]))
    work = _three(sum(p.operations for p in products(config, shape, 1)) / 1e6)
    widths = ", ".join(str(config.channels * mult) for mult in config.channel_mult)
    network = f"MLP, {widths}" if len(shape) == 1 else f"U-Net, {widths}, {config.blocks} a side"
    known = f"as {SAME[name]} | as {SAME[name]}" if name in SAME else "|"
    speed = _speed(config, shape) if timed else known
    size = " x ".join(map(str, shape))
    return f"| {name} | {size} | {network} | {weights:,} | {work} | {config.batch} | {config.steps:,} | {speed} |"


def _speed(config: Config, shape: tuple[int, ...]) -> str:
    """Two cells: the median rate of the training step, and how long all steps take at it."""
    seconds = float(np.median(take_turns({"step": step_of(config, shape)}, 9)["step"]))
    return f"{config.batch / seconds:,.0f} | {_three(config.steps * seconds / 60)}"


def _three(value: float) -> str:
    """Three digits, never as a power of ten."""
    return f"{float(f'{value:.3g}'):,g}"


def quality(run: Path) -> str:
    """The row of one run that `python -m training evaluate` has looked at; ValueError where it has not."""
    found = run / "evaluation.json"
    if not found.is_file():
        command = f"python -m training evaluate --run {run}"
        raise ValueError(f"runs: expected an evaluation in {run}, got none. Run {command}.")
    measured = json.loads(found.read_text())
    scores = measured["quality"]["scores"][::-1]
    first = {score["name"]: score for score in scores}  # in the features that come first
    cells = [
        f"{load_config(run).data}, {measured['step']:,}",
        *(_bits(measured["likelihood"], model) for model in ("network", "gaussian")),
        str(measured["quality"]["samples"]),
        first["Frechet distance"]["features"],
        *(_cell(first[name]) for name in ("Frechet distance", "precision", "recall", "copies")),
    ]
    return f"| {' | '.join(cells)} |"


def _bits(likelihood: dict[str, Any], model: str) -> str:
    bound = likelihood[model]["flow"]
    return f"{bound['bits_per_dim']:.2f} ± {bound['bits_error']:.2f}"


def _cell(score: dict[str, Any]) -> str:
    return f"{score['value']:.3g} ({score['floor']:.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store docs/presets.md")
    parser.add_argument("--time", action="store_true", help="time the training steps of the small presets")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="evaluated runs of presets, for their quality")
    options = parser.parse_args()
    judged = "".join(f"{quality(run)}\n" for run in options.runs)
    lines = "\n".join(line(name, shape, options.time and name in TIMED) for name, shape in SHAPES.items())
    text = f"{HEAD}{lines}\n\nMachine: {machine()}.\n{QUALITY + judged if judged else ''}"
    print(text)
    if options.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
