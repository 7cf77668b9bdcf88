"""The training loop: advance step by step, evaluate now and then, save checkpoints, and stop without loss."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import jax
import numpy as np

from training import devices, interrupts, runs
from training.config import Config
from training.data import batches
from training.data.dataset import Dataset, spread
from training.data.fingerprint import Contents
from training.networks.denoiser import LearnedDenoiser
from training.page import journal, monitor
from training.start import Data, Save, begin, check_hosts, dataset_of, fingerprint, is_trained, newest, sigma_data
from training.step import Trainer, TrainState
from training.storage import checkpoint, lock

EVALUATED = 512  # held-out samples at most of an evaluation


def train(config: Config, out: str | Path, dataset: Data = None) -> LearnedDenoiser:
    """Train to `config.steps` in the folder `out`, from its newest whole checkpoint where there is one.

    dataset: what to train on (of a distribution, samples) instead of loading `config.data`, which then is only a name.
    Returns the model of the averaged weights. A run with as many steps is reused, after a check of the data where they
    are given or a file of arrays. ValueError, with nothing touched, where `out` is a run with other settings (all but
    config.CADENCE) or on other data, and where another process trains in it. FloatingPointError where the loss is no
    longer finite and OSError where a checkpoint cannot be saved: the last good one stays. KeyboardInterrupt after
    Ctrl-C or SIGTERM: a checkpoint is saved first. Of several hosts all raise where one does, but for one that cannot
    read a batch in the middle: the others end when jax misses it.
    """
    out = Path(out).expanduser().resolve()
    check_hosts(config)
    if is_trained(config, out, newest(config, out), dataset):  # to be used, not written to: by as many as like
        return runs.load(out)
    with lock.exclusive(out) as locked:
        return _train(config, out, dataset, locked)


def _train(config: Config, out: Path, data: Data, locked: lock.Lock | None) -> LearnedDenoiser:
    start = newest(config, out)
    if is_trained(config, out, start, data):
        return runs.load(out)
    dataset = devices.together(lambda: dataset_of(config, start, data), "read the data")
    if config.sigma_data is None:
        measured = devices.together(lambda: sigma_data(start, dataset), "measure the data")
        config = dataclasses.replace(config, sigma_data=measured)
    trainer = devices.together(lambda: Trainer.create(config, dataset.shape, dataset.classes), "build the network")
    save = partial(_save, trainer, fingerprint(config, start, dataset), out, locked)
    if config.steps == 0:
        begin(trainer, out, start, save)
        return runs.load(out)
    first = 0 if start is None else start.step
    with batches.feed(config, dataset) as fetch, ThreadPoolExecutor(1, "compile") as thread:
        compiling = thread.submit(lambda: trainer.compiled_step(trainer.abstract(), *fetch(first)))
        state = begin(trainer, out, start, save)  # which compiles as well, for a new run
        del start  # as large as the state
        _advance(trainer, state, dataset, fetch, compiling, out, save)
    return runs.load(out)


def _save(
    trainer: Trainer, contents: Contents, out: Path, locked: lock.Lock | None, state: TrainState, step: int
) -> None:
    """Save the state; of several hosts each writes its own shards, or the first one all where they have copies."""

    def follow() -> None:
        if locked is not None:
            locked.follow(step)

    config, settings = trainer.config, runs.settings(trainer, contents)
    keep = checkpoint.Keep(config.keep_last, config.keep_every, config.keep_powers)
    if config.sharding == "full" and not devices.one_host():
        jax.block_until_ready(state)  # as in _stopping
        devices.on_first_host(follow, "lock the folder of the run")
        checkpoint.save_shards(out, step, state, settings, keep)
        return
    arrays = devices.fetch(state)

    def write() -> None:
        follow()
        checkpoint.save(out, step, arrays, settings, keep)

    devices.on_first_host(write, "save the state")


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


def _advance(
    trainer: Trainer,
    state: TrainState,
    dataset: Dataset,
    fetch: batches.Fetch,
    compiling: Future[Callable],
    out: Path,
    save: Save,
) -> None:
    config, start = trainer.config, int(state.step)
    places, labels = spread(len(dataset.held_out_rows), EVALUATED), dataset.held_out_labels
    held_out = batches.on_device(dataset.held_out_rows[places], None if labels is None else labels[places])
    with (
        interrupts.noted() as stop,
        journal.opened(out / "train.jsonl", start, config.steps, config.batch) as book,
        monitor.opened(trainer, state, dataset, held_out, out) as watcher,
    ):
        step = compiling.result()
        book.start_clock()
        losses = []
        for done in range(start + 1, config.steps + 1):
            state, loss = step(state, *fetch(done - 1))
            losses.append(loss)
            stopping = _stopping(stop, state, done % config.log_every == 0)
            last = stopping or done == config.steps
            saving = last or _saving(config, done)
            watching = watcher.evaluating(done, last) or watcher.drawing(done)
            if not (saving or watching or done % config.log_every == 0):
                # Losses are fetched a few at a time: waiting for each would leave the device idle between steps.
                continue
            mean, rate = _mean(losses, done, out), book.rate(done)
            if saving or watching:
                _check_finite(state, done, out)
            if saving:
                # Before anything else: an evaluation takes seconds, which a host that is to be stopped may not have.
                save(state, done)
            measured = watcher.watch(done, state.ema[0], last)
            jax.block_until_ready(state)  # as in _stopping
            devices.on_first_host(partial(_record, book, watcher, done, mean, rate, measured), "write the journal")
            if stopping and done < config.steps:
                raise KeyboardInterrupt(f"stopped at step {done}, saved in {out}; the same command continues it")
            losses = []
            book.resume_clock(done)


def _record(
    book: journal.Journal, watcher: monitor.Watcher, done: int, mean: float, rate: float, measured: monitor.Measured
) -> None:
    book.note(done, mean, rate, *measured)
    watcher.write_page()


def _mean(losses: list[jax.Array], done: int, out: Path) -> float:
    values = np.asarray(jax.device_get(losses), np.float64)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise _diverged(f"loss: expected finite numbers, got {values[first]}", done - len(values) + 1 + first, out)
    return float(values.mean())


def _check_finite(state: TrainState, done: int, out: Path) -> None:
    # The loss of a step is that of the weights before it: the last update shows in the weights alone.
    jax.block_until_ready(state)  # as in _stopping
    leaves = jax.tree.leaves((state.params, state.ema))
    shards = [np.asarray(each.data) for leaf in leaves for each in leaf.addressable_shards if each.replica_id == 0]
    with np.errstate(over="ignore"):  # a sum that leaves the floats is of weights that no further step survives
        total = sum((np.abs(shard).sum() for shard in shards), np.float32(0))
    if devices.any_host(not np.isfinite(total)):
        raise _diverged("weights: expected finite numbers, got NaN or infinity", done, out)


def _diverged(what: str, step: int, out: Path) -> FloatingPointError:
    return FloatingPointError(
        f"{what} at step {step}. The checkpoint before it stays in {out}. "
        "Train into another --out with a smaller --learning-rate, a longer --warmup or a smaller --clip."
    )
