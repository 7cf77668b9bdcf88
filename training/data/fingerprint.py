"""Which data a run was started on, so that it is not continued on others by mistake."""

import hashlib
import warnings
from typing import NamedTuple

import numpy as np

from training.data.dataset import Dataset, Rows, spread
from training.storage.checkpoint import Checkpoint

MOST_ROWS = 256  # of each split whose bytes enter the fingerprint
SPLIT_ANEW = (
    "Without a test split of their own, samples whose numbers changed were split anew: the network may have been "
    "trained on some of those that are held out from here on."
)


class Contents(NamedTuple):
    """The number of samples of each split, and a SHA-256 over the count, the shape and an even spread of the samples.

    labels: one over all labels, of a run that is conditioned on them; otherwise None.
    """

    train: int
    held_out: int
    fingerprint: str
    labels: str | None = None

    @classmethod
    def of_run(cls, saved: Checkpoint) -> "Contents | None":
        """What the run was started on; None where it was saved by a version that did not note it."""
        data = saved.settings["data"]
        if "fingerprint" not in data:
            return None
        return cls(data["train"], data["held_out"], data["fingerprint"], data.get("labels"))

    @classmethod
    def of(cls, dataset: Dataset, labels: bool = False) -> "Contents":
        """Read at most 256 samples of each split, whatever the size of the set, and all labels where they are used."""
        train, held_out = dataset.train_rows, dataset.held_out_rows
        splits = (dataset.train_labels, dataset.held_out_labels) if labels else ()
        known = [np.asarray(each, np.int32).tobytes() for each in splits if each is not None]
        return cls(
            len(train),
            len(held_out),
            hashlib.sha256(_digest(train) + _digest(held_out)).hexdigest(),
            hashlib.sha256(b"".join(known)).hexdigest() if known else None,
        )

    def check(self, saved: Checkpoint, drawn: bool, accept: bool = False) -> None:
        """ValueError where the run was started on others; for samples drawn of a law, or with `accept`, a warning.

        The last bits of what is drawn differ from one kind of device to another, on which a run may well be continued.
        """
        began = Contents.of_run(saved)
        if began is None:
            return
        now = self if began.labels else self._replace(labels=None)  # an earlier version did not note labels
        if began == now:
            return
        message, why = f"data: this run was started on {began}, got {now}", ""
        if drawn:
            why = ": another law, or samples drawn on another kind of device"
        elif not accept:
            raise ValueError(
                f"{message}; give the data of the run, or choose another --out. Where only the version of Pillow "
                "changed, which may decode the same pictures to other pixels, --accept-data goes on with these"
            )
        warnings.warn(f"{message}{why}. {SPLIT_ANEW}", stacklevel=2)

    def __str__(self) -> str:
        digest = self.fingerprint[:8] + (f", labels {self.labels[:8]}" if self.labels else "")
        return f"{self.train} training and {self.held_out} held-out samples (fingerprint {digest})"


def _digest(rows: Rows) -> bytes:
    some = np.ascontiguousarray(rows[spread(len(rows), MOST_ROWS)])
    return hashlib.sha256(repr((len(rows), some.shape[1:])).encode() + some.tobytes()).digest()
