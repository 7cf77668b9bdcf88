"""How a run starts or goes on: open its newest checkpoint, compare its settings, check its data, begin.

Of several hosts all must call these functions, and all raise where one does.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gaussdiff as gd
from gaussdiff import archives
from training import devices, runs
from training.config import Config, differences
from training.data.dataset import Dataset, check_classes, from_distribution, load_for
from training.data.fingerprint import Contents
from training.page import journal
from training.step import Trainer, TrainState
from training.storage import checkpoint
from training.storage.checkpoint import Checkpoint

DEVIATIONS = (0.1, 5.0)  # standard deviations of data that the default noise levels, .002 to 80, are made for
PER_HOST = {"data", "data_dir", "accept_data"}  # settings that may differ: where each host has the same data

Data = Dataset | gd.Distribution | None  # what `train` is given: None is the data set that the settings name
Save = Callable[[TrainState, int], None]


def newest(config: Config, out: Path) -> Checkpoint | None:
    """The checkpoint to go on from, None for a new run; ValueError where `out` is a run with other settings."""
    start = devices.together(lambda: checkpoint.latest(out), "read the checkpoint")
    if not devices.agree(-1 if start is None else start.step):
        raise ValueError(
            f"out: expected one folder that all hosts share, got {out}, where they read different checkpoints; set "
            "--out to a folder on a disk that all of them mount"
        )
    if start is not None:
        devices.together(partial(runs.check_settings, start), "read the settings of the run")
        saved = Config.from_json(start.settings["config"])
        devices.together(lambda: _check_settings(saved, config, out), "continue the run")
    return start


def _check_settings(saved: Config, config: Config, out: Path) -> None:
    if not devices.is_first_host():  # of these the first host's are saved
        config = dataclasses.replace(config, **{name: getattr(saved, name) for name in PER_HOST})
    if changed := differences(saved, config):
        listed = "\n  ".join(changed)
        raise ValueError(
            f"out: {out} is a run with other settings (saved -> asked):\n  {listed}\n"
            "Ask for the saved ones to continue it, or choose another --out."
        )


def check_hosts(config: Config) -> None:
    """ValueError where hosts have different settings: what each computes would not fit together."""
    shared = {name: value for name, value in vars(config).items() if name not in PER_HOST}
    digest = hashlib.sha256(repr(sorted(shared.items())).encode()).hexdigest()
    if not devices.agree(int(digest[:7], 16)):
        raise ValueError(f"config: expected the same settings on all hosts, got {shared} on this one; set them alike")


def is_trained(config: Config, out: Path, start: Checkpoint | None, data: Data) -> bool:
    """Whether the run has all its steps, on the data that are given; says so."""
    if start is None or start.step < config.steps:
        return False
    devices.together(partial(_check_reused, config, start, data), "reuse the run")
    more = f" (more than the {config.steps} asked for)" if start.step > config.steps else ""
    journal.say(f"{out} is already trained to step {start.step}; reused{more}")
    return True


def _check_reused(config: Config, start: Checkpoint, data: Data) -> None:
    """Check the data of a finished run where they are at hand: those given, and a file of arrays, which may be new."""
    file = Path(config.data).expanduser()
    if data is not None or (file.suffix in (".npy", ".npz") and file.is_file()):
        dataset = dataset_of(config, start, data)
        check_data(config, start, dataset, Contents.of(dataset, config.labels))


def dataset_of(config: Config, start: Checkpoint | None, data: Data) -> Dataset:
    """The data set to train on; of a distribution, samples.

    ValueError where a new run is to be conditioned on a class without training samples.
    """
    if isinstance(data, gd.Distribution):
        return from_distribution(data, held_out=config.held_out)
    begun = None if start is None else runs.facts(start)[1]
    dataset = load_for(config, begun) if data is None else data
    if start is None and config.labels:
        check_classes(dataset)
    return dataset


def sigma_data(start: Checkpoint | None, dataset: Dataset) -> float:
    """The standard deviation of the data about its overall mean, as measured when the run began."""
    if start is not None:
        return Config.from_json(start.settings["config"]).data_scale
    deviation = dataset.train_rows.std()
    if not DEVIATIONS[0] <= deviation <= DEVIATIONS[1]:
        raise ValueError(
            f"data: expected a standard deviation between {DEVIATIONS[0]} and {DEVIATIONS[1]}, as noise levels are "
            f"absolute, got {deviation:.4g}; standardise them, x = (x - x.mean()) / x.std(), or set --sigma-data, "
            "--level-mean, --sigma-min, --sigma-max"
        )
    return deviation


def fingerprint(config: Config, start: Checkpoint | None, dataset: Dataset) -> Contents:
    """The contents of the data; ValueError where hosts have different ones, or the run was started on others."""
    contents = devices.together(lambda: Contents.of(dataset, config.labels), "read the data")
    if not all(devices.agree(int(digest[:7], 16)) for digest in (contents.fingerprint, contents.labels or "0")):
        raise ValueError(f"data: expected the same data on all hosts, got {contents} on this one; copy them from one")
    if start is not None:
        devices.together(partial(check_data, config, start, dataset, contents), "continue the run")
    return contents


def check_data(config: Config, start: Checkpoint, dataset: Dataset, contents: Contents) -> None:
    """ValueError where the run was started on other data; with accept_data other contents are a warning."""
    runs.check_kind(start, dataset, "give the data of the run, or choose another --out")
    contents.check(start, dataset.drawn, config.accept_data)


def begin(trainer: Trainer, out: Path, start: Checkpoint | None, save: Save) -> TrainState:
    """The state to go on from; of a new run it is saved at once, so that the folder says what it is."""

    def tidy() -> None:
        checkpoint.clean(out)
        journal.rewind(out / "train.jsonl", 0 if start is None else start.step)

    devices.on_first_host(tidy, "tidy the folder of the run")
    if start is not None:
        journal.say(f"continuing {out} from step {start.step}")
        with archives.parsing(start.path):
            restored = checkpoint.restore(trainer.abstract(), start.arrays)
        return devices.place(restored, trainer.placement())
    state = trainer.initial()
    save(state, 0)
    return state
