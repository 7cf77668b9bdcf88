"""Where training data come from: arrays, folders, prepared sets and toys, as one Dataset; and their batches."""

from training.data.dataset import Dataset, Rows, from_arrays, from_distribution, load

__all__ = ["Dataset", "Rows", "from_arrays", "from_distribution", "load"]
