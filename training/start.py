"""How a run starts or goes on: its newest state, its data, and whether they are those that are asked for."""

import dataclasses
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gaussdiff as gd
from training import devices, runs
from training.config import Config, differences
from training.data import dataset as data
from training.data.fingerprint import Contents
from training.page import journal
from training.step import Trainer, TrainState
from training.storage import checkpoint

SCALES = (0.1, 5.0)  # standard deviations of data that the default noise levels, .002 to 80, are made for
PER_HOST = {"data", "data_dir", "accept_data"}  # settings that may differ: where each host has the same data

Save = Callable[[TrainState, int], None]


def check_hosts(config: Config) -> None:
    """ValueError where hosts were asked for other things: what each computes would not fit together."""
    asked = {name: value for name, value in vars(config).items() if name not in PER_HOST}
    digest = hashlib.sha256(repr(sorted(asked.items())).encode()).hexdigest()
    if not devices.agree(int(digest[:7], 16)):
        raise ValueError(f"config: expected the same settings on all hosts, got {asked} on this one; set them alike")


def newest(config: Config, out: Path) -> checkpoint.Checkpoint | None:
    """The state to go on from, of a run with the same settings."""
    found = devices.together(lambda: checkpoint.latest(out), "read the state")
    if not devices.agree(-1 if found is None else found.step):
        raise ValueError(f"out: expected one folder that all hosts share, got {out}, where they find different states")
    if found is not None:
        saved = Config.from_json(found.settings["config"])
        devices.together(lambda: _check_same(saved, config, out), "continue the run")
    return found


def is_trained(
    config: Config, out: Path, found: checkpoint.Checkpoint | None, given: data.Dataset | gd.Distribution | None
) -> bool:
    if found is None or found.step < config.steps:
        return False
    devices.together(partial(_check_reused, config, found, given), "reuse the run")
    more = f" (more than the {config.steps} asked for)" if found.step > config.steps else ""
    journal.say(f"{out} is already trained to step {found.step}; reused{more}")
    return True


def _check_reused(config: Config, found: checkpoint.Checkpoint, given: data.Dataset | gd.Distribution | None) -> None:
    """Check the data of a finished run where they are at hand: those given, and a file of arrays, which may be new."""
    file = Path(config.data).expanduser()
    if given is not None or (file.suffix in (".npy", ".npz") and file.is_file()):
        examples = examples_of(config, given)
        check_data(config, found, examples, Contents.of(examples, config.labels))


def _check_same(saved: Config, asked: Config, out: Path) -> None:
    if not devices.is_first_host():  # what is saved of these is the first one's
        asked = dataclasses.replace(asked, **{name: getattr(saved, name) for name in PER_HOST})
    if changed := differences(saved, asked):
        listed = "\n  ".join(changed)
        raise ValueError(
            f"out: {out} holds a run with other settings (saved -> asked):\n  {listed}\n"
            "Ask for the saved ones to continue it, or choose another --out."
        )


def examples_of(config: Config, given: data.Dataset | gd.Distribution | None) -> data.Dataset:
    if isinstance(given, gd.Distribution):
        return data.from_distribution(given, held_out=config.held_out)
    return data.load_for(config) if given is None else given


def scale(found: checkpoint.Checkpoint | None, dataset: data.Dataset) -> float:
    """The standard deviation of the data about its overall mean, as measured when the run began."""
    if found is not None:
        return found.settings["config"]["sigma_data"]
    deviation = dataset.train_rows.std()
    if not SCALES[0] <= deviation <= SCALES[1]:
        raise ValueError(
            f"data: expected a standard deviation between {SCALES[0]} and {SCALES[1]}, as noise levels are absolute, "
            f"got {deviation:.4g}; divide the data by it, or set --sigma-data, --level-mean, --sigma-min, --sigma-max"
        )
    return deviation


def check_data(config: Config, found: checkpoint.Checkpoint, examples: data.Dataset, contents: Contents) -> None:
    runs.check_kind(found, examples, "give the data of the run, or choose another --out")
    contents.check(found, examples.drawn, config.accept_data)


def begin(trainer: Trainer, out: Path, found: checkpoint.Checkpoint | None, save: Save) -> TrainState:
    """The state to go on from; of a new run it is saved at once, so that the folder says what it is."""

    def tidy() -> None:
        checkpoint.clean(out)
        journal.rewind(out / "train.jsonl", 0 if found is None else found.step)

    devices.on_first_host(tidy, "tidy the folder of the run")
    if found is not None:
        journal.say(f"continuing {out} from step {found.step}")
        return devices.place(checkpoint.restore(trainer.abstract(), found.arrays), trainer.placement())
    state = trainer.initial()
    save(state, 0)
    return state
