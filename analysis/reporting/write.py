"""Write a study to a folder: numbers, arrays, figures, and one self-contained page that explains them."""

import dataclasses
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from analysis.harness import experiment
from analysis.harness.experiment import Result
from analysis.harness.finding import details, sentence
from analysis.harness.finding import table as criteria_table
from analysis.harness.style import NAMES
from analysis.harness.table import Table
from analysis.measures.paths import Paths
from analysis.reporting import figures
from analysis.reporting.drawing import Drawer, Drawing, DrawingError, files
from analysis.reporting.page import page
from analysis.reporting.study import Study
from analysis.reporting.tables import metrics, tables
from gaussdiff import archives
from training.storage import disk

STORED_PATHS, STORED_BYTES = 32, 50e6  # starts whose whole paths go to arrays.npz, at the most


def write(stages: Iterable[Study], out: Path, aside: bool = False) -> Study:
    """Print the tables and write metrics.json, arrays.npz, figures/*.png and *.pdf, and report.html to the folder.

    stages: a study as it grows (study.stages), or one that is finished. The page is written at each stage, all else at
    the end; every file is whole at any moment. aside: draw the figures in a second process (drawing.Drawer). Returns
    the finished study. Interrupted, the page says so, and KeyboardInterrupt what it has.
    """
    study = None
    with Drawer(aside) as drawer:
        try:
            for study in stages:
                _begin(study, drawer)
                if study.pending:
                    _write_page(study, drawer.ready(), out)
            if study is None:
                raise ValueError("stages: expected at least one study, got none. Pass study.stages or [study].")
            study, drawings = _drawn(study, drawer)
            _write_all(study, drawings, out)
        except (Exception, KeyboardInterrupt) as error:
            if study is None:
                raise
            _write_page(study, drawer.ready(), out, interrupted=True)
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(_interrupted(study, out)) from None
            raise
    show(tables(study))
    print(f"written: {out / 'report.html'}, metrics.json, arrays.npz, figures/ ({len(drawings)}, as PNG and PDF)")
    for result in study.failed:
        print(f"failed: {result.experiment.name} {result.experiment.title}. {result.reason}")
    return study


def _begin(study: Study, drawer: Drawer) -> None:
    """Begin to draw what is new at this stage."""
    if not drawer.begun("trajectories"):
        drawer.begin("trajectories", figures.trajectories, _few(study))
        drawer.begin("samples", figures.samples, _sample_rows(study))
    for result in study.results:
        if result.finding is not None and not drawer.begun(result.experiment.name):
            drawer.begin(result.experiment.name, result.experiment.draw, result.record)


def _few(study: Study) -> dict[str, Paths]:
    """As many of the paths as their figure shows."""
    count = 1 if study.setting.is_image else figures.PLANE_PATHS
    return {name: Paths(p.sigma, p.x[:count], p.denoised[:count]) for name, p in study.paths.items()}


def _sample_rows(study: Study) -> dict[str, np.ndarray]:
    rows = {NAMES[name]: path.samples for name, path in study.paths.items()}
    rows["unseen\nreal data"] = study.data.held_out
    return {name: row[: figures.SAMPLES] for name, row in rows.items()} if study.setting.is_image else rows


def _drawn(study: Study, drawer: Drawer) -> tuple[Study, dict[str, Drawing]]:
    """All figures, as soon as they are drawn; an experiment whose figure cannot be drawn has failed."""
    drawings = {name: drawer.drawn(name) for name in ("trajectories", "samples")}
    results = []
    for result in study.results:
        name, outcome = result.experiment.name, result
        if drawer.begun(name):
            try:
                drawings[name] = drawer.drawn(name)
            except DrawingError as fault:
                outcome = experiment.failed(result.experiment, str(fault), result.seconds)
        results.append(outcome)
    return dataclasses.replace(study, results=tuple(results)), drawings


def _write_page(study: Study, drawings: Mapping[str, Drawing], out: Path, interrupted: bool = False) -> None:
    disk.make(out)
    disk.write(out / "report.html", page(study, drawings, interrupted).encode(errors="backslashreplace"))


def _write_all(study: Study, drawings: Mapping[str, Drawing], out: Path) -> None:
    numbers = json.dumps(metrics(study), indent=1, allow_nan=False) + "\n"
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays(study))
    disk.make(out / "figures")
    for name, drawing in drawings.items():
        for kind, content in drawing.items():
            disk.write(out / "figures" / f"{name}.{kind}", content)
    disk.write(out / "metrics.json", numbers.encode())
    disk.write(out / "arrays.npz", packed.getvalue())
    _write_page(study, drawings, out)


def _interrupted(study: Study, out: Path) -> str:
    done = f"{len(study.results)} of {len(study.experiments)} experiments"
    return f"interrupted; {out / 'report.html'} has {done}, other files may be missing: run the same command again"


def earlier(out: Path) -> dict[str, float]:
    """The seconds of each part in the report that the folder has; none where it has none."""
    try:
        seconds = dict(archives.read_json(out / "metrics.json")["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: each for name, each in seconds.items() if isinstance(each, int | float)}


def write_one(result: Result, out: Path) -> None:
    """Print what one experiment found; write NAME.json and its figure, NAME.png and NAME.pdf, to the folder `out`."""
    name, entry = result.experiment.name, result.to_json()
    disk.make(out)
    disk.write(out / f"{name}.json", (json.dumps(entry, indent=1, allow_nan=False) + "\n").encode())
    drawing = {} if result.figure is None else files(result.figure)
    for kind, content in drawing.items():
        disk.write(out / f"{name}.{kind}", content)
    print(f"{name}  {entry['title']}\nclaim: {entry['claim']}\nverdict: {result.verdict}. {sentence(entry)}")
    columns, rows = criteria_table({"": entry})
    if rows:
        show([Table("", "", columns, rows)])
    for remark in details(entry):
        print(f"- {remark}")
    print(f"written: {', '.join(str(out / f'{name}.{kind}') for kind in ('json', *drawing))}")


def arrays(study: Study) -> dict[str, Any]:
    """What arrays.npz has: noise scales, the first paths of every model, all final samples, variances."""
    stored = {"sigma": study.levels, "variances": study.variances}
    one = 2 * len(study.paths) * study.paths["network"].x[0].nbytes
    count = max(1, min(STORED_PATHS, int(STORED_BYTES / one)))
    for name, path in study.paths.items():
        stored[f"{name}_x"], stored[f"{name}_denoised"] = path.x[:count], path.denoised[:count]
        stored[f"{name}_samples"] = path.samples
    return stored


def show(shown: list[Table]) -> None:
    """Print tables to the terminal."""
    console = Console(width=None if Console().is_terminal else 120)
    for table in shown:
        grid = RichTable(title=table.title, caption=table.note, title_justify="left", caption_justify="left")
        numbers = all(len(cell) < 20 for row in table.rows for cell in row[1:])
        for i, name in enumerate(table.columns):
            grid.add_column(name, justify="right" if i and numbers else "left")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid)
