"""The records of a run in training: JSON lines in train.jsonl, and on the screen a progress bar or some plain lines."""

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gaussdiff import archives
from training import devices
from training.evaluation import explain
from training.storage import disk

MOST_BYTES = 2**28  # of a journal: a million records have as many


def records(path: Path) -> list[dict[str, Any]]:
    """The records in the file, oldest first; none where it is not there. Lines that are damaged are left out."""
    return [record for line in _lines(path) if (record := _parsed(line)) is not None]


def rewind(path: Path, step: int) -> None:
    """Drop the lines past `step`, which the run is about to write again, and those that are damaged.

    A last line may be cut short by a kill; of others that are damaged a warning says how many.
    """
    if not path.exists():
        return
    with disk.explained(path):
        lines = _lines(path)
        parsed = [_parsed(line) for line in lines]
        if damaged := sum(record is None for record in parsed[:-1]):
            warnings.warn(f"{path} has {damaged} damaged lines, which are left out of the run's curves", stacklevel=2)
        past = [line for line, record in zip(lines, parsed, strict=True) if record and record["step"] <= step]
        disk.write(path, "".join(line + "\n" for line in past).encode())


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with archives.opened(path, MOST_BYTES) as file:
        return [line for line in file.read().decode(errors="replace").split("\n") if line]


def _parsed(line: str) -> dict[str, Any] | None:
    """The record in a line; None where it is none whose numbers a page could show."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match record:
        case {"step": int(step), "loss": loss, "images_per_second": rate} if step >= 0:
            explained = record.get("explained")
            whole = _are_numbers([loss, rate, record.get("held_out_loss", 0)])
            return record if whole and (explained is None or _is_explained(explained)) else None
    return None


def _is_explained(explained: Any) -> bool:
    match explained:
        case {"sigma": list(sigma), "denoiser": dict(denoiser), "score": dict(score), "error": dict(error)}:
            rows = [sigma, *denoiser.values(), *score.values(), *error.values()]
            named = {*explain.TWINS} <= {*denoiser} & {*score} and {"network", *explain.TWINS} <= {*error}
            sizes = {len(row) if isinstance(row, list) else None for row in rows}
            return named and sizes == {len(explain.SCALES)} and all(map(_are_numbers, rows))
    return False


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def _itself(path: str, flags: int) -> int:
    """Open a file but no link, which in the folder of somebody else's run may lead anywhere."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def say(line: str) -> None:
    """Print a line at once; of several hosts the first one speaks for all."""
    if devices.is_first_host():
        print(line, flush=True)


class Journal:
    """Appends records of a run to a file, and shows them."""

    def __init__(self, path: Path, start: int, steps: int, batch: int, bar: Progress | None):
        self.path, self.steps, self.batch, self.bar = path, steps, batch, bar
        self.start = self.shown = self.recorded = start
        self.held_out = ""
        self.start_clock()
        self.task = None if bar is None else bar.add_task("training", total=steps, completed=start, note="compiling")

    def start_clock(self) -> None:
        """Begin to count time here, so that compiling does not look like slow training."""
        self.begin = self.resumed = time.perf_counter()

    def rate(self, step: int) -> float:
        """The images per second of the steps since the last record, without the time of evaluations."""
        return self.batch * (step - self.recorded) / (time.perf_counter() - self.resumed)

    def resume_clock(self, step: int) -> None:
        """Go on counting after the record of `step`."""
        self.recorded, self.resumed = step, time.perf_counter()

    def note(
        self, step: int, loss: float, rate: float, held_out: float | None, explained: dict[str, Any] | None = None
    ) -> None:
        """Record the mean loss of the steps since the last record, and what was measured of the averaged weights."""
        record = {"step": step, "loss": loss, "images_per_second": round(rate, 1), "time": round(time.time(), 3)}
        if held_out is not None:
            record["held_out_loss"] = held_out
        if explained is not None:
            record["explained"] = explained
        with disk.explained(self.path):
            disk.make(self.path.parent)
            with open(self.path, "a", opener=_itself) as file:
                file.write(json.dumps(record) + "\n")
        self.held_out = self.held_out if held_out is None else f"  held-out {held_out:.4f}"
        gaussian = "" if explained is None else f"  {100 * explain.gaussian_fraction(explained):.0f} % Gaussian"
        self._show(step, f"loss {loss:.4f}{self.held_out}{gaussian}  {rate:,.0f} images/s")

    def _show(self, step: int, text: str) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=step, note=text)
        elif step == self.steps or step - self.shown >= self.steps / 10:
            self.shown = step
            remaining = (time.perf_counter() - self.begin) / (step - self.start) * (self.steps - step)
            print(f"step {step} of {self.steps}  {text}  {_clock(remaining)} left", flush=True)


@contextmanager
def opened(path: Path, start: int, steps: int, batch: int) -> Iterator[Journal]:
    """Give a Journal that shows a bar on a terminal, and about ten lines in all anywhere else."""
    if not (sys.stdout.isatty() and devices.is_first_host()):
        say(f"step {start} of {steps}  compiling")
        yield Journal(path, start, steps, batch, None)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    # Records of a slow network are minutes apart: the remaining time is estimated from all steps so far.
    with Progress(*columns, speed_estimate_period=math.inf) as bar:
        yield Journal(path, start, steps, batch, bar)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
