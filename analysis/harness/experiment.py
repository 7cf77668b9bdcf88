"""What an experiment is: a claim of the literature, a measurement, and the criteria that set one beside the other."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from matplotlib.figure import Figure

from analysis.harness.finding import Entry, Finding, Verdict, measured
from analysis.harness.setting import Setting
from analysis.harness.table import Table

Record = TypeVar("Record")


@dataclass(frozen=True)
class Headline:
    """The one number of an experiment that a table of several runs has room for.

    label: what it is. keys: the way to it in the finding's numbers; an interval is given by [value, low, high]. Of a
    list of intervals, one for each number of calls, it is the last.
    """

    label: str
    keys: tuple[str, ...]

    def of(self, entry: Entry) -> str:
        """The number in an entry of metrics.json, with its interval; a dash where there is none."""
        value: Any = entry["numbers"]
        for key in self.keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        while isinstance(value, list) and value and isinstance(value[-1], list):
            value = value[-1]
        if isinstance(value, list) and None in value:
            value = value[0]
        return "–" if value is None else measured(value)


@dataclass(frozen=True)
class Experiment(Generic[Record]):
    """One experiment: how the claim reads, what was published, and the three functions that judge it.

    measure: from models, noise and grids to a record of arrays; NotMeasuredError where the setting lacks what it takes.
    find: from the record to the finding. draw: from the record to a figure that `caption` explains in two sentences.
    criterion: what `find` takes for agreement, in words. table: further numbers of the record that a report prints.
    """

    name: str
    title: str
    claim: str
    published: str
    criterion: str
    caption: str
    headline: Headline
    measure: Callable[[Setting], Record]
    find: Callable[[Record], Finding]
    draw: Callable[[Record], Figure]
    table: Callable[[Record], Table] | None = None


class NotMeasuredError(ValueError):
    """The setting lacks what an experiment takes; the message says what, and how to get it."""


@dataclass(frozen=True)
class Result:
    """An experiment that was run.

    finding and record are None where it was not measured, for `reason`, or failed, with the traceback `error`; figure
    is None there too, and where it was not drawn.
    """

    experiment: Experiment[Any]
    finding: Finding | None
    record: Any
    figure: Figure | None
    seconds: float
    reason: str = ""
    error: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the claim's criteria say; "not measured" for want of something, "failed" by a fault of the program."""
        if self.finding is not None:
            return self.finding.verdict
        return "failed" if self.error else "not measured"

    def to_json(self) -> dict[str, Any]:
        """The entry of metrics.json."""
        about = self.experiment
        none = {"verdict": self.verdict, "sentence": self.reason, "criteria": [], "notes": [], "numbers": {}}
        return {
            "title": about.title,
            "claim": about.claim,
            "published": about.published,
            "criterion": about.criterion,
            **(none if self.finding is None else self.finding.to_json()),
            "error": self.error,
            "seconds": self.seconds,
        }


def run(experiment: Experiment[Any], setting: Setting, drawn: bool = True) -> Result:
    """Measure and judge, and draw where asked to. What the setting lacks is the reason; a fault has its traceback.

    Neither costs any other experiment.
    """
    began = time.perf_counter()

    def spent() -> float:
        return round(time.perf_counter() - began, 2)

    try:
        record = experiment.measure(setting)
        finding = experiment.find(record)
        json.dumps(finding.to_json(), allow_nan=False)  # what metrics.json will hold
        return Result(experiment, finding, record, experiment.draw(record) if drawn else None, spent())
    except NotMeasuredError as lack:
        return Result(experiment, None, None, None, spent(), reason=str(lack))
    except Exception:  # a report goes on with the other experiments, and its exit code says that one failed
        return failed(experiment, traceback.format_exc(), spent())


def failed(experiment: Experiment[Any], error: str, seconds: float) -> Result:
    """The result of an experiment that met a fault of the program; the traceback `error` is printed."""
    print(f"{experiment.name} failed:\n{error}", file=sys.stderr, flush=True)
    last = error.strip().splitlines()[-1]
    reason = f"It failed with an error of the program, which says nothing of the claim: {last}"
    return Result(experiment, None, None, None, seconds, reason=reason, error=error)
