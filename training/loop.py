"""The training loop: start or continue a run, look at it now and then, save it, stop cleanly."""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd

from . import batches, checkpoint, data, devices, interrupts, journal, lock, runs, watch
from .config import Config, differences
from .contents import Contents
from .network import LearnedDenoiser
from .step import Trainer, TrainState

SCALES = (0.1, 5.0)  # standard deviations of data that the default noise levels, .002 to 80, are made for
JUDGED = 512  # held-out samples at most that a look judges
PER_HOST = {"data", "data_dir", "accept_data"}  # settings that may differ: where each host has the same data

Save = Callable[[TrainState, int], None]


def train(config: Config, out: str | Path, dataset: data.Dataset | gd.Distribution | None = None) -> LearnedDenoiser:
    """Train to `config.steps` in the folder `out`, from its newest whole checkpoint where there is one.

    dataset: what to train on (of a distribution, samples) instead of loading `config.data`, which then is only a name.
    Returns the model of the averaged weights. A run that is far enough is reused, after a look at the data where they
    are given or a file of arrays. ValueError, with nothing touched, where `out` holds a run with other settings (all
    but config.CADENCE) or on other data, and where another process trains in it. FloatingPointError where the loss is
    no longer finite and OSError where the state cannot be saved: the last good checkpoint stays. KeyboardInterrupt
    after Ctrl-C or SIGTERM: the state is saved first. Of several hosts all raise where one does, but for one that
    cannot read a batch in the middle: the others end when jax misses it.
    """
    out = Path(out).expanduser().resolve()
    _check_hosts(config)
    if _is_trained(config, out, _found(config, out), dataset):  # to be used, not written to: by as many as like
        return runs.load(out)
    with lock.held(out):
        return _train(config, out, dataset)


def _check_hosts(config: Config) -> None:
    """ValueError where hosts were asked for other things: what each computes would not fit together."""
    asked = {name: value for name, value in vars(config).items() if name not in PER_HOST}
    digest = hashlib.sha256(repr(sorted(asked.items())).encode()).hexdigest()
    if not devices.agree(int(digest[:7], 16)):
        raise ValueError(f"config: expected the same settings on all hosts, got {asked} on this one; set them alike")


def _found(config: Config, out: Path) -> checkpoint.Checkpoint | None:
    """The state to go on from, of a run with the same settings."""
    found = devices.together(lambda: checkpoint.latest(out), "read the state")
    if not devices.agree(-1 if found is None else found.step):
        raise ValueError(f"out: expected one folder that all hosts share, got {out}, where they find different states")
    if found is not None:
        saved = Config.from_json(found.settings["config"])
        devices.together(lambda: _check_same(saved, config, out), "continue the run")
    return found


