"""The commands train, sample, evaluate and export."""

import dataclasses
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from jax import Array

import gaussdiff as gd
from training import devices, program, runs, sampling
from training.config import Config, Settings, check
from training.data.dataset import read_images
from training.evaluation import evaluate
from training.evaluation.evaluate import Questions
from training.loop import train
from training.networks.denoiser import LearnedDenoiser
from training.page import journal
from training.page.images import save_grid
from training.presets import preset
from training.storage import disk


@dataclass(frozen=True)
class Train:
    """Train a denoiser, or continue the run in --out. The defaults are those made for --data."""

    out: Path  # folder of the run: made for a new run, continued where there is one
    settings: tyro.conf.OmitArgPrefixes[Settings] = dataclasses.field(default_factory=Settings)
    preset: str | None = None  # data whose settings to start from, such as celeba64; None: those of --data
    distributed: bool = False  # one of several hosts; JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID

    def __call__(self) -> None:
        config = Config(**vars(self.settings))
        disk.check_folder(self.out)
        if self.distributed:
            devices.join_hosts()
        train(config, self.out)
        untrained = self.settings.steps == 0 and runs.open_run(self.out).step == 0
        journal.say(f"{'initialised, not trained' if untrained else 'trained'}: {self.out}")


@dataclass(frozen=True)
class Sample:
    """Draw samples of a trained run, and save them as .npz and, for images, as a .png beside it."""

    run: Path  # folder of the run, or a file of exported weights
    out: Path  # the .npz file to write
    n: int = 64  # number of samples
    steps: int = 18  # steps of Heun's method, of two network calls each
    recipe: Path | None = None  # a sampler and its grid instead, as `python -m analysis recipe` writes them
    seed: int = 0  # of the starting noise
    label: int | None = None  # class to draw from, for a run trained with labels
    sharpen: Path | None = None  # .npy or .npz of small images, one sample of each, for a run with --super-resolution
    guidance: float = 1.0  # strength of the label or small image: 0 none, 1 as trained, more exaggerates
    weights: str = "ema"  # "ema", "ema-2" .. for further half-lives, or "params"

    def __call__(self) -> None:
        if self.n < 1 or self.steps < 1:
            raise ValueError(f"n, steps: expected at least 1, got {self.n} and {self.steps}; raise --n or --steps")
        check("seed", self.seed)
        disk.check_file(self.out, ".npz")
        model, config = runs.load(self.run, self.weights), runs.load_config(self.run)
        config.check_condition(self.label is not None, self.sharpen is not None)
        if self.guidance != 1:
            self._check_guided(config)
        default = gd.Heun(), gd.grids.karras(self.steps, config.sigma_min, config.sigma_max)
        sampler, levels = default if self.recipe is None else self._recipe(self.recipe)
        if self.sharpen is None:
            x = sampling.samples(model, self.n, sampler, levels, self.seed, conditioned=self._conditioned(model))
        else:
            images = read_images(self.sharpen)
            x = sampling.sharpened(model, images, sampler, levels, self.seed, partial(self._conditioned, model))
        content = io.BytesIO()
        np.savez(content, samples=x, seed=self.seed, steps=len(levels) - 1)
        self._write(self.out, content.getvalue())
        print(f"{len(x)} samples of shape {model.shape} ({self.weights} weights): {self.out}")
        if x.ndim == 4 and find_spec("matplotlib"):
            picture = io.BytesIO()
            save_grid(x, picture)
            self._write(self.out.with_suffix(".png"), picture.getvalue())
            print(f"picture: {self.out.with_suffix('.png')}")

    def _recipe(self, path: Path) -> tuple[gd.Sampler, gd.NoiseLevel]:
        if not path.is_file():
            raise ValueError(
                f"recipe: expected a file, got {path}, which is none; make one with: python -m analysis recipe "
                f"--out {path}"
            )
        return gd.load_recipe(path)

    def _write(self, path: Path, content: bytes) -> None:
        with disk.explained(path, lambda: "make room, make the folder writable, or choose another --out"):
            disk.make(path.parent)
            disk.write(path, content)

    def _conditioned(self, model: LearnedDenoiser, image: Array | None = None) -> gd.Denoiser:
        """The model conditioned on the label and image, and guided towards them."""
        conditioned = model.given(self.label, image)
        return conditioned if self.guidance == 1 else gd.Guided(conditioned, model, self.guidance)

    def _check_guided(self, config: Config) -> None:
        if self.label is None and self.sharpen is None:
            raise ValueError(
                f"guidance: expected 1 without a label or small image to be guided to, got {self.guidance}; "
                "add --label or --sharpen, or drop --guidance"
            )
        config.check_unconditional("guidance")


