"""The experiments of several runs side by side: from each run's own report, or measured here with the same noise."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.experiments import STANDARD, named
from analysis.harness import experiment, finding
from analysis.harness.finding import Entry
from analysis.harness.table import Table
from analysis.reporting.study import Settings, open_run
from gaussdiff import archives
from training import runs
from training.config import CADENCE

UNKNOWN = "no report in the run's folder: python -m analysis report --run RUN --out RUN makes one"


@dataclass(frozen=True)
class Judgements:
    """What experiments say of a run.

    entries: by name, as in metrics.json. made: how, in words. doubt: why they may not be of the run as it is, or "".
    """

    entries: Mapping[str, Entry]
    made: str
    doubt: str = ""


def read(place: Path) -> Judgements:
    """What the report in a run's own folder says; ValueError where its metrics.json cannot be read."""
    file = place / "metrics.json"
    if not file.is_file():
        return Judgements({}, UNKNOWN)
    try:
        with archives.parsing(file):
            metrics = archives.read_json(file)
            settings, entries = metrics["settings"], dict(metrics["experiments"])
            step, version = metrics.get("step"), metrics["versions"]["gaussdiff"]
            made = f"{metrics['quality']['samples']} starts, {settings['steps']} steps, seed {settings['seed']}"
            made += f"{', with more samples' if settings['full'] else ''}; gaussdiff {version}; {_at(step)}"
            trained = dict(metrics["training"])
            _check_entries(entries)
    except archives.UnreadableError as error:
        raise ValueError(
            f"runs: expected a report's metrics.json, got {file} ({error.reason}). Make the report anew."
        ) from None
    doubts = _of_another(place, step, trained), _by_another_rule(entries)
    return Judgements(entries, f"its report: {made}", "; ".join(filter(None, doubts)))


def _check_entries(entries: Mapping[str, Entry]) -> None:
    """Put every entry into words, which fails here, not halfway down a page, where one is damaged."""
    for name, entry in entries.items():
        if name in {one.name for one in STANDARD}:
            cell(entry, name)
        for wording in (finding.details, finding.without_learning):
            wording(entry)
        finding.counted([entry])
        finding.table({"": entry})
        if entry["verdict"] not in finding.COUNTED or not isinstance(entry["criterion"], str):
            raise ValueError(f"{name} has the verdict {entry['verdict']}")


def _at(step: int | None) -> str:
    return "of an unknown step" if step is None else f"of step {step:,}"


def _by_another_rule(entries: Mapping[str, Entry]) -> str:
    """Which verdicts another version gave, whose criterion is not the one of today."""
    rules = {one.name: one.criterion for one in STANDARD}
    old = [name for name, entry in entries.items() if name in rules and entry["criterion"] != rules[name]]
    return f"the criteria of {', '.join(old)} were others" if old else ""


def _of_another(place: Path, step: int | None, training: Mapping[str, Any]) -> str:
    """Why the report may be of another state, or of another run."""
    opened = runs.open_run(place)
    own = opened.settings["config"]
    unlike = [name for name in own if name not in CADENCE and training.get(name) != own[name]]
    if unlike:
        return f"it is of a run with other settings ({', '.join(unlike)})"
    return "" if step == opened.step else f"the run is at step {opened.step:,} now"


def measure(label: str, place: Path, names: tuple[str, ...], settings: Settings) -> Judgements:
    """Run experiments, all for the name "standard", with the noise of the settings; a line of progress for each."""
    setting, entries = open_run(place, settings), {}
    for one in STANDARD if names == ("standard",) else map(named, names):
        result = experiment.run(one, setting, drawn=False)
        entries[one.name] = result.to_json()
        print(f"{label}: {one.name} {result.verdict}, {result.seconds:.0f} s", flush=True)
    about = f"{len(setting.starts)} starts, {settings.steps} steps, seed {settings.seed}"
    return Judgements(entries, f"measured now: {about}; {_at(runs.open_run(place).step)}")


def check(names: tuple[str, ...]) -> None:
    """ValueError for a name that is no experiment."""
    for name in names if names != ("standard",) else ():
        named(name)


def shown(judged: Mapping[str, Judgements]) -> list[str]:
    """The names of the experiments that some run has, in the order of a report."""
    return [one.name for one in STANDARD if any(one.name in each.entries for each in judged.values())]


def cell(entry: Entry | None, name: str) -> tuple[str, str]:
    """The verdict and the headline number with its interval; a dash where there is none."""
    return ("–", "–") if entry is None else (entry["verdict"], named(name).headline.of(entry))


def table(judged: Mapping[str, Judgements]) -> Table:
    """A row for each experiment, a column for each run."""
    rows = []
    for name in shown(judged):
        cells = [" ".join(cell(each.entries.get(name), name)) for each in judged.values()]
        rows.append([f"{name} {named(name).title}", *cells])
    notes = "; ".join(
        f"{label}: {each.made}{f' ({each.doubt})' if each.doubt else ''}" for label, each in judged.items()
    )
    return Table(
        "Verdicts side by side",
        f"{sentence(judged)} {notes}. compare.html says what the numbers are.",
        ["claim", *judged],
        rows,
    )


def sentence(judged: Mapping[str, Judgements]) -> str:
    """On which claims the runs have different verdicts."""
    common = [name for name in shown(judged) if all(name in each.entries for each in judged.values())]
    if not common:
        return "No claim was measured on all of these runs."
    different = [name for name in common if differ(name, judged)]
    result = f"differ on {', '.join(different)}" if different else "are the same on all of them"
    claims = "claim" if len(common) == 1 else "claims"
    return f"Of {len(common)} {claims} measured on every run: the verdicts {result}."


def differ(name: str, judged: Mapping[str, Judgements]) -> bool:
    """Whether the runs have different verdicts on a claim."""
    return len({each.entries[name]["verdict"] for each in judged.values() if name in each.entries}) > 1


def record(judged: Mapping[str, Judgements]) -> dict[str, Any]:
    """As JSON, by run."""
    return {label: dataclasses.asdict(each) for label, each in judged.items()}
