"""Write a study to a folder: numbers, arrays, figures, and one self-contained page that explains them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table as RichTable

from analysis.harness.experiment import Result
from analysis.reporting import figures
from analysis.reporting.page import page
from analysis.reporting.study import Study
from analysis.reporting.tables import Table, metrics, tables

KEPT_PATHS, KEPT_BYTES = 32, 50e6  # starts whose whole paths go to arrays.npz, at the most


def write(study: Study, out: Path) -> None:
    """Print the tables and write metrics.json, arrays.npz, figures/*.png and *.pdf, and report.html to the folder.

    Everything is made before the first file is written; KeyboardInterrupt after that says that files are missing.
    """
    made = draw(study)
    drawings = {name: drawn(figure, "png") for name, figure in made.items()}
    printed = {name: drawn(figure, "pdf") for name, figure in made.items()}
    numbers = json.dumps(metrics(study), indent=1, allow_nan=False) + "\n"
    text, held = page(study, drawings), arrays(study)
    show(tables(study))
    try:
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for name in made:
            (out / "figures" / f"{name}.png").write_bytes(drawings[name])
            (out / "figures" / f"{name}.pdf").write_bytes(printed[name])
        (out / "metrics.json").write_text(numbers)
        np.savez_compressed(out / "arrays.npz", **held)
        (out / "report.html").write_text(text, encoding="utf-8")
    except KeyboardInterrupt:
        unfinished = f"interrupted; the report in {out} may be incomplete: run the same command again"
        raise KeyboardInterrupt(unfinished) from None
    print(f"written: {out / 'report.html'}, metrics.json, arrays.npz, figures/ ({len(drawings)}, as PNG and PDF)")


def write_one(result: Result, out: Path) -> None:
    """Print what one experiment found; write NAME.json and its figure, NAME.png and NAME.pdf, to the folder `out`."""
    about, figure = result.experiment, result.figure
    numbers = json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{about.name}.json").write_text(numbers)
    if figure is not None:
        (out / f"{about.name}.png").write_bytes(drawn(figure, "png"))
        (out / f"{about.name}.pdf").write_bytes(drawn(figure, "pdf"))
    print(f"{about.name}  {about.title}\nclaimed: {about.claim}\nfound: {result.finding.found}")
    print(f"verdict: {result.finding.verdict}")
    print(f"written: {out / about.name}.json{'' if figure is None else ', .png, .pdf'}")


def draw(study: Study) -> dict[str, Figure]:
    """The figures, by file name: two of the models, and one for each experiment that was measured."""
    measured = {result.experiment.name: result.figure for result in study.results}
    return {
        "trajectories": figures.trajectories(study.paths),
        "samples": figures.samples(_sample_rows(study)),
        **{name: figure for name, figure in measured.items() if figure is not None},
    }


def arrays(study: Study) -> dict[str, Any]:
    """What arrays.npz holds: noise scales, the first paths of every model, all final samples, variances."""
    held = {"sigma": study.levels, "variances": study.variances}
    one = 2 * len(study.paths) * study.paths["network"].x[0].nbytes
    kept = max(1, min(KEPT_PATHS, int(KEPT_BYTES / one)))
    for name, path in study.paths.items():
        held[f"{name}_x"], held[f"{name}_denoised"] = path.x[:kept], path.denoised[:kept]
        held[f"{name}_samples"] = path.samples
    return held


def _sample_rows(study: Study) -> dict[str, np.ndarray]:
    rows = {figures.NAMES[name]: path.samples for name, path in study.paths.items()}
    return {**rows, "unseen\nreal data": study.data.held_out}


def show(shown: list[Table]) -> None:
    """Print tables to the terminal."""
    console = Console(width=None if Console().is_terminal else 120)
    for table in shown:
        grid = RichTable(title=table.title, caption=table.note, title_justify="left", caption_justify="left")
        for i, name in enumerate(table.columns):
            grid.add_column(name, justify="right" if i else "left")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid)


def drawn(figure: Figure, kind: str) -> bytes:
    """The figure as a file: "png", or "pdf" for print."""
    buffer = io.BytesIO()
    draws = {"png": FigureCanvasAgg, "pdf": FigureCanvasPdf}[kind]
    draws(figure).print_figure(buffer, format=kind, dpi=130, facecolor="white")
    figure.set_layout_engine("none")  # done: a second kind of file keeps it, in half the time
    return buffer.getvalue()
