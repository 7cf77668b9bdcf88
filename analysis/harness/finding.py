"""What an experiment finds, as data, and the one place that puts it into words.

A claim is judged by criteria. Each says what was measured, what was expected and whether that holds; the verdict
follows from them. Pages, the terminal and docs/findings.md are written from the entry of a finding in metrics.json, by
the functions below, so that every reader sees the same words.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis.harness.style import NAMES
from analysis.measures.bootstrap import Interval

Verdict = Literal["agrees", "agrees in part", "differs", "not measured", "failed"]
Entry = Mapping[str, Any]

LEARNING = "no learning"
DIRECTIONS = "the variances of the data, not their directions"
SCALE = "no more of the data than their mean and scale"


@dataclass(frozen=True)
class Criterion:
    """One part of what a claim is judged by.

    name: what is measured, a noun phrase. measured: an Interval, a number or words. expected: in words, such as "at
    least 0.9". holds: None where it is reported but not judged. essential: where it fails the claim differs, whatever
    else holds. note: a sentence more, for readers who unfold it.
    controls: models without what the claim is about that meet it all the same (`meet`); takes: what meeting it
    therefore takes, in words such as LEARNING (where the shuffled spectrum alone meets it, DIRECTIONS).
    """

    name: str
    measured: Interval | float | int | str
    expected: str
    holds: bool | None
    note: str = ""
    essential: bool = False
    controls: tuple[str, ...] = ()
    takes: str = LEARNING

    def to_json(self) -> dict[str, Any]:
        """Plain values: an interval as [value, low, high]."""
        measured = list(self.measured) if isinstance(self.measured, Interval) else self.measured
        return {
            "name": self.name,
            "measured": storable(measured),
            "expected": self.expected,
            "holds": None if self.holds is None else bool(self.holds),
            "note": self.note,
            "controls": list(self.controls),
            "takes": DIRECTIONS if self.takes == LEARNING and self.controls == ("shuffled_spectrum",) else self.takes,
        }


@dataclass(frozen=True)
class Finding:
    """What came out of an experiment.

    sentence: what was found, in one plain sentence with a number. notes: further sentences, folded on a page.
    numbers: for JSON, finite but for the ends of an interval that is not known: NaN here, null in JSON.
    """

    sentence: str
    criteria: tuple[Criterion, ...]
    numbers: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the criteria say of the claim."""
        return verdict(self.criteria)

    def to_json(self) -> dict[str, Any]:
        """The part of an entry of metrics.json that was found."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "criteria": [criterion.to_json() for criterion in self.criteria],
            "notes": list(self.notes),
            "numbers": storable(self.numbers),
        }


def verdict(criteria: Sequence[Criterion]) -> Verdict:
    """Agrees where all judged criteria hold; in part where some do, and every essential one; else differs."""
    judged = [criterion for criterion in criteria if criterion.holds is not None]
    if not judged:
        raise ValueError(
            "criteria: expected at least one that is judged, got none. Give one of them holds=True or False."
        )
    if all(criterion.holds for criterion in judged):
        return "agrees"
    lost = any(criterion.essential and not criterion.holds for criterion in judged)
    return "agrees in part" if any(criterion.holds for criterion in judged) and not lost else "differs"


def meet(holds: Mapping[str, bool], controls: Iterable[str]) -> tuple[str, ...]:
    """The controls that meet a criterion which the network meets: {model: whether it holds}; none where it does not."""
    return tuple(name for name in controls if holds["network"] and holds.get(name, False))


def storable(numbers: Any) -> Any:
    """The numbers with null for the ends of intervals [value, NaN, NaN], which are not known."""
    if isinstance(numbers, Mapping):
        return {name: storable(one) for name, one in numbers.items()}
    if not isinstance(numbers, list):
        return numbers
    unknown = len(numbers) == 3 and all(isinstance(one, float) and math.isnan(one) for one in numbers[1:])
    return [numbers[0], None, None] if unknown else [storable(one) for one in numbers]


# From an entry of metrics.json to words. Reports of earlier versions have one long text, "found", and no criteria.

MARKS = {True: "✓", False: "✗", None: "·"}  # of a criterion that holds, does not, is not judged

COUNTED = {  # of one claim, and of several
    "agrees": ("agrees", "agree"),
    "agrees in part": ("agrees in part", "agree in part"),
    "differs": ("differs", "differ"),
    "not measured": ("could not be measured", "could not be measured"),
    "failed": ("failed", "failed"),
}


def sentence(entry: Entry) -> str:
    """The one sentence that a reader sees first."""
    return entry.get("sentence", entry.get("found", ""))


def table(entries: Mapping[str, Entry]) -> tuple[list[str], list[list[str]]]:
    """The table under the sentence: criterion, what was measured on each run, and what was expected.

    entries: of one claim, by the name of the run, "" for a run that needs none. A mark says whether a criterion holds;
    a dash stands where a run has none of that name.
    """
    criteria = {run: {one["name"]: one for one in entry.get("criteria", ())} for run, entry in entries.items()}
    names = dict.fromkeys(name for of_run in criteria.values() for name in of_run)
    rows = []
    for name in names:
        cells = [_cell(of_run.get(name)) for of_run in criteria.values()]
        expected = dict.fromkeys(of_run[name]["expected"] for of_run in criteria.values() if name in of_run)
        rows.append([name, *cells, " / ".join(expected)])
    return ["criterion", *(run or "measured" for run in entries), "expected"], rows


def _cell(criterion: Mapping[str, Any] | None) -> str:
    return "–" if criterion is None else f"{MARKS[criterion['holds']]} {measured(criterion['measured'])}"


def measured(value: Any) -> str:
    """A number to three digits, an interval as "value (low to high)", words as they are."""
    if isinstance(value, list):
        return str(Interval(*(math.nan if end is None else end for end in value)))
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def counted(entries: Iterable[Entry]) -> str:
    """How many claims have each verdict, as "3 agree, 1 differs"."""
    counts = Counter(entry["verdict"] for entry in entries)
    return ", ".join(f"{counts[one]} {words[counts[one] > 1]}" for one, words in COUNTED.items() if one in counts)


def without_learning(entry: Entry) -> bool:
    """Whether some control meets a criterion of the claim, so that meeting it says less of the network."""
    return any(one["controls"] for one in entry.get("criteria", ())) or "Controls " in entry.get("found", "")


def details(entry: Entry) -> list[str]:
    """What a reader unfolds: a sentence for each criterion that has a note or controls, then the notes."""
    remarks = [f"{one['name']}: {remark}" for one in entry.get("criteria", ()) if (remark := _remark(one))]
    return [_capital(remark) for remark in remarks] + list(entry.get("notes", ()))


def _remark(criterion: Mapping[str, Any]) -> str:
    alike = "; ".join(str(NAMES.get(name, name)) for name in criterion["controls"])
    shown = f"controls meet it too ({alike}), so it takes {criterion['takes']}." if alike else ""
    note = criterion["note"]
    return f"{note} {_capital(shown)}".strip() if note else shown


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
