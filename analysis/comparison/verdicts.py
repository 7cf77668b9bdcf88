"""The experiments of several runs side by side: from each run's own report, or measured here with the same noise."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.experiments import STANDARD, named
from analysis.harness import experiment
from analysis.measures.bootstrap import Interval
from analysis.reporting.study import Settings, open_run
from analysis.reporting.tables import Table
from training import runs
from training.config import CADENCE

# The number of each experiment that a table has room for: what it is, and where it stands in the entry's numbers.
MAIN: dict[str, tuple[str, tuple[str, ...]]] = {
    "A1": ("share of a path's variance in two components", ("two_components", "network")),
    "A2": ("share of squared length outside the turn, at worst", ("worst_share_left_by_turn", "network")),
    "A3": ("slope of log level on log variance (closed form: 0.5)", ("network_interval", "slope")),
    "A4": ("change of the sample ÷ closed form's", ("measured_over_predicted", "network")),
    "A5": ("the Gaussian's squared error at large noise", ("early_denoised_error_over_data_variance", "gaussian")),
    "A6": ("share of the score that the Gaussian explains at σ = 1", ("score_at", "1", "gaussian")),
    "A7": ("what the Gaussian leaves at the end ÷ at its least", ("gaussian_last_over_least",)),
    "A8": ("rank correlation of noise and components needed", ("order_correlation",)),
    "A9": ("share of calls saved at equal Fréchet distance", ("saved_at_equal_frechet",)),
    "A10": ("share of what is undecided in leading components", ("share_at_outline",)),
    "A11": ("σ below which one training image has half of the weight", ("decided_at", "network")),
    "D1": ("share of steps at which the denoised image grows", ("share_of_steps_where_denoised_grows",)),
    "D2": ("distance from the chord ÷ its length", ("peak_over_chord", "state", "network")),
    "D3": ("share of steps that come nearer, denoised image", ("share_of_falling_steps", "denoised", "network")),
    "D4": ("σ at which the denoised image has settled", ("settled_sigma", "denoised")),
    "D5": ("share of states that become likelier", ("rises", "network")),
    "D6": ("distance from the optimal denoiser at the end", ("end_on_own_path",)),
    "D7": ("variance half way on the line ÷ at its ends", ("variance_share", "linear")),
    "D8": ("share of shape that paths have in common", ("shared", "network")),
    "D9": ("distance on the network's own grid ÷ on EDM's, most calls", ("distance_share_of_edm", "GITS, network")),
    "D11": ("rank correlation of exact W2 and distance", ("rank_correlation_w2_distance",)),
    "C1": ("exponent of learning time, one layer", ("exponent", "one_layer")),
    "C2": ("exponent of learning time, falling components", ("exponent", "falling")),
}

UNKNOWN = "no report in the run's folder: python -m analysis report --run RUN --out RUN makes one"


@dataclass(frozen=True)
class Told:
    """What is known of a run's experiments.

    entries: by name, as in metrics.json. made: how, in words. doubt: why it may not hold of the run as it is, or "".
    """

    entries: Mapping[str, Mapping[str, Any]]
    made: str
    doubt: str = ""


def read(place: Path) -> Told:
    """What the report in a run's own folder says; ValueError where its metrics.json cannot be read."""
    file = place / "metrics.json"
    if not file.is_file():
        return Told({}, UNKNOWN)
    try:
        metrics = json.loads(file.read_text())
        settings, entries = metrics["settings"], metrics["experiments"]
        step, version = metrics.get("step"), metrics["versions"]["gaussdiff"]
        made = f"its report: {metrics['quality']['samples']} starts, {settings['steps']} steps, seed {settings['seed']}"
        made += f"{', with more samples' if settings['full'] else ''}; gaussdiff {version}"
        doubts = _of_another(place, step, metrics["training"]), _by_another_rule(entries)
        return Told(entries, f"{made}; {_at(step)}", "; ".join(filter(None, doubts)))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"runs: expected a report's metrics.json, got {file} ({error!r}). Make the report anew."
        ) from None


