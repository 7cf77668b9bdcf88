"""The training loop beside the compiled step that it calls: what the journal, the checks and the data cost.

And how long a run takes from the start of its process to its first step: 12 s at most where nothing is compiled yet,
4 s where an earlier run kept what it compiled.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Row, row
from training import loop
from training.config import Config
from training.data.batches import Examples
from training.data.dataset import load
from training.step import Trainer

BLOCK, BLOCKS, STARTS = 10, 9, 3
FIRST_STEP = {"cold": 12.0, "warm": 4.0}  # seconds at most


def run() -> list[Row]:
    config = dataclasses.replace(Config(), data="digits", steps=BLOCK * (BLOCKS + 1) + 1, log_every=BLOCK)
    dataset = load(config.data)
    examples = Examples(jnp.asarray(dataset.train), None)
    name, bare = f"training.loop, {BLOCK} steps and a line of the journal", f"the compiled step alone, {BLOCK} times"
    loop_seconds, bare_seconds = [], []
    compiled = Trainer.compiled_step

    def measured(trainer: Trainer, state, _, indices) -> Callable:
        """The compiled step; after each block of the loop, which ends with a wait for its losses, one block alone."""
        step = compiled(trainer, state, examples, indices)
        alone = trainer.initial()
        marks: list[float] = []
        count = 0

        def call(state, _, indices):
            nonlocal count, alone
            if count % BLOCK == 0 and count:
                marks.append(time.perf_counter())
                if len(marks) > 1:
                    loop_seconds.append(marks[-1] - marks[-2])
                alone = _block(step, alone, examples, indices, bare_seconds)
                marks[-1] = time.perf_counter()
            count += 1
            return step(state, examples, indices)

        return call

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Trainer, "compiled_step", measured):
        loop.train(config, f"{folder}/run")
    count = len(loop_seconds)
    times = {name: np.array(loop_seconds), bare: np.array(bare_seconds[-count:])}
    return [row(times, name, bare, "at most 1.05"), *first_steps()]


def first_steps() -> list[Row]:
    """Start a training of the digits as a user would, without compiled code and again with: when is the first step?"""
    seconds: dict[str, list[float]] = {state: [] for state in FIRST_STEP}
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            for state in FIRST_STEP:
                seconds[state].append(_first_step(Path(folder) / state, Path(folder) / "cache"))
    rows = []
    for state, most in FIRST_STEP.items():
        name, limit = f"from the start of a process to the first step of the digits, {state}", f"{most:g} s"
        rows.append(row({name: np.array(seconds[state]), limit: np.full(STARTS, most)}, name, limit, "at most 1"))
    return rows


def _first_step(out: Path, cache: Path) -> float:
    env = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    env["GAUSSDIFF_CACHE"] = str(cache)
    command = f"-m training train --data digits --steps 2 --log-every 1 --out {out}"
    started = time.time()
    subprocess.run([sys.executable, *command.split()], check=True, capture_output=True, env=env)
    return json.loads((out / "train.jsonl").read_text().splitlines()[0])["time"] - started


def _block(step: Callable, state, examples: Examples, indices, seconds: list[float]):
    jax.block_until_ready(state)
    started = time.perf_counter()
    for _ in range(BLOCK):
        state, _ = step(state, examples, indices)
    jax.block_until_ready(state)
    seconds.append(time.perf_counter() - started)
    return state
