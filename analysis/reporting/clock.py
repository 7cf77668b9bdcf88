"""How far a report is, and about how long it will take."""

import threading
import time
from collections.abc import Mapping, Sequence

# Seconds of processor time of each part, for the digits after 1,000 steps and without compiled code of an earlier run:
# only their ratios matter.
USUAL: Mapping[str, float] = {
    "open": 7.7, "follow": 14.3, "judge": 2.4,
    "A1": 0.8, "A2": 1.3, "A3": 0.5, "A4": 11.7, "A5": 10.4, "A6": 2.2, "A7": 2.7, "A8": 0.1, "A9": 20.8, "A10": 30.1,
    "A11": 2.5, "D1": 0.3, "D2": 0.3, "D3": 0.2, "D4": 8.0, "D5": 3.5, "D6": 2.7, "D7": 5.3, "D8": 0.8, "D9": 20.4,
    "D11": 14.5, "C1": 6.4, "C2": 3.1,
}  # fmt: skip
BEAT = 10.0  # seconds after which a part that is still running says so


class Clock:
    """Prints each part as it ends, and every BEAT seconds the one that is running, with the time left of all parts.

    parts: the names of all of them, in order. earlier: seconds of an earlier report; USUAL, in the same units, stands
    in for parts that it lacks. The parts to come are taken to need as much longer than these as those that are done. A
    context, which ends the thread that prints.
    """

    def __init__(self, parts: Sequence[str], earlier: Mapping[str, float]):
        both = [part for part in earlier if part in USUAL]
        unit = _total(earlier, both) / _total(USUAL, both) if both else 1.0
        self.seconds: dict[str, float] = {}
        self._parts = tuple(parts)
        self._expected = {part: seconds * unit for part, seconds in USUAL.items()} | dict(earlier)
        self._last = time.perf_counter()
        self._done = threading.Event()
        self._beat = threading.Thread(target=self._beats, daemon=True)

    def __enter__(self) -> "Clock":
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._beat.join()

    def lap(self, part: str, what: str) -> None:
        """The part has ended; `what` says what came of it."""
        now = time.perf_counter()
        self.seconds[part], self._last = round(now - self._last, 2), now
        print(f"{part:<8} {self.seconds[part]:6.1f} s  {what}{self._left(0.0)}", flush=True)

    def _beats(self) -> None:
        while not self._done.wait(BEAT):
            elapsed = time.perf_counter() - self._last
            if elapsed >= BEAT and (pending := self._pending()):
                print(f"{pending[0]:<8} {elapsed:6.1f} s  so far{self._left(elapsed)}", flush=True)

    def _pending(self) -> list[str]:
        return [part for part in self._parts if part not in self.seconds]

    def _left(self, elapsed: float) -> str:
        """The time left in words, `elapsed` seconds into the next part; empty at the end, and for unknown parts."""
        pending = self._pending()
        if not pending or not all(part in self._expected for part in (*pending, *self.seconds)):
            return ""
        before = _total(self._expected, self.seconds)
        slower = sum(self.seconds.values()) / before if before else 1.0
        now, *later = (slower * self._expected[part] for part in pending)
        seconds = max(now - elapsed, 0.0) + sum(later)
        return f" (about {seconds:.0f} s left)" if seconds < 90 else f" (about {seconds / 60:.0f} min left)"


def _total(seconds: Mapping[str, float], parts: Sequence[str] | Mapping[str, float]) -> float:
    return sum(seconds[part] for part in parts)
