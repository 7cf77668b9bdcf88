"""What the loop measures now and then beside its loss: the averaged weights' held-out loss, twins, samples, the page.

Nothing here changes what a step computes: a run that is watched ends with the same weights.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from training import devices
from training.data.batches import Examples
from training.data.dataset import Dataset
from training.evaluation.explain import Explainer
from training.networks.params import Params
from training.page import page, pictures
from training.step import Trainer, TrainState, held_out_loss


class Measured(NamedTuple):
    """The held-out loss, and what the twins explain; None where it was not due."""

    held_out: float | None = None
    explained: dict[str, Any] | None = None


class Watcher:
    """Evaluates, draws and explains the averaged weights of a run now and then; all that it needs is compiled once."""

    def __init__(self, trainer: Trainer, state: TrainState, dataset: Dataset, held_out: Examples, out: Path):
        config = trainer.config
        self.trainer, self.held_out, self.out, self.done = trainer, held_out, out, int(state.step)
        self.page_time = -math.inf
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(state.ema[0]))
        self.loss = jax.jit(partial(held_out_loss, trainer))
        self.pictures = self.explainer = None

        def prepare() -> None:
            pictures.rewind(out / pictures.FOLDER, self.done)
            if config.sample_every:
                self.pictures = pictures.Pictures(trainer, dataset, out / pictures.FOLDER)
            if config.explain:
                self.explainer = Explainer(dataset.train_rows, dataset.held_out_rows, config.data_scale)

        devices.on_first_host(prepare, "prepare to draw and to explain")

    def evaluating(self, done: int, last: bool) -> bool:
        """Whether the weights after `done` steps are to be evaluated; the last ones before a stop are."""
        return last or done % self.trainer.config.evaluate_every == 0

    def drawing(self, done: int) -> bool:
        """Whether the weights after `done` steps are to be drawn; those of the end are, those before a stop are not."""
        config = self.trainer.config
        return config.sample_every > 0 and (done % config.sample_every == 0 or done == config.steps)

    def watch(self, done: int, params: Params, last: bool) -> Measured:
        """Measure what is due of the averaged weights after `done` steps, and draw samples where that is due."""
        self.done = done
        drawing, evaluating = self.drawing(done), self.evaluating(done, last)
        held_out = float(self.loss(params, self.held_out)) if evaluating else None
        if not (drawing or (evaluating and self.trainer.config.explain)):
            return Measured(held_out)
        # All hosts bring the weights together; the first one alone draws and explains them.
        whole = devices.fetch(params)
        explained = []

        def draw() -> None:
            if self.pictures is not None and drawing:
                self.pictures.take(done, whole)
            if self.explainer is not None and evaluating:
                explained.append(self.explainer(self.trainer.model(whole)))

        devices.on_first_host(draw, "draw and explain samples")
        return Measured(held_out, *explained)

    def write_page(self, state: str = "running", note: str = "") -> None:
        """Write RUN/index.html anew from the files in the folder of the run, unless a running one is new enough.

        The first host does, and no other one learns of it where that fails.
        """
        fresh = state == "running" and time.monotonic() - self.page_time < page.RELOAD_SECONDS
        if fresh or not devices.is_first_host():
            return
        self.page_time = time.monotonic()
        status = page.Status(state, self.done, self.parameters, note)
        page.write(self.out, self.trainer.config, self.trainer.shape, status)


@contextmanager
def opened(trainer: Trainer, state: TrainState, dataset: Dataset, held_out: Examples, out: Path) -> Iterator[Watcher]:
    """Give a Watcher whose page says in the end how the training ended."""
    watcher = Watcher(trainer, state, dataset, held_out, out)
    devices.on_first_host(watcher.write_page, "write the page")
    try:
        yield watcher
    except BaseException as error:
        with suppress(OSError):  # of a full disk, which would hide why the training ended
            watcher.write_page("stopped" if isinstance(error, KeyboardInterrupt) else "failed", str(error))
        raise
    devices.on_first_host(lambda: watcher.write_page("finished"), "write the page")