@dataclass(frozen=True)
class Evaluate:
    """Judge a trained run: errors by noise level, likelihood of held-out data, and distances of samples to them."""

    run: Path  # folder of the run, or a file of exported weights
    out: Path | None = None  # JSON file to write; by default evaluation.json in the run's folder, or beside the file
    weights: str = "ema"  # "ema", "ema-2" .. for further half-lives, or "params"
    questions: tyro.conf.OmitArgPrefixes[Questions] = dataclasses.field(default_factory=Questions)

    def __call__(self) -> None:
        config, model = runs.load_config(self.run), runs.load(self.run, self.weights)
        dataset = runs.load_data(self.run)
        out = self.out or (self.run if self.run.is_dir() else self.run.parent) / "evaluation.json"
        disk.check_file(out, out.suffix)
        # An earlier evaluation stays until this one is whole.
        partial = out.with_name(f"{out.name}.partial")
        results = evaluate.assess(model, dataset, config, self.questions, lambda some: self._write(partial, some))
        print(f"{self.run} ({self.weights} weights)\n\n{evaluate.page(results)}\n")
        self._write(out, results)
        partial.unlink(missing_ok=True)  # which another evaluation of the run may have removed
        print(f"written: {out}")
        if "failed" in results:
            reasons = "\n".join(f"{table}: {reason}" for table, reason in results["failed"].items())
            raise ValueError(f"not everything could be measured; the rest is in {out}\n{reasons}")

    def _write(self, out: Path, results: dict[str, Any]) -> None:
        content = {
            "step": runs.open_run(self.run).step,
            "weights": self.weights,
            "asked": vars(self.questions),
            **results,
        }
        with disk.explained(out, lambda: "make room, make the folder writable, or choose another --out"):
            disk.make(out.parent)
            disk.write(out, (json.dumps(content, indent=1) + "\n").encode())


@dataclass(frozen=True)
class Export:
    """Write the weights of a trained run as one .safetensors file, which sample and evaluate take as their --run."""

    run: Path  # folder of the run, or of one of its checkpoints
    out: Path  # the .safetensors file to write
    weights: str = "ema"  # "ema", "ema-2" .. for further half-lives, or "params"

    def __call__(self) -> None:
        disk.check_file(self.out, ".safetensors")
        out = runs.export(self.run, self.out, self.weights)
        print(f"{self.weights} weights, {out.stat().st_size:,} bytes: {out}")


def defaults(arguments: list[str]) -> Config:
    """The settings that the command line starts from: those of its --preset, or of its --data."""
    return preset(named("--data", arguments) or Config.data, named("--preset", arguments))


def named(option: str, arguments: list[str]) -> str | None:
    """The value of an option on the command line, before it is parsed."""
    for name, value in zip_longest(arguments, arguments[1:], fillvalue=""):
        if name == option and value:
            return value
        if name.startswith(f"{option}="):
            return name.removeprefix(f"{option}=")
    return None


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code, as training/program.py describes."""
    cure = "use more microbatches (--accumulate 4), or train with --remat, a smaller --batch or network"
    return program.run(_parse, arguments, interrupted="interrupted", memory_cure=cure)


def _parse(arguments: list[str]) -> Callable[[], None]:
    default = Train(tyro.MISSING, Settings(**vars(defaults(arguments))))
    commands = (
        Annotated[Train, tyro.conf.subcommand("train", default=default)]
        | Annotated[Sample, tyro.conf.subcommand("sample")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Export, tyro.conf.subcommand("export")]
    )
    description = f"Train a denoiser, sample from it, evaluate it, export its weights. {program.OPTIONS}"
    return tyro.cli(commands, args=arguments, prog="python -m training", description=description)
