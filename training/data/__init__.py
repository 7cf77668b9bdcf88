"""Where training data come from: arrays, folders, prepared sets and toys, as one Dataset; and their batches."""

__all__ = ["arrays", "batches", "dataset", "fingerprint", "folder", "prepared", "toys"]
