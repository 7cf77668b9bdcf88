"""A run that is killed (kill -9) at many random moments, each time continued, beside one that nothing interrupts.

    python -m benchmarks.kills --kills 100 --seed 0

It saves after every step. Half of the moments are anywhere in a life, from the start of the process to some time after
its first step; half are among its steps, most of whose time goes into saving. After every kill the newest state has to
be whole, and at the end the two runs have to hold the same bits.

That was so after 100 kills with seed 0: 42 in a save, 39 before the first step, 19 among steps, on two busy CPU cores.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from training.storage import checkpoint

LINE = ["--data", "toy-gaussian", "--channels", "8", "--blocks", "1", "--batch", "16", "--log-every", "1000"]
AMONG_STEPS = 0.5  # seconds


def start(run: Path, steps: int, every: int) -> subprocess.Popen:
    words = [sys.executable, "-m", "training", "train", *LINE, "--checkpoint-every", str(every), "--steps", str(steps)]
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(run.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    pipe = subprocess.PIPE
    return subprocess.Popen([*words, "--out", str(run)], env=os.environ | cache, stdout=pipe, stderr=pipe, text=True)


def newest(run: Path) -> int:
    return max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=-1)


def first_step(process: subprocess.Popen, run: Path, begin: int) -> None:
    """Wait until the process has saved a step of its own."""
    while newest(run) <= max(begin, 0):
        if process.poll() is not None:
            raise RuntimeError(f"the run stopped: {process.communicate()}")
        time.sleep(0.002)


def kill(process: subprocess.Popen, run: Path, begin: int) -> str:
    """Kill it, check what it leaves, and say where it was."""
    if process.poll() is not None:
        raise RuntimeError(f"the run stopped: {process.communicate()}")
    process.send_signal(signal.SIGKILL)
    said, errors = process.communicate()
    end = newest(run)
    found = checkpoint.latest(run)
    assert not errors, errors
    assert "continuing" not in said or f"from step {begin}\n" in said, said
    assert (-1 if found is None else found.step) == end >= begin
    if list(run.glob(f"checkpoints/*-{process.pid}*")):
        return "in a save"
    return "among steps" if end > max(begin, 0) else "before the first step"


def killed(run: Path, kills: int, seed: int) -> Counter:
    """Begin and continue `run`, killed `kills` times; where it was each time."""
    draws, life, where = random.Random(seed), 0.0, Counter()
    for i in range(kills):
        begin, started = newest(run), time.perf_counter()
        process = start(run, 1_000_000, 1)
        if i % 2 == 0:
            first_step(process, run, begin)
            life = time.perf_counter() - started
            time.sleep(draws.uniform(0, AMONG_STEPS))
        else:
            time.sleep(draws.uniform(0, life + AMONG_STEPS))
        where[kill(process, run, begin)] += 1
        print(f"kill {i + 1}: step {newest(run)}, {dict(where)}", flush=True)
    return where


def finish(run: Path, steps: int) -> dict[str, bytes]:
    process = start(run, steps, 1_000_000)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    found = checkpoint.latest(run)
    assert found is not None
    assert found.step == steps
    return {name: value.tobytes() for name, value in found.arrays.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("error")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        where = killed(Path(folder) / "killed", options.kills, options.seed)
        steps = newest(Path(folder) / "killed") + 10
        one, other = (finish(Path(folder) / name, steps) for name in ("killed", "whole"))
    assert one == other, [name for name, content in one.items() if content != other[name]]
    minutes = (time.perf_counter() - began) / 60
    places = ", ".join(f"{count} {place}" for place, count in where.items())
    print(
        f"{options.kills} kills (seed {options.seed}): {places}. The newest state was whole and was continued each "
        f"time; after step {steps} all {len(one)} arrays equal those of the uninterrupted run to the bit. "
        f"{minutes:.0f} minutes."
    )


if __name__ == "__main__":
    main()