def _is_trained(
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
        examples = _examples(config, given)
        _check_data(config, found, examples, Contents.of(examples, config.labels))


def _train(config: Config, out: Path, dataset: data.Dataset | gd.Distribution | None) -> LearnedDenoiser:
    found = _found(config, out)
    if _is_trained(config, out, found, dataset):
        return runs.load(out)
    examples = devices.together(lambda: _examples(config, dataset), "read the data")
    if config.sigma_data is None:
        scale = devices.together(lambda: _scale(found, examples), "measure the data")
        config = dataclasses.replace(config, sigma_data=scale)
    trainer = devices.together(lambda: Trainer.create(config, examples.shape, examples.classes), "build the network")
    contents = devices.together(lambda: Contents.of(examples, config.labels), "read the data")
    if not all(devices.agree(int(digest[:7], 16)) for digest in (contents.fingerprint, contents.labels or "0")):
        raise ValueError(f"data: expected the same data on all hosts, got {contents} on this one; copy them from one")
    if found is not None:
        devices.together(partial(_check_data, config, found, examples, contents), "continue the run")
    save = partial(_save, trainer, contents, out)
    state = _begin(trainer, out, found, save)
    del found  # as large as the state
    if config.steps:
        _advance(trainer, state, examples, out, save)
    return runs.load(out)


def _check_same(saved: Config, asked: Config, out: Path) -> None:
    if not devices.is_first_host():  # what is saved of these is the first one's
        asked = dataclasses.replace(asked, **{name: getattr(saved, name) for name in PER_HOST})
    if changed := differences(saved, asked):
        listed = "\n  ".join(changed)
        raise ValueError(
            f"out: {out} holds a run with other settings (saved -> asked):\n  {listed}\n"
            "Ask for the saved ones to continue it, or choose another --out."
        )


def _examples(config: Config, given: data.Dataset | gd.Distribution | None) -> data.Dataset:
    if isinstance(given, gd.Distribution):
        return data.from_distribution(given, held_out=config.held_out)
    return data.load_for(config) if given is None else given


def _scale(found: checkpoint.Checkpoint | None, dataset: data.Dataset) -> float:
    """The standard deviation of the data about its overall mean, as measured when the run began."""
    if found is not None:
        return found.settings["config"]["sigma_data"]
    scale = dataset.train_rows.std()
    if not SCALES[0] <= scale <= SCALES[1]:
        raise ValueError(
            f"data: expected a standard deviation between {SCALES[0]} and {SCALES[1]}, as noise levels are absolute, "
            f"got {scale:.4g}; divide the data by it, or set --sigma-data, --level-mean, --sigma-min and --sigma-max"
        )
    return scale


def _check_data(config: Config, found: checkpoint.Checkpoint, examples: data.Dataset, contents: Contents) -> None:
    runs.check_kind(found, examples, "give the data of the run, or choose another --out")
    contents.check(found, examples.drawn, config.accept_data)


def _begin(trainer: Trainer, out: Path, found: checkpoint.Checkpoint | None, save: Save) -> TrainState:
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


def _save(trainer: Trainer, contents: Contents, out: Path, state: TrainState, step: int) -> None:
    """Save the state; of several hosts each writes its own pieces, where it is cut, or the first one what all hold."""
    config, settings = trainer.config, runs.settings(trainer, contents)
    keep = checkpoint.Keep(config.keep_last, config.keep_every, config.keep_powers)
    if config.sharding == "full" and not devices.one_host():
        checkpoint.save_pieces(out, step, state, settings, keep)
        return
    arrays = devices.fetch(state)
    devices.on_first_host(lambda: checkpoint.save(out, step, arrays, settings, keep), "save the state")


def _saving(config: Config, done: int) -> bool:
    return done % config.checkpoint_every == 0 or (config.keep_powers and checkpoint.is_power(done))


def _stopping(stop: Event, state: TrainState, due: bool) -> bool:
    """Whether a host was asked to stop; several hosts that had to agree after every step would wait for each other."""
    if devices.one_host():
        return stop.is_set()
    if not due:
        return False
    # With the step still running they could meet in another order, here and in the step, and wait for ever.
    jax.block_until_ready(state)
    return devices.any_host(stop.is_set())


def _advance(trainer: Trainer, state: TrainState, dataset: data.Dataset, out: Path, save: Save) -> None:
    config, start = trainer.config, int(state.step)
    places, labels = data.spread(len(dataset.held_out_rows), JUDGED), dataset.held_out_labels
    judged = batches.on_device(dataset.held_out_rows[places], None if labels is None else labels[places])
    with (
        interrupts.noted() as stop,
        journal.opened(out / "train.jsonl", start, config.steps, config.batch) as book,
        batches.feed(config, dataset) as fetch,
        watch.opened(trainer, state, dataset, judged, out) as watcher,
    ):
        step = trainer.compiled_step(state, *fetch(start))
        book.start_clock()
        losses = []
        for done in range(start + 1, config.steps + 1):
            state, loss = step(state, *fetch(done - 1))
            losses.append(loss)
            stopping = _stopping(stop, state, done % config.log_every == 0)
            last = stopping or done == config.steps
            saving = last or _saving(config, done)
            looking = watcher.judging(done, last) or watcher.drawing(done)
            if not (saving or looking or done % config.log_every == 0):
                # Losses are fetched a few at a time: waiting for each would leave the device idle between steps.
                continue
            mean, rate = _mean(losses, done, out), book.rate(done)
            if saving or looking:
                _check_finite(state, done, out)
            if saving:
                # Before anything else: a look takes seconds, which a host that is to be stopped may not have.
                save(state, done)
            seen = watcher.look(done, state.ema[0], last)
            jax.block_until_ready(state)  # as in _stopping
            devices.on_first_host(partial(_write_down, book, watcher, done, mean, rate, seen), "write down a look")
            if stopping and done < config.steps:
                raise KeyboardInterrupt(f"stopped at step {done}, saved in {out}; the same command continues it")
            losses = []
            book.resume_clock(done)


def _write_down(
    book: journal.Journal, watcher: watch.Watcher, done: int, mean: float, rate: float, seen: watch.Seen
) -> None:
    book.note(done, mean, rate, *seen)
    watcher.tell()


def _mean(losses: list[jax.Array], done: int, out: Path) -> float:
    values = np.asarray(jax.device_get(losses), np.float64)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise _diverged(f"loss: expected finite numbers, got {values[first]}", done - len(values) + 1 + first, out)
    return float(values.mean())


def _check_finite(state: TrainState, done: int, out: Path) -> None:
    # The loss of a step is that of the weights before it: the last update shows in the weights alone.
    total = jax.jit(_total, out_shardings=devices.everywhere())((state.params, state.ema))
    if not math.isfinite(float(total)):
        raise _diverged("weights: expected finite numbers, got NaN or infinity", done, out)


def _total(tree: Any) -> jax.Array:
    return sum((jnp.abs(leaf).sum() for leaf in jax.tree.leaves(tree)), jnp.zeros(()))


def _diverged(what: str, step: int, out: Path) -> FloatingPointError:
    return FloatingPointError(
        f"{what} at step {step}. The checkpoint before it stays in {out}. "
        "Train into another --out with a smaller --learning-rate, a longer --warmup or a smaller --clip."
    )
