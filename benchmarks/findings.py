"""The page of findings: what the experiments showed on two runs on the digits, beside what was published.

python -m training train --data digits --steps 1000 --out runs/short
python -m training train --data digits --steps 12000 --out runs/long
python -m benchmarks.findings --runs runs/short runs/long --write    # measures, stores docs/findings.{md,json}
python -m benchmarks.findings --write    # the page again from docs/findings.json
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.experiments import STANDARD
from analysis.harness.finding import Entry, counted, details, sentence, table, without_learning
from analysis.reporting import study, write
from training.runs import open_run

DOCS = Path(__file__).parents[1] / "docs"
LEARNED = ("A1", "A3", "A6", "A7", "A9", "A11", "D4", "D7", "D11", "C1")  # whose sentences stand at the top

HEAD = """# Findings

{counts} Here are {learned} of them in one sentence each, {step}:

{sentences}

{controls}

## How to read this page

Written by `python -m benchmarks.findings` from what [the experiments](experiments.md) measured on U-Nets trained on the
digits (8 x 8 pixels, {training} training and {held_out} held-out samples): one as in `make demo`, stopped while it
still generalises, and one trained much longer, which begins to remember its training images. Published numbers are for
other, larger data, mostly CIFAR-10. Intervals (95 %, in brackets) are over paths and samples of one network; those of
networks from other seeds may differ by more. C1 uses nothing of a network but its data.

✓ marks a criterion that holds, ✗ one that does not, · a number that is not judged. † after a verdict: some control
meets a criterion of the claim as well, which then is no sign that the network has learned it; the folded text says
which one.

- A *twin* is a model with an exact formula fitted to the same training images: a Gaussian, a mixture of Gaussians, the
  data set itself. A *closed form* is the Gaussian's exact answer, without a solver.
- The *fine solution* is the network's own path by many small steps.
- *Controls* have learned nothing of what a claim is about: the untrained network, the trained one with shuffled
  weights, the Gaussian with a shuffled spectrum (the data's variances in other directions), and the isotropic Gaussian,
  which has only their mean and scale.
- σ is the standard deviation of the noise; pixels run from -1 to 1.
- Samples, calls and levels are as many as usual; `--full` takes more.
{stale}
"""

Runs = Mapping[str, Mapping[str, Any]]  # what was measured, by run


def measure(runs: list[Path]) -> dict[str, Any]:
    """Return the experiments' entries for each run, and leave each report in the run's folder.

    Runs are named by the step that they have reached: ValueError for two at the same one, before anything is measured,
    and for a run that goes on meanwhile; SystemExit where an experiment fails.
    """
    places = _by_step(runs)
    entries, data = {}, {}
    for step, place in places.items():
        failed = write.write(study.stages(place, study.Settings()), place).failed
        if failed:
            raise SystemExit(f"{', '.join(one.experiment.name for one in failed)} failed on {place}: see above.")
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


def page(measured: Mapping[str, Any]) -> str:
    """Return the text of docs/findings.md."""
    runs: Runs = measured["runs"]
    names = list(_first(runs))
    head = HEAD.format(**measured["data"], **_learned(runs), stale=_stale(runs))
    rows = [[_link(runs, name), *map(_verdict, _of_claim(runs, name).values())] for name in names]
    claims = _markdown(["claim", *runs], rows)
    return "\n".join([head, *claims, "", *(_section(runs, name) for name in names)])


def _first(runs: Runs) -> Mapping[str, Entry]:
    return next(iter(runs.values()))["experiments"]


def _of_claim(runs: Runs, name: str) -> dict[str, Entry]:
    """The entries of one claim, by run."""
    return {run: measured["experiments"][name] for run, measured in runs.items()}


def _learned(runs: Runs) -> dict[str, Any]:
    """The first screen: how many claims have each verdict, some of them in a sentence, and those that controls meet."""
    last, measured = list(runs.items())[-1]
    entries = measured["experiments"]
    counts = "; ".join(f"after {run} {counted(one['experiments'].values())}" for run, one in runs.items())
    alike = [name for name, entry in entries.items() if without_learning(entry)]
    chosen = [name for name in LEARNED if entries.get(name, {}).get("numbers")]
    return {
        "counts": f"Of {len(entries)} claims of the literature on diffusion models, {counts}.",
        "learned": len(chosen),
        "step": f"after {last}",
        "sentences": "\n".join(f"- {sentence(entries[name])} ([{name}](#{_address(runs, name)}))" for name in chosen),
        "controls": f"Controls that have learned nothing of a claim meet some criterion of {', '.join(alike)} as well."
        if alike
        else "",
    }


def _link(runs: Runs, name: str) -> str:
    return f"[{_title(runs, name)}](#{_address(runs, name)})"


def _address(runs: Runs, name: str) -> str:
    """Of a claim's section: GitHub makes it from the heading, without its punctuation."""
    return re.sub(r"[^a-z0-9 -]", "", _title(runs, name).lower()).replace(" ", "-")


def _title(runs: Runs, name: str) -> str:
    return f"{name}: {_first(runs)[name]['title']}"


def _verdict(entry: Entry) -> str:
    return f"{entry['verdict']} †" if without_learning(entry) else entry["verdict"]


def _stale(runs: Runs) -> str:
    """A line that names the experiments whose criterion is no longer the one that they were judged by; or none."""
    rules = {one.name: one.criterion for one in STANDARD}
    old = [name for name, entry in _first(runs).items() if entry["criterion"] != rules.get(name)]
    return f"\n**To be measured anew**: {', '.join(old)} had other criteria than today's.\n" if old else ""


def _section(runs: Runs, name: str) -> str:
    """A claim: what was found on each run, the table, and all else folded."""
    entries, about = _of_claim(runs, name), _first(runs)[name]
    columns, rows = table(entries)
    texts: dict[str, list[str]] = {}
    for run, entry in entries.items():
        texts.setdefault(f"{entry['verdict']}.** {sentence(entry)}", []).append(run)
    lines = [f"## {_title(runs, name)}", "", *(f"- **{' and '.join(of)}: {text}" for text, of in texts.items()), ""]
    lines += [*_markdown(columns, rows), ""] if rows else []
    lines += ["<details><summary>The claim, what was published, the rule of the verdict, and more</summary>", ""]
    lines += [f"Claim: {about['claim']}", "", f"Published: {about['published']}", "", f"Rule: {about['criterion']}", ""]
    for run, entry in entries.items():
        remarks = details(entry)
        lines += [f"After {run}:", "", *(f"- {remark}" for remark in remarks), ""] if remarks else []
    return "\n".join([*lines, "</details>", ""])


def _markdown(columns: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines]


def _rounded(stored: Any) -> Any:
    """The same with numbers of four digits, which is more than are certain."""
    if isinstance(stored, dict):
        return {name: _rounded(value) for name, value in stored.items()}
    if isinstance(stored, list):
        return [_rounded(value) for value in stored]
    return float(f"{stored:.4g}") if isinstance(stored, float) else stored


def main() -> None:
    """Measure, or read what was measured, and print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.findings", description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of training runs to measure")
    parser.add_argument("--write", action="store_true", help="store docs/findings.md and docs/findings.json")
    options = parser.parse_args()
    stored = DOCS / "findings.json"
    measured = measure(options.runs) if options.runs else json.loads(stored.read_text())
    text = page(measured)
    print(text)
    if options.write:
        stored.write_text(json.dumps(_rounded(measured), indent=None, separators=(",", ":")) + "\n")
        (DOCS / "findings.md").write_text(text)


if __name__ == "__main__":
    main()
