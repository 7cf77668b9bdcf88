"""The training loop: steps, looks at the run now and then, saved states, and a clean stop."""

import dataclasses
import math
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from training import devices, interrupts, runs
from training.config import Config
from training.data import batches
from training.data import dataset as data
from training.data.fingerprint import Contents
from training.networks.denoiser import LearnedDenoiser
from training.page import journal, monitor
from training.start import Save, begin, check_data, check_hosts, examples_of, is_trained, newest, scale
from training.step import Trainer, TrainState
from training.storage import checkpoint, lock

JUDGED = 512  # held-out samples at most that a look judges


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
    check_hosts(config)
    if is_trained(config, out, newest(config, out), dataset):  # to be used, not written to: by as many as like
        return runs.load(out)
    with lock.held(out):
        return _train(config, out, dataset)


def _train(config: Config, out: Path, dataset: data.Dataset | gd.Distribution | None) -> LearnedDenoiser:
    found = newest(config, out)
    if is_trained(config, out, found, dataset):
        return runs.load(out)
    examples = devices.together(lambda: examples_of(config, dataset), "read the data")
    if config.sigma_data is None:
        sigma_data = devices.together(lambda: scale(found, examples), "measure the data")
        config = dataclasses.replace(config, sigma_data=sigma_data)
    trainer = devices.together(lambda: Trainer.create(config, examples.shape, examples.classes), "build the network")
    contents = devices.together(lambda: Contents.of(examples, config.labels), "read the data")
    if not all(devices.agree(int(digest[:7], 16)) for digest in (contents.fingerprint, contents.labels or "0")):
        raise ValueError(f"data: expected the same data on all hosts, got {contents} on this one; copy them from one")
    if found is not None:
        devices.together(partial(check_data, config, found, examples, contents), "continue the run")
    save = partial(_save, trainer, contents, out)
    state = begin(trainer, out, found, save)
    del found  # as large as the state
    if config.steps:
        _advance(trainer, state, examples, out, save)
    return runs.load(out)


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
        monitor.opened(trainer, state, dataset, judged, out) as watcher,
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
    book: journal.Journal, watcher: monitor.Watcher, done: int, mean: float, rate: float, seen: monitor.Seen
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
