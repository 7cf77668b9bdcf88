"""Which data a run was started on, so that it is not continued on others by mistake."""

import hashlib
import warnings
from typing import NamedTuple

import numpy as np

from .checkpoint import Checkpoint
from .data import Dataset, Rows, spread

MOST = 256  # rows of each part whose bytes enter the fingerprint


class Contents(NamedTuple):
    """How many samples each part holds, and a SHA-256 over the count, the shape and an even spread of the samples."""

    train: int
    held_out: int
    fingerprint: str

    @classmethod
    def of_run(cls, found: Checkpoint) -> "Contents | None":
        """Return what the run was started on; None where it was saved by a version that did not note it."""
        saved = found.settings["data"]
        return cls(saved["train"], saved["held_out"], saved["fingerprint"]) if "fingerprint" in saved else None

    @classmethod
    def of(cls, dataset: Dataset) -> "Contents":
        """Read at most 256 samples of each part, whatever the size of the set."""
        train, held_out = dataset.train_rows, dataset.held_out_rows
        return cls(len(train), len(held_out), hashlib.sha256(_digest(train) + _digest(held_out)).hexdigest())

    def check(self, found: Checkpoint, drawn: bool) -> None:
        """ValueError where the run was started on others; for samples drawn of a law a warning.

        Their last bits differ from one kind of device to another, on which a run may well be continued.
        """
        began = Contents.of_run(found)
        if began is None or began == self:
            return
        said = f"data: this run was started on {began}, got {self}"
        if not drawn:
            raise ValueError(f"{said}; give the data of the run, or choose another --out")
        warnings.warn(f"{said}: another law, or samples drawn on another kind of device", stacklevel=2)

    def __str__(self) -> str:
        return f"{self.train} training and {self.held_out} held-out samples (fingerprint {self.fingerprint[:8]})"


def _digest(rows: Rows) -> bytes:
    some = np.ascontiguousarray(rows[spread(len(rows), MOST)])
    return hashlib.sha256(repr((len(rows), some.shape[1:])).encode() + some.tobytes()).digest()
