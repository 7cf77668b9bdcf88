"""Timing on machines that do other things too: candidates take turns, and their ratio is the median over turns."""

import importlib.metadata
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np


class Row(NamedTuple):
    """One line of the table: a measured thing, its peer, median seconds of both, and the ratio that is to be read."""

    name: str
    seconds: float
    peer: str
    peer_seconds: float
    ratio: float
    aim: str


def machine() -> str:
    """What the numbers were measured on, and with."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "diffrax", "equinox", "flax"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{jax.default_backend()}, {cores} CPU cores, float32; {versions}"


def take_turns(candidates: dict[str, Callable[[], object]], turns: int) -> dict[str, np.ndarray]:
    """Seconds (turns,) of each candidate, after one call of each that is not counted; results are waited for."""
    for run in candidates.values():
        jax.block_until_ready(run())
    times = {name: np.zeros(turns) for name in candidates}
    for turn in range(turns):
        for name, run in candidates.items():
            started = time.perf_counter()
            jax.block_until_ready(run())
            times[name][turn] = time.perf_counter() - started
    return times


def row(times: dict[str, np.ndarray], name: str, peer: str, aim: str) -> Row:
    """How long `name` takes for each second of its peer, turn by turn."""
    ratio = float(np.median(times[name] / times[peer]))
    return Row(name, float(np.median(times[name])), peer, float(np.median(times[peer])), ratio, aim)


def table(rows: list[Row]) -> str:
    """Markdown: times in milliseconds."""
    lines = [
        "| measured | ms | beside | ms | measured / beside | aim |",
        "|---|---:|---|---:|---:|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r.name} | {r.seconds * 1e3:.3g} | {r.peer} | {r.peer_seconds * 1e3:.3g} | {r.ratio:.3g} | {r.aim} |"
        )
    return "\n".join(lines)
