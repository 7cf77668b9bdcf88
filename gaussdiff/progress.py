"""A progress bar for whatever calls progress(done, total): fits of large sets, and long runs of samples."""

import sys
import time
from collections.abc import Callable
from io import TextIOBase

Progress = Callable[[int, int], object]  # (done, total)


class ProgressBar:
    """progress=gd.ProgressBar(): one line on stderr, rewritten: how much is done, how fast, and the time left.

    The clock starts with the bar, and starts again after a run is complete. stream: another place to write to.
    """

    def __init__(self, stream: TextIOBase | None = None, width: int = 30):
        self.stream, self.width, self.began = stream, width, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        elapsed = time.monotonic() - self.began
        remaining = elapsed / done * (total - done) if done else float("inf")
        filled = self.width * done // max(total, 1)
        bar = "#" * filled + "." * (self.width - filled)
        line = f"\r[{bar}] {done}/{total}, {done / max(elapsed, 1e-9):.3g}/s, {_clock(remaining)} left "
        complete = done >= total
        print(line, end="\n" if complete else "", file=self.stream or sys.stderr, flush=True)
        if complete:
            self.began = time.monotonic()


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
