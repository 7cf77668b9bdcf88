"""Which data a run was started on, so that it is not continued on others by mistake."""

import hashlib
import warnings
from typing import NamedTuple

import numpy as np

from training.data.dataset import Dataset, Rows, spread
from training.storage.checkpoint import Checkpoint

MOST = 256  # rows of each part whose bytes enter the fingerprint
DEALT_ANEW = (
    "Where they have no test part of their own, samples whose numbers changed were dealt anew into training and "
    "held-out ones: the network may have seen some of those that judge it from here on."
)


class Contents(NamedTuple):
    """How many samples each part holds, and a SHA-256 over the count, the shape and an even spread of the samples.

    labels: one over all labels, of a run that is told them; None of any other.
    """

    train: int
    held_out: int
    fingerprint: str
    labels: str | None = None

    @classmethod
    def of_run(cls, found: Checkpoint) -> "Contents | None":
        """Return what the run was started on; None where it was saved by a version that did not note it."""
        saved = found.settings["data"]
        if "fingerprint" not in saved:
            return None
        return cls(saved["train"], saved["held_out"], saved["fingerprint"], saved.get("labels"))

    @classmethod
    def of(cls, dataset: Dataset, labels: bool = False) -> "Contents":
        """Read at most 256 samples of each part, whatever the size of the set, and all labels where they are used."""
        train, held_out = dataset.train_rows, dataset.held_out_rows
        told = (dataset.train_labels, dataset.held_out_labels) if labels else ()
        known = [np.asarray(part, np.int32).tobytes() for part in told if part is not None]
        return cls(
            len(train),
            len(held_out),
            hashlib.sha256(_digest(train) + _digest(held_out)).hexdigest(),
            hashlib.sha256(b"".join(known)).hexdigest() if known else None,
        )

    def check(self, found: Checkpoint, drawn: bool, accept: bool = False) -> None:
        """ValueError where the run was started on others; for samples drawn of a law, or with `accept`, a warning.

        The last bits of what is drawn differ from one kind of device to another, on which a run may well be continued.
        """
        began = Contents.of_run(found)
        if began is None:
            return
        now = self if began.labels else self._replace(labels=None)  # an earlier version did not note labels
        if began == now:
            return
        said, why = f"data: this run was started on {began}, got {now}", ""
        if drawn:
            why = ": another law, or samples drawn on another kind of device"
        elif not accept:
            raise ValueError(
                f"{said}; give the data of the run, or choose another --out. Where only the version of Pillow changed, "
                "which may decode the same pictures to other pixels, --accept-data goes on with these"
            )
        warnings.warn(f"{said}{why}. {DEALT_ANEW}", stacklevel=2)

    def __str__(self) -> str:
        told = f", labels {self.labels[:8]}" if self.labels else ""
        return f"{self.train} training and {self.held_out} held-out samples (fingerprint {self.fingerprint[:8]}{told})"


def _digest(rows: Rows) -> bytes:
    some = np.ascontiguousarray(rows[spread(len(rows), MOST)])
    return hashlib.sha256(repr((len(rows), some.shape[1:])).encode() + some.tobytes()).digest()
