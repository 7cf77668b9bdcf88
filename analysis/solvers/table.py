"""Which sampler on which grid for a data set: exact errors on its Gaussian, as tables, words, files and a figure."""

import csv
import io
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from analysis.harness.table import Table
from analysis.reporting.drawing import drawn
from analysis.reporting.write import show
from analysis.solvers.figure import draw
from gaussdiff import archives
from training.config import check
from training.data.dataset import load
from training.storage import disk

CAVEAT = (
    "These errors are exact for the Gaussian with the mean and covariance of the data. At noise scales above about 1 a "
    "model of the data acts much like that Gaussian; below, data are not Gaussian, and what a sampler does there these "
    "numbers do not show. They say which samplers lose the large features at few calls; try the two or three best."
)
PARTS = ("w2", "kl", "start", "truncation", "discretisation")


@dataclass(frozen=True)
class Settings:
    """What the table is of: the data and the numbers of model calls."""

    # Checked by `run`, not here: a command-line parser builds it, and rewords errors that it meets while doing so.

    data: str | None = None  # a data set, as for training: digits, toy-ring, mnist
    spectrum: Path | None = None  # instead of --data: a .npy file of variances (K,), of data with mean 0
    calls: tuple[int, ...] = (5, 8, 10, 20, 40)  # model calls that a sampler may make
    rank: int | None = None  # principal components kept, the rest shared equally; all by default
    data_dir: str | None = None  # folder of prepared tensorflow-datasets
    image_size: int | None = None  # side to which a folder's images are cropped and resized


@dataclass(frozen=True)
class Choice:
    """The best sampler within one budget: names, W2 and its parts in data units, and the best other sampler."""

    calls: int
    steps: int
    sampler: str
    grid: str
    w2: float
    start: float
    truncation: float
    discretisation: float
    next_sampler: str | None
    next_w2: float | None


@dataclass(frozen=True)
class Result:
    """The table, with the standard deviation of the whole sample that its errors are measured against."""

    settings: Settings
    name: str
    scale: float
    table: gd.SolverTable
    choices: list[Choice]


def run(settings: Settings) -> Result:
    """Fit the Gaussian and compute the table; a line of progress for each sampler."""
    name, law = _law(settings)
    started, samplers, grids = time.perf_counter(), gd.design.standard_samplers(), gd.design.standard_grids()
    names = list(samplers)

    def told(done: int, total: int) -> None:
        print(f"{time.perf_counter() - started:6.1f} s  {done:2d} of {total}: {names[done - 1]}", flush=True)

    table = gd.solver_table(law, samplers, grids, settings.calls, told)
    scale = float(jnp.sqrt(law.eigvals.sum() + law.residual * (law.mean.size - law.rank)))
    return Result(settings, name, scale, table, choose(table))


def choose(table: gd.SolverTable) -> list[Choice]:
    """The best of each budget, without those in which no sampler fits."""
    fitting = [k for k in range(len(table.calls)) if np.isfinite(table.w2[:, :, k]).any()]
    return [_choice(table, k) for k in fitting]


def _choice(table: gd.SolverTable, k: int) -> Choice:
    sampler, grid = table.best(table.calls[k])
    i, j = table.samplers.index(sampler), table.grids.index(grid)
    w2, start, truncation, discretisation = (
        float(part[i, j, k]) for part in (table.w2, table.start, table.truncation, table.discretisation)
    )
    others = np.fmin.reduce(table.w2[:, :, k], axis=1)
    others[i] = np.nan
    second = None if np.isnan(others).all() else int(np.nanargmin(others))
    following = (None, None) if second is None else (table.samplers[second], float(others[second]))
    steps = int(table.steps[i, k])
    return Choice(table.calls[k], steps, sampler, grid, w2, start, truncation, discretisation, *following)


def _law(settings: Settings) -> tuple[str, gd.Gaussian | gd.Diagonal]:
    if (settings.data is None) == (settings.spectrum is None):
        given = "neither" if settings.data is None else "both"
        raise ValueError(f"data, spectrum: expected one of the two, got {given}. Write --data digits, for example.")
    if settings.data is not None:
        check("data", settings.data)
    if settings.spectrum is not None:
        variances = read_spectrum(settings.spectrum)
        return settings.spectrum.name, gd.Diagonal(jnp.zeros(len(variances)), jnp.asarray(variances))
    assert settings.data is not None
    samples = load(settings.data, data_dir=settings.data_dir, image_size=settings.image_size).train
    return settings.data, gd.Gaussian.from_samples(samples.astype(np.float64), settings.rank)


def read_spectrum(path: Path) -> np.ndarray:
    """The variances (K,) in an .npy file; ValueError where they are none."""
    if not path.is_file():
        raise ValueError(f"spectrum: expected a .npy file of numbers, got {path}, which is none. Correct --spectrum.")
    try:
        variances = archives.map_npy(path)
    except archives.UnreadableError as error:
        raise ValueError(
            f"spectrum: expected a .npy file of numbers, got {path} ({error.reason}). Write it with np.save."
        ) from error
    if variances.ndim != 1 or not variances.size:
        raise ValueError(
            f"spectrum: expected variances of shape (K,), got {variances.shape} in {path}. Of a covariance take "
            "np.linalg.eigvalsh."
        )
    if variances.dtype.kind not in "iuf":
        raise ValueError(f"spectrum: expected real numbers, got {variances.dtype}. Write variances with np.save.")
    bad = variances[~((variances >= 0) & (variances < np.inf))]
    if bad.size:
        raise ValueError(f"spectrum: expected variances >= 0 and finite, got {bad[0]:g}. Leave such entries out.")
    return variances.astype(np.float64)


