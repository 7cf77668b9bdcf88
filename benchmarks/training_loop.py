"""The training loop beside the compiled step that it calls: what the journal, the checks and the data cost.

And how long a run takes from the start of its process to its first step, beside 20 s.
"""

import dataclasses
import json
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
from training.data import dataset as data
from training.data.batches import Examples
from training.step import Trainer

BLOCK, BLOCKS, STARTS = 10, 9, 3


def run() -> list[Row]:
    config = dataclasses.replace(Config(), data="digits", steps=BLOCK * (BLOCKS + 1) + 1, log_every=BLOCK)
    dataset = data.load(config.data)
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
    return [row(times, name, bare, "at most 1.05"), first_step()]


def first_step() -> Row:
    """Start a training of the digits as a user would: when does its journal tell the first step?"""
    name, limit, seconds = "from the start of a process to the first step of the digits", "20 s", []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            started = time.time()
            command = f"-m training train --data digits --steps 2 --out {folder}/run"
            subprocess.run([sys.executable, *command.split()], check=True, capture_output=True)
            told = (Path(folder) / "run" / "train.jsonl").read_text().splitlines()[0]
            seconds.append(json.loads(told)["time"] - started)
    return row({name: np.array(seconds), limit: np.full(STARTS, 20.0)}, name, limit, "at most 1")


def _block(step: Callable, state, examples: Examples, indices, seconds: list[float]):
    jax.block_until_ready(state)
    started = time.perf_counter()
    for _ in range(BLOCK):
        state, _ = step(state, examples, indices)
    jax.block_until_ready(state)
    seconds.append(time.perf_counter() - started)
    return state
