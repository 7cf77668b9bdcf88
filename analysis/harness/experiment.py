"""What an experiment is: a claim of the literature, a measurement, and the sentence that sets one beside the other."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from matplotlib.figure import Figure

from analysis.harness.setting import Setting

Record = TypeVar("Record")
Verdict = Literal["agrees", "agrees in part", "differs", "not measured"]


@dataclass(frozen=True)
class Finding:
    """What came out: a verdict, the sentence that says it with its interval, and the numbers for JSON.

    They are finite, but for the ends of an interval that is not known: NaN here, null in JSON.
    """

    verdict: Verdict
    found: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Experiment(Generic[Record]):
    """One experiment: how the claim reads, what was published, and the three functions that judge it.

    measure: from models, noise and grids to a record of arrays; NotMeasuredError where the setting lacks what it takes.
    find: from the record to the finding. draw: from the record to a figure that `caption` explains.
    criterion: what `find` takes for agreement, in words.
    """

    name: str
    title: str
    claim: str
    published: str
    criterion: str
    caption: str
    measure: Callable[[Setting], Record]
    find: Callable[[Record], Finding]
    draw: Callable[[Record], Figure]


def verdict(*held: bool) -> Verdict:
    """Agrees where all parts of a criterion hold, in part where some do, differs where none does."""
    return "agrees" if all(held) else "agrees in part" if any(held) else "differs"


def judged(parts: Mapping[str, bool], found: str, numbers: dict[str, Any]) -> Finding:
    """The finding by the parts of a criterion, which are named where some of them hold and some do not."""
    return Finding(verdict(*map(bool, parts.values())), found + named(parts), numbers)


def named(parts: Mapping[str, bool]) -> str:
    """Which parts of a criterion hold and which do not, in words; empty where all do, or none."""
    holds, fails = ([name for name, held in parts.items() if bool(held) is wanted] for wanted in (True, False))
    return f" Holds: {'; '.join(holds)}. Does not hold: {'; '.join(fails)}." if holds and fails else ""


class NotMeasuredError(ValueError):
    """The setting lacks what an experiment takes; the message says what, and how to get it."""


@dataclass(frozen=True)
class Result:
    """An experiment that was run: its finding, record and figure (None where it was not measured), and seconds."""

    experiment: Experiment[Any]
    finding: Finding
    record: Any
    figure: Figure | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The entry of metrics.json."""
        about, finding = self.experiment, self.finding
        return {
            "title": about.title,
            "claim": about.claim,
            "published": about.published,
            "criterion": about.criterion,
            "found": finding.found,
            "verdict": finding.verdict,
            "numbers": storable(finding.numbers),
            "seconds": self.seconds,
        }


def storable(numbers: Any) -> Any:
    """The numbers with null for the ends of intervals [value, NaN, NaN], which are not known."""
    if isinstance(numbers, Mapping):
        return {name: storable(one) for name, one in numbers.items()}
    if not isinstance(numbers, list):
        return numbers
    unknown = len(numbers) == 3 and all(isinstance(one, float) and math.isnan(one) for one in numbers[1:])
    return [numbers[0], None, None] if unknown else [storable(one) for one in numbers]


def run(experiment: Experiment[Any], setting: Setting) -> Result:
    """Measure, judge and draw; where that cannot be done the reason is what was found, and others can go on."""
    began = time.perf_counter()
    record = figure = None
    try:
        record = experiment.measure(setting)
        finding = experiment.find(record)
        json.dumps(storable(finding.numbers), allow_nan=False)  # what metrics.json will hold
        figure = experiment.draw(record)
    except NotMeasuredError as reason:
        finding = Finding("not measured", str(reason), {})
    except (ValueError, RuntimeError, TypeError, ArithmeticError, IndexError) as error:
        record, finding = None, Finding("not measured", f"It failed here: {error!r}", {})
    return Result(experiment, finding, record, figure, round(time.perf_counter() - began, 2))