def _at(step: int | None) -> str:
    return "of an unknown step" if step is None else f"of step {step:,}"


def _by_another_rule(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Which verdicts another version gave, whose criterion is not the one of today."""
    rules = {one.name: one.criterion for one in STANDARD}
    old = [name for name, entry in entries.items() if name in rules and entry["criterion"] != rules[name]]
    return f"the criteria of {', '.join(old)} were others" if old else ""


def _of_another(place: Path, step: int | None, training: Mapping[str, Any]) -> str:
    """Why the report may be of another state, or of another run."""
    found = runs.open_run(place)
    own = found.settings["config"]
    unlike = [name for name in own if name not in CADENCE and training.get(name) != own[name]]
    if unlike:
        return f"it is of a run with other settings ({', '.join(unlike)})"
    return "" if step == found.step else f"the run is at step {found.step:,} now"


def measure(label: str, place: Path, names: tuple[str, ...], settings: Settings) -> Told:
    """Run experiments, all for the name "standard", with the noise of the settings; a line of progress for each."""
    setting, entries = open_run(place, settings), {}
    for one in STANDARD if names == ("standard",) else map(named, names):
        result = experiment.run(one, setting)
        entries[one.name] = result.to_json()
        print(f"{label}: {one.name} {result.finding.verdict}, {result.seconds:.0f} s", flush=True)
    about = f"{len(setting.starts)} starts, {settings.steps} steps, seed {settings.seed}"
    return Told(entries, f"measured now: {about}; {_at(runs.open_run(place).step)}")


def check(names: tuple[str, ...]) -> None:
    """ValueError for a name that is no experiment."""
    for name in names if names != ("standard",) else ():
        named(name)


def shown(told: Mapping[str, Told]) -> list[str]:
    """The names of the experiments that some run has, in the order of a report."""
    return [one.name for one in STANDARD if any(one.name in each.entries for each in told.values())]


def cell(entry: Mapping[str, Any] | None, name: str) -> tuple[str, str]:
    """The verdict and the main number with its interval; a dash where there is none."""
    if entry is None:
        return "–", "–"
    value: Any = entry["numbers"]
    for key in MAIN[name][1]:
        value = value.get(key) if isinstance(value, Mapping) else None
    while isinstance(value, list) and value and isinstance(value[-1], list):
        value = value[-1]  # of the most calls
    if isinstance(value, list):
        value = value[0] if None in value else Interval(*value)
    return entry["verdict"], "–" if value is None else str(value) if isinstance(value, Interval) else f"{value:.3g}"


def table(told: Mapping[str, Told]) -> Table:
    """A row for each experiment, a column for each run."""
    rows = []
    for name in shown(told):
        cells = [" ".join(cell(each.entries.get(name), name)) for each in told.values()]
        rows.append([f"{name} {named(name).title}", *cells])
    notes = "; ".join(f"{label}: {each.made}{f' ({each.doubt})' if each.doubt else ''}" for label, each in told.items())
    return Table(
        "Verdicts side by side",
        f"{sentence(told)} {notes}. compare.html says what the numbers are.",
        ["claim", *told],
        rows,
    )


def sentence(told: Mapping[str, Told]) -> str:
    """On which claims the runs have different verdicts."""
    both = [name for name in shown(told) if all(name in each.entries for each in told.values())]
    if not both:
        return "No claim was measured on all of these runs."
    apart = [name for name in both if parts(name, told)]
    differ = f"the verdicts differ on {', '.join(apart)}" if apart else "the verdicts are the same on all of them"
    claims = "claim" if len(both) == 1 else "claims"
    return f"Of {len(both)} {claims} measured on every run: {differ}."


def parts(name: str, told: Mapping[str, Told]) -> bool:
    """Whether the runs have different verdicts on a claim."""
    return len({each.entries[name]["verdict"] for each in told.values() if name in each.entries}) > 1


def record(told: Mapping[str, Told]) -> dict[str, Any]:
    """As JSON, by run."""
    return {label: dataclasses.asdict(each) for label, each in told.items()}