def write(result: Result, out: Path) -> None:
    """Print tables and a recommendation, and write solvers.json, solvers.csv and solvers.png to the folder `out`.

    Everything is made before the first file is written; KeyboardInterrupt after that says that files are missing.
    """
    numbers = json.dumps(record(result), indent=1, allow_nan=False) + "\n"
    rows, picture = _csv(result.table), drawn(draw(result.table, result.scale, result.name), "png")
    show(tables(result))
    print("\n".join(sentences(result)) + f"\n\n{CAVEAT}\n")
    try:
        disk.make(out)
        disk.write(out / "solvers.json", numbers.encode())
        disk.write(out / "solvers.csv", rows.encode())
        disk.write(out / "solvers.png", picture)
    except KeyboardInterrupt:
        unfinished = f"interrupted; the files in {out} may be incomplete: run the same command again"
        raise KeyboardInterrupt(unfinished) from None
    print(f"written: {out / 'solvers.json'}, solvers.csv, solvers.png")


def sentences(result: Result) -> list[str]:
    """The recommendation, a sentence for each budget."""
    return [_sentence(choice, result) for choice in result.choices]


def _sentence(choice: Choice, result: Result) -> str:
    share = f" ({choice.w2 / result.scale:.1%} of the data's standard deviation)" if result.scale else ""
    following = f" Next best: {choice.next_sampler}, {choice.next_w2:.3g}." if choice.next_sampler else ""
    return (
        f"For {result.name} at {choice.calls} calls: {choice.sampler} on the grid “{choice.grid}”, "
        f"{choice.steps} steps, W2 = {choice.w2:.3g}{share}; each alone, the start makes {choice.start:.2g}, the "
        f"truncation {choice.truncation:.2g}, the discretisation {choice.discretisation:.3g}.{following}"
    )


def tables(result: Result) -> list[Table]:
    """What the terminal shows: every sampler on its best grid, and every grid with its best sampler."""
    table = result.table
    letters = {grid: chr(ord("a") + j) for j, grid in enumerate(table.grids)}
    key = ", ".join(f"{letter} {grid}" for grid, letter in letters.items())
    best = [(choice.sampler, choice.grid) for choice in result.choices]
    columns = [f"{calls} calls" for calls in table.calls]
    return [
        Table(
            f"W2 between what a sampler generates and the Gaussian of {result.name}, each on its best grid",
            f"In data units; a start at the mean and no step at all would have {result.scale:.3g}. *: the best of its "
            f"budget. Grids: {key}.",
            ["sampler", *columns],
            [_row(name, table.w2[i], list(letters.values()), best, 0) for i, name in enumerate(table.samplers)],
        ),
        Table(
            "The same by grid, each with its best sampler",
            "*: the best of its budget.",
            ["grid", *columns],
            [_row(name, table.w2[:, j], list(table.samplers), best, 1) for j, name in enumerate(table.grids)],
        ),
    ]


def _row(name: str, errors: np.ndarray, labels: list[str], best: list[tuple[str, str]], axis: int) -> list[str]:
    """A row of a table: the least of errors (labels, calls) in each column, and whose it is."""
    fitting, cells = iter(best), []
    for column in errors.T:
        cells.append("–" if np.isnan(column).all() else f"{np.nanmin(column):.3g} {labels[np.nanargmin(column)]}")
    for k, chosen in enumerate(fitting):
        if chosen[axis] == name and cells[k] != "–":
            cells[k] = f"* {cells[k]}"
    return [name, *cells]


def record(result: Result) -> dict[str, Any]:
    """Everything as JSON: [sampler][grid][calls], null where no step fits the budget and for an infinite divergence."""
    table, settings = result.table, asdict(result.settings)
    return {
        "data": {"name": result.name, "standard_deviation": result.scale},
        "settings": {**settings, "spectrum": settings["spectrum"] and str(settings["spectrum"])},
        "samplers": table.samplers,
        "grids": table.grids,
        "calls": table.calls,
        "steps": table.steps.tolist(),
        **{part: _finite(getattr(table, part).tolist()) for part in PARTS},
        "best": [asdict(choice) for choice in result.choices],
        "caveat": CAVEAT,
        "versions": {"gaussdiff": gd.__version__, "jax": jax.__version__, "numpy": np.__version__},
    }


def _finite(values: Any) -> Any:
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return values if np.isfinite(values) else None


def _csv(table: gd.SolverTable) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["sampler", "grid", "calls", "steps", *PARTS])
    for i, sampler in enumerate(table.samplers):
        for j, grid in enumerate(table.grids):
            for k, calls in enumerate(table.calls):
                errors = [f"{getattr(table, part)[i, j, k]:.8g}" for part in PARTS]
                writer.writerow([sampler, grid, calls, table.steps[i, k], *errors])
    return buffer.getvalue()
