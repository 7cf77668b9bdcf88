"""The commands: python -m analysis report|experiment|compare|solvers|recipe|accelerate --help."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import tyro

from analysis import experiments
from analysis.comparison import runs as side_by_side
from analysis.harness import experiment
from analysis.reporting import write
from analysis.reporting.study import Settings, open_run, stages
from analysis.solvers import accelerate, recipe, table
from training import program
from training.storage import disk

FAILED = 1  # the exit code where an experiment met a fault of the program; all else was written


@dataclass(frozen=True)
class Report:
    """Compare a training run with its closed-form twins; write metrics.json, arrays.npz, figures and report.html."""

    run: Path  # folder of the training run
    out: Path | None = None  # folder to write to; by default the run's own, where `compare` reads reports
    experiments: tuple[str, ...] = ()  # measure these alone; by default all
    settings: tyro.conf.OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def __call__(self) -> int:
        out = _folder(self.out, self.run)
        disk.check_folder(out)
        growing = stages(self.run, self.settings, self.experiments, write.earlier(out))
        return FAILED if write.write(growing, out, aside=True).failed else 0


@dataclass(frozen=True)
class One:
    """Run one experiment on a training run; print what was found, write its numbers and its figure."""

    name: tyro.conf.Positional[str]  # A1 to A11, D1 to D9, D11, C1 or C2
    run: Path  # folder of the training run
    out: Path | None = None  # folder to write to; by default "experiments" in the run's own
    settings: tyro.conf.OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def __call__(self) -> int:
        chosen, out = experiments.named(self.name), _folder(self.out, self.run, "experiments")
        disk.check_folder(out)
        result = experiment.run(chosen, open_run(self.run, self.settings))
        write.write_one(result, out)
        return FAILED if result.verdict == "failed" else 0


@dataclass(frozen=True)
class Compare:
    """Put runs, or checkpoints of a run, side by side: same data, same noise, same twins; write tables and a page."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # folders of runs or of checkpoints, or files of exported weights
    out: Path = Path("runs/compare")  # folder to write to
    experiments: tuple[str, ...] = ()  # measure these on every run, or "standard"; by default reports are read
    settings: tyro.conf.OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def __call__(self) -> int:
        disk.check_folder(self.out)
        comparison = side_by_side.run(list(self.runs), self.settings, self.experiments)
        side_by_side.write(comparison, self.out)
        return FAILED if self.experiments and comparison.failed else 0


@dataclass(frozen=True)
class Solvers:
    """Find the sampler and the grid of least exact error on the Gaussian of a data set; write a table and a figure."""

    settings: tyro.conf.OmitArgPrefixes[table.Settings] = field(default_factory=table.Settings)
    out: Path = Path("runs/solvers")  # folder to write to

    def __call__(self) -> None:
        disk.check_folder(self.out)
        jax.config.update("jax_enable_x64", True)  # errors of good samplers are small differences
        table.write(table.run(self.settings), self.out)


@dataclass(frozen=True)
class Recipe:
    """Make a solver of few calls for a data set, before there is a network, or refined on one; write it as JSON."""

    settings: tyro.conf.OmitArgPrefixes[recipe.Settings]
    out: Path = Path("recipe.json")  # file to write

    def __call__(self) -> None:
        disk.check_file(self.out, ".json")
        recipe.write(recipe.make(self.settings), self.out)


@dataclass(frozen=True)
class Accelerate:
    """Find the solver, grid and closed-form start of fewest calls for a quality on a training run; write a recipe."""

    run: Path  # folder of the training run
    out: Path | None = None  # folder to write to; by default "accelerate" in the run's own
    settings: tyro.conf.OmitArgPrefixes[accelerate.Settings] = field(default_factory=accelerate.Settings)

    def __call__(self) -> None:
        out = _folder(self.out, self.run, "accelerate")
        disk.check_folder(out)
        accelerate.write(accelerate.run(self.run, self.settings), out)


def _folder(out: Path | None, run: Path, name: str = "") -> Path:
    """Where to write without an `out`: `name` in the folder of the run, or in the one that holds a file of weights."""
    return out or (run.parent if run.is_file() else run) / name


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code, as training/program.py describes."""
    return program.run(
        _parse,
        arguments,
        interrupted="interrupted; nothing was written: run the same command again",
        memory_cure="follow fewer paths (--starts 64), or choose fewer --experiments",
    )


def _parse(arguments: list[str]) -> Callable[[], int | None]:
    commands = {
        "report": Report,
        "experiment": One,
        "compare": Compare,
        "solvers": Solvers,
        "recipe": Recipe,
        "accelerate": Accelerate,
    }
    description = f"Compare a run with its twins; find and make solvers for a data set. {program.OPTIONS}"
    return tyro.extras.subcommand_cli_from_dict(
        commands, args=arguments, prog="python -m analysis", description=description
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
