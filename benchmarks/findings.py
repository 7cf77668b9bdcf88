"""The page of findings: what the experiments showed on two runs on the digits, beside what was published.

python -m training train --data digits --steps 1000 --out runs/short
python -m training train --data digits --steps 12000 --out runs/long
python -m benchmarks.findings --runs runs/short runs/long --write    # measures, stores docs/findings.{md,json}
python -m benchmarks.findings --write    # the page again from docs/findings.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from analysis.experiments import STANDARD
from analysis.reporting import study, write
from training.runs import open_run

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Findings

Written by `python -m benchmarks.findings`. What [the experiments](experiments.md) showed on U-Nets trained on the
digits (8 x 8 pixels, {training} training and {held_out} held-out samples): one as in `make demo`, stopped while it
still generalises, and one trained much longer, which begins to remember its training images. Published numbers are for
other, larger data, mostly CIFAR-10: a number here is ours for these data, and where it contradicts a claim, it says
so. Intervals (95 %, in brackets) are over paths and samples of one network; those of other seeds may differ by more.
C1 takes nothing from a network but the data. Words: a *twin* is a model with an exact formula fitted to the same
training images (Gaussian, mixture of Gaussians, the data set itself); a *closed form* is the Gaussian's exact answer,
without a solver; the *fine solution* is the network's own path by many small steps; *controls* are models that have
learned nothing of what a claim is about: the untrained network, the trained one with shuffled weights, the Gaussian
with a shuffled spectrum, the data's variances given to other directions, and the isotropic Gaussian, which knows their
mean and scale alone; σ is the standard deviation of the
noise, pixels run from -1 to 1. Samples, calls and levels are as many as usual; `--full` would take more.
{stale}
"""
MARK = (
    "† Some control shows a part of it as well, which then is no sign of what the claim is about; the text says which."
)


def measure(runs: list[Path]) -> dict[str, Any]:
    """Return the experiments' entries for each run, and leave each report in the run's folder.

    Runs are told apart by the step that they have reached: ValueError for two at the same one, before anything is
    measured, and for a run that goes on meanwhile.
    """
    places = _by_step(runs)
    entries, data = {}, {}
    for step, place in places.items():
        write.write(study.run(place, study.Settings()), place)
        metrics = json.loads((place / "metrics.json").read_text())
        if metrics["step"] != step:
            raise ValueError(
                f"runs: expected {place} to stay at step {step:,}, got {metrics['step']:,}. Measure when it has ended."
            )
        entries[f"{step:,} steps"] = {"experiments": metrics["experiments"], "quality": metrics["quality"]}
        data = metrics["data"]
    return {"data": data, "runs": entries}


def _by_step(runs: list[Path]) -> dict[int, Path]:
    places: dict[int, Path] = {}
    for place in runs:
        step = open_run(place).step
        if step in places:
            raise ValueError(
                f"runs: expected runs at different steps, got {places[step]} and {place}, both at step {step:,}. "
                "Leave one out."
            )
        places[step] = place
    return places


def page(found: dict[str, Any]) -> str:
    """Return the text of docs/findings.md."""
    runs = found["runs"]
    names = list(next(iter(runs.values()))["experiments"])
    head = " | ".join(runs)
    table = [f"| | claim | {head} |", f"|---|---|{'---|' * len(runs)}"]
    for name in names:
        verdicts = " | ".join(_verdict(run["experiments"][name]) for run in runs.values())
        table.append(f"| [{name}](#{name.lower()}) | {_title(runs, name)} | {verdicts} |")
    sections = [_section(runs, name) for name in names]
    return HEAD.format(**found["data"], stale=_stale(runs)) + "\n".join([*table, "", MARK, "", *sections])


def _verdict(entry: dict[str, Any]) -> str:
    return f"{entry['verdict']} †" if "Controls " in entry["found"] else entry["verdict"]


def _stale(runs: dict[str, Any]) -> str:
    """A line that names the experiments whose criterion is no longer the one that they were judged by; or none."""
    entries = next(iter(runs.values()))["experiments"]
    old = [one.name for one in STANDARD if entries[one.name]["criterion"] != one.criterion]
    return f"\n**To be measured anew**: {', '.join(old)} had other criteria than today's.\n" if old else ""


def _title(runs: dict[str, Any], name: str) -> str:
    return next(iter(runs.values()))["experiments"][name]["title"]


def _section(runs: dict[str, Any], name: str) -> str:
    about = next(iter(runs.values()))["experiments"][name]
    lines = [f"## {name}", "", f"**{about['title']}.** {about['claim']}", "", f"Published: {about['published']}", ""]
    lines += [f"Criterion: {about['criterion']}", ""]
    told: dict[str, list[str]] = {}
    for steps, run in runs.items():
        entry = run["experiments"][name]
        told.setdefault(f"{entry['verdict']}.** {entry['found']}", []).append(steps)
    lines += [f"- **{' and '.join(steps)}: {said}" for said, steps in told.items()]
    return "\n".join([*lines, ""])


def _rounded(found: Any) -> Any:
    """The same with numbers of four digits, which is more than they are sure of."""
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return float(f"{found:.4g}") if isinstance(found, float) else found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.findings", description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of training runs to measure")
    parser.add_argument("--write", action="store_true", help="store docs/findings.md and docs/findings.json")
    options = parser.parse_args()
    stored = DOCS / "findings.json"
    found = measure(options.runs) if options.runs else json.loads(stored.read_text())
    text = page(found)
    print(text)
    if options.write:
        stored.write_text(json.dumps(_rounded(found), indent=None, separators=(",", ":")) + "\n")
        (DOCS / "findings.md").write_text(text)


if __name__ == "__main__":
    main()
